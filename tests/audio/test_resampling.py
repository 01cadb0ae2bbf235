"""dtln.audio.resampling: lengths and delays."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from dtln.audio.resampling import resample, resampled_length
from dtln.errors import MissingPackageError, install_line


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("length", [0, 1, 7, 10000, 10001])
def test_resampled_length(noise, rate, length):
    expected = -(-length * 16000 // rate)
    assert resampled_length(length, rate, 16000) == expected
    assert resample(noise(length), rate, 16000).shape == (expected,)
    assert resample(noise(length, 3), rate, 16000).shape == (expected, 3)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_resampling_does_not_delay(rate):
    def tone(sample_rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * 440.0 * np.arange(sample_rate) / sample_rate).astype(np.float32)

    resampled = resample(tone(rate), rate, 16000)
    np.testing.assert_allclose(resampled[400:-400], tone(16000)[400:-400], atol=1e-3)


def test_resampling_without_soxr(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    message = f"from 8000 Hz to 16000 Hz needs the package soxr: {install_line('soxr')}"
    with pytest.raises(MissingPackageError, match=re.escape(message)):
        resample(np.zeros(8), 8000, 16000)
