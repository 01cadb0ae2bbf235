"""Reading of recordings, whole or piece by piece, at any rate."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dtln.audio.channels import MonoMix, mono_mix
from dtln.audio.headers import audio_info, libsndfile_reason, opened_audio
from dtln.audio.measuring import Measurement, measure
from dtln.audio.resampling import Resampler
from dtln.audio.truncation import mp3_length, require_complete
from dtln.errors import AudioFileError, require

if TYPE_CHECKING:
    from soundfile import SoundFile

READ_BLOCK = 1 << 18  # samples per channel that are decoded at once
UNKNOWN_LENGTH = 1 << 62  # libsndfile announces its largest number where a FLAC stream leaves the length open
STRETCH_MARGIN = 0.02  # s on either side, for the resampler's filter
EXACT_SEEKS = re.compile(r"PCM_|FLOAT|DOUBLE|ULAW|ALAW|OPUS")  # of libsndfile 1.2; MP3 and Vorbis land elsewhere


def read_audio(
    path: str | Path, sample_rate: int | None = None, mono: bool = False, salvage: bool = False
) -> tuple[np.ndarray, int]:
    """Reads a recording: (samples, sample rate in Hz); the samples are float32, full scale is 1.

    sample_rate: resample to this rate in Hz; None keeps the file's own. mono: return the mono mix (L,) that
    `mono_mix_of` says, else (L, channels). A recording of n samples becomes ceil(n * sample_rate / rate) samples.
    salvage: reads what is there of a file whose header announces more or less, instead of refusing it.
    Raises AudioFileError if the file cannot be opened or decoded, ends early, or holds NaN or Inf.
    """
    info = audio_info(path, salvage)
    blocks = list(audio_blocks(path, sample_rate, mono, salvage=salvage))
    samples = np.concatenate(blocks) if blocks else np.zeros((0, 1 if mono else info.channels), np.float32)
    return (samples[:, 0] if mono else samples), sample_rate or info.sample_rate


def read_stretch(path: str | Path, start: int, length: int, sample_rate: int) -> np.ndarray:
    """The samples of `read_audio(path, sample_rate, mono=True)` from `start` on: float32 (length,), fewer at the end.

    Decodes little more than these in formats that can be entered anywhere: PCM, FLAC and Opus (there the samples differ
    by about -60 dB). MP3 and Vorbis are decoded from their beginning. Raises as `read_audio`, for what it reads.
    """
    rate = audio_info(path).sample_rate
    common = math.gcd(rate, sample_rate)
    period, own_period = sample_rate // common, rate // common  # both rates have a sample at each multiple of these
    margin = 0 if rate == sample_rate else round(STRETCH_MARGIN * sample_rate)
    first = max(0, start - margin) // period
    end = -(-(start + length + margin) // period)
    blocks = audio_blocks(path, sample_rate, mono=True, stretch=(first * own_period, end * own_period))
    samples = np.concatenate([np.zeros((0, 1), np.float32), *blocks])[:, 0]
    return samples[start - first * period :][:length]


def audio_blocks(
    path: str | Path,
    sample_rate: int | None = None,
    mono: bool | MonoMix = False,
    stretch: tuple[int, int] | None = None,
    salvage: bool = False,
) -> Iterator[np.ndarray]:
    """`read_audio` piece by piece, in constant memory: float32 (M, channels), (M, 1) if mono. Raises as it does.

    mono: True asks `mono_mix_of`, which reads a recording of several channels once more; the mix itself spares that.
    stretch: (first, end), the part to read, in samples at the file's own rate; it may reach beyond the file's end.
    """
    soundfile = require("soundfile", "reading recordings")
    path = Path(path)
    with opened_audio(path) as file:
        if mono is True and file.channels > 1:
            mono = mono_mix_of(path, salvage)
        announced, estimated = _announced_length(file, path, salvage)
        resampler = Resampler(file.samplerate, sample_rate or file.samplerate, 1 if mono else file.channels)
        start, end = (min(sample, announced) for sample in stretch or (0, announced))
        read = 0
        while read < end:
            try:
                if read < start and EXACT_SEEKS.match(file.subtype):
                    read = file.seek(start)
                wanted = (start if read < start else end) - read
                samples = file.read(min(READ_BLOCK, wanted), dtype="float32", always_2d=True)  # (M, channels)
            except (soundfile.SoundFileError, RuntimeError) as error:
                raise AudioFileError(
                    f"{path}: is truncated or damaged: the header announces {announced} samples per channel, decoding "
                    f"them failed ({libsndfile_reason(error)}). Copy or convert it again from its source."
                ) from error
            read += len(samples)
            if not len(samples) and estimated:  # the estimate was too high: this is the end
                yield resampler.process(np.zeros((0, resampler.channels), np.float32), last=True)
                return
            if not len(samples):
                raise AudioFileError(
                    f"{path}: is truncated: the header announces {announced} samples per channel, {read} are there. "
                    "Copy or convert it again from its source."
                )
            unusable = samples.size - int(np.count_nonzero(np.isfinite(samples)))
            if unusable:
                raise AudioFileError(
                    f"{path}: {unusable} samples are NaN or Inf. Expected finite samples; repair the file."
                )
            if read <= start:
                continue
            if isinstance(mono, MonoMix):
                samples = mono.average(samples)  # (M, 1)
            yield resampler.process(samples, last=read == end)


def measure_audio(path: str | Path, salvage: bool = False) -> Measurement:
    """Measures a recording, all of it, at its own rate. Raises as `read_audio`."""
    info = audio_info(path, salvage)
    return measure(audio_blocks(path, salvage=salvage), info.sample_rate, info.channels)


def mono_mix_of(path: str | Path, salvage: bool = False) -> MonoMix:
    """The mono mix of a recording, which is measured once while the file stays the same. Raises as `read_audio`."""
    status = os.stat(path)
    return _mono_mix_of(os.fspath(path), status.st_mtime_ns, status.st_size, salvage)


@functools.lru_cache(maxsize=4096)
def _mono_mix_of(path: str, mtime_ns: int, size: int, salvage: bool) -> MonoMix:
    return mono_mix(measure_audio(path, salvage))


def _announced_length(file: SoundFile, path: Path, salvage: bool) -> tuple[int, bool]:
    """Samples per channel by the header, and whether libsndfile estimated them, because an MP3 does not tell them.

    Raises AudioFileError where the length is unknown, where the file lacks bytes that the header announces, or where
    libsndfile would leave out the end of an MP3.
    """
    announced = file.frames
    if announced >= UNKNOWN_LENGTH:
        raise AudioFileError(
            f"{path}: does not say how many samples it holds. Expected a file that was closed properly; convert it "
            "again from its source."
        )
    if salvage:
        return announced, True
    require_complete(path, file.format, file.extra_info)
    length = mp3_length(path) if file.format == "MP3" else None
    if length is not None and length > announced:
        raise AudioFileError(
            f"{path}: does not say that it holds {length} samples per channel, of which only {announced} could be "
            "read. Expected an MP3 with a header that tells (Xing, Info, VBRI); convert it, to FLAC say."
        )
    return announced, length is not None
