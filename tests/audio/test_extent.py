"""Files whose headers do not say how much sound they hold: none is lost without a word, and complete ones are read."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.audio.headers import audio_info
from dtln.audio.reading import audio_blocks, read_audio
from dtln.errors import AudioFileError, NotAudioError

RATE, LENGTH = 16000, 6000
LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"
ID3V1, LYRICS = b"TAG" + bytes(125), b"LYRICSBEGININD0000200000028LYRICS200"
APE_ITEM = struct.pack("<II", 5, 0) + b"Title\0abcde"
APE = b"APETAGEX" + struct.pack("<4I", 2000, 32 + len(APE_ITEM), 1, 0xA0000000) + bytes(8) + APE_ITEM
APE += b"APETAGEX" + struct.pack("<4I", 2000, 32 + len(APE_ITEM), 1, 0x80000000) + bytes(8)
PCM = [("a.wav", "WAV"), ("a.rf64", "RF64"), ("a.aiff", "AIFF"), ("a.au", "AU"), ("a.w64", "W64"), ("a.caf", "CAF")]
PCM += [("a.svx", "SVX"), ("b.wav", "WAVEX")]
STREAMS = [("a.flac", "FLAC", None), ("a.ogg", "OGG", "VORBIS"), ("a.opus", "OGG", "OPUS"), ("a.mp3", "MP3", None)]


def content_of(folder: Path, noise, name: str, container: str, subtype: str | None = "PCM_16") -> bytes:
    """The bytes of a recording of noise."""
    path = folder / f"whole-{name}"
    soundfile.write(path, noise(LENGTH), RATE, format=container, subtype=subtype)
    return path.read_bytes()


def require_refused(path: Path, message: str) -> None:
    """Asserts that reading and asking refuse a file, and name the remedy."""
    for read in (read_audio, audio_info, lambda path: list(audio_blocks(path, 8000, mono=True))):
        with pytest.raises(
            AudioFileError, match=rf"{message}.*--salvage \(in Python salvage=True\) reads what is there"
        ):
            read(path)


def require_salvaged(path: Path, length: int, announced: int, start: np.ndarray | None = None) -> None:
    samples, _ = read_audio(path, mono=True, salvage=True)
    info = audio_info(path, salvage=True)
    assert len(samples) == info.length == length
    assert info.salvaged == f"{length} samples per channel are there, the header announces {announced}"
    if start is not None:
        np.testing.assert_allclose(samples[: len(start)], start, atol=1e-3)


@pytest.mark.parametrize(("name", "container"), PCM)
def test_sound_behind_the_announced_end(tmp_path, noise, name, container):
    content, path = content_of(tmp_path, noise, name, container), tmp_path / name
    path.write_bytes(content + content[-4000:])
    require_refused(
        path, f"goes on behind its announced end: the header announces {2 * LENGTH} bytes of samples, 16000"
    )
    require_salvaged(path, LENGTH + 2000, LENGTH, noise(LENGTH))


@pytest.mark.parametrize(("name", "container"), PCM)
def test_truncated_files_are_salvaged(tmp_path, noise, name, container):
    content, path = content_of(tmp_path, noise, name, container), tmp_path / name
    path.write_bytes(content[:-5001])
    require_refused(path, "is truncated: the header announces")
    require_salvaged(path, LENGTH - 2501, LENGTH, noise(LENGTH)[: LENGTH - 2501])


@pytest.mark.parametrize(("name", "container"), [pair for pair in PCM if pair[1] != "AU"])
def test_files_joined_end_to_end(tmp_path, noise, name, container):
    content, path = content_of(tmp_path, noise, name, container), tmp_path / name
    path.write_bytes(content * 3)
    require_refused(path, f"holds 3 recordings joined end to end: {2 * len(content)} bytes follow the first")
    require_salvaged(path, 3 * LENGTH, LENGTH, np.tile(noise(LENGTH), 3))


@pytest.mark.parametrize(("name", "container", "subtype"), STREAMS)
def test_streams_joined_end_to_end(tmp_path, noise, name, container, subtype):
    content, path = content_of(tmp_path, noise, name, container, subtype), tmp_path / name
    path.write_bytes(content * 2)
    if container == "MP3":  # decoded as one stream, with what the encoder put around the sound
        require_refused(path, "goes on behind its announced end: the header announces")
        assert 2 * LENGTH < len(read_audio(path, salvage=True)[0]) < 2 * LENGTH + 6 * 1152
        return
    require_refused(path, f"holds 2 .* joined end to end: {len(content)} bytes follow the first")
    require_salvaged(path, 2 * LENGTH, LENGTH)
    whole = read_audio(tmp_path / f"whole-{name}", mono=True)[0]
    np.testing.assert_allclose(read_audio(path, mono=True, salvage=True)[0], np.tile(whole, 2), atol=1e-5)


@pytest.mark.parametrize("between", [ID3V1, APE + ID3V1, b"ID3\3\0\0\0\0\1\5" + bytes(133), bytes(700), LYRICS + ID3V1])
def test_mp3s_joined_with_tags_between_them(tmp_path, noise, between):
    content, path = content_of(tmp_path, noise, "a.mp3", "MP3", None), tmp_path / "a.mp3"
    path.write_bytes(content + between + content + ID3V1)
    require_refused(path, "goes on behind its announced end: the header announces")
    assert 2 * LENGTH < len(read_audio(path, salvage=True)[0]) < 2 * LENGTH + 6 * 1152
    soundfile.write(tmp_path / "b.mp3", noise(LENGTH), 32000)
    path.write_bytes(content + between + (tmp_path / "b.mp3").read_bytes())
    require_refused(path, "holds .* frames of another rate or layer than its first")


def test_joined_files_of_two_rates_are_not_mixed_up(tmp_path, noise):
    soundfile.write(tmp_path / "b.wav", noise(LENGTH), 8000)
    (tmp_path / "a.wav").write_bytes(content_of(tmp_path, noise, "a.wav", "WAV") + (tmp_path / "b.wav").read_bytes())
    info = audio_info(tmp_path / "a.wav", salvage=True)
    assert info.length == LENGTH
    assert "what follows has 8000 Hz and 1 channels, what comes before 16000 Hz" in info.salvaged


def wav(size: int, samples: bytes, magic: bytes = b"RIFF", riff: int = 0, before: bytes = b"") -> bytes:
    """A wav of 16 bits and one channel whose header announces `size` bytes of samples."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return (
        magic
        + struct.pack("<I", riff)
        + b"WAVE"
        + before
        + b"fmt "
        + form
        + b"data"
        + struct.pack("<I", size)
        + samples
    )


def test_files_that_were_never_closed(tmp_path, noise):
    samples = (noise(LENGTH) * 32767).astype("<i2").tobytes()
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, 0, 0, 0)
    for content in (
        wav(0, samples),
        wav(0xFFFFFFFF, samples, b"RF64", 0xFFFFFFFF, ds64),
        wav(0xFFFFFFFF, samples, b"BW64", 0xFFFFFFFF, ds64),
        b".snd" + struct.pack(">5I", 24, 0, 3, RATE, 1) + samples,
    ):
        path = tmp_path / "a.wav"
        path.write_bytes(content)
        require_refused(path, "was never closed: its header announces no samples, 12000 bytes of them follow")
        require_salvaged(path, LENGTH, 0)


def test_size_that_wrapped_at_4_gib(tmp_path, noise):
    path, samples = tmp_path / "a.wav", (noise(LENGTH) * 32767).astype("<i2").tobytes()
    with open(path, "wb") as file:  # the rest is a hole, which takes no space
        file.write(wav(len(samples), samples))
        file.truncate(44 + (1 << 32) + len(samples))
    with pytest.raises(AudioFileError, match=r"announces 12000 bytes of samples, 4294979296 are there.*--salvage"):
        audio_info(path)


@pytest.mark.parametrize("announced", [0xFFFFFFFF, 0x7FFFF000])
def test_streams_beyond_4_gib_are_read_to_their_end(tmp_path, noise, announced):
    path, samples = tmp_path / "a.wav", (noise(LENGTH) * 32767).astype("<i2").tobytes()
    length = (1 << 31) + LENGTH
    with open(path, "wb") as file:
        file.write(wav(announced, b"", riff=announced))
        file.seek(44 + 2 * (length - LENGTH))
        file.write(samples)
    assert audio_info(path).length == length
    stretch = np.concatenate([*audio_blocks(path, stretch=(length - LENGTH, length))])[:, 0]
    np.testing.assert_allclose(stretch, noise(LENGTH), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "container", "subtype", "behind"),
    [
        ("a.wav", "WAV", "PCM_16", LIST),
        ("a.wav", "WAV", "PCM_16", b"id3 " + struct.pack("<I", 10) + b"ID3" + bytes(7) + LIST),
        ("a.wav", "WAV", "PCM_16", b"bext" + struct.pack("<I", 700) + bytes(602)),  # cut off, behind whole samples
        ("a.wav", "WAV", "PCM_16", b"XYZ " + struct.pack("<I", 4) + b"1234"),
        ("a.wav", "WAV", "PCM_16", bytes(4000)),
        ("a.wav", "WAV", "PCM_16", LIST + bytes(500)),
        ("a.wav", "WAV", "PCM_16", ID3V1),
        ("a.wav", "WAV", "PCM_16", b"\x17\x03"),
        ("a.aiff", "AIFF", "PCM_16", b"NAME" + struct.pack(">I", 3) + b"abc\0"),
        ("a.au", "AU", "PCM_16", bytes(100)),
        ("a.caf", "CAF", "PCM_16", b"info" + struct.pack(">QI", 4, 0)),
        ("a.flac", "FLAC", "PCM_16", ID3V1),
        ("a.flac", "FLAC", "PCM_16", bytes(300)),
        ("a.ogg", "OGG", "VORBIS", bytes(300)),
        ("a.mp3", "MP3", None, ID3V1),
        ("a.mp3", "MP3", None, APE + ID3V1),
        ("a.mp3", "MP3", None, bytes(1000)),
    ],
)
def test_what_is_no_sound_behind_the_samples_is_none(tmp_path, noise, name, container, subtype, behind):
    path = tmp_path / name
    path.write_bytes(content_of(tmp_path, noise, name, container, subtype) + behind)
    assert len(read_audio(path)[0]) == LENGTH == audio_info(path).length
    assert audio_info(path, salvage=True).salvaged is None


def test_nist_files_by_their_sample_count(tmp_path, noise):
    content, path = content_of(tmp_path, noise, "a.nist", "NIST"), tmp_path / "a.nist"
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == LENGTH
    path.write_bytes(content[:-2000])
    require_refused(path, f"is truncated: the header announces {LENGTH} samples per channel, {LENGTH - 1000} are there")
    path.write_bytes(content + bytes(2000))
    require_refused(path, "goes on behind its announced end")
    assert len(read_audio(path, salvage=True)[0]) == LENGTH + 1000


def test_odd_samples_without_padding_before_the_next_chunk(tmp_path, noise):
    path = tmp_path / "a.wav"
    content = content_of(tmp_path, noise, "a.wav", "WAV", "PCM_U8")
    path.write_bytes(content[:40] + struct.pack("<I", LENGTH - 1) + content[44:-1] + LIST)
    assert len(read_audio(path)[0]) == LENGTH - 1


def test_flac_header_that_announces_too_little_or_too_much(tmp_path, noise):
    content, path = bytearray(content_of(tmp_path, noise, "a.flac", "FLAC")), tmp_path / "a.flac"
    for announced, message in ((1000, "goes on behind its announced end"), (9000, "is truncated")):
        content[22:26] = announced.to_bytes(4, "big")
        path.write_bytes(content)
        require_refused(path, f"{message}: the header announces {announced} samples per channel, {LENGTH} are there")
        require_salvaged(path, LENGTH, announced, noise(LENGTH))


def test_flac_that_ends_within_its_header(tmp_path, noise):
    content, path = content_of(tmp_path, noise, "a.flac", "FLAC"), tmp_path / "a.flac"
    for size in (4, 8, 12, 30, 41, 42, 50):
        path.write_bytes(content[:size])
        with pytest.raises(AudioFileError, match="a.flac: "):
            read_audio(path)
    path.write_bytes(content + content[:30])  # a second one that has hardly begun
    assert len(read_audio(path)[0]) == LENGTH


def test_ogg_without_some_of_its_pages(tmp_path):
    path, white = tmp_path / "a.ogg", 0.1 * np.random.default_rng(0).standard_normal(8 * RATE)
    soundfile.write(path, white, RATE)
    pages = [b"OggS" + page for page in path.read_bytes().split(b"OggS")[1:]]
    assert len(pages) > 5
    path.write_bytes(b"".join(pages[:3] + pages[4:]))
    require_refused(path, r"is damaged: 1 page before byte \d+ are missing")
    assert len(read_audio(path, salvage=True)[0])


def mp3_in_wav(content: bytes, announced: int | None = None, fact: bool = True) -> bytes:
    form = struct.pack("<IHHIIHHHHIHHH", 30, 0x55, 1, RATE, 2000, 1, 0, 12, 1, 2, 144, 1, 1393)
    chunks = b"fmt " + form + (b"fact" + struct.pack("<II", 4, LENGTH) if fact else b"")
    chunks += b"data" + struct.pack("<I", len(content) if announced is None else announced) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize("fact", [True, False])
@pytest.mark.parametrize("announced", [None, 0xFFFFFFFF])
def test_mp3_in_wav_is_read_whole(tmp_path, noise, fact, announced):
    plain, path = tmp_path / "plain.mp3", tmp_path / "a.wav"
    content = content_of(tmp_path, noise, "a.mp3", "MP3", None)
    frames = content[content.index(content[:2], 100) :]  # as programs write it, without a header that tells the length
    plain.write_bytes(frames)
    path.write_bytes(mp3_in_wav(frames, announced, fact))
    assert audio_info(path).sample_format.container == "WAV"
    samples = read_audio(path)[0]
    assert len(samples) == audio_info(path).length
    np.testing.assert_array_equal(samples, read_audio(plain)[0])
    path.write_bytes(mp3_in_wav(frames)[:-300])
    require_refused(path, "is truncated: the header announces")


@pytest.mark.parametrize(
    ("rate", "channels", "message"),
    [
        (1, 1, "its header says 1 channels at 1 Hz, so that it is damaged. Expected at most 256 channels at 1000 to"),
        (999, 1, "at 999 Hz"),
        (2_000_000_000, 1, "at 2000000000 Hz"),
        (16000, 1000, "its header says 1000 channels"),
    ],
)
def test_header_that_says_what_cannot_be(tmp_path, rate, channels, message):
    content = wav(24000, bytes(24000))
    fields = struct.pack("<HIIH", channels, rate, 2 * channels * rate & 0xFFFFFFFF, 2 * channels)
    (tmp_path / "a.wav").write_bytes(content[:22] + fields + content[34:])
    with pytest.raises(AudioFileError, match=message):
        read_audio(tmp_path / "a.wav")


def test_lowest_and_highest_rates_in_use(tmp_path, noise):
    for rate in (4000, 5512, 384000, 768000):
        soundfile.write(tmp_path / "a.wav", noise(1000), rate)
        assert read_audio(tmp_path / "a.wav")[1] == rate


def test_extensions_that_other_files_have(tmp_path, noise):
    matrix = struct.pack("<5I", 0, 50, 50, 0, 2) + b"x\0" + bytes(8 * 2500)  # as MATLAB 4 writes it
    for name, content in {"a.mat": matrix, "a.sf": b"text " * 99, "a.snd": b"text " * 99, "a.iff": b"\1" * 99}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NotAudioError, match=f"{name}: holds no sound that could be recognised"):
            audio_info(tmp_path / name)
    for name in ("a.mat", "a.sf", "a.snd"):
        (tmp_path / name).unlink()
        container = {".mat": "MAT5", ".sf": "IRCAM", ".snd": "AU"}[Path(name).suffix]
        soundfile.write(tmp_path / name, noise(LENGTH), RATE, format=container, subtype="PCM_16")
        assert len(read_audio(tmp_path / name)[0]) == LENGTH
    for name in ("a.wav", "a.au"):  # nearly always recordings
        (tmp_path / name).write_bytes(b"text " * 99)
        with pytest.raises(AudioFileError, match="cannot be read as audio .Format not recognised"):
            audio_info(tmp_path / name)


# ----------------------------------------------------------------------------------------------------------------------
# Damage of all kinds
# ----------------------------------------------------------------------------------------------------------------------


def mutations(content: bytes, rng: np.random.Generator) -> list[tuple[str, bytes]]:
    """A file, damaged in several ways, each with its name."""
    size = len(content)
    position, head = int(rng.integers(size)), int(rng.integers(min(size, 100)))
    flipped, field = bytearray(content), bytearray(content)
    flipped[position] ^= 1 << int(rng.integers(8))
    field[head : head + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", rng.bytes(4)])[:4]
    return [
        ("flip", bytes(flipped)),
        ("field", bytes(field[:size])),
        ("cut", content[:position]),
        ("hole", content[:position] + content[position + int(rng.integers(1, 500)) :]),
        ("insertion", content[:position] + rng.bytes(int(rng.integers(1, 500))) + content[position:]),
        ("doubled", content + content),
        ("garbage behind", content + rng.bytes(int(rng.integers(100, 5000)))),
    ]


FUZZED: list[tuple[str, str, str | None]] = [(n, c, "PCM_16") for n, c in PCM] + STREAMS
FUZZED += [("a.nist", "NIST", None), ("a.voc", "VOC", None), ("c.wav", "WAV", "IMA_ADPCM"), ("d.wav", "WAV", "FLOAT")]


@pytest.mark.parametrize(("name", "container", "subtype"), FUZZED)
def test_damaged_files_are_read_or_refused(tmp_path, noise, name, container, subtype):
    """Nothing but AudioFileError; at least what libsndfile finds is read, and never far more than the file can hold."""
    content, path = content_of(tmp_path, noise, name, container, subtype), tmp_path / name
    rng = np.random.default_rng(sum(name.encode()))
    for kind, damaged in [*mutations(content, rng), *mutations(content, rng)]:
        path.write_bytes(damaged)
        for salvage in (False, True):
            try:
                length = audio_info(path, salvage).length
                assert len(read_audio(path, salvage=salvage)[0]) == length <= 40 * len(damaged), kind
            except AudioFileError as error:
                assert str(error).startswith(f"{path}: "), kind
                continue
            if container != "MP3" and not salvage:  # libsndfile finds frames in garbage, and takes headers for sound
                assert length >= found_by_libsndfile(path), kind
            if kind == "doubled":
                assert length >= 2 * LENGTH - 50, kind
            if kind == "garbage behind" and subtype == "PCM_16":
                assert length > LENGTH, kind


def found_by_libsndfile(path: Path) -> int:
    try:
        return len(soundfile.read(path, frames=40 * LENGTH)[0])
    except (soundfile.SoundFileError, ValueError):
        return 0


def test_frames_of_layer_i_are_shorter_than_a_decoders_delay(tmp_path):
    """What looks like them in a damaged file was an error of arithmetic."""
    frame = bytes.fromhex("ffff9004") + bytes(12 * 288000 // 44100 * 4 - 4)  # 288 kbit/s, 44.1 kHz
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.zeros(4000), 16000, format="MP3", subtype="MPEG_LAYER_III")
    path.write_bytes(frame * 2 + path.read_bytes())
    with pytest.raises(AudioFileError):
        audio_info(path)
    with suppress(AudioFileError):
        audio_info(path, salvage=True)
