"""real_time_dtln_audio.py: help and options."""

from __future__ import annotations

import subprocess
import sys

import pytest
from live_audio import (
    ROOT,
)

from dtln.commands.live import main


def test_help_imports_neither_sounddevice_nor_a_runtime():
    code = """
import sys, real_time_dtln_audio
try:
    real_time_dtln_audio.main(["--help"])
except SystemExit as end:
    heavy = {"sounddevice", "soundfile", "tensorflow", "ai_edge_litert", "tflite_runtime", "onnxruntime"}
    sys.exit(f"imported {heavy & set(sys.modules)}" if heavy & set(sys.modules) else end.code)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "until Ctrl+C" in done.stdout and "--bypass" in done.stdout


@pytest.mark.parametrize("option", ["--latency", "--duration", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_numbers_out_of_range(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([f"{option}={value}"])
    assert option in capsys.readouterr().err
