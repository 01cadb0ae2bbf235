"""One recording, from its file through the network into another file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtln.audio.channels import MonoMix, chosen_channel, mono_mix
from dtln.audio.headers import AudioInfo, SampleFormat, audio_info
from dtln.audio.levels import Correction, corrections, findings_of
from dtln.audio.measuring import measure
from dtln.audio.reading import audio_blocks
from dtln.audio.signal_path import SignalPath
from dtln.audio.writing import audio_writer
from dtln.errors import AudioFileError, describe_error
from dtln.evaluation.engines import load_engine
from dtln.facts import SAMPLE_RATE
from dtln.formats import DEFAULT_WEIGHTS
from dtln.pool import advance

__all__ = ["DenoisedFile", "DenoisingSettings", "Job", "denoise_file"]


@dataclass(frozen=True)
class DenoisingSettings:
    """How recordings are denoised; engine and weights as in `load_engine`."""

    engine: str = "fast"
    weights: Path = DEFAULT_WEIGHTS
    level: str = "auto"  # of LEVELS
    strength: float = 1.0  # from 0 to 1: the share of the denoised signal in the output, the rest is the recording
    keep_high_band: bool = False  # add what lies above 8 kHz to outputs at the recording's rate
    channel: int | None = None  # the one that a mono output is made of, from 1; None: as `mono_mix` says
    salvage: bool = False  # read what is there of files whose header announces more or less


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
    no_audio: bool = False  # unreadable, because it holds no sound: no failure in a folder
    seconds: float = 0.0  # of audio, as the header says


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
        info = audio_info(job.source, settings.salvage)
        mix, changes, findings = _prepared(settings, job, info)
        if info.salvaged:
            findings.append(("salvaged", info.salvaged))
        stream = load_engine(settings.engine, settings.weights)(job.channels)
        path = SignalPath(
            stream, info.sample_rate, job.sample_rate, changes, settings.strength, settings.keep_high_band
        )
        clipped = 0
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with audio_writer(job.target, job.sample_rate, job.channels, job.sample_format, info.tags) as write:
            for samples in _pieces(job, mix, settings.salvage):  # (M, C)
                denoised = path.process(samples, last=not len(samples))
                if not np.all(np.isfinite(denoised)):
                    raise AudioFileError(
                        f"{job.source}: the network gave NaN or Inf. Expected sound weights; check {settings.weights}."
                    )
                clipped += write(denoised)
                advance(len(denoised) / job.sample_rate)
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


def _pieces(job: Job, mix: MonoMix | None, salvage: bool) -> Iterator[np.ndarray]:
    """The recording in pieces (M, C) at its own rate, and an empty one as its end."""
    blocks = audio_blocks(job.source, mono=mix or False, salvage=salvage)
    yield from (block for block in blocks if len(block))
    yield np.zeros((0, job.channels), np.float32)


def _interruptible(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks, between which the job can be ended."""
    for block in blocks:
        advance(0.0)
        yield block


def _prepared(
    settings: DenoisingSettings, job: Job, info: AudioInfo
) -> tuple[MonoMix | None, list[Correction], list[tuple[str, str]]]:
    """What is done to a recording before the network, and what the summary says of it: (title, words) each."""
    findings = []
    dull = job.sample_rate > SAMPLE_RATE and settings.strength == 1 and not settings.keep_high_band
    if dull and info.length:
        words = f"{job.sample_rate} Hz; --keep-high-band adds what the recording has there"
        findings.append(("without anything above 8 kHz", words))
    mix = chosen_channel(job.source, settings.channel, info.channels) if settings.channel else None
    becomes_mono = job.channels == 1 < info.channels
    automatic = settings.level == "auto"
    if automatic or (becomes_mono and mix is None):
        blocks = _interruptible(audio_blocks(job.source, salvage=settings.salvage))
        measurement = measure(blocks, info.sample_rate, info.channels)
        if becomes_mono and mix is None:
            mix = mono_mix(measurement)
            if mix.finding:
                title, words = mix.finding
                findings.append((title, f"{words}; --channel N takes another, --keep-channels denoises each"))
    if not automatic:
        return mix, [Correction()] * job.channels, findings
    changes = corrections(measurement, mix)
    findings += findings_of(changes)
    return mix, changes, findings
