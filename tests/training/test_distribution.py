"""Training on several devices: two processes, and two devices of one process, do the steps that one device does."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from training_pairs import write_pairs

from dtln.training.distribution import distribute

ROOT = Path(__file__).resolve().parents[2]
SEGMENT = 4096  # samples


@pytest.fixture(scope="module")
def command(python_of: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two epochs of two steps of four segments, as far as the folder of the run."""
    folder = tmp_path_factory.mktemp("pairs")
    train = write_pairs(folder / "train", [SEGMENT] * 8, seed=0)
    validation = write_pairs(folder / "validation", [SEGMENT] * 2, seed=50)
    flags = ("--train-noisy", "--train-clean", "--val-noisy", "--val-clean")
    data = [text for pair in zip(flags, map(str, (*train, *validation)), strict=True) for text in pair]
    loop = ["--segment-seconds", str(SEGMENT / 16000), "--batch-size", "4", "--max-epochs", "2", "--init", "mdct"]
    return [python_of("jax"), str(ROOT / "run_training.py"), *data, *loop, "--run-name", "run"]


def start(command: list[str], devices: int = 1) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def losses(run_dir: Path) -> list[float]:
    with open(run_dir / "training_run.log", newline="") as stream:
        return [float(row[key]) for row in csv.DictReader(stream) for key in ("loss", "val_loss")]


@pytest.fixture(scope="module")
def expected(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of one device."""
    run_dir = tmp_path_factory.mktemp("one_device")
    finish(start([*command, "--run-dir", str(run_dir)]))
    found = losses(run_dir)
    assert len(found) == 4 and found[0] != pytest.approx(found[2], abs=0.05)
    return found


@pytest.mark.environments("jax")
def test_two_processes_train_as_one_does(command: list[str], expected: list[float], tmp_path: Path) -> None:
    """The two would be two hosts; the losses are equal to 1e-3 dB, and the first process alone writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    several = ["--processes", "2", "--coordinator", coordinator, "--process"]
    runs = [start([*command, "--run-dir", str(tmp_path / str(i)), *several, str(i)]) for i in range(2)]
    for run in runs:
        finish(run)
    assert losses(tmp_path / "0") == pytest.approx(expected, abs=1e-3)
    written = {path.name for path in (tmp_path / "0").iterdir()}
    assert written == {"run.h5", "run_last.h5", "run_state.npz", "training_run.log", "config.json"}
    assert not list((tmp_path / "1").iterdir())


@pytest.mark.environments("jax")
def test_processes_are_started_here(command: list[str], expected: list[float], tmp_path: Path) -> None:
    """Without a coordinator one command starts both; it ends with them, and its exit status is theirs."""
    output = finish(start([*command, "--run-dir", str(tmp_path), "--processes", "2"]))
    assert losses(tmp_path) == pytest.approx(expected, abs=1e-3)
    assert output.count("Epoch 2/2") == 1
    stored = json.loads((tmp_path / "config.json").read_text())["arguments"]
    assert stored["processes"] == 2 and "coordinator" not in stored


@pytest.mark.environments("jax")
def test_two_devices_train_as_one_does(command: list[str], expected: list[float], tmp_path: Path) -> None:
    finish(start([*command, "--run-dir", str(tmp_path), "--distribute"], devices=2))
    assert losses(tmp_path) == pytest.approx(expected, abs=1e-3)


@pytest.mark.environments("jax")
def test_batches_that_cannot_be_shared_say_so(command: list[str], tmp_path: Path) -> None:
    run = start([*command, "--run-dir", str(tmp_path / "run"), "--distribute", "--batch-size", "3"], devices=2)
    assert "the batch size, 3, cannot be shared among 2 devices. Choose a multiple of 2" in finish(run, status=1)
    assert not (tmp_path / "run").exists()
    run = start([*command, "--run-dir", str(tmp_path / "run"), "--processes", "2", "--batch-size", "3"])
    assert finish(run, status=1).count("cannot be shared among 2 devices") == 1
    assert not (tmp_path / "run").exists()


def test_another_back_end_says_so() -> None:
    assert keras.backend.backend() == "tensorflow"
    with pytest.raises(ValueError, match="need JAX or PyTorch.* Set KERAS_BACKEND=jax"):
        distribute()
