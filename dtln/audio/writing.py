"""Writing of recordings, complete or not at all."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from dtln.audio.folders import audio_extensions
from dtln.audio.headers import SampleFormat, libsndfile_reason
from dtln.audio.sound_file import name_for_libsndfile
from dtln.errors import AudioFileError, require
from dtln.files import complete_file

WRITE_BLOCK = 1 << 16  # samples per channel; libsndfile's Vorbis encoder overflows the stack on millions at once


@functools.lru_cache(maxsize=256)
def can_write(sample_format: SampleFormat, sample_rate: int, channels: int) -> bool:
    """Whether soundfile writes this format at this rate (Hz) and reads back as many samples as were written.

    It tries in memory, because libsndfile has no question for it: its writers differ in rates and channel counts, and
    ADPCM and GSM round lengths up to whole blocks. An odd number of samples also shows rounding to whole words.
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
    fallbacks = (sample_format, SampleFormat("WAV", subtype), SampleFormat("WAV", _nearest_integers(subtype)))
    return next((f for f in fallbacks if can_write(f, sample_rate, channels)), fallbacks[-1])


def format_for_name(path: str | Path, like: SampleFormat, sample_rate: int, channels: int) -> SampleFormat:
    """The format of a new file from the extension of its name, with samples as in a recording of the format `like`.

    Where the container does not hold such samples, they become the nearest integers, else the container's usual ones.
    Raises AudioFileError for an extension that no format has, or one that cannot be written at this rate (Hz).
    """
    path = Path(path)
    container = audio_extensions().get(path.suffix.lower())
    if container is None:
        raise AudioFileError(
            f"{path}: its name tells no format. Expected a name that ends in .wav, .flac, .ogg or another extension "
            "that soundfile writes, or a folder that exists."
        )
    plain = re.fullmatch(r"PCM_\w+|FLOAT|DOUBLE|ULAW|ALAW", like.subtype)
    usual = require("soundfile", "writing recordings").default_subtype(container)
    subtypes = (
        *([like.subtype] if plain or container == like.container else []),
        *(["OPUS"] if path.suffix.lower() == ".opus" else []),
        "PCM_24" if like.subtype in ("FLOAT", "DOUBLE") else _nearest_integers(like.subtype),
        usual,
    )
    for subtype in subtypes:
        if can_write(SampleFormat(container, subtype), sample_rate, channels):
            return SampleFormat(container, subtype)
    raise AudioFileError(
        f"{path}: {container} cannot be written at {sample_rate} Hz with {channels} channel{'s' * (channels > 1)}. "
        "Choose another extension: .wav and .flac hold everything."
    )


def _nearest_integers(subtype: str) -> str:
    """The integer subtype of wav files that is nearest to another one."""
    bits = re.search(r"(?:PCM_[SU]?|ALAC_|DWVW_)(\d+)", subtype)
    nearest = {8: "PCM_U8", 12: "PCM_16", 20: "PCM_24", 24: "PCM_24", 32: "PCM_32"}
    return nearest.get(int(bits[1]), "PCM_16") if bits else "PCM_16"


def write_audio(path: str | Path, samples: np.ndarray, sample_rate: int, sample_format: SampleFormat) -> int:
    """Writes samples (L,) or (L, channels), full scale 1, complete or not at all; returns how many were clipped.

    Samples beyond full scale are clipped, that is set to it, in formats that cannot hold them. Raises AudioFileError if
    soundfile cannot write the file, because the disk is full for instance; OSError if the folder cannot be used.
    """
    with audio_writer(path, sample_rate, 1 if samples.ndim == 1 else samples.shape[1], sample_format) as write:
        return write(samples)


@contextmanager
def audio_writer(
    path: str | Path,
    sample_rate: int,
    channels: int,
    sample_format: SampleFormat,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Callable[[np.ndarray], int]]:
    """`write_audio` piece by piece: gives a function that writes samples and returns how many were clipped.

    tags: as in AudioInfo; those that the format has no place for are left out. The file appears under its name when
    the block ends without an error. Raises as `write_audio`.
    """
    soundfile = require("soundfile", "writing recordings")

    @contextmanager
    def explained() -> Iterator[None]:
        try:
            yield
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            raise AudioFileError(
                f"{path}: cannot be written as {sample_format} at {sample_rate} Hz with {channels} channels "
                f"({libsndfile_reason(error)}). Check the free space, or choose another format."
            ) from error

    written = 0

    def write(samples: np.ndarray) -> int:
        nonlocal written
        written += len(samples)
        with explained():
            for start in range(0, len(samples), WRITE_BLOCK):
                file.write(_rounded(samples[start : start + WRITE_BLOCK], sample_format))
        return int(np.count_nonzero(np.abs(samples) > 1.0)) if sample_format.clips else 0

    kind = {"format": sample_format.container, "subtype": sample_format.subtype}
    with complete_file(path) as partial:
        with explained():
            file = soundfile.SoundFile(name_for_libsndfile(partial), "w", sample_rate, channels, **kind)
        for name, text in (tags or {}).items():
            with suppress(soundfile.SoundFileError, RuntimeError):
                setattr(file, name, text)
        try:
            yield write
        finally:
            with explained():
                file.close()
        if not written and not _opens(partial):
            raise AudioFileError(
                f"{path}: holds no samples, and {sample_format} cannot be written without any. Nothing was written."
            )


def _opens(path: Path) -> bool:
    """Whether libsndfile can read what it wrote: of FLAC, MP3 and Opus without samples nothing, or half a header."""
    soundfile = require("soundfile", "writing recordings")
    try:
        soundfile.SoundFile(name_for_libsndfile(path)).close()
    except soundfile.SoundFileError:
        return False
    return True


def _rounded(samples: np.ndarray, sample_format: SampleFormat) -> np.ndarray:
    """Samples on the nearest steps of an integer subtype.

    libsndfile would take the step below: twice the error, and a bias.
    """
    bits = re.fullmatch(r"(?:PCM_[SU]?|ALAC_)(8|16|20|24)", sample_format.subtype)  # float32 resolves no more than 24
    steps = 2.0 ** (int(bits[1]) - 1) if bits else 0.0  # from 0 to full scale
    return np.round(samples * steps) / steps if steps else samples
