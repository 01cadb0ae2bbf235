"""Writing of recordings, complete or not at all."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dtln.audio.headers import SampleFormat, libsndfile_reason
from dtln.errors import AudioFileError, require
from dtln.files import complete_file


@functools.lru_cache(maxsize=256)
def can_write(sample_format: SampleFormat, sample_rate: int, channels: int) -> bool:
    """Whether soundfile writes this format at this rate (Hz) and gives back as many samples as it was given.

    Tried in memory, because libsndfile has no question for it: its writers differ in rates and channel counts, and
    ADPCM and GSM round lengths up to whole blocks. An odd length shows also the rounding to whole words.
    """
    soundfile = require("soundfile", "writing recordings")

    length = 97
    memory = io.BytesIO()
    kind = {"format": sample_format.container, "subtype": sample_format.subtype}
    try:
        with soundfile.SoundFile(memory, "w", sample_rate, channels, **kind) as file:
            file.write(np.zeros((length, channels), np.float32))
        memory.seek(0)
        with soundfile.SoundFile(memory) as file:
            return file.samplerate == sample_rate and len(file.read(2 * length)) == length
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError):
        return False


def writable_format(sample_format: SampleFormat, sample_rate: int, channels: int) -> SampleFormat:
    """The format itself where it can be written at this rate (Hz), else a wav of its or the nearest integer subtype."""
    subtype = sample_format.subtype
    bits = re.search(r"(?:PCM_[SU]?|ALAC_|DWVW_)(\d+)", subtype)
    nearest = {8: "PCM_U8", 12: "PCM_16", 20: "PCM_24", 24: "PCM_24", 32: "PCM_32"}
    fallbacks = (
        sample_format,
        SampleFormat("WAV", subtype),
        SampleFormat("WAV", nearest.get(int(bits[1]), "PCM_16") if bits else "PCM_16"),
    )
    return next((f for f in fallbacks if can_write(f, sample_rate, channels)), fallbacks[-1])


WRITE_BLOCK = 1 << 16  # samples per channel; libsndfile's Vorbis encoder overflows the stack on millions at once


def write_audio(path: str | Path, samples: np.ndarray, sample_rate: int, sample_format: SampleFormat) -> int:
    """Writes samples (L,) or (L, channels), full scale 1, complete or not at all; returns how many were clipped.

    Clipped are samples beyond full scale in formats that cannot hold them; they are set to full scale.
    Raises AudioFileError if soundfile cannot write it, e.g. for want of space; OSError if the folder cannot be used.
    """
    with audio_writer(path, sample_rate, 1 if samples.ndim == 1 else samples.shape[1], sample_format) as write:
        return write(samples)


@contextmanager
def audio_writer(
    path: str | Path, sample_rate: int, channels: int, sample_format: SampleFormat
) -> Iterator[Callable[[np.ndarray], int]]:
    """`write_audio` piece by piece: a function that writes samples and returns how many were clipped.

    The file appears under its name when the context is left without an error. Raises as `write_audio`.
    """
    soundfile = require("soundfile", "writing recordings")

    def write(samples: np.ndarray) -> int:
        for start in range(0, len(samples), WRITE_BLOCK):
            file.write(_rounded(samples[start : start + WRITE_BLOCK], sample_format))
        return int(np.count_nonzero(np.abs(samples) > 1.0)) if sample_format.clips else 0

    kind = {"format": sample_format.container, "subtype": sample_format.subtype}
    try:
        with complete_file(path) as partial, soundfile.SoundFile(partial, "w", sample_rate, channels, **kind) as file:
            yield write
    except AudioFileError:  # of what is read meanwhile
        raise
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise AudioFileError(
            f"{path}: cannot be written as {sample_format} at {sample_rate} Hz with {channels} channels "
            f"({libsndfile_reason(error)}). Check the free space, or choose another format."
        ) from error


def _rounded(samples: np.ndarray, sample_format: SampleFormat) -> np.ndarray:
    """The nearest steps of an integer subtype; libsndfile would take the one below: twice the error, and a bias."""
    bits = re.fullmatch(r"(?:PCM_[SU]?|ALAC_)(8|16|20|24)", sample_format.subtype)  # float32 resolves no more than 24
    steps = 2.0 ** (int(bits[1]) - 1) if bits else 0.0  # from 0 to full scale
    return np.round(samples * steps) / steps if steps else samples
