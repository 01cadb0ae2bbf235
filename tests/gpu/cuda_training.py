"""Tests of `dtln.gpu`, on a CPU, Triton's kernels in its interpreter.

For an environment with PyTorch and Triton: `tests/training/test_other_backends.py` makes one and runs this file in it.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import keras
import numpy as np
import pytest
import soundfile
import torch

import DTLN_model as dtln
from dtln.commands import train
from dtln.errors import MissingPackageError
from dtln.gpu.kernels import ROWS, lstm
from dtln.gpu.network import PLAIN, compiled_operations, denoise, negative_snr
from dtln.gpu.optimizer import Muon
from dtln.gpu.pool import SegmentPool, mix_batch
from dtln.gpu.steps import TrainedNetwork, schedule
from dtln.mixing.mixer import Mixer, mix
from dtln.mixing.recordings import Recordings

RATE = 16000


def weights_of(network: keras.Model) -> list[torch.Tensor]:
    return [
        torch.tensor(keras.ops.convert_to_numpy(weight))
        for layer in dtln.weighted_layers(network)
        for weight in layer.weights
    ]


def network_of(norm_stft: bool) -> keras.Model:
    keras.utils.set_random_seed(5)
    network = dtln.build_network(dtln.DTLNConfig(norm_stft=norm_stft, dropout=0.0))
    dtln.initialise_mdct(network.dtln_layers)
    return network


def signals(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), float32 (count, length) each."""
    rng = np.random.default_rng(0)
    clean = 0.1 * np.sin(2 * np.pi * rng.uniform(100, 1000, (count, 1)) * np.arange(length) / RATE)
    return (clean + 0.05 * rng.standard_normal(clean.shape)).astype(np.float32), clean.astype(np.float32)


@pytest.mark.parametrize("norm_stft", [False, True])
def test_network_and_loss_are_those_of_keras(norm_stft: bool) -> None:
    network = network_of(norm_stft)
    noisy, clean = signals(3, 4096)
    expected = keras.ops.convert_to_numpy(network(noisy, training=False))
    found = denoise(weights_of(network), network.config, torch.tensor(noisy))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert np.abs(expected).max() > 0.05
    clean[0] = 0.0
    loss = negative_snr(torch.tensor(clean), found)
    np.testing.assert_allclose(loss, keras.ops.convert_to_numpy(dtln.negative_snr(clean, expected)), atol=1e-3)


@pytest.mark.parametrize("norm_stft", [False, True])
def test_steps_are_those_of_keras(norm_stft: bool) -> None:
    """After three of them the weights are the same to 5e-5, having moved by over 5e-3."""
    network = network_of(norm_stft)
    before = weights_of(network)
    settings = dtln.TrainingSettings(batch_size=4, learning_rate=3e-3, optimizer="muon", adam_share=0.5, clip_norm=0.5)
    dtln.compile_network(network, settings, 1)
    ours = TrainedNetwork("a", network.config, before, 3e-3, adam_share=0.5, clip_norm=0.5)
    noisy, clean = signals(4, 4096)
    for _ in range(3):
        network.train_on_batch(noisy, clean)
        ours.step(torch.tensor(noisy), torch.tensor(clean), torch.tensor(1.0), torch.float32)
    for keras_weight, weight, start in zip(weights_of(network), ours.weights, before, strict=True):
        np.testing.assert_allclose(weight.detach(), keras_weight, atol=5e-5)
        assert float((weight.detach() - start).abs().max()) > 5e-4
    assert max(float((w.detach() - b).abs().max()) for w, b in zip(ours.weights, before, strict=True)) > 5e-3


def test_gradient_that_is_not_finite_moves_nothing() -> None:
    weights = [torch.ones(3, 4), torch.ones(4)]
    optimizer = Muon(weights)
    gradients = [torch.ones(3, 4), torch.ones(4)]
    gradients[0][1, 2], gradients[1][0] = torch.inf, torch.nan
    optimizer.step(gradients, torch.tensor(0.1))
    assert torch.equal(weights[0], torch.ones(3, 4)) and torch.equal(weights[1], torch.ones(4))
    optimizer.step([torch.ones(3, 4), torch.ones(4)], torch.tensor(0.1))
    assert not torch.equal(weights[0], torch.ones(3, 4)) and not torch.equal(weights[1], torch.ones(4))


@pytest.mark.parametrize("units, features", [(32, 40), (128, 264)])
def test_kernels_compute_an_lstm_and_its_gradient(units: int, features: int) -> None:
    torch.manual_seed(0)
    shapes = ((2 * ROWS, 7, features), (features, 4 * units), (units, 4 * units), (4 * units,))
    inputs = [(0.3 * torch.randn(shape)).requires_grad_() for shape in shapes]
    direction = torch.randn(2 * ROWS, 7, units)
    found, expected = lstm(*inputs), PLAIN.lstm(*inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad((found * direction).sum(), inputs),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-4


def test_kernels_say_what_batches_they_take() -> None:
    with pytest.raises(ValueError, match="a batch of 17 signals: expected a multiple of 16"):
        lstm(torch.zeros(17, 3, 8), torch.zeros(8, 64), torch.zeros(16, 64), torch.zeros(64))


@pytest.mark.parametrize("norm_stft", [False, True])
def test_compiled_operations_give_the_same_loss_and_gradient(norm_stft: bool) -> None:
    network = network_of(norm_stft)
    weights = [weight.requires_grad_() for weight in weights_of(network)]
    noisy, clean = (torch.tensor(part) for part in signals(ROWS, 1024))
    results = []
    for operations in (PLAIN, compiled_operations()):
        estimate = denoise(weights, network.config, noisy, operations=operations)
        loss = operations.negative_snr(clean, estimate).mean()
        results.append((float(loss), torch.autograd.grad(loss, weights)))
    assert results[1][0] == pytest.approx(results[0][0], abs=1e-3)
    for plain, compiled in zip(results[0][1], results[1][1], strict=True):
        assert float((plain - compiled).norm() / plain.norm()) < 1e-3


def test_mixtures_are_those_of_the_mixer() -> None:
    rng = np.random.default_rng(0)
    speech, noise = (rng.standard_normal((5, 1000)).astype(np.float32) for _ in range(2))
    speech[1], noise[2], speech[3], noise[3] = 0, 0, 0, 0
    speech[4] *= np.arange(1000) == 7  # one peak: turned down as a whole
    snr_db, level_dbfs = np.float32([-5, 0, 3, 4, 20]), np.float32([-20, -30, -25, -25, -15])
    arguments = (torch.tensor(part) for part in (speech, noise, snr_db, level_dbfs))
    noisy, clean = (part.numpy() for part in mix_batch(*arguments))
    for row in range(5):
        expected = mix(speech[row], noise[row], float(snr_db[row]), float(level_dbfs[row]))
        np.testing.assert_allclose((noisy[row], clean[row]), expected, atol=1e-6)


def recordings(frequency: float, count: int = 3) -> Recordings:
    tone = 20000 * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)
    return Recordings([f"{i}.wav" for i in range(count)], [tone.astype(np.int16)] * count)


def test_pool_pairs_speech_and_noise_anew() -> None:
    mixer = Mixer(recordings(400.0), recordings(3000.0), 2048, snr_db=(3.0, 9.0), level_dbfs=(-30.0, -20.0))
    with SegmentPool(mixer, size=100, processes=2, seed=1) as pool:
        pool.open(torch.device("cpu"), first=64)
        assert pool.size == 64
        noisy, clean = pool.batch(50)
        pool.start()
        uploaded = pool.uploaded
        while pool.uploaded == uploaded:  # segments go on being replaced
            pass
    snr_db = 10 * torch.log10(clean.square().mean(dim=1) / (noisy - clean).square().mean(dim=1))
    level_db = 10 * torch.log10(noisy.square().mean(dim=1))
    assert 3.0 - 0.1 < snr_db.min() < 4.5 and 7.5 < snr_db.max() < 9.0 + 0.1
    assert -30.1 < level_db.min() < -28.0 and -22.0 < level_db.max() < -19.9
    spectra = torch.fft.rfft(clean).abs()
    assert (spectra.argmax(dim=1) == round(400 * 2048 / RATE)).all()


@pytest.mark.parametrize("settings", [{"room_target": "early"}, {"augmentations": ["clipping=0.1"]}])
def test_pool_says_what_it_cannot_pair(settings: dict[str, object]) -> None:
    mixer = Mixer(recordings(400.0), recordings(3000.0), 2048, **settings)
    with pytest.raises(ValueError, match="expected the room target reverberant, and no clipping"):
        SegmentPool(mixer, size=64, processes=1, seed=1)


def test_pool_refuses_snrs_that_it_does_not_compute() -> None:
    mixer = Mixer(recordings(400.0), recordings(3000.0), 2048, snr_over="active")
    with pytest.raises(ValueError, match="SNRs over active frames are not computed on a GPU: leave --snr-over"):
        SegmentPool(mixer, size=64, processes=1, seed=1)


def test_pool_says_that_a_process_has_ended() -> None:
    mixer = Mixer(recordings(400.0), recordings(3000.0), 2048)
    mixer.segment = lambda rng: 1 / 0
    pool = SegmentPool(mixer, size=64, processes=1, seed=1)
    with pool, pytest.raises(RuntimeError, match="a process that draws segments has ended"):
        pool.open(torch.device("cpu"), first=64)


def test_schedule_warms_up_and_falls_to_nothing() -> None:
    assert schedule(0.0, 0, 10) == pytest.approx(0.1)
    assert schedule(0.0, 9, 10) == 1.0
    assert schedule(0.5, 5000, 10) == pytest.approx(0.5)
    assert schedule(1.0, 9999, 10) == schedule(1.3, 9999, 10) == pytest.approx(0.0)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(3)
    for kind in ("speech", "noise"):
        (tmp_path / kind).mkdir()
        for index in range(14):  # each under a tenth of all, so that some are kept for validation
            tone = 0.3 * np.sin(2 * np.pi * (200 + 30 * index) * np.arange(2 * RATE) / RATE)
            signal = tone if kind == "speech" else 0.1 * rng.standard_normal(2 * RATE)
            soundfile.write(tmp_path / kind / f"voice{index}_0.wav", signal, RATE)
    flags = ["--engine", "cuda", "--run-name", "r", "--run-dir", str(tmp_path / "run")]
    flags += ["--speech", str(tmp_path / "speech"), "--noise", str(tmp_path / "noise")]
    return [*flags, "--validation-speech-share", "0.3", "--validation-segments", "4", "--validation-noise-share", "0"]


SHORT = "--segment-seconds 0.512 --batch-size 4 --steps 20 --warmup-steps 2 --check-every 10 --pool-segments 64"
SHORT += " --mixing-processes 1"


def test_script_trains_several_networks(folders: list[str], tmp_path: Path, capsys) -> None:
    start = tmp_path / "start.h5"
    network_of(norm_stft=False).save_weights(start)
    networks = [
        "--network",
        "a",
        f"weights={start}",
        "rate=0.005",
        "--network",
        "b",
        "norm",
        "init=mdct",
        "dropout=0.2",
    ]
    assert train.main([*folders, *SHORT.split(), *networks]) == 0
    run = tmp_path / "run"
    names = {"a.h5", "a_last.h5", "b.h5", "b_last.h5", "config.json", "training.csv"}
    assert {path.name for path in run.iterdir()} == names
    with open(run / "training.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["step"], row["network"]) for row in rows] == [("10", "a"), ("10", "b"), ("20", "a"), ("20", "b")]
    assert all(-15 < float(row[loss]) < -2 for row in rows for loss in ("loss", "val_loss"))  # dB, from the identity
    before, after = (
        np.concatenate([w.ravel() for w in dtln.load_network(path).get_weights()])
        for path in (start, run / "a_last.h5")
    )
    assert np.abs(after - before).max() > 5e-3
    assert not dtln.read_config(run / "a.h5").norm_stft and dtln.read_config(run / "b_last.h5").norm_stft
    further = ["--network", "c", f"weights={run / 'a_last.h5'}", "rate=1e-9"]
    command = [*folders, *SHORT.split(), *further, "--minutes", "0.01", "--no-graph"]
    assert train.main(command) == 1
    assert "holds training.csv of an earlier run" in capsys.readouterr().err
    assert train.main([*command, "--overwrite"]) == 0
    assert {path.name for path in run.iterdir()} == names | {"c.h5", "c_last.h5"}
    assert "c starts from" in capsys.readouterr().out
    with open(run / "training.csv") as stream:
        assert float(list(csv.DictReader(stream))[-1]["val_loss"]) == pytest.approx(
            float(rows[2]["val_loss"]), abs=0.02
        )


def test_settings_of_a_run_repeat_it(folders: list[str], tmp_path: Path) -> None:
    """config.json names networks, weights and engine."""
    start = tmp_path / "start.h5"
    network_of(norm_stft=True).save_weights(start)
    assert train.main([*folders, *SHORT.split(), "--steps", "2", "--network", "a", "norm", f"weights={start}"]) == 0
    settings = [
        "--config",
        str(tmp_path / "run" / "config.json"),
        "--run-name",
        "r",
        "--run-dir",
        str(tmp_path / "again"),
    ]
    assert train.main(settings) == 0
    assert {path.name for path in (tmp_path / "again").iterdir()} == {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert dtln.read_config(tmp_path / "again" / "a.h5").norm_stft
    stored = json.loads((tmp_path / "again" / "config.json").read_text())
    assert stored["versions"]["torch"] == torch.__version__ and stored["versions"]["backend"] == "torch"


def test_script_reports_errors_of_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ["--speech", str(tmp_path / "none"), "--noise", str(tmp_path), "--run-dir", str(tmp_path / "run")]
    assert train.main(["--engine", "cuda", "--run-name", "r", *flags, "--network", "a"]) == 1
    assert "run_training.py:" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_compiling_says_that_it_needs_triton(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    flags = ["--batch-size", "16", "--compile", "--mixed-precision", "--network", "a"]
    with pytest.raises(MissingPackageError, match="compiling kernels needs the package triton: pip install triton"):
        train.main([*folders, *SHORT.split(), *flags])
    assert not (tmp_path / "run").exists()


def test_error_while_segments_are_replaced_ends_the_training(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It happens in a thread; training would go on with the segments that are there."""
    upload, calls = SegmentPool._upload, []

    def failing(pool: SegmentPool) -> None:
        calls.append(threading.current_thread())
        if len(calls) > 1:
            raise OSError("the GPU has fallen off the bus")
        upload(pool)

    monkeypatch.setattr(SegmentPool, "_upload", failing)
    steps = ["--steps", "1000000", "--check-every", "1000000"]
    assert train.main([*folders, *SHORT.split(), *steps, "--network", "a"]) == 1
    assert calls[-1] is not threading.main_thread()
    monkeypatch.setattr(SegmentPool, "_upload", lambda pool: failing_otherwise(pool, upload))
    with pytest.raises(ZeroDivisionError):  # a bug, with its traceback
        train.main([*folders, *SHORT.split(), *steps, "--network", "a"])


def failing_otherwise(pool: SegmentPool, upload: Callable[[SegmentPool], None]) -> None:
    if pool.uploaded:
        1 / 0  # noqa: B018
    upload(pool)


def test_process_that_ends_while_segments_are_replaced_ends_the_training(
    folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = SegmentPool.start

    def start_and_kill(pool: SegmentPool) -> None:
        start(pool)
        pool._processes[0].terminate()

    monkeypatch.setattr(SegmentPool, "start", start_and_kill)
    with pytest.raises(RuntimeError, match="a process that draws segments has ended"):
        train.main([*folders, *SHORT.split(), "--steps", "1000000", "--check-every", "1000000", "--network", "a"])
