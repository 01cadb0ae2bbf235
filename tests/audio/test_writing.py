"""dtln.audio.writing: sample formats and clipping."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dtln.audio.headers import SampleFormat, audio_info
from dtln.audio.reading import read_audio
from dtln.audio.writing import audio_writer, format_for_name, writable_format, write_audio
from dtln.errors import AudioFileError


@pytest.mark.parametrize(
    ("container", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS"), ("WAV", "PCM_16")]
)
def test_no_samples_are_a_file_that_can_be_read_or_an_error(tmp_path, container, subtype):
    """libsndfile writes nothing, or half a header, in some formats; which ones may differ between its versions."""
    path = tmp_path / f"a.{container.lower()}"
    try:
        write_audio(path, np.zeros(0, np.float32), 16000, SampleFormat(container, subtype))
    except AudioFileError as error:
        assert re.search("holds no samples, and .* cannot be written without any", str(error))
        assert container != "WAV" and not list(tmp_path.iterdir())
    else:
        assert audio_info(path).length == 0


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


@pytest.mark.parametrize(
    ("name", "like", "expected"),
    [
        ("a.wav", ("WAV", "PCM_24"), ("WAV", "PCM_24")),
        ("a.WAV", ("FLAC", "PCM_16"), ("WAV", "PCM_16")),
        ("a.flac", ("WAV", "FLOAT"), ("FLAC", "PCM_24")),
        ("a.flac", ("WAV", "PCM_U8"), ("FLAC", "PCM_16")),
        ("a.wav", ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16")),
        ("a.ogg", ("WAV", "PCM_16"), ("OGG", "VORBIS")),
        ("a.ogg", ("OGG", "OPUS"), ("OGG", "OPUS")),
        ("a.opus", ("WAV", "PCM_16"), ("OGG", "OPUS")),
        ("a.mp3", ("WAV", "PCM_16"), ("MP3", "MPEG_LAYER_III")),
        ("a.aif", ("WAV", "PCM_32"), ("AIFF", "PCM_32")),
    ],
)
def test_format_for_name(name, like, expected):
    assert format_for_name(name, SampleFormat(*like), 16000, 1) == SampleFormat(*expected)


def test_names_that_tell_no_format_that_can_be_written():
    pcm = SampleFormat("WAV", "PCM_16")
    for name in ("out", "out.txt", "out.raw"):
        with pytest.raises(AudioFileError, match=f"{name}: its name tells no format. Expected a name that ends"):
            format_for_name(name, pcm, 16000, 1)
    with pytest.raises(AudioFileError, match="a.mp3: MP3 cannot be written at 16000 Hz with 3 channels. Choose"):
        format_for_name("a.mp3", pcm, 16000, 3)


def test_error_of_the_caller_is_not_one_of_writing(tmp_path):
    """A bug while a file is written keeps its type, and leaves no file."""
    pcm = SampleFormat("WAV", "PCM_16")
    with pytest.raises(ValueError, match="a bug"), audio_writer(tmp_path / "a.wav", 16000, 1, pcm) as write:
        write(np.zeros(100, np.float32))
        raise ValueError("a bug")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff"])
def test_tags_come_back(tmp_path, noise, name):
    sample_format = format_for_name(name, SampleFormat("WAV", "PCM_16"), 16000, 1)
    tags = {"title": "Am Ofen", "artist": "A. Sprecherin", "comment": "x" * 300}
    if not name.endswith("aiff"):
        tags |= {"date": "2024"}
    if name.endswith(("wav", "flac", "ogg", "opus")):
        tags |= {"title": "Gespräch", "album": "Küche", "genre": "Interview", "tracknumber": "3"}
    with audio_writer(tmp_path / name, 16000, 1, sample_format, tags) as write:
        write(noise(4000))
    assert audio_info(tmp_path / name).tags == tags


def test_format_without_tags_leaves_them_out(tmp_path, noise):
    with audio_writer(tmp_path / "a.au", 16000, 1, SampleFormat("AU", "PCM_16"), {"title": "x"}) as write:
        write(noise(4000))
    assert audio_info(tmp_path / "a.au").tags == {} and audio_info(tmp_path / "a.au").length == 4000
