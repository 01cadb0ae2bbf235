"""dtln.audio.reading: good and bad files, stretches of files."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.audio.headers import AudioInfo, SampleFormat, audio_info
from dtln.audio.reading import read_audio, read_stretch
from dtln.audio.resampling import resampled_length
from dtln.audio.writing import write_audio
from dtln.errors import AudioFileError

REPOSITORY = Path(__file__).resolve().parents[2]


def header_of(path: Path) -> bytearray:
    return bytearray(path.read_bytes())


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def test_module_needs_numpy_only():
    code = "import sys, dtln.audio; print({'soundfile', 'soxr', 'tensorflow', 'keras'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "container", "subtype", "tolerance"),
    [
        ("a.wav", "WAV", "PCM_U8", 2**-8),
        ("a.wav", "WAV", "PCM_16", 2**-16),
        ("a.wav", "WAVEX", "PCM_24", 2**-24),
        ("a.wav", "WAV", "PCM_32", 2**-24),
        ("a.WAV", "WAV", "FLOAT", 0),
        ("a.wav", "WAV", "DOUBLE", 0),
        ("a.flac", "FLAC", "PCM_16", 2**-16),
        ("a.rf64", "RF64", "PCM_16", 2**-16),
        ("a.aiff", "AIFF", "PCM_16", 2**-16),
        ("a.au", "AU", "PCM_16", 2**-16),
        ("a.ogg", "OGG", "VORBIS", 0.1),
        ("a.opus", "OGG", "OPUS", 0.1),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_write_and_read_back(tmp_path, noise, name, container, subtype, tolerance):
    signal, sample_format = noise(12345, 2), SampleFormat(container, subtype)
    assert write_audio(tmp_path / name, signal, 16000, sample_format) == 0
    assert audio_info(tmp_path / name) == AudioInfo(16000, 2, 12345, sample_format)
    samples, rate = read_audio(tmp_path / name)
    assert rate == 16000 and samples.shape == (12345, 2) and samples.dtype == np.float32
    np.testing.assert_allclose(samples, signal, atol=tolerance)
    mono, _ = read_audio(tmp_path / name, mono=True)
    np.testing.assert_allclose(mono, samples.mean(axis=1), atol=1e-7)
    assert os.listdir(tmp_path) == [name]  # no partial file stays behind


def test_read_zero_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), 44100)
    samples, rate = read_audio(tmp_path / "a.wav", sample_rate=16000)
    assert samples.shape == (0, 2) and rate == 16000


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_read_wav_from_a_pipe(tmp_path, noise, size):
    soundfile.write(tmp_path / "a.wav", noise(1000), 16000)
    content = header_of(tmp_path / "a.wav")
    content[40:44] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(content)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 1000


def test_read_wav_with_chunks_around_the_samples(tmp_path, noise):
    soundfile.write(tmp_path / "a.wav", noise(1001, 1), 16000, subtype="PCM_U8")
    content = header_of(tmp_path / "a.wav")
    note = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    (tmp_path / "a.wav").write_bytes(content[:36] + note + content[36:] + note)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 1001


def test_read_big_endian_wav(tmp_path, noise):
    soundfile.write(tmp_path / "a.wav", noise(1000), 16000, endian="BIG")
    assert len(read_audio(tmp_path / "a.wav")[0]) == 1000
    cut(tmp_path / "a.wav", 0.5)
    with pytest.raises(AudioFileError, match="truncated"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "from_the_start"),
    [
        ("a.wav", "PCM_16", 16000, False),
        ("a.wav", "PCM_24", 44100, False),
        ("a.flac", "PCM_16", 8000, False),
        ("a.opus", "OPUS", 48000, False),
        ("a.ogg", "VORBIS", 16000, True),
        ("a.mp3", "MPEG_LAYER_III", 44100, True),
        ("a.wav", "GSM610", 8000, True),  # libsndfile cannot seek in it
    ],
)
def test_read_stretch(tmp_path, noise, monkeypatch, name, subtype, rate, from_the_start):
    path, channels = tmp_path / name, 1 if subtype == "GSM610" else 2
    soundfile.write(
        path, noise(12 * rate, channels), rate, subtype=subtype, format="OGG" if subtype == "OPUS" else None
    )
    whole, _ = read_audio(path, 16000, mono=True)
    decoded, read = [], soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda *args, **named: decoded.append(read(*args, **named)) or decoded[-1]
    )
    for start, length in (
        (0, 5000),
        (777, 30000),
        (90001, 16000),
        (len(whole) - 4000, 4000),
        (len(whole) - 4000, 5000),
    ):
        decoded.clear()
        stretch = read_stretch(path, start, length, 16000)
        assert stretch.shape == (min(length, len(whole) - start),) and stretch.dtype == np.float32
        assert np.max(np.abs(stretch - whole[start : start + length])) < (2e-3 if subtype == "OPUS" else 1e-5)
        before = start * rate / 16000 if from_the_start else 0
        assert sum(map(len, decoded)) < before + length * rate / 16000 + 0.1 * rate


def bad_link(path: Path) -> None:
    path.symlink_to("nowhere.wav")


def bad_wav_from(change):
    def make(path: Path) -> None:
        soundfile.write(path, np.full(16000, 0.1), 16000, subtype="PCM_16")
        path.write_bytes(change(path.read_bytes()))

    return make


def bad_cut(container: str, subtype: str, seconds: int = 4):
    def make(path: Path) -> None:
        signal = 0.1 * np.random.default_rng(0).standard_normal(seconds * 16000)
        soundfile.write(path, signal, 16000, format=container, subtype=subtype)
        cut(path, 0.7)

    return make


def bad_value(value: float):
    def make(path: Path) -> None:
        soundfile.write(path, np.array([0.0, value, 0.1, value]), 16000, subtype="FLOAT")

    return make


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.wav", lambda path: None, "expected an audio file, found nothing"),
        ("a.wav", Path.mkdir, "expected an audio file, found a folder"),
        ("a.wav", os.mkfifo, "found something that is no file"),
        ("a.wav", bad_link, "is a link to nowhere.wav, which does not exist. Mend or remove the link"),
        ("a.wav", Path.touch, "is a file of 0 bytes"),
        ("a.wav", lambda path: path.write_text("not a recording " * 9), r"cannot be read as audio \(.*Format not rec"),
        ("a.wav", bad_wav_from(lambda b: b[:30]), "is truncated: the header breaks off"),
        ("a.wav", bad_wav_from(lambda b: b[:42]), "is truncated: the header breaks off"),
        ("a.wav", bad_wav_from(lambda b: b[:44]), "announces 32000 bytes of samples, 0 are there"),
        ("a.wav", bad_wav_from(lambda b: b[:1044]), "announces 32000 bytes of samples, 1000 are there"),
        (
            "a.wav",
            bad_wav_from(lambda b: b[:40] + bytes(4) + b[44:]),
            "was never closed: .* 32000 bytes of them follow",
        ),
        ("a.wav", bad_cut("WAV", "IMA_ADPCM"), "is truncated: the header announces"),
        ("a.flac", bad_cut("FLAC", "PCM_16"), "is truncated or damaged: the header announces 64000 samples"),
        ("a.ogg", bad_cut("OGG", "VORBIS"), "is truncated: its last page announces"),
        ("a.ogg", bad_cut("OGG", "VORBIS", 1), "is truncated: its last page announces"),
        ("a.opus", bad_cut("OGG", "OPUS"), "is truncated: its last page announces"),
        ("a.mp3", bad_cut("MP3", "MPEG_LAYER_III"), "is truncated: the header announces 64000 samples"),
        ("a.aiff", bad_cut("AIFF", "PCM_16"), "is truncated: the header announces"),
        ("a.au", bad_cut("AU", "PCM_24"), "is truncated: the header announces"),
        ("a.w64", bad_cut("W64", "FLOAT"), "is truncated: the header announces"),
        ("a.rf64", bad_cut("RF64", "PCM_16"), "is truncated: the header announces"),
        ("a.wav", bad_value(np.nan), "2 samples are NaN or Inf. Expected finite samples; repair the file"),
        ("a.wav", bad_value(-np.inf), "2 samples are NaN or Inf"),
    ],
)
def test_bad_file(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(AudioFileError, match=message) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize(
    ("before", "after"), [(b"ID3\x03\x00\x00\x00\x00\x01\x05" + bytes(133), b""), (b"", bytes(900))]
)
def test_mp3_that_does_not_tell_its_length(tmp_path, noise, before, after, rate):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(64000), 16000, bitrate_mode="CONSTANT", compression_level=0.5)
    told, content = read_audio(path, rate)[0], path.read_bytes()
    second = content.index(content[:2], 100)  # the first frame holds the header that tells it
    path.write_bytes(before + content[second:] + after)  # the size, from which the length is estimated, says too much
    samples, _ = read_audio(path, rate)
    assert len(samples) == resampled_length(65664, 16000, rate)  # the delay of the encoder in it
    assert soundfile.info(path).frames > 65664
    delay = int(np.argmax(np.correlate(samples[:, 0], told[:, 0], "valid")))
    np.testing.assert_allclose(samples[delay:][300 : len(told) - 300], told[300:-300], atol=1e-3)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])  # MPEG-2.5, 2 and 1
def test_mp3_whose_length_libsndfile_estimates_too_short(tmp_path, rate):
    path, white = tmp_path / "a.mp3", 0.1 * np.random.default_rng(0).standard_normal(64000)
    soundfile.write(path, white, rate, bitrate_mode="VARIABLE", compression_level=0.3)
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 100) :])
    assert audio_info(path).length == 65664 == len(read_audio(path)[0])


def test_flac_of_unknown_length(tmp_path, noise):
    whole, path = tmp_path / "whole.flac", tmp_path / "a.flac"
    soundfile.write(whole, noise(16000), 16000)
    content = header_of(whole)
    content[21] &= 0xF0  # the 36 bits of the length in STREAMINFO
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert audio_info(path).length == 16000
    np.testing.assert_array_equal(read_audio(path, mono=True)[0], soundfile.read(whole, dtype="float32")[0])
    cut(path, 0.6)
    with pytest.raises(AudioFileError, match="is truncated: its header leaves the length open, and its last frame"):
        read_audio(path)
    assert 4096 <= len(read_audio(path, salvage=True)[0]) <= 0.6 * 16000
