"""Training where TensorFlow is not installed, in an environment with torch: the tests of `test_training.py`,
`test_losses.py` and `cuda_training.py`, and two processes that train together."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.environments("torch")

# python -c TRAIN RUN_DIR EPOCHS DROPOUT PROCESS PROCESSES COORDINATOR [resume]: losses as JSON in the last line
TRAIN = """
import json, sys
import numpy as np, keras
import DTLN_model as dtln
from dtln.training.distribution import distribute
from pathlib import Path

class Tones:
    summary = "tones in noise"
    def __len__(self): return 8
    def segment(self, index, rng):
        time = np.arange(4096) / 16000
        clean = 0.1 * np.sin(2 * np.pi * 100 * (index + 1) * time)
        return (clean + 0.05 * rng.standard_normal(4096)).astype("float32"), clean.astype("float32")

run_dir, epochs, dropout, process, processes, coordinator, *resume = sys.argv[1:]
process, processes = int(process), int(processes)
if processes > 1:
    distribute(coordinator, process, processes)
keras.utils.set_random_seed(3)
settings = dtln.TrainingSettings(
    batch_size=4, max_epochs=int(epochs), plateau_patience=50, process=process, processes=processes
)
network = dtln.build_network(dtln.DTLNConfig(dropout=float(dropout)), seed=3)
dtln.initialise_mdct(network.dtln_layers)
dtln.compile_network(network, settings, 2)
history = dtln.train(network, Tones(), Tones(), "run", settings, run_dir=run_dir, resume=bool(resume)).history
print(json.dumps([*history["loss"], *history["val_loss"]]))
"""


@pytest.fixture(scope="module")
def python(python_of: Callable[[str], str]) -> str:
    """The interpreter of an environment with PyTorch and Triton and without TensorFlow."""
    return python_of("torch")


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    # one thread: torch's threads wait for each other by spinning, which on a busy machine costs a hundredfold
    return {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("tests", ["model/test_training.py", "model/test_losses.py", "gpu/cuda_training.py"])
def test_training_under_torch_without_tensorflow(tests: str, python: str, environment: dict[str, str]) -> None:
    command = [
        python,
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-q",
        "-W",
        "ignore",
        f"tests/{tests}",
    ]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    summary = run.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+ passed in .*", summary), summary  # no skips, no failures

    probe = (
        "import importlib.util, keras, DTLN_model\n"
        "print(keras.backend.backend(), importlib.util.find_spec('tensorflow'))"
    )
    found = subprocess.run([python, "-c", probe], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.stdout.split() == ["torch", "None"], found.stdout + found.stderr


@pytest.fixture
def losses_of(python: str, environment: dict[str, str]):
    """Function (folder, epochs, dropout, processes, resume) -> the losses that each process reports."""

    def train(folder: Path, epochs: int, dropout: float, processes: int, resume: bool = False) -> list[list[float]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        command = [python, "-c", TRAIN, str(folder), str(epochs), str(dropout)]
        several = [[str(i), str(processes), coordinator] + ["resume"] * resume for i in range(processes)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        runs = [subprocess.Popen([*command, *flags], env=environment, **pipes) for flags in several]
        outputs = [run.communicate(timeout=300)[0] for run in runs]
        assert [run.returncode for run in runs] == [0] * processes, "\n".join(outputs)
        return [json.loads(output.splitlines()[-1]) for output in outputs]

    return train


def test_two_processes_train_as_one_does(losses_of, tmp_path: Path) -> None:
    """Without dropout, which differs between them: losses equal to 1e-3 dB, and alike in both processes."""
    (expected,) = losses_of(tmp_path / "one", 3, 0.0, 1)
    first, second = losses_of(tmp_path / "two", 3, 0.0, 2)
    assert abs(expected[0] - expected[2]) > 0.05  # it does learn
    assert first == pytest.approx(expected, abs=1e-3)
    assert second == first
    written = {path.name for path in (tmp_path / "two").iterdir()}
    assert written == {"run.h5", "run_last.h5", "run_state.npz", "training_run.log"}


def test_two_processes_go_on_as_if_never_stopped(losses_of, tmp_path: Path) -> None:
    """With dropout, of which each process draws its own."""
    whole, _ = losses_of(tmp_path / "whole", 4, 0.25, 2)
    losses_of(tmp_path / "halves", 2, 0.25, 2)
    later, _ = losses_of(tmp_path / "halves", 4, 0.25, 2, resume=True)
    assert later == pytest.approx([*whole[2:4], *whole[6:8]], abs=1e-4)
