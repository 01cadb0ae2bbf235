"""Recordings in many formats, and damages of their bytes: what robustness.py throws at the folder run."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

FORMATS = {  # extension: container, subtype and rate in Hz, as soundfile names them
    ".wav": ("WAV", "PCM_16", 16000),
    ".adpcm.wav": ("WAV", "IMA_ADPCM", 16000),
    ".x.wav": ("WAVEX", "PCM_24", 48000),
    ".rf64": ("RF64", "FLOAT", 44100),
    ".aiff": ("AIFF", "PCM_16", 22050),
    ".au": ("AU", "ULAW", 8000),
    ".caf": ("CAF", "ALAC_16", 44100),
    ".flac": ("FLAC", "PCM_16", 44100),
    ".ogg": ("OGG", "VORBIS", 44100),
    ".opus": ("OGG", "OPUS", 48000),
    ".mp3": ("MP3", "MPEG_LAYER_III", 44100),
    ".w64": ("W64", "PCM_16", 16000),
    ".voc": ("VOC", "PCM_16", 16000),
    ".sph": ("NIST", "PCM_16", 16000),
    ".sf": ("IRCAM", "FLOAT", 16000),
    ".8svx": ("SVX", "PCM_16", 16000),
    ".mat": ("MAT5", "FLOAT", 16000),
}
MEDIA = {".m4a": ("ipod", "aac"), ".webm": ("webm", "libopus")}  # extension: container and codec of av
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def recordings(seconds: float, channels: int = 1) -> dict[str, bytes]:
    """A complete file of noise in each format: extension -> bytes. Those of `MEDIA` are mono and need av."""
    import soundfile

    found = {}
    for extension, (container, subtype, rate) in FORMATS.items():
        memory = io.BytesIO()
        possible = 1 if container == "SVX" else channels
        soundfile.write(memory, _noise(seconds, rate, possible), rate, format=container, subtype=subtype)
        found[extension] = memory.getvalue()
    try:
        import av
    except ModuleNotFoundError:
        return found
    for extension, (muxer, codec) in MEDIA.items():
        memory = io.BytesIO()
        with av.open(memory, "w", muxer) as container:
            stream = container.add_stream(codec, rate=48000, layout="mono")
            samples = np.round(32767 * _noise(seconds, 48000, 1)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples.T, "s16", "mono")
            frame.sample_rate = 48000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        found[extension] = memory.getvalue()
    return found


def _noise(seconds: float, rate: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, (round(seconds * rate), channels)).clip(-1, 1)


# ----------------------------------------------------------------------------------------------------------------------
# What happens to the bytes of a recording; `other` is a recording in another format
# ----------------------------------------------------------------------------------------------------------------------


def flip(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Bits, anywhere."""
    return _flipped(data, rng, len(data))


def flip_header(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Bits, among the first bytes."""
    return _flipped(data, rng, min(len(data), 100))


def field(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A number of the header, by one at the end of its range."""
    changed = bytearray(data)
    size = int(rng.choice([1, 2, 4]))
    place = int(rng.integers(0, min(len(data), 120) - size))
    order = "little" if rng.integers(2) else "big"
    changed[place : place + size] = (int(rng.choice(EXTREMES)) % 256**size).to_bytes(size, order)
    return bytes(changed)


def cut(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The end is missing."""
    return data[: int(rng.integers(0, len(data)))]


def cut_out(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A stretch is missing."""
    start, end = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:start] + data[end:]


def insert(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Strange bytes in between."""
    place = int(rng.integers(0, len(data)))
    return data[:place] + rng.bytes(int(rng.integers(1, 3000))) + data[place:]


def append(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Strange bytes, or zeros, at the end."""
    size = int(rng.integers(1, 3000))
    return data + (rng.bytes(size) if rng.integers(2) else bytes(size))


def double(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The file twice, end to end."""
    return data + data


def join(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A file of another format at the end."""
    return data + other


def swap(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A file of another format, whole."""
    return other


def empty(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Nothing at all."""
    return b""


def _flipped(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, reach, int(rng.integers(1, 20))):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


MUTATIONS: tuple[Callable[[bytes, bytes, np.random.Generator], bytes], ...] = (
    flip, flip_header, flip_header, field, field, cut, cut_out, insert, append, double, join, swap, empty,
)  # fmt: skip
