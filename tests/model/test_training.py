"""Training: the network learns, leaves log and weights, and goes on after an interruption as if there had been none.

Runs on every back end of Keras; nothing here needs TensorFlow.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
from contextlib import AbstractContextManager
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
from keras import ops
from training_pairs import eager_tensorflow, noisy_pair, write_pairs

import DTLN_model as dtln
from dtln.choices import LOSSES, resolve
from dtln.commands import train as commands_train
from dtln.commands.run import run
from dtln.scoring.metrics import METRICS, si_sdr
from dtln.training.tensorboard import mean_scores, spectrogram_image

TINY = dtln.DTLNConfig(units=16, encoder_size=32, lstm_layers=1)
SEGMENT = 1024  # samples


def test_fifty_steps_on_one_batch_lower_the_loss() -> None:
    """The whole network from its MDCT start, with dropout while it trains and without when the loss is taken."""
    keras.utils.set_random_seed(0)
    noisy, clean = (np.stack(signals) for signals in zip(*(noisy_pair(4000, seed) for seed in range(4)), strict=True))
    network = dtln.build_network(dtln.DTLNConfig(), seed=0)
    dtln.initialise_mdct(network.dtln_layers)
    dtln.compile_network(network, dtln.TrainingSettings(batch_size=4), steps=50)
    before = network.test_on_batch(noisy, clean)
    losses = [float(network.train_on_batch(noisy, clean)) for _ in range(50)]
    after = network.test_on_batch(noisy, clean)
    assert np.all(np.isfinite(losses))
    assert after <= before - 3.0


def test_lstm_has_the_outputs_and_the_gradients_of_keras() -> None:
    """On PyTorch the operator against Keras's loop, output to 1e-6 and the step that training takes to 1e-5."""
    data = np.random.default_rng(0).standard_normal((3, 40, 12)).astype(np.float32)
    outputs, weights = [], []
    for kind in (keras.layers.LSTM, dtln.SequenceLSTM):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((None, 12)), kind(8, return_sequences=True)])
        outputs.append(model.predict_on_batch(data))
        model.compile(loss="mse", optimizer=keras.optimizers.SGD(10.0))
        model.train_on_batch(data, np.ones((3, 40, 8), np.float32))
        weights.append(model.get_weights())
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-6)
    for keras_weight, weight in zip(*weights, strict=True):
        np.testing.assert_allclose(weight, keras_weight, atol=1e-5)
    assert np.max(np.abs(weights[0][1])) > 0


def test_mixed_precision_keeps_signal_path_and_variables_in_float32() -> None:
    """A network in mixed precision gives the float32 network's output at 40 dB SNR or better, and learns."""
    noisy, clean = (np.stack(signals) for signals in zip(*(noisy_pair(8000, seed) for seed in range(2)), strict=True))
    plain = dtln.build_network(dtln.DTLNConfig(), seed=0)
    dtln.initialise_mdct(plain.dtln_layers)
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = dtln.build_network(dtln.DTLNConfig(), seed=0)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    mixed.set_weights(plain.get_weights())
    expected, found = plain.predict_on_batch(noisy), mixed.predict_on_batch(noisy)
    assert found.dtype == np.float32
    error = np.mean(np.square(found - expected))
    assert 0 < error < 1e-4 * np.mean(np.square(expected))
    assert {str(variable.dtype) for variable in mixed.trainable_variables} == {"float32"}
    assert {layer.compute_dtype for layer in mixed.dtln_layers.core_1.lstms} == {"bfloat16"}

    dtln.compile_network(mixed, dtln.TrainingSettings(batch_size=2), steps=10)
    losses = [float(mixed.train_on_batch(noisy, clean)) for _ in range(10)]
    assert losses[-1] < losses[0] - 0.5


# ----------------------------------------------------------------------------------------------------------------------
# run_training.py on pairs
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name six training and two validation pairs of one short segment."""
    folder = tmp_path_factory.mktemp("pairs")
    train = write_pairs(folder / "train", [SEGMENT] * 6, seed=0)
    validation = write_pairs(folder / "validation", [SEGMENT] * 2, seed=50)
    flags = ("--train-noisy", "--train-clean", "--val-noisy", "--val-clean")
    return [text for pair in zip(flags, map(str, (*train, *validation)), strict=True) for text in pair]


def arguments(folders: list[str], run_dir: Path, *more: str) -> list[str]:
    """Two epochs of three steps of the whole network on eight blocks."""
    settings = ["--segment-seconds", str(SEGMENT / 16000), "--batch-size", "2", "--max-epochs", "2"]
    return [*folders, "--run-name", "run", "--run-dir", str(run_dir), *settings, *more]


def read_log(run_dir: Path) -> list[dict[str, float]]:
    with open(run_dir / "training_run.log", newline="") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Makes training stop as Ctrl+C would, once the state after `epoch` is on disk."""
    written = dtln.ResumeState.on_epoch_end

    def write_and_stop(self, index: int, logs: dict[str, float] | None = None) -> None:
        written(self, index, logs)
        if index == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(dtln.ResumeState, "on_epoch_end", write_and_stop)


KERAS_HAS_MUON = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 13)  # not on Python 3.10
SCHEDULES = {
    "plateau": [],
    "cosine": ["--schedule", "cosine", "--warmup-steps", "2", "--init", "mdct"]
    + ["--optimizer", "muon"] * KERAS_HAS_MUON,
    "average": ["--ema", "0.7", "--loss", "si_sdr", "--workers", "2"],
}


def graphs_for(schedule: str) -> AbstractContextManager[None]:
    """Compiles graphs for one schedule alone, where TensorFlow runs: it takes longer than the few steps."""
    return contextlib.nullcontext() if schedule == "cosine" else eager_tensorflow()


@pytest.fixture(scope="module")
def uninterrupted(folders: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder that a run of two epochs leaves, for each schedule."""
    runs = {}
    for schedule, flags in SCHEDULES.items():
        runs[schedule] = tmp_path_factory.mktemp(schedule)
        with graphs_for(schedule):
            assert commands_train.main(arguments(folders, runs[schedule], *flags)) == 0
    return runs


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_leaves_log_and_best_weights(schedule: str, uninterrupted: dict[str, Path], folders: list[str]) -> None:
    run_dir = uninterrupted[schedule]
    log = read_log(run_dir)
    assert [row["epoch"] for row in log] == [0, 1]
    assert all(set(row) == {"epoch", "learning_rate", "loss", "val_loss"} for row in log)
    assert log[0]["learning_rate"] > 0
    assert (log[1]["learning_rate"] < 1e-5) == ("cosine" in SCHEDULES[schedule])  # which ends at zero

    source = dtln.PairedFolders(folders[5], folders[7], SEGMENT)
    losses = [row["val_loss"] for row in log]
    for name, expected in (("run.h5", min(losses)), ("run_last.h5", losses[-1])):
        network = dtln.load_network(run_dir / name)
        network.compile(loss=resolve(LOSSES, "si_sdr" if schedule == "average" else "snr"))
        loss = network.evaluate(dtln.ValidationBatches(source, 2), verbose=0)
        assert loss == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_run_equals_an_uninterrupted_one(
    schedule: str,
    uninterrupted: dict[str, Path],
    folders: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = arguments(folders, tmp_path, *SCHEDULES[schedule])
    with graphs_for(schedule):
        with monkeypatch.context() as patch:
            interrupt_after(patch, 0)
            assert run("dtln.commands.train", command, "run_training.py") == 130
        kept = f"{tmp_path} keeps run.h5, run_last.h5, run_state.npz, training_run.log; the same command with --resume"
        assert f"run_training.py: stopped: {kept} goes on after the last whole epoch" in capfd.readouterr().err
        assert len(read_log(tmp_path)) == 1
        assert commands_train.main(command) == 1  # nothing is replaced without a word
        assert "of an earlier run. Go on with it by --resume, replace it by --overwrite" in capfd.readouterr().err
        assert len(read_log(tmp_path)) == 1
        assert commands_train.main([*command, "--resume"]) == 0

    resumed, whole = read_log(tmp_path), read_log(uninterrupted[schedule])
    assert [row["epoch"] for row in resumed] == [0, 1]
    assert whole[0]["loss"] != pytest.approx(whole[1]["loss"], abs=1e-2)
    for key in ("loss", "val_loss", "learning_rate"):
        assert resumed[1][key] == pytest.approx(whole[1][key], rel=1e-4, abs=1e-4)


def test_weights_written_are_the_moving_average(uninterrupted: dict[str, Path]) -> None:
    """Of six steps that each keep 0.7 of the average: not the weights the next step goes on from."""
    run_dir = uninterrupted["average"]
    written = [w for layer in dtln.load_network(run_dir / "run_last.h5").layers for w in layer.get_weights()]
    with np.load(run_dir / "run_state.npz") as state:
        variables = [state[f"v{index}"] for index in range(len(state.files) - 1)]
    trained = [v for v in variables if v.shape == written[0].shape]  # raw weights, two moments, average
    assert any(np.array_equal(written[0], v) for v in trained[1:])
    assert not np.allclose(written[0], trained[0], atol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_a_run_is_repeated_from_its_config(
    uninterrupted: dict[str, Path], folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = uninterrupted["cosine"] / "config.json"
    stored = json.loads(config.read_text())
    assert stored["arguments"]["schedule"] == "cosine" and stored["versions"]["keras"] == keras.__version__
    command = ["--config", str(config), "--run-name", "run", "--run-dir"]
    assert commands_train.main([*command, str(tmp_path / "again")]) == 0
    for repeated, original in zip(read_log(tmp_path / "again"), read_log(uninterrupted["cosine"]), strict=True):
        assert repeated == pytest.approx(original, rel=1e-4, abs=1e-4)

    assert commands_train.main([*command, str(tmp_path / "shorter"), "--max-epochs", "1"]) == 0  # flags win
    assert len(read_log(tmp_path / "shorter")) == 1
    assert commands_train.main(["--run-name", "run", "--run-dir", str(tmp_path / "shorter"), "--resume"]) == 0
    assert "run has already ended after 1 epochs" in capfd.readouterr().out


@pytest.mark.usefixtures("small_networks", "eagerly")
def test_tensorboard_shows_figures_sound_and_pictures(folders: list[str], tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    flags = ["--tensorboard", str(tmp_path / "board"), "--examples", "1", "--examples-every", "2"]
    assert commands_train.main(arguments(folders, tmp_path / "run", *flags)) == 0
    events = accumulator.EventAccumulator(str(tmp_path / "board" / "run"))
    events.Reload()
    log = read_log(tmp_path / "run")
    for name in ("loss", "val_loss", "learning_rate"):
        written = [(event.step, event.value) for event in events.Scalars(name)]
        assert written == [(index, pytest.approx(row[name], rel=1e-5)) for index, row in enumerate(log)]
    assert {f"{kind}/0" for kind in ("noisy", "denoised", "clean")} == set(events.Tags()["images"])
    assert set(events.Tags()["audio"]) == set(events.Tags()["images"])
    source = dtln.PairedFolders(folders[5], folders[7], SEGMENT)
    noisy, clean = source.segment(0)
    assert events.Scalars("si_sdr_db/noisy")[0].value == pytest.approx(si_sdr(clean, noisy), abs=1e-3)
    assert [event.step for event in events.Scalars("si_sdr_db/denoised")] == [1]
    (sound,) = events.Audio("noisy/0")
    samples, rate = soundfile.read(io.BytesIO(sound.encoded_audio_string))
    assert rate == 16000
    np.testing.assert_allclose(samples, noisy, atol=1e-4)


def test_mean_scores_leave_out_what_is_not_defined() -> None:
    """A short segment has no PESQ, a silent one no score at all; each mean is over what there is."""
    pairs = [noisy_pair(32000, seed) for seed in range(2)]
    noisy, clean = (np.stack(signals) for signals in zip(*pairs, strict=True))
    expected = np.mean([si_sdr(c, n) for n, c in pairs])
    found = mean_scores(np.vstack([clean, 0 * clean[:1]]), np.vstack([noisy, noisy[:1]]))
    assert found["si_sdr_db"] == pytest.approx(expected, abs=1e-4)
    packages = all(importlib.util.find_spec(name) for name in ("pesq", "pystoi"))
    assert set(found) == (set(METRICS) if packages else {"si_sdr_db"})
    assert set(mean_scores(clean[:, :4000], noisy[:, :4000])) == {"si_sdr_db"}


def test_spectrogram_image_shows_a_tone_where_it_is() -> None:
    tone = np.sin(2 * np.pi * 2000 / 16000 * np.arange(8192))
    image = spectrogram_image(tone.astype(np.float32))
    assert image.shape == (257, 61) and image.dtype == np.uint8
    assert np.all(np.argmax(image, axis=0) == 256 - 64)  # 2 kHz is bin 64, counted from below
    assert np.all(image[256 - 64] >= 254) and np.all(image[256 - 128] < 60)


def test_resuming_another_network_says_so(
    uninterrupted: dict[str, Path], folders: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = uninterrupted["plateau"]
    log = read_log(run_dir)
    command = arguments(folders, run_dir, "--resume", "--norm-stft", "--max-epochs", "3")
    assert commands_train.main(command) == 1
    assert "run_state.npz: holds" in (error := capfd.readouterr().err)
    assert "Resume with the settings the run was started with" in error
    assert read_log(run_dir) == log


def test_resuming_an_ended_run_trains_no_further(
    uninterrupted: dict[str, Path], folders: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = uninterrupted["plateau"]
    weights = (run_dir / "run.h5").read_bytes()
    assert commands_train.main(arguments(folders, run_dir, "--resume")) == 0
    assert "run has already ended after 2 epochs" in capfd.readouterr().out
    assert (run_dir / "run.h5").read_bytes() == weights


def test_nothing_to_resume_says_so(folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "new"
    assert commands_train.main(arguments(folders, run_dir, "--resume")) == 1
    assert f"{run_dir} holds no run to go on with, run_state.npz is missing" in capfd.readouterr().err
    assert not run_dir.exists()


def test_batch_larger_than_the_data_is_an_error(
    folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "new"
    assert commands_train.main(arguments(folders, run_dir, "--batch-size", "7")) == 1
    assert "a batch of 7 segments is larger than the data: 6 pairs" in capfd.readouterr().err
    assert not run_dir.exists()


@pytest.mark.usefixtures("small_networks", "eagerly")
def test_counts_are_printed_and_a_finished_run_takes_more_epochs(
    folders: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = arguments(folders, tmp_path, "--max-epochs", "1")
    assert commands_train.main(command) == 0
    output = capfd.readouterr().out
    assert "training: 6 pairs, 0.00 h, 6 segments of 0.064 s" in output
    assert "validation: 2 pairs, 0.00 h, 2 segments of 0.064 s" in output
    assert commands_train.main(arguments(folders, tmp_path, "--resume")) == 0
    assert [row["epoch"] for row in read_log(tmp_path)] == [0, 1]


@pytest.mark.parametrize("norm_stft", [False, True])
def test_init_weights(
    norm_stft: bool,
    uninterrupted: dict[str, Path],
    folders: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A file of the same variant is taken whole, of the other one all that follows core 1."""
    weights = uninterrupted["plateau"] / "run.h5"
    started = []
    monkeypatch.setattr(dtln, "train", lambda network, *args, **kwargs: started.append(network))
    variant = ["--norm-stft"] if norm_stft else []
    assert commands_train.main(arguments(folders, tmp_path, "--init-weights", str(weights), *variant)) == 0
    expected = "the layers after core 1 (the file is of the other variant" if norm_stft else "all layers"
    assert f"{weights}: {expected}" in capfd.readouterr().out

    source = dtln.load_network(weights).dtln_layers
    target = started[0].dtln_layers
    pairs = zip(target.after_core_1, source.after_core_1, strict=True)
    assert all(np.array_equal(a, b) for t, s in pairs for a, b in zip(t.get_weights(), s.get_weights(), strict=True))
    same_core_1 = np.array_equal(target.core_1.dense.get_weights()[0], source.core_1.dense.get_weights()[0])
    assert same_core_1 == (not norm_stft)


@pytest.mark.usefixtures("eagerly")
def test_init_weights_of_two_variants(
    uninterrupted: dict[str, Path], folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Core 1 of the first file, the rest of the second; and the same again from config.json and on --resume."""
    plain, norm = uninterrupted["plateau"] / "run.h5", tmp_path / "norm.h5"
    dtln.build_network(dtln.DTLNConfig(norm_stft=True), seed=7).save_weights(norm)
    flags = ["--norm-stft", "--learning-rate", "1e-12", "--max-epochs", "1", "--init-weights", str(norm), str(plain)]
    assert commands_train.main(arguments(folders, tmp_path, *flags)) == 0
    found, of_norm, of_plain = (dtln.load_network(p).dtln_layers for p in (tmp_path / "run_last.h5", norm, plain))
    expected = [*of_norm.weighted[: -len(of_plain.after_core_1)], *of_plain.after_core_1]
    for target, source in zip(found.weighted, expected, strict=True):
        for a, b in zip(target.get_weights(), source.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)

    monkeypatch.chdir(tmp_path)
    stored = tmp_path / "config.json"
    resumed = ["--run-name", "run", "--run-dir", str(tmp_path), "--resume"]
    assert commands_train.parse(resumed).init_weights == [norm, plain]
    assert commands_train.main([*resumed, "--max-epochs", "2"]) == 0
    settings = json.loads(stored.read_text())
    settings["arguments"]["init_weights"] = str(norm)  # of a run before several could be named
    stored.write_text(json.dumps(settings))
    assert commands_train.parse(resumed).init_weights == [norm]
    assert commands_train.parse([*resumed, "--init-weights", str(norm)]).init_weights == [norm]
    with pytest.raises(SystemExit):
        commands_train.parse([*resumed, "--init-weights", str(plain)])


# ----------------------------------------------------------------------------------------------------------------------
# The counters that end a run
# ----------------------------------------------------------------------------------------------------------------------


class Silence:
    """Segments of zeros: loss 0 and no gradient, so that no epoch is ever better than the first."""

    summary = "silence"

    def __len__(self) -> int:
        return 2

    def segment(self, index: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(1024, np.float32), np.zeros(1024, np.float32)


def train_on_silence(run_dir: Path, resume: bool = False) -> keras.callbacks.History:
    settings = dtln.TrainingSettings(batch_size=2, max_epochs=20, plateau_patience=2, stop_patience=4)
    network = dtln.build_network(TINY, seed=0)
    dtln.compile_network(network, settings, steps=1)
    network.run_eagerly = True  # a few steps of a tiny network: compiling the graph would take longer
    return dtln.train(network, Silence(), Silence(), "run", settings, run_dir=run_dir, resume=resume)


def test_counters_survive_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The rate is halved after two stale epochs and the run ends after four, however often it is interrupted."""
    train_on_silence(tmp_path / "whole")
    for epoch in (1, 3):
        with monkeypatch.context() as patch:
            interrupt_after(patch, epoch)
            with pytest.raises(KeyboardInterrupt):
                train_on_silence(tmp_path / "parts", resume=epoch > 1)
    weights = (tmp_path / "parts" / "run.h5").stat().st_mtime_ns
    train_on_silence(tmp_path / "parts", resume=True)

    whole = read_log(tmp_path / "whole")
    assert [row["learning_rate"] for row in whole] == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 5e-4])
    assert read_log(tmp_path / "parts") == whole
    assert (tmp_path / "parts" / "run.h5").stat().st_mtime_ns == weights  # the first epoch stays the best

    train_on_silence(tmp_path / "parts", resume=True)
    assert "run has already ended after 5 epochs" in capfd.readouterr().out
    assert read_log(tmp_path / "parts") == whole


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "step"}, "unknown schedule 'step': expected one of plateau, cosine"),
        ({"warmup_steps": 5}, "warm-up steps belong to the cosine schedule"),
        ({"batch_size": 0}, "batch size 0, 200 epochs, .* train nothing"),
        ({"workers": 0}, "0 workers"),
        ({"loss": "mse"}, "unknown loss 'mse': expected one of snr, si_sdr"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd': expected one of adam, muon"),
        ({"adam_share": 0.5}, "Adam's share 0.5 of the rate of adam: expected more than 0 and at most 1, and 1 with"),
        ({"adam_share": 0.0, "optimizer": "muon"}, "Adam's share 0 of the rate of muon"),
        ({"ema": 1.0}, "moving average 1.0 and clipping norm 3.0: expected 0 <= average < 1"),
        ({"clip_norm": 0.0}, "clipping norm 0.0"),
        ({"max_epochs": 0}, "0 epochs"),
        ({"learning_rate": 0.0}, "learning rate 0.0"),
    ],
)
def test_settings_that_do_not_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dtln.TrainingSettings(**settings)


def test_muon_needs_a_keras_that_scales_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras, "__version__", "3.12.1")
    with pytest.raises(ValueError, match="muon needs Keras 3.13, .*; this is Keras 3.12.1. Update it, or choose adam"):
        dtln.TrainingSettings(optimizer="muon")
    dtln.TrainingSettings(optimizer="adam")


@pytest.mark.usefixtures("eagerly")
def test_muon_orthogonalises_the_steps_of_matrices() -> None:
    """A step of Muon: all singular values of a matrix's change near each other, of an RMS like Adam's; Adam's share."""
    if not KERAS_HAS_MUON:
        return  # which the test above is about
    network = dtln.build_network(dtln.DTLNConfig())
    settings = dtln.TrainingSettings(optimizer="muon", learning_rate=1e-2, adam_share=0.1)
    dtln.compile_network(network, settings, 1)
    kernel = next(variable for variable in network.trainable_variables if variable.shape == (128, 512))
    before, encoder_before = ops.convert_to_numpy(kernel), network.dtln_layers.encoder.get_weights()[0]
    rng = np.random.default_rng(5)
    noisy = rng.standard_normal((4, 4000)).astype("float32")
    network.train_on_batch(noisy, 0.5 * noisy)
    change = ops.convert_to_numpy(kernel) - before
    values = np.linalg.svd(change, compute_uv=False)
    assert 0.1e-2 < np.sqrt(np.mean(change**2)) < 0.4e-2
    assert np.median(values) > 0.5 * values.max()
    first_step = np.abs(network.dtln_layers.encoder.get_weights()[0] - encoder_before)  # Adam's first: the rate itself
    assert np.median(first_step) == pytest.approx(1e-3, rel=0.05)


def test_segment_shorter_than_a_shift() -> None:
    with pytest.raises(ValueError, match="segments of 0.007 s are shorter than one shift of 128 samples"):
        dtln.segment_length(0.007)
    assert dtln.segment_length(15.0) == 240000
