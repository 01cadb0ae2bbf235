"""One recording, from its file through the network into another file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtln.audio.channels import MonoMix, chosen_channel
from dtln.audio.headers import SampleFormat, audio_info
from dtln.audio.reading import audio_blocks, mono_mix_of
from dtln.audio.resampling import Resampler
from dtln.audio.writing import audio_writer
from dtln.errors import AudioFileError, describe_error
from dtln.evaluation.engines import Stream, load_engine
from dtln.facts import SAMPLE_RATE
from dtln.formats import DEFAULT_WEIGHTS

__all__ = ["DenoisedFile", "DenoisingSettings", "Job", "denoise_file"]


@dataclass(frozen=True)
class DenoisingSettings:
    """How recordings are denoised; engine and weights as in `load_engine`."""

    engine: str = "fast"
    weights: Path = DEFAULT_WEIGHTS
    channel: int | None = None  # the one that a mono output is made of, from 1; None: as `mono_mix` says


@dataclass(frozen=True)
class Job:
    """One recording: where it lies, where it goes, and how it is written there."""

    source: Path
    target: Path
    sample_rate: int = SAMPLE_RATE  # Hz, of the output, as what follows
    channels: int = 1
    sample_format: SampleFormat | None = None  # None where the header of the recording cannot be read
    converted_from: SampleFormat | None = None  # the recording's format where it cannot be written
    unreadable: str | None = None  # why the header cannot be read


@dataclass(frozen=True)
class DenoisedFile:
    """What became of a job."""

    job: Job
    failure: str | None = None  # the reason, which names the file
    seconds: float = 0.0  # of audio
    empty: bool = False
    clipped: int = 0  # samples
    findings: tuple[tuple[str, str], ...] = ()  # (title, words) of what the summary tells about the recording


def denoise_file(settings: DenoisingSettings, job: Job) -> DenoisedFile:
    """Denoises one recording piece by piece, in constant memory. Whatever goes wrong with it is its `failure`."""
    if job.sample_format is None:
        return DenoisedFile(job, job.unreadable)
    try:
        info = audio_info(job.source)
        mix = _mono_mix(settings, job, info.channels)
        findings = []
        if mix and mix.finding:
            title, words = mix.finding
            findings.append((title, f"{words}; --channel N takes another, --keep-channels denoises each"))
        stream = load_engine(settings.engine, settings.weights)(job.channels)
        clipped = written = 0
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with audio_writer(job.target, job.sample_rate, job.channels, job.sample_format) as write:
            for samples in _denoised(job, stream, mix):  # (M, C)
                if not np.all(np.isfinite(samples)):
                    raise AudioFileError(
                        f"{job.source}: the network gave NaN or Inf. Expected sound weights; check {settings.weights}."
                    )
                if job.sample_rate == info.sample_rate:  # back from 16 kHz, there may be some samples too many
                    samples = samples[: info.length - written]
                clipped += write(samples)
                written += len(samples)
    except AudioFileError as error:
        return DenoisedFile(job, str(error))
    except Exception as error:  # the other files are still to be done
        return DenoisedFile(job, f"{job.source}: {describe_error(error)}")
    return DenoisedFile(
        job,
        seconds=info.length / info.sample_rate,
        empty=info.length == 0,
        clipped=clipped,
        findings=tuple((title, f"{job.source}: {words}") for title, words in findings),
    )


def _mono_mix(settings: DenoisingSettings, job: Job, channels: int) -> MonoMix | None:
    """The mix of a recording that becomes mono, None where its channels are kept. Raises AudioFileError."""
    if settings.channel:
        return chosen_channel(job.source, settings.channel, channels)
    return mono_mix_of(job.source) if job.channels == 1 < channels else None


def _denoised(job: Job, stream: Stream, mix: MonoMix | None) -> Iterator[np.ndarray]:
    """The denoised recording in pieces (M, C) at the rate of the output."""
    resampler = Resampler(SAMPLE_RATE, job.sample_rate, job.channels)
    begun = False
    for samples in audio_blocks(job.source, SAMPLE_RATE, mix or job.channels == 1):  # (M, C)
        begun = True
        yield resampler.process(stream.process(samples.T).T)
    if begun:
        yield resampler.process(stream.flush().T, last=True)
