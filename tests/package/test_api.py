"""import dtln: what it loads, and recordings denoised in one call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import snr_db, speech_like

import dtln
import run_evaluation
from dtln.audio.resampling import resample
from dtln.errors import MissingPackageError, MissingRuntimeError
from dtln.formats import EXPORT_KINDS, ExportKind
from dtln.streaming import backends

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("dtln", {"numpy", "tensorflow", "keras", "soundfile", "dtln.api"}),
        ("dtln.api", {"tensorflow", "keras", "librosa", "soundfile", "soxr", "ai_edge_litert", "onnxruntime"}),
        ("dtln.streaming", {"tensorflow", "keras", "librosa", "soundfile", "ai_edge_litert", "onnxruntime"}),
    ],
)
def test_importing_loads_nothing_heavy(module, absent):
    code = f"import {module}, sys; found = {absent} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_names_are_lazy_and_listed():
    assert set(dtln.__all__) <= set(dir(dtln))
    for name in dtln.__all__:
        assert getattr(dtln, name) is getattr(dtln, name)
    with pytest.raises(AttributeError, match="has no attribute 'denoize'"):
        dtln.denoize  # noqa: B018


def test_type_checkers_see_the_lazy_names(tmp_path):
    (tmp_path / "user.py").write_text(
        "import dtln\nreveal_type(dtln.denoise)\nreveal_type(dtln.load())\nreveal_type(dtln.StreamingDenoiser())\n"
    )
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--cache-dir", str(tmp_path / "cache"), "user.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "sample_rate: int =, *, backend: dtln.streaming.backends.Backend | None" in done.stdout
    assert 'Revealed type is "dtln.streaming.backends.Backend"' in done.stdout
    assert 'Revealed type is "dtln.streaming.engine.StreamingDenoiser"' in done.stdout


@pytest.mark.parametrize("kind", [None, *(name for name, kind in EXPORT_KINDS.items() if not kind.quantised)])
def test_denoise_gives_what_run_evaluation_gives(tmp_path, kind):
    (tmp_path / "noisy").mkdir()
    samples = 1e-2 * speech_like(16000) + np.float32(1e-3)  # too quiet, with an offset
    soundfile.write(tmp_path / "noisy" / "a.wav", samples, 16000, subtype="FLOAT")
    assert run_evaluation.main(["-i", str(tmp_path / "noisy"), "-o", str(tmp_path / "out")]) == 0
    expected, _ = soundfile.read(tmp_path / "out" / "a.wav", dtype="float32")
    denoised = dtln.denoise(samples, backend=None if kind is None else dtln.load(kind))
    assert denoised.dtype == np.float32 and np.std(denoised) > 1e-4
    np.testing.assert_allclose(denoised, expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def backend():
    return dtln.load("onnx-stream")


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("shape", [(6001,), (6001, 2), (1, 1), (0,), (0, 2)])
def test_shape_rate_and_type_come_back(backend, rate, shape):
    samples = 0.1 * np.random.default_rng(0).standard_normal(shape)
    for dtype in (np.float32, np.float64):
        denoised = dtln.denoise(samples.astype(dtype), rate, backend=backend)
        assert denoised.shape == shape and denoised.dtype == dtype and np.all(np.isfinite(denoised))


def test_channels_are_denoised_by_themselves(backend):
    left, right = speech_like(8000), 0.1 * speech_like(8000, 1)
    both = dtln.denoise(np.stack([left, right], axis=1), backend=backend)
    np.testing.assert_array_equal(both[:, 0], dtln.denoise(left, backend=backend))
    np.testing.assert_array_equal(both[:, 1], dtln.denoise(right, backend=backend))


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_integers_are_samples_over_their_whole_range(backend, dtype):
    full_scale = float(np.iinfo(dtype).max) + 1
    samples = (speech_like(8000) * full_scale).astype(dtype)
    denoised = dtln.denoise(samples, backend=backend)
    assert denoised.dtype == dtype
    expected = dtln.denoise(samples / full_scale, backend=backend)
    np.testing.assert_allclose(denoised / full_scale, expected, rtol=0, atol=1 / 32768)
    loudest = np.tile(np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype).repeat(20), 100)
    assert np.std(dtln.denoise(loudest, backend=backend) / full_scale) < 1  # nothing wraps round


def test_rates_there_and_back_stay_aligned(backend):
    samples = speech_like(16000)
    denoised = dtln.denoise(resample(samples, 16000, 48000), 48000, backend=backend)
    expected = dtln.denoise(samples, backend=backend)
    assert snr_db(expected, denoised[::3]) > 20 > snr_db(expected[1:], expected[:-1])


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(9, np.uint8), 16000, "type uint8 were given. Expected float32"),
        (np.zeros(9, complex), 16000, "type complex128"),
        (np.zeros((2, 3, 4)), 16000, r"shape \(2, 3, 4\) were given. Expected \(L,\) or \(L, channels\)"),
        (np.zeros((2, 16000)), 16000, "transpose what has the channels first"),
        (np.zeros(9), 0, "sample rate of 0 was given"),
        (np.zeros(9), 0.5, "sample rate of 0.5 was given"),
        (np.zeros(9), "16000", "sample rate of '16000' was given. Expected a whole number of Hz above 0"),
        (np.zeros(9), None, "sample rate of None was given"),
        (np.zeros(9), np.nan, "sample rate of nan was given"),
        (np.array([0.0, np.nan]), 16000, "samples with NaN or Inf"),
        (np.array([0.0, -np.inf]), 16000, "samples with NaN or Inf"),
        (np.array([0.0, 20000.0]), 16000, "peak of 20000 were given. .* divide 16-bit samples by 32768"),
    ],
)
def test_samples_that_cannot_be_meant_are_refused(samples, rate, message):
    with pytest.raises(ValueError, match=message):
        dtln.denoise(samples, rate)


@pytest.mark.parametrize(
    ("settings", "message"), [({"level": "loud"}, "level 'loud' was given. Expected one of 'auto'")]
)
def test_settings_that_there_are_not_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dtln.denoise(np.zeros(9), **settings)


@pytest.mark.parametrize(("gain", "offset"), [(1e-2, 0), (20, 0), (0.5, 0.3)])
def test_level_and_offset_make_no_difference(backend, gain, offset):
    samples = speech_like(16000)
    expected = dtln.denoise(samples, backend=backend)
    denoised = dtln.denoise(gain * samples + offset, backend=backend) / gain
    assert snr_db(expected, denoised) > 20
    raw = dtln.denoise(gain * samples + offset, backend=backend, level="raw") / gain
    assert snr_db(expected, raw) < snr_db(expected, denoised) - 1
    np.testing.assert_array_equal(expected, dtln.denoise(samples, backend=backend, level="raw"))


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.int32])
def test_strength_mixes_the_samples_in(backend, dtype):
    samples = speech_like(8000).astype(np.float64)
    samples = samples.astype(dtype) if dtype == np.float64 else (samples * np.iinfo(dtype).max).astype(dtype)
    full, half, limited = (
        dtln.denoise(samples, 48000, backend=backend, **settings).astype(np.float64)
        for settings in ({}, {"strength": 0.5}, {"attenuation_limit_db": 6.0206})
    )
    scale = np.abs(samples).max()
    np.testing.assert_allclose(half / scale, (0.5 * full + 0.5 * samples) / scale, rtol=0, atol=1e-4)
    np.testing.assert_allclose(limited / scale, half / scale, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(dtln.denoise(samples, 48000, backend=backend, strength=0), samples)


def test_high_band_comes_back_where_it_is_asked_for(backend):
    """Speech at 32 kHz whose band from 4 to 8 kHz is mirrored above 8 kHz."""
    samples = resample(speech_like(16000), 16000, 32000)
    samples += samples * np.cos(np.pi * np.arange(len(samples)))
    without, kept = (dtln.denoise(samples, 32000, backend=backend, keep_high_band=keep) for keep in (False, True))
    powers = [np.abs(np.fft.rfft(signal)[8200 * len(samples) // 32000 :]) ** 2 for signal in (without, kept)]
    assert np.sum(powers[0]) < 1e-3 * np.sum(powers[1])


def test_streaming_denoiser_opens_the_default(backend):
    denoiser = dtln.StreamingDenoiser()
    samples = speech_like(3000)
    np.testing.assert_allclose(denoiser.denoise(samples), dtln.denoise(samples, backend=backend), rtol=0, atol=1e-4)


def test_default_is_the_first_kind_that_can_run(tmp_path, monkeypatch):
    assert dtln.load().runtime == "ai_edge_litert"
    monkeypatch.setattr(ExportKind, "installed_runtime", lambda self: "onnxruntime" * self.name.startswith("onnx"))
    assert isinstance(dtln.load(), backends.ONNXStreamBackend)
    with pytest.raises(FileNotFoundError, match="holds no model files such as model_1.tflite"):
        dtln.load(model_dir=tmp_path)
    with pytest.raises(ValueError, match="unknown kind of model 'torch'"):
        dtln.load("torch")


def test_missing_packages_are_told_with_the_remedy(monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(MissingPackageError, match=r'needs the package soxr: pip install ".*\[eval\]"'):
        dtln.denoise(np.zeros(900), 8000, backend=backend)
    monkeypatch.setattr(ExportKind, "installed_runtime", lambda self: None)
    monkeypatch.setattr(backends, "TFLITE_RUNTIMES", {"none": ("no_such_runtime", "Interpreter")})
    with pytest.raises(MissingRuntimeError, match=r'pip install ".*\[live\]" \(or'):
        dtln.denoise(np.zeros(900))


def test_table_names_the_runtimes_that_the_back_ends_look_for():
    modules = [module.partition(".")[0] for module, _ in backends.TFLITE_RUNTIMES.values()]
    for name, kind in EXPORT_KINDS.items():
        if name.startswith("tflite"):
            assert list(kind.runtimes) == modules
