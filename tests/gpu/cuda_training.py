"""Tests of `dtln.gpu`, on a CPU, Triton's kernels in its interpreter.

For an environment with PyTorch and Triton: `tests/training/test_other_backends.py` makes one and runs this file in it.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
import time
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import keras
import numpy as np
import pytest
import soundfile
import torch

import DTLN_model as dtln
from benchmarks import gpu_training
from dtln import interrupts
from dtln.choices import LOSSES, resolve
from dtln.commands import train
from dtln.errors import MissingPackageError
from dtln.gpu import losses
from dtln.gpu.kernels import ROWS, lstm
from dtln.gpu.network import PLAIN, compiled, compiled_operations, denoise
from dtln.gpu.optimizer import Muon
from dtln.gpu.pool import SegmentPool, mix_batch
from dtln.gpu.steps import Steps, TrainedNetwork, schedule
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
def test_network_is_that_of_keras(norm_stft: bool) -> None:
    network = network_of(norm_stft)
    noisy, clean = signals(3, 4096)
    expected = keras.ops.convert_to_numpy(network(noisy, training=False))
    found = denoise(weights_of(network), network.config, torch.tensor(noisy))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert np.abs(expected).max() > 0.05


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_keras(name: str) -> None:
    """With gradients, for usual, quiet and silent targets."""
    noisy, clean = signals(4, 4096)
    clean[1] *= 1e-3
    clean[2] *= 1e-6
    clean[3] = 0.0
    results = []
    for loss in (resolve(LOSSES, name), losses.LOSSES[name]):
        estimate = torch.tensor(0.3 * noisy).requires_grad_()
        values = loss(torch.tensor(clean), estimate)
        results.append((values.detach(), torch.autograd.grad(values.sum(), estimate)[0]))
    for values, gradient in results[1:]:
        torch.testing.assert_close(values, results[0][0], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-5, rtol=1e-3)
    assert results[0][0].shape == (4,) and all(torch.isfinite(part).all() for part in results[0])


@pytest.mark.parametrize("norm_stft", [False, True])
def test_steps_are_those_of_keras(norm_stft: bool) -> None:
    """After three of them the weights are the same to 5e-5, having moved by over 5e-3."""
    network = network_of(norm_stft)
    before = weights_of(network)
    shared = {"adam_share": 0.5, "clip_norm": 0.5, "ema": 0.7}
    settings = dtln.TrainingSettings(batch_size=4, learning_rate=3e-3, optimizer="muon", **shared)
    dtln.compile_network(network, settings, 1)
    ours = TrainedNetwork("a", network.config, before, 3e-3, **shared)
    noisy, clean = signals(4, 4096)
    for _ in range(3):
        network.train_on_batch(noisy, clean)
        ours.step(torch.tensor(noisy), torch.tensor(clean), torch.tensor(1.0), torch.float32)
    for keras_weight, weight, start in zip(weights_of(network), ours.weights, before, strict=True):
        np.testing.assert_allclose(weight.detach(), keras_weight, atol=5e-5)
        assert float((weight.detach() - start).abs().max()) > 5e-4
    assert max(float((w.detach() - b).abs().max()) for w, b in zip(ours.weights, before, strict=True)) > 5e-3
    averages = {id(v): a for v, a in zip(*averaged(network.optimizer), strict=True)}
    variables = [weight for layer in dtln.weighted_layers(network) for weight in layer.weights]
    for variable, average, weight in zip(variables, ours.validated, ours.weights, strict=True):
        np.testing.assert_allclose(average, keras.ops.convert_to_numpy(averages[id(variable)]), atol=5e-5)
        assert float((average - weight.detach()).abs().max()) > 1e-4


def averaged(optimizer: keras.Optimizer) -> tuple[list, list]:
    """The variables of a Keras optimizer, and their moving averages."""
    return optimizer._trainable_variables, optimizer._model_variables_moving_average


def test_gradient_that_is_not_finite_moves_nothing() -> None:
    weights = [torch.ones(3, 4), torch.ones(4)]
    optimizer = Muon(weights)
    gradients = [torch.ones(3, 4), torch.ones(4)]
    gradients[0][1, 2], gradients[1][0] = torch.inf, torch.nan
    optimizer.step(gradients, torch.tensor(0.1))
    assert torch.equal(weights[0], torch.ones(3, 4)) and torch.equal(weights[1], torch.ones(4))
    optimizer.step([torch.ones(3, 4), torch.ones(4)], torch.tensor(0.1))
    assert not torch.equal(weights[0], torch.ones(3, 4)) and not torch.equal(weights[1], torch.ones(4))
    assert float(optimizer.left_out) == 1 and float(optimizer.largest) == pytest.approx(12**0.5)


def test_large_recurrent_weights_make_gradients_that_are_not_finite() -> None:
    """Over the 750 blocks of six seconds; Muon without weight decay lets all singular values grow alike."""
    torch.manual_seed(0)
    orthogonal = torch.linalg.qr(torch.randn(512, 128))[0].T  # (128, 512), its singular values are 1
    features, bias, direction = torch.randn(1, 750, 16), torch.zeros(512), torch.randn(1, 750, 128)
    norms = {}
    for size in (3.0, 12.0, 40.0):
        recurrent = (size * orthogonal).requires_grad_()
        hidden = PLAIN.lstm(features, torch.randn(16, 512), recurrent, bias)
        (gradient,) = torch.autograd.grad((hidden * direction).sum(), recurrent)
        norms[size] = float(gradient.norm())
    assert norms[3.0] < 1e4 and norms[12.0] > 1e9 and not np.isfinite(norms[40.0])
    weights = [torch.ones(128, 512)]
    Muon(weights).step([gradient], torch.tensor(0.1))
    assert torch.equal(weights[0], torch.ones(128, 512))


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


@pytest.mark.parametrize("norm_stft, name", [(False, "snr"), (True, "level_free_snr")])
def test_compiled_operations_give_the_same_loss_and_gradient(norm_stft: bool, name: str) -> None:
    network = network_of(norm_stft)
    weights = [weight.requires_grad_() for weight in weights_of(network)]
    noisy, clean = (torch.tensor(part) for part in signals(ROWS, 1024))
    results = []
    ways = (PLAIN, losses.LOSSES[name]), (compiled_operations(), compiled(losses.LOSSES[name]))
    for operations, loss_of in ways:
        estimate = denoise(weights, network.config, noisy, operations=operations)
        loss = loss_of(clean, estimate).mean()
        results.append((float(loss), torch.autograd.grad(loss, weights)))
    assert results[1][0] == pytest.approx(results[0][0], abs=1e-3)
    for plain, gradient in zip(results[0][1], results[1][1], strict=True):
        assert float((plain - gradient).norm() / plain.norm()) < 1e-3


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
        pool.open(torch.device("cpu"), until=1)
        assert pool.size == pool.uploaded == 64
        noisy, clean = pool.batch(50)
        pool.start()
        while pool.uploaded == 64:  # segments go on being replaced, without waiting for them
            pool.advance()
        before = pool.uploaded
        pool.advance(until=before // 64 + 3)  # or with it
        assert pool.uploaded == before + 3 * 64
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


def test_pool_mixes_what_augmentations_ask_for() -> None:
    """As the mixer does, with the same draws: SNRs that are set or moved, levels up to full scale, offsets."""
    names = ["rumble=0.7", "near_clean=0.3", "levels=0.6", "offset=0.5", "pauses=0.5"]
    mixer = Mixer(recordings(400.0), recordings(3000.0), 2048, (3.0, 3.0), (-28.0, -28.0), names)
    with SegmentPool(mixer, size=64, processes=1, seed=1) as pool:
        pool.open(torch.device("cpu"), until=1)
    found = pool.pairs(torch.arange(64).repeat(2, 1), torch.rand(2, 64))
    rng = np.random.default_rng([1, 0])
    drawn = [mixer.draw(rng) for _ in range(64)]
    for part, expected in zip(found, zip(*drawn, strict=True), strict=True):
        np.testing.assert_allclose(part.numpy(), np.stack(expected), atol=2e-4)  # the pool has 16 bits
    offsets = found[0].mean(dim=1).abs()
    assert 10 < (offsets > 1e-3).sum() < 50 and found[0].abs().max() > 1.0


def test_segments_do_not_depend_on_the_number_of_processes() -> None:
    mixer = Mixer(recordings(400.0), recordings(3000.0), 512, augmentations=["coloured_noise", "levels"])
    contents = []
    for processes, first, until in ((1, 0, 4), (3, 0, 4), (2, 2, 4)):
        with SegmentPool(mixer, size=2 * 64, processes=processes, seed=1, first_block=first) as pool:
            pool.open(torch.device("cpu"), until)
        contents.append((pool._pool, pool._pool_values))
    for audio, values in contents[1:]:
        assert torch.equal(audio, contents[0][0]) and torch.equal(values, contents[0][1])


def test_benchmark_times_every_step_in_turns(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sizes = "--batch-size 2 --segment-seconds 0.128 --networks 2 --turns 3 --steps 2 --json"
    assert gpu_training.main([*sizes.split(), str(tmp_path / "times.json")]) == 0
    report = json.loads((tmp_path / "times.json").read_text())
    assert set(report["contenders"]) == {"keras", "cuda"} and len(report["missing"]) == 2
    for found in report["contenders"].values():
        assert found["count"] == 6 and len(found["turn_medians_ms"]) == 3 and 0 < found["p5_ms"] <= found["p95_ms"]
    printed = capsys.readouterr().out
    assert "cuda, graph: not here, this device is no GPU" in printed and "keras | " in printed


def test_processes_end_without_a_word_and_without_the_program(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """They inherit what the program does at signals."""
    ended: list[tuple[object, ...]] = []
    monkeypatch.setattr(interrupts, "end_now", lambda *arguments: ended.append(arguments))
    mixer = Mixer(recordings(400.0), recordings(3000.0), 2048)
    with interrupts.ending_at_signals("x"):
        with SegmentPool(mixer, size=64, processes=1, seed=1) as pool:
            pool.open(torch.device("cpu"), until=1)
        time.sleep(interrupts.GRACE_SECONDS + 0.2)
    assert not ended and "Traceback" not in capfd.readouterr().err


def test_pool_says_that_a_process_has_ended() -> None:
    mixer = Mixer(recordings(400.0), recordings(3000.0), 2048)
    mixer.segment = lambda rng: 1 / 0
    pool = SegmentPool(mixer, size=64, processes=1, seed=1)
    with pool, pytest.raises(RuntimeError, match="a process that draws segments has ended"):
        pool.open(torch.device("cpu"), until=1)


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
    names = {"a.h5", "a_last.h5", "b.h5", "b_last.h5", "config.json", "r_state.npz", "training.csv"}
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
    assert "holds r_state.npz, training.csv of an earlier run" in capsys.readouterr().err
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
    fetch, calls = SegmentPool._fetch, []

    def failing(pool: SegmentPool) -> object:
        calls.append(threading.current_thread())
        if len(calls) > 1:
            raise OSError("the GPU has fallen off the bus")
        return fetch(pool)

    monkeypatch.setattr(SegmentPool, "_fetch", failing)
    steps = ["--steps", "1000000", "--check-every", "1000000"]
    assert train.main([*folders, *SHORT.split(), *steps, "--network", "a"]) == 1
    assert calls[-1] is not threading.main_thread()
    monkeypatch.setattr(SegmentPool, "_fetch", lambda pool: fetch(pool) if not pool.uploaded else 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a bug, with its traceback
        train.main([*folders, *SHORT.split(), *steps, "--network", "a", "--overwrite"])


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


# ----------------------------------------------------------------------------------------------------------------------
# Going on, and repeating
# ----------------------------------------------------------------------------------------------------------------------


BRIEF = ["--segment-seconds", "0.128"]
EXACT = (
    "--deterministic --steps 14 --check-every 4 --pool-segments 256 --batch-size 24 --ema 0.6 --segment-seconds 0.128"
)
EXACT += " --network a init=mdct --network b norm rate=0.01"


def exact_run(folders: list[str], run: Path, *flags: str) -> int:
    return train.main([*folders, *SHORT.split(), *EXACT.split(), "--run-dir", str(run), *flags])


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Lets an interrupt come before that step of the next run."""
    take, taken = Steps.take, []

    def stopping(steps: Steps, shape: float) -> None:
        taken.append(shape)
        take(steps, shape)
        if len(taken) == step:
            monkeypatch.setattr(Steps, "take", take)
            monkeypatch.setattr(SegmentPool, "advance", interrupted)

    advance = SegmentPool.advance

    def interrupted(pool: SegmentPool, until: int | None = None) -> None:
        monkeypatch.setattr(SegmentPool, "advance", advance)
        raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "take", stopping)


def rows_of(run: Path) -> list[dict[str, str]]:
    with open(run / "training.csv") as stream:
        return [{**row, "seconds": ""} for row in csv.DictReader(stream)]


@pytest.fixture
def whole(folders: list[str], tmp_path: Path) -> Path:
    """A deterministic run that nothing has interrupted."""
    assert exact_run(folders, tmp_path / "whole") == 0
    return tmp_path / "whole"


def test_deterministic_run_is_repeated_and_resumed_bit_by_bit(
    whole: Path, folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With blocks that come into the pool and leave it, dropout, a moving average, and three processes for one."""
    run = tmp_path / "again"
    for step in (6, 5):  # between validations, each within its own run of the script
        stop_at(monkeypatch, step)
        with pytest.raises(KeyboardInterrupt):
            exact_run(folders, run, "--mixing-processes", "3", *(["--resume"] if step == 5 else []))
    stopped = np.load(run / "r_state.npz")
    assert json.loads(str(stopped["about"]))["progress"]["step"] == 11
    assert train.main(["--run-name", "r", "--run-dir", str(run), "--resume"]) == 0  # with the settings of config.json
    assert rows_of(run) == rows_of(whole) and len(rows_of(run)) == 8
    with np.load(run / "r_state.npz") as ours, np.load(whole / "r_state.npz") as theirs:
        assert set(ours.files) == set(theirs.files) and len(ours.files) > 100
        for name in set(ours.files) - {"about"}:
            np.testing.assert_array_equal(ours[name], theirs[name])
    for name in ("a", "a_last", "b", "b_last"):
        for own, other in zip(*(dtln.load_network(d / f"{name}.h5").get_weights() for d in (run, whole)), strict=True):
            np.testing.assert_array_equal(own, other)
    capsys.readouterr()
    assert train.main(["--run-name", "r", "--run-dir", str(run), "--resume"]) == 0
    assert "the run has already ended after 14 steps" in capsys.readouterr().out


def test_resumed_run_goes_on_with_other_segments(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 13)
    command = [*folders, *SHORT.split(), *BRIEF, "--network", "a", "init=mdct", "rate=1e-9"]
    with pytest.raises(KeyboardInterrupt):
        train.main(command)
    before = np.load(tmp_path / "run" / "r_state.npz")
    assert train.main([*command, "--resume", "--steps", "23"]) == 0
    after = np.load(tmp_path / "run" / "r_state.npz")
    progress = [json.loads(str(state["about"]))["progress"] for state in (before, after)]
    assert [p["step"] for p in progress] == [13, 23]
    assert progress[1]["seconds"] > progress[0]["seconds"] and progress[1]["drawn"] > progress[0]["drawn"]
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == ["10", "20", "23"]
    assert progress[1]["next_block"] > progress[0]["next_block"]
    np.testing.assert_allclose(after["0_0"], before["0_0"], atol=1e-6)


def test_minutes_count_those_before(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    stop_at(monkeypatch, 10)
    command = [*folders, *SHORT.split(), *BRIEF, "--network", "a", "--steps", "1000000"]
    with pytest.raises(KeyboardInterrupt):
        train.main(command)
    state = tmp_path / "run" / "r_state.npz"
    with np.load(state) as stored:
        arrays = dict(stored)
    about = json.loads(str(arrays["about"]))
    about["progress"]["seconds"] = 119.9
    np.savez(state, **{**arrays, "about": json.dumps(about)})
    assert train.main([*command, "--resume", "--minutes", "2"]) == 0
    assert 10 < int(rows_of(tmp_path / "run")[-1]["step"]) < 1000
    assert train.main([*command, "--resume", "--minutes", "2"]) == 0
    assert "the run has already ended after" in capsys.readouterr().out


def test_state_that_does_not_fit_is_refused(whole: Path, folders: list[str], capsys: pytest.CaptureFixture) -> None:
    kept = {path: path.read_bytes() for path in whole.iterdir()}
    resumed = ["--resume", "--steps", "20"]

    def refusal(*flags: str) -> str:
        assert train.main([*folders, *SHORT.split(), "--run-dir", str(whole), *resumed, *flags]) == 1
        assert {path: path.read_bytes() for path in whole.iterdir()} == kept
        return capsys.readouterr().err

    assert "holds the networks a, b norm, this run has a. Resume with the settings" in refusal("--network", "a")
    two = ["--network", "a", "--network", "b", "norm"]
    assert "do not fit" in (message := refusal(*two, "--ema", "0")) and "--ema for one" in message
    (whole / "r_state.npz").write_bytes(b"PK")
    kept[whole / "r_state.npz"] = b"PK"
    assert "r_state.npz: no state to go on from" in (message := refusal(*two)) and "--overwrite" in message


def test_network_that_breaks_down_is_set_back(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Its best weights come back with their momenta, its rate is halved; the other network is left alone."""
    take, taken, best = Steps.take, [], []

    def breaking(steps: Steps, shape: float) -> None:
        take(steps, shape)
        taken.append(shape)
        with torch.no_grad():
            if len(taken) == 4:
                best.extend(tensor.clone() for tensor in steps.networks[0].optimizer.state)
            if len(taken) == 8:
                steps.networks[0].weights[6].mul_(-100.0)
            if len(taken) == 9:
                shares = [float(network.rate_share) for network in steps.networks]
                assert shares == [0.5, 1.0] and float(steps.networks[1].optimizer.steps) == 9
                assert float(steps.networks[0].optimizer.steps) == 5
            if len(taken) == 12:
                steps.networks[0].weights[6].fill_(torch.nan)

    monkeypatch.setattr(Steps, "take", breaking)
    networks = ["--network", "a", "init=mdct", "rate=1e-9", "--network", "b", "init=mdct", "rate=1e-9"]
    assert train.main([*folders, *SHORT.split(), *BRIEF, "--steps", "16", "--check-every", "4", *networks]) == 0
    told = capsys.readouterr().out
    assert told.count("a has broken down: val_loss") == 2 and "b has broken down" not in told
    assert "at half the rate, 5e-10" in told and "at half the rate, 2.5e-10" in told
    rows = [row for row in rows_of(tmp_path / "run") if row["network"] == "a"]
    assert [row["rate"] for row in rows] == ["1e-09", "1e-09", "5e-10", "2.5e-10"]
    assert rows[2]["val_loss"] == "nan" and float(rows[1]["val_loss"]) > float(rows[0]["val_loss"]) + 3
    assert float(rows[3]["val_loss"]) == pytest.approx(float(rows[0]["val_loss"]), abs=0.05)
    assert float(rows[0]["longest_gradient"]) > 0 and rows[0]["left_out"] == "0"
    with np.load(tmp_path / "run" / "r_state.npz") as state:
        np.testing.assert_allclose(state["0_6"], best[6], atol=1e-5)
    for path in ("a.h5", "a_last.h5"):
        assert all(np.isfinite(w).all() for w in dtln.load_network(tmp_path / "run" / path).get_weights())
