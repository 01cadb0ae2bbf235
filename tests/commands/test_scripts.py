"""The scripts as a user runs them: help."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if "__main__" in path.read_text())


def test_all_scripts_are_there():
    assert set(SCRIPTS) >= {
        "run_training.py", "run_evaluation.py", "measure_execution_time.py", "real_time_processing.py",
        "real_time_processing_tf_lite.py", "real_time_processing_onnx.py", "real_time_dtln_audio.py",
        "convert_weights_and_savedmodel.py",
    }  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_docstring(script):
    run = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    docstring = importlib.import_module(script[:-3]).__doc__
    assert docstring.splitlines()[0] in run.stdout and "usage:" in run.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_loads_no_framework(script):
    code = (
        f"import sys, runpy; sys.argv = ['{script}', '--help']\n"
        f"try: runpy.run_path('{script}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'soundfile', 'onnxruntime', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
