"""Our exports in runtimes that the toolkit does not use, run by clients as ports are: client.py and client.mjs.

The clients spell out the published tensor names of the ONNX pair, as ports do. docs/porting.md shows what runs where.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from signals import snr_db

from dtln.audio.reading import read_audio
from dtln.export.check import FLOAT_TOLERANCE
from dtln.formats import EXPORT_KINDS
from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
PRETRAINED = ROOT / "pretrained_model"
QUANTISED_SNR_DB = 30.0  # as in tests/project/test_pretrained.py
ONNX = ("onnx", "onnx-stream", "onnx-stream-quant")
RUNTIMES = {  # row of the table in docs/porting.md: package, environment, kinds that it runs
    "ONNX Runtime, newest": ("onnxruntime", None, ONNX),
    "ONNX Runtime, oldest": ("onnxruntime", "onnxruntime_oldest", ONNX),
    "OpenVINO": ("openvino", "openvino", (*ONNX, "tflite", "tflite-quant")),
    "tract": ("tract", "tract", ONNX[:2]),
    "ONNX Runtime Web": ("onnxruntime-web", "node", ONNX),
    "LiteRT.js": ("@litertjs/core", "node", tuple(name for name in EXPORT_KINDS if name.startswith("tflite"))),
}
CASES = [
    pytest.param(*row[:2], kind, marks=[pytest.mark.environments(row[1])] * (row[1] is not None), id=f"{name}, {kind}")
    for name, row in RUNTIMES.items()
    for kind in row[2]
]


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """A second and a half of noisy speech, no whole number of shifts, (L,)."""
    path = PRETRAINED.parent / "audio_samples" / "noisy" / "numbers_bus_10dB.wav"
    return read_audio(path, sample_rate=16000, mono=True)[0][:24001]


@pytest.fixture
def run_client(tmp_path, noisy, request):
    """Function (package, environment, kind, folder of exports) -> denoised (L,)."""
    noisy.tofile(tmp_path / "noisy.f32")

    def run(package: str, environment: str | None, kind: str, folder: Path) -> np.ndarray:
        if environment == "node":
            program, cwd = ["node", Path(__file__).with_name("client.mjs")], request.getfixturevalue("node_modules")
        else:
            python = request.getfixturevalue("python_of")(environment) if environment else sys.executable
            program, cwd = [python, Path(__file__).with_name("client.py")], tmp_path
        command = [*program, package, kind, folder, tmp_path / "noisy.f32", tmp_path / "denoised.f32"]
        result = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        print(package, result.stdout.splitlines()[-1])
        return np.fromfile(tmp_path / "denoised.f32", np.float32)

    return run


def test_the_table_of_runtimes_is_in_the_docs():
    text = (ROOT / "docs" / "porting.md").read_text(encoding="utf-8")
    for name, (_, _, kinds) in RUNTIMES.items():
        (row,) = re.findall(rf"^\| {name} \|.*\|(.*)\|$", text, re.MULTILINE)
        assert sorted(re.findall(r"`([^`]+)`", row)) == sorted(kinds)


@pytest.mark.foreign
@pytest.mark.parametrize(("package", "environment", "kind"), CASES)
@pytest.mark.parametrize("folder", [PRETRAINED, PRETRAINED / "DTLN_norm_7246h"], ids=["plain", "normalising"])
def test_foreign_runtime_gives_our_output(package, environment, kind, folder, noisy, run_client):
    expected = StreamingDenoiser(open_backend("onnx-stream", folder)).denoise(noisy)
    found = run_client(package, environment, kind, folder)
    assert found.shape == noisy.shape and np.max(np.abs(expected)) > 0.1
    if EXPORT_KINDS[kind].quantised:
        assert snr_db(expected, found) > QUANTISED_SNR_DB
    else:
        np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE)


@pytest.mark.foreign
@pytest.mark.parametrize(
    ("package", "environment", "kind"), [case for case in CASES if case.values[2] in ("onnx", "tflite")]
)
def test_foreign_runtime_runs_the_published_pair(package, environment, kind, shared, noisy, run_client):
    """The same client runs both, so what holds for it holds for a port of the published models."""
    expected = StreamingDenoiser(open_backend("onnx", shared / "reference")).denoise(noisy)
    found = run_client(package, environment, kind, shared / "reference")
    np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE)
