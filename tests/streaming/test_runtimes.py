"""The TF-lite scripts in environments of their own, with the packages of `tflite_env.yml` and no TensorFlow."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import batch_output, random_network, snr_db, speech_like

import DTLN_model as dtln
from dtln.facts import OVERLAP_DELAY
from dtln.formats import EXPORT_KINDS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.environments("ai_edge_litert", "tflite_runtime")

# A stream of arrays through the engine: run in the environment as `python -c STREAM KIND MODEL_DIR IN.npy OUT.npy`.
STREAM = """
import sys
import numpy as np
import dtln.streaming
backend = dtln.streaming.open_backend(*sys.argv[1:3])
np.save(sys.argv[4], dtln.streaming.StreamingDenoiser(backend).denoise(np.load(sys.argv[3])))
assert not {"tensorflow", "keras"} & set(sys.modules)
print(backend.runtime)
"""

# The live script as far as it goes without a model and a sound device.
LIVE = """
import sys
sys.modules["soundfile"] = None  # importing it would raise: a streaming device need not have it
import real_time_dtln_audio
sys.exit(real_time_dtln_audio.main(["--list-devices"]))
"""

# SNR of the published quantised pair against its published output, per runtime; measured under ai_edge_litert: 34.3.
PUBLISHED_QUANTISED_SNR_DB = {"ai_edge_litert": 30.0, "tflite_runtime": 30.0}


@pytest.fixture(scope="module", params=["ai_edge_litert", "tflite_runtime"])
def environment(request, python_of):
    """(runtime, python of an environment that has it)."""
    return request.param, python_of(request.param)


def run(python: Path, *arguments: object) -> str:
    command = [str(argument) for argument in (python, *arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_there_is_no_tensorflow(environment):
    _, python = environment
    run(python, "-c", "import importlib.util as u; assert not u.find_spec('tensorflow') and not u.find_spec('keras')")
    run(python, "-c", "import dtln.streaming, sys; assert 'tensorflow' not in sys.modules")


def test_script_denoises_a_recording(environment, tmp_path):
    runtime, python = environment
    network = random_network(dtln.DTLNConfig(norm_stft=True))
    for kind in ("tflite", "tflite-quant"):
        EXPORT_KINDS[kind].export(network, tmp_path)
    soundfile.write(tmp_path / "noisy.wav", speech_like(30001), 16000, subtype="FLOAT")
    expected = np.clip(batch_output(network, speech_like(30001)), -1, 1)
    script = ("real_time_processing_tf_lite.py", "-i", tmp_path / "noisy.wav", "-m", tmp_path)
    report = run(python, *script, "-o", tmp_path / "float.wav")
    assert f"30001 samples through {runtime}" in report
    np.testing.assert_allclose(soundfile.read(tmp_path / "float.wav")[0], expected, atol=1e-4 + 1 / 32768)
    run(python, *script, "-o", tmp_path / "8bit.wav", "--quantised")
    assert snr_db(expected, soundfile.read(tmp_path / "8bit.wav")[0]) > 30


def test_live_script_needs_no_soundfile(environment):
    _, python = environment
    run(python, "-c", LIVE)


@pytest.mark.parametrize("kind", ["tflite", "tflite-quant"])
def test_published_pair_gives_the_published_stream(environment, shared, tmp_path, kind):
    runtime, python = environment
    with np.load(shared / "reference" / "golden.npz") as golden:
        np.save(tmp_path / "in.npy", golden["input"])
        published = golden["stream_tflite" if kind == "tflite" else "stream_tflite_quant"]
    found = run(python, "-c", STREAM, kind, shared / "reference", tmp_path / "in.npy", tmp_path / "out.npy")
    assert found.strip() == runtime
    output = np.load(tmp_path / "out.npy")[: -2 * OVERLAP_DELAY]
    published = published[OVERLAP_DELAY:-OVERLAP_DELAY]
    if kind == "tflite":
        np.testing.assert_allclose(output, published, atol=1e-4)
    else:
        assert snr_db(published, output) > PUBLISHED_QUANTISED_SNR_DB[runtime], snr_db(published, output)
