"""dtln.audio.writing: sample formats and clipping."""

from __future__ import annotations

import numpy as np
import pytest

from dtln.audio.headers import SampleFormat
from dtln.audio.reading import read_audio
from dtln.audio.writing import writable_format, write_audio


@pytest.mark.parametrize(("subtype", "clipped", "peak"), [("PCM_16", 2, 32767 / 32768), ("FLOAT", 0, 1.5)])
def test_clipping_is_counted(tmp_path, subtype, clipped, peak):
    signal = np.array([1.5, 0.0, -2.0, 1.0, -1.0], np.float32)
    assert write_audio(tmp_path / "a.wav", signal, 16000, SampleFormat("WAV", subtype)) == clipped
    assert read_audio(tmp_path / "a.wav", mono=True)[0][0] == pytest.approx(peak)


@pytest.mark.parametrize(
    ("container", "subtype", "bits"), [("WAV", "PCM_U8", 8), ("WAV", "PCM_16", 16), ("FLAC", "PCM_24", 24)]
)
def test_samples_take_the_nearest_step(tmp_path, container, subtype, bits):
    steps = np.array([0.4, -0.4, 0.6, -0.6, 10.9, -10.9], np.float32)
    write_audio(tmp_path / "a.x", steps / 2 ** (bits - 1), 16000, SampleFormat(container, subtype))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.x", mono=True)[0] * 2 ** (bits - 1), np.round(steps))


@pytest.mark.parametrize(
    ("sample_format", "rate", "channels", "expected"),
    [
        (("FLAC", "PCM_24"), 16000, 1, ("FLAC", "PCM_24")),
        (("OGG", "OPUS"), 44100, 1, ("WAV", "PCM_16")),
        (("MP3", "MPEG_LAYER_III"), 11000, 1, ("WAV", "PCM_16")),
        (("FLAC", "PCM_24"), 16000, 9, ("WAV", "PCM_24")),
        (("WAV", "GSM610"), 16000, 1, ("WAV", "PCM_16")),  # gives back whole blocks only
        (("AIFF", "PCM_S8"), 16000, 1, ("WAV", "PCM_U8")),  # gives back even lengths only
        (("WVE", "ALAW"), 16000, 1, ("WAV", "ALAW")),  # 8 kHz only
        (("CAF", "ALAC_20"), 655350, 9, ("WAV", "PCM_24")),
    ],
)
def test_writable_format(sample_format, rate, channels, expected):
    assert writable_format(SampleFormat(*sample_format), rate, channels) == SampleFormat(*expected)
