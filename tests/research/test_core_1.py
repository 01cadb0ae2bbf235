"""Core 1 alone, supervised, and with its mask opened."""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
from signals import batch_output, random_network, speech_like
from training_pairs import eager_tensorflow, noisy_pair, write_pairs

import DTLN_model as dtln
from dtln.scoring.metrics import si_sdr
from research import core_1, open_core_1_mask

SEGMENT = 1024  # samples


def test_masks_of_one_give_the_signal_back() -> None:
    network = random_network(dtln.DTLNConfig(units=8))
    dense = network.dtln_layers.core_1.dense
    dense.set_weights([0 * dense.get_weights()[0], 0 * dense.get_weights()[1] + 40.0])
    signal = speech_like(1100)
    estimate = keras.ops.convert_to_numpy(core_1.core_1_network(network)(signal[None]))
    np.testing.assert_allclose(estimate[0], signal, atol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_loss_of_core_1_counts_in_training_alone() -> None:
    """It is added by its share to what is minimised, and reaches core 1 even where the decoder lets nothing through."""
    noisy, clean = (np.stack(signals) for signals in zip(*(noisy_pair(4096, seed) for seed in range(2)), strict=True))
    network = dtln.build_network(dtln.DTLNConfig(units=8, dropout=0.0), seed=0)
    dtln.initialise_mdct(network.dtln_layers)
    losses = {}
    for name, model in (
        ("both", core_1.supervise_core_1(network, 0.25)),
        ("core 1", core_1.core_1_network(network)),
        ("whole", network),
    ):
        model.compile(loss=dtln.negative_snr, optimizer=keras.optimizers.SGD(0.0))
        losses[name] = float(model.train_on_batch(noisy, clean)), float(model.test_on_batch(noisy, clean))
    assert losses["both"][0] == pytest.approx(losses["whole"][0] + 0.25 * losses["core 1"][0], abs=1e-4)
    assert losses["both"][1] == pytest.approx(losses["whole"][1], abs=1e-4)

    parts = network.dtln_layers
    parts.decoder.set_weights([0 * parts.decoder.get_weights()[0]])
    before = [layer.get_weights()[0] for layer in (parts.core_1.dense, parts.core_2.dense)]
    model = core_1.supervise_core_1(network, 0.25)
    model.compile(loss=dtln.negative_snr, optimizer=keras.optimizers.SGD(0.1))
    model.train_on_batch(noisy, clean)
    assert not np.allclose(parts.core_1.dense.get_weights()[0], before[0])
    np.testing.assert_array_equal(parts.core_2.dense.get_weights()[0], before[1])


# ----------------------------------------------------------------------------------------------------------------------
# core_1.py
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two epochs of three steps on pairs of eight blocks."""
    folder = tmp_path_factory.mktemp("pairs")
    train = write_pairs(folder / "train", [SEGMENT] * 6, seed=0)
    validation = write_pairs(folder / "validation", [SEGMENT] * 2, seed=50)
    flags = ("--train-noisy", "--train-clean", "--val-noisy", "--val-clean")
    data = [text for pair in zip(flags, map(str, (*train, *validation)), strict=True) for text in pair]
    loop = ["--segment-seconds", str(SEGMENT / 16000), "--batch-size", "2", "--max-epochs", "2"]
    network = ["--norm-stft", "--schedule", "cosine"]
    return [*data, *loop, *network, "--run-name", "run"]


def read_log(run_dir: Path) -> list[dict[str, float]]:
    with open(run_dir / "training_run.log", newline="") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def uninterrupted(command: list[str], weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run with --alone leaves."""
    run_dir = tmp_path_factory.mktemp("alone")
    with eager_tensorflow():
        assert core_1.main([*command, "--alone", "--init-weights", str(weights), "--run-dir", str(run_dir)]) == 0
    return run_dir


def validation_loss(model: keras.Model, command: list[str]) -> float:
    model.compile(loss=dtln.negative_snr)
    source = dtln.PairedFolders(command[5], command[7], SEGMENT)
    return model.evaluate(dtln.ValidationBatches(source, 2), verbose=0)


@pytest.mark.usefixtures("eagerly")
def test_core_1_is_trained_alone(uninterrupted: Path, command: list[str], weights: Path) -> None:
    """The losses are those of its estimate; what follows core 1 stays as it was."""
    log = read_log(uninterrupted)
    assert [row["epoch"] for row in log] == [0, 1]
    assert log[1]["learning_rate"] < 1e-5  # the cosine ends at zero
    losses = [row["val_loss"] for row in log]
    for name, expected in (("run.h5", min(losses)), ("run_last.h5", losses[-1])):
        network = core_1.core_1_network(dtln.load_network(uninterrupted / name))
        assert validation_loss(network, command) == pytest.approx(expected, abs=1e-4)
    before, after = (dtln.load_network(path).dtln_layers for path in (weights, uninterrupted / "run_last.h5"))
    for old, new in zip(before.weighted, after.weighted, strict=True):
        same = [np.array_equal(a, b) for a, b in zip(old.get_weights(), new.get_weights(), strict=True)]
        assert all(same) if new in after.after_core_1 else not any(same)


@pytest.mark.usefixtures("eagerly")
def test_a_resumed_run_equals_an_uninterrupted_one(
    uninterrupted: Path, command: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*command, "--alone", "--init-weights", str(weights), "--run-dir", str(tmp_path)]
    written = dtln.ResumeState.on_epoch_end

    def write_and_stop(self: dtln.ResumeState, index: int, logs: dict[str, float] | None = None) -> None:
        written(self, index, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dtln.ResumeState, "on_epoch_end", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            core_1.main(command)
    assert len(read_log(tmp_path)) == 1
    assert core_1.main(["--alone", "--run-name", "run", "--run-dir", str(tmp_path), "--resume"]) == 0
    resumed, whole = read_log(tmp_path), read_log(uninterrupted)
    assert whole[0]["loss"] != pytest.approx(whole[1]["loss"], abs=1e-2)
    for key in ("loss", "val_loss", "learning_rate"):
        assert resumed[1][key] == pytest.approx(whole[1][key], rel=1e-4, abs=1e-4)
    for a, b in zip(
        *(dtln.load_network(d / "run_last.h5").get_weights() for d in (tmp_path, uninterrupted)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_the_whole_network_is_trained_beside_core_1(command: list[str], tmp_path: Path) -> None:
    """The output alone is validated."""
    assert core_1.main([*command, "--share", "0.3", "--init", "mdct", "--run-dir", str(tmp_path)]) == 0
    network = dtln.load_network(tmp_path / "run_last.h5")
    assert network.config.norm_stft
    assert validation_loss(network, command) == pytest.approx(read_log(tmp_path)[-1]["val_loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--alone", "--share", "0.2"], "give either --alone or --share X"),
        (["--share", "-1"], "give either --alone or --share X, more than 0"),
        ([], "give either --alone or --share X"),
        (["--alone", "--speech", "x"], "give either --train-noisy, --train-clean, --val-noisy and --val-clean, or"),
    ],
)
def test_flags_that_do_not_fit(
    flags: list[str], message: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        core_1.main([*command, *flags])
    assert message in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------------------
# open_core_1_mask.py
# ----------------------------------------------------------------------------------------------------------------------


def closed_network() -> dtln.DTLNNetwork:
    """A network whose core 1 keeps its mask below 0.05 to 0.5, as if it equalised."""
    network = random_network(dtln.DTLNConfig(units=16))
    dense = network.dtln_layers.core_1.dense
    limits = np.linspace(0.05, 0.5, 257)
    dense.set_weights([dense.get_weights()[0], np.log(limits / (1 - limits)).astype(np.float32)])
    return network


def test_an_opened_mask_reaches_one_and_the_encoder_what_it_reached() -> None:
    """The output keeps its form."""
    network = closed_network()
    noisy = np.stack([speech_like(16000, seed) for seed in range(3)])
    masks = keras.Model(network.input, network.dtln_layers.core_1.activation.output)
    before, mask_before = batch_output(network, noisy[0]), keras.ops.convert_to_numpy(masks(noisy[:1]))
    ceilings = open_core_1_mask.open_core_1_mask(network, noisy)
    after, mask_after = batch_output(network, noisy[0]), keras.ops.convert_to_numpy(masks(noisy[:1]))

    quantiles = np.quantile(mask_before, open_core_1_mask.CEILING_QUANTILE, axis=(0, 1))
    np.testing.assert_allclose(ceilings, quantiles, rtol=0.2)
    assert np.median(mask_before) < 0.3 and 0.7 < np.median(mask_after) < 0.9
    assert 20 < si_sdr(before, after) < 60


def test_only_sigmoid_masks_are_opened() -> None:
    network = random_network(dtln.DTLNConfig(units=8, activation="tanh"))
    with pytest.raises(ValueError, match="masks of this network are made by 'tanh': only a sigmoid can be opened"):
        open_core_1_mask.open_core_1_mask(network, np.zeros((1, 2000), np.float32))


def test_opened_weights_are_written(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = closed_network()
    network.save_weights(tmp_path / "old.h5")
    flags = ["-m", str(tmp_path / "old.h5"), "--output", str(tmp_path / "new.h5"), *command[:4], *command[8:10]]
    assert open_core_1_mask.main(flags) == 0
    assert "reaches 1 now" in capsys.readouterr().out
    source = dtln.PairedFolders(command[1], command[3], SEGMENT)
    open_core_1_mask.open_core_1_mask(network, dtln.batch_of(source, range(len(source)), [42])[0])
    found = dtln.load_network(tmp_path / "new.h5")
    for a, b in zip(found.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    flags[1] = str(tmp_path / "none.h5")
    assert open_core_1_mask.main(flags) == 1
    assert "open_core_1_mask.py: " in capsys.readouterr().err
