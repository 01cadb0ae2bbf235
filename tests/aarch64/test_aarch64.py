"""The live path on a Raspberry Pi, under an emulator of its processor: its packages, its engine, its exports.

The emulator runs the wheels and Debian packages that a Pi installs. Times say nothing; numbers are compared with those
of the processor at hand. There are no sound devices, and the emulator is too slow for live sound.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from emulated import live_session
from environments import COMPUTERS, LIVE
from signals import snr_db

from dtln.audio.reading import read_audio
from dtln.export.check import FLOAT_TOLERANCE
from dtln.facts import OVERLAP_DELAY
from dtln.formats import EXPORT_KINDS
from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
PRETRAINED = ROOT / "pretrained_model"
EXPORTS = {"plain": PRETRAINED, "normalising": PRETRAINED / "DTLN_norm_7246h"}
KINDS = tuple(name for name in EXPORT_KINDS if name != "savedmodel")  # which needs TensorFlow
QUANTISED_SNR_DB = 30.0  # 8 bit against float, as in tests/project/test_pretrained.py
SAME_SNR_DB = 45.0  # 8 bit on both processors; measured 57 dB on ONNX Runtime, 123 dB on TF-lite
pytestmark = pytest.mark.aarch64
computers = pytest.mark.parametrize(
    "computer", [pytest.param(name, marks=pytest.mark.environments(name)) for name in COMPUTERS]
)


@pytest.fixture(scope="module")
def on(python_of):
    """Function (computer, arguments of its python) -> what it printed. Fails where it fails."""

    def run(computer: str, *arguments: object) -> str:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        command = [python_of(computer), *map(str, arguments)]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """A second of noisy speech, no whole number of shifts, with a NaN in one shift and an Inf in another, (L,)."""
    path = ROOT / "audio_samples" / "noisy" / "numbers_bus_10dB.wav"
    signal = read_audio(path, sample_rate=16000, mono=True)[0][:16001].copy()
    signal[[5000, 9001]] = np.nan, np.inf
    return signal


@pytest.fixture(scope="module")
def outputs(on, noisy, tmp_path_factory):
    """Function (computer, name in EXPORTS or folder) -> {kind: (denoised (L,), what it says)}."""
    made: dict[tuple[str, Path], dict] = {}

    def denoise(computer: str, exports: Path, signal: np.ndarray = noisy) -> dict:
        if (computer, exports) not in made:
            folder = tmp_path_factory.mktemp("denoised")
            signal.tofile(folder / "noisy.f32")
            lines = on(computer, ROOT / "tests/aarch64/emulated.py", "denoise", exports, folder / "noisy.f32", folder)
            print(lines)
            said = {found["kind"]: found for found in map(json.loads, lines.splitlines())}
            made[computer, exports] = {
                kind: (np.fromfile(folder / f"{kind}.f32", np.float32), found) for kind, found in said.items()
            }
        return made[computer, exports]

    return denoise


@computers
def test_live_path_loads_only_its_packages(computer, on):
    found = json.loads(on(computer, ROOT / "tests/aarch64/emulated.py", "imports"))
    packages = set(found.pop("packages"))
    print(found)
    assert found["machine"] == "aarch64" and found["python"].startswith(COMPUTERS[computer].python)
    assert found["portaudio"].startswith("PortAudio V19") and found["devices"] == 0 and found["resampled"] == 160
    assert packages >= {package.replace("-", "_") for package in LIVE}
    assert not packages & {"onnxruntime", "soundfile", "scipy", "h5py", "tensorflow", "keras"}


@computers
def test_live_script_starts(computer, on):
    assert "no sound devices were found" in on(computer, ROOT / "real_time_dtln_audio.py", "--list-devices")


@computers
@pytest.mark.parametrize("exports", EXPORTS)
def test_exports_give_the_numbers_of_this_processor(computer, exports, outputs, noisy):
    found = outputs(computer, EXPORTS[exports])
    assert tuple(found) == KINDS
    expected = StreamingDenoiser(open_backend("tflite", EXPORTS[exports])).denoise(noisy)
    for kind, (denoised, said) in found.items():
        assert denoised.shape == noisy.shape
        if EXPORT_KINDS[kind].quantised:
            here = StreamingDenoiser(open_backend(kind, EXPORTS[exports])).denoise(noisy)
            print(kind, snr_db(expected, denoised), snr_db(here, denoised))
            assert snr_db(expected, denoised) > QUANTISED_SNR_DB
            assert snr_db(here, denoised) > SAME_SNR_DB
        else:
            print(kind, np.abs(denoised - expected).max())
            np.testing.assert_allclose(denoised, expected, atol=FLOAT_TOLERANCE)
        assert said["silenced"] == 2


@computers
@pytest.mark.parametrize(
    ("rate", "output_rate", "channels", "dtype"), [(48000, 48000, 1, "float32"), (44100, 48000, 2, "int16")]
)
def test_streams_at_other_rates_give_the_numbers_of_this_processor(
    computer, rate, output_rate, channels, dtype, on, noisy, tmp_path
):
    usable = np.nan_to_num(noisy, nan=0, posinf=0)
    samples = (32767 * usable).astype(np.int16) if dtype == "int16" else noisy
    samples = np.stack([samples, samples[::-1]][:channels], axis=1)  # (L, C)
    samples.tofile(tmp_path / "noisy")
    arguments = ("stream", tmp_path / "noisy", tmp_path / "denoised", rate, output_rate, channels, dtype)
    said = json.loads(on(computer, ROOT / "tests/aarch64/emulated.py", *arguments))
    found = np.fromfile(tmp_path / "denoised", dtype).reshape(-1, channels)
    denoiser = StreamingDenoiser(sample_rate=rate, output_rate=output_rate, channels=channels)
    expected = denoiser.denoise(samples)
    assert said == {"silenced": denoiser.silenced_blocks, "latency_s": denoiser.latency.seconds}
    assert (said["silenced"] > 0) == (dtype == "float32")
    full_scale = 32768 if dtype == "int16" else 1
    np.testing.assert_allclose(found / full_scale, expected / full_scale, atol=FLOAT_TOLERANCE)
    print(np.abs(found / full_scale - expected / full_scale).max(), np.abs(expected / full_scale).max())


@computers
def test_live_session_plays_what_it_plays_on_this_processor(computer, on, noisy, tmp_path):
    noisy.tofile(tmp_path / "noisy")
    on(computer, ROOT / "tests/aarch64/emulated.py", "live", tmp_path / "noisy", tmp_path / "played.npy")
    found, expected = np.load(tmp_path / "played.npy"), live_session(noisy)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE)


@computers
def test_published_pairs_give_the_published_stream(computer, outputs, shared):
    with np.load(shared / "reference" / "golden.npz") as stored:
        signal, published = stored["input"][:16001], stored["stream_tflite"][:16001]
    found = outputs(computer, shared / "reference", signal)
    for kind in ("tflite", "onnx"):
        output = found[kind][0][: -2 * OVERLAP_DELAY]
        np.testing.assert_allclose(output, published[OVERLAP_DELAY:-OVERLAP_DELAY], atol=FLOAT_TOLERANCE)
