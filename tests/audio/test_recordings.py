"""dtln.audio: padding, reading of good and bad files, resampling, writing."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.audio.folders import find_audio_files, pair_files
from dtln.audio.headers import AudioInfo, SampleFormat, audio_info
from dtln.audio.reading import read_audio, read_stretch
from dtln.audio.resampling import resample, resampled_length
from dtln.audio.writing import writable_format, write_audio
from dtln.blocks import crop_overlap, pad_for_overlap, whole_blocks
from dtln.errors import AudioFileError
from dtln.files import complete_file

REPOSITORY = Path(__file__).resolve().parents[2]


def header_of(path: Path) -> bytearray:
    return bytearray(path.read_bytes())


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


# ----------------------------------------------------------------------------------------------------- lengths, padding


@pytest.mark.parametrize(("length", "padded"), [(0, 512), (1, 512), (512, 512), (513, 640), (640, 640), (641, 768)])
def test_whole_blocks(length, padded):
    assert whole_blocks(length) == padded


def test_crop_takes_off_what_pad_put_on(noise):
    signal = noise(1000, 2).T
    padded = pad_for_overlap(signal)
    assert padded.shape == (2, 384 + 1000 + 384)
    assert not padded[:, :384].any() and not padded[:, -384:].any()
    np.testing.assert_array_equal(crop_overlap(padded, 1000), signal)


def test_module_needs_numpy_only():
    code = "import sys, dtln.audio; print({'soundfile', 'soxr', 'tensorflow', 'keras'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert result.stdout.strip() == "set()"


# -------------------------------------------------------------------------------------------------------- reading: good


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


# --------------------------------------------------------------------------------------------------------- reading: bad


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
        ("a.wav", bad_wav_from(lambda b: b[:30]), "cannot be read as audio .*No 'data' chunk"),
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
def test_mp3_whose_length_is_estimated_too_short(tmp_path, rate):
    path, white = tmp_path / "a.mp3", 0.1 * np.random.default_rng(0).standard_normal(64000)
    soundfile.write(path, white, rate, bitrate_mode="VARIABLE", compression_level=0.3)
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 100) :])
    with pytest.raises(AudioFileError, match=r"a.mp3: does not say that it holds 65664 samples .* convert it"):
        read_audio(path)


def test_flac_of_unknown_length(tmp_path, noise):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(16000), 16000)
    content = header_of(path)
    content[21] &= 0xF0  # the 36 bits of the length in STREAMINFO
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match="does not say how many samples"):
        read_audio(path)


# -------------------------------------------------------------------------------------------------------------- folders


def test_find_audio_files(tmp_path):
    (tmp_path / "sub.wav").mkdir()
    for name in ("b.WAV", "a.Flac", "sub.wav/c.ogg", "notes.txt", ".hidden.wav", "d.raw"):
        (tmp_path / name).touch()
    (tmp_path / "dangling.wav").symlink_to("nowhere")
    (tmp_path / "sub.wav" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio_files(tmp_path)]
    assert found == ["a.Flac", "b.WAV", "dangling.wav", "sub.wav/c.ogg"]


def test_find_audio_files_refuses(tmp_path, monkeypatch):
    with pytest.raises(AudioFileError, match="missing: expected a folder of audio files, found nothing"):
        find_audio_files(tmp_path / "missing")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AudioFileError, match="found a file"):
        find_audio_files(tmp_path / "notes.txt")
    with pytest.raises(AudioFileError, match="holds no audio files"):
        find_audio_files(tmp_path)

    def locked(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(AudioFileError, match="cannot be listed .Permission denied"):
        find_audio_files(tmp_path)


# ----------------------------------------------------------------------------------------------------------- resampling


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
    with pytest.raises(ModuleNotFoundError, match="from 8000 Hz to 16000 Hz needs the package soxr: pip install soxr"):
        resample(np.zeros(8), 8000, 16000)


# -------------------------------------------------------------------------------------------------------------- writing


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


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(AudioFileError, match="a.wav: cannot be written as WAV PCM_16 at 16000 Hz with 1 channels"):
        write_audio(tmp_path / "a.wav", np.zeros(10), 16000, SampleFormat("WAV", "PCM_16"))
    assert os.listdir(tmp_path) == []


def test_complete_file_keeps_the_old_one_on_error(tmp_path):
    path = tmp_path / ("long name " * 20 + ".txt")
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), complete_file(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt" and path.read_text() == "old"
        raise RuntimeError("half way")
    assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 1
    with complete_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and len(os.listdir(tmp_path)) == 1
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


# --------------------------------------------------------------------------------------------------- noisy and clean


def test_pairs_by_name_and_by_fileid():
    noisy = ["deep/a.wav", "book_snr-5_tl-20_fileid_12.wav", "mix_fileid_7.flac", "x_fileid_007_denoised.wav"]
    with_ids = ["clean_fileid_12.wav", "deep/a.flac", "mix_fileid_7.flac", "clean_fileid_120.wav", "left_over.wav"]
    assert pair_files(noisy[:3], with_ids) == [
        ("deep/a.wav", "deep/a.flac"),
        ("book_snr-5_tl-20_fileid_12.wav", "clean_fileid_12.wav"),
        ("mix_fileid_7.flac", "mix_fileid_7.flac"),
    ]
    assert pair_files(noisy[3:], with_ids) == [(noisy[3], "mix_fileid_7.flac")]
    both = ["mix_fileid_7.wav", "clean_fileid_7.wav"]
    assert pair_files(["mix_fileid_7.wav"], both) == [("mix_fileid_7.wav", "mix_fileid_7.wav")]


@pytest.mark.parametrize(
    ("noisy", "clean", "message"),
    [
        (["a.wav", "b.wav"], ["a.wav"], r"^b.wav: has no partner in the other folder \(1 such files\)"),
        (["a.wav"], ["a.wav", "a.flac"], "^a.wav: has 2 partners, a.wav and a.flac among them"),
        (["a_fileid_1.wav"], ["b_fileid_1.wav", "c_fileid_01.wav"], "^c_fileid_01.wav: has the same fileid as b_"),
    ],
)
def test_pairs_that_cannot_be_made(noisy, clean, message):
    with pytest.raises(AudioFileError, match=message):
        pair_files(noisy, clean)
