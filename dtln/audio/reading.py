"""Reading of recordings, whole or piece by piece, at any rate."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dtln.audio.channels import MonoMix, mono_mix
from dtln.audio.headers import audio_info, opened_audio
from dtln.audio.info import REMEDY, DecodingError
from dtln.audio.measuring import measure
from dtln.audio.resampling import Resampler
from dtln.errors import AudioFileError

READ_BLOCK = 1 << 19  # samples of all channels together that are decoded at once
UNLIMITED = 1 << 62
STRETCH_MARGIN = 0.02  # s on either side, for the resampler's filter


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
    path = Path(path)
    with opened_audio(path, salvage) as recording:
        info = recording.info
        if mono is True and info.channels > 1:
            mono = mono_mix_of(path, salvage)
        open_end = salvage or not info.exact  # read until nothing comes
        resampler = Resampler(info.sample_rate, sample_rate or info.sample_rate, 1 if mono else info.channels)
        limit = UNLIMITED if open_end else info.length
        start, end = (min(sample, limit) for sample in stretch or (0, limit))
        block = max(1, READ_BLOCK // info.channels)
        read = 0
        while read < end:
            try:
                if read < start and recording.can_seek:
                    recording.seek(start)
                    read = start
                samples = recording.read(min(block, (start if read < start else end) - read))  # (M, channels)
            except DecodingError as error:
                if not salvage:
                    announced = f"the header announces {info.length} samples per channel, " if info.length else ""
                    raise AudioFileError(
                        f"{path}: is truncated or damaged: {announced}decoding them failed ({error}). {REMEDY}"
                    ) from error
                samples = np.zeros((0, info.channels), np.float32)
            read += len(samples)
            if not len(samples) and open_end:
                rest = resampler.process(np.zeros((0, resampler.channels), np.float32), last=True)
                if len(rest):
                    yield rest
                return
            if not len(samples):
                raise AudioFileError(
                    f"{path}: is truncated: the header announces {info.length} samples per channel, {read} are there. "
                    f"{REMEDY}"
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


def mono_mix_of(path: str | Path, salvage: bool = False) -> MonoMix:
    """The mono mix of a recording, which is measured once while the file stays the same. Raises as `read_audio`."""
    status = os.stat(path)
    return _mono_mix_of(os.fspath(path), status.st_mtime_ns, status.st_size, salvage)


@functools.lru_cache(maxsize=1 << 16)
def _mono_mix_of(path: str, mtime_ns: int, size: int, salvage: bool) -> MonoMix:
    info = audio_info(path, salvage)
    return mono_mix(measure(audio_blocks(path, salvage=salvage), info.sample_rate, info.channels))
