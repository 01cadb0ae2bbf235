"""Training where TensorFlow is not installed: the tests of `test_training.py` in an environment with torch."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from environments import make_environment

ROOT = Path(__file__).resolve().parents[1]


def test_training_under_torch_without_tensorflow(tmp_path: Path) -> None:
    packages = ["keras", "torch", "h5py", "soundfile", "wavinfo", "numpy", "pytest", "tensorboardX", "tensorboard"]
    python = make_environment(tmp_path / "environment", packages)
    # one thread: torch's threads wait for each other by spinning, which on a busy machine costs a hundredfold
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-q", "-W", "ignore", "tests/test_training.py"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    summary = run.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+ passed in .*", summary), summary  # no skips, no failures

    probe = (
        "import importlib.util, keras, DTLN_model\n"
        "print(keras.backend.backend(), importlib.util.find_spec('tensorflow'))"
    )
    found = subprocess.run([str(python), "-c", probe], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.stdout.split() == ["torch", "None"], found.stdout + found.stderr
