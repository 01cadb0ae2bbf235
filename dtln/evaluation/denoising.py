"""Denoising of recordings: what will be written, the work on each file, the summary."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np

from dtln.audio.folders import find_recordings
from dtln.audio.headers import SampleFormat, audio_info
from dtln.audio.reading import audio_blocks
from dtln.audio.resampling import Resampler
from dtln.audio.writing import audio_writer, format_for_name, writable_format
from dtln.errors import AudioFileError, require
from dtln.facts import SAMPLE_RATE
from dtln.formats import DEFAULT_WEIGHTS, EXPORT_KINDS
from dtln.pool import run_all

__all__ = ["DenoisedFile", "Job", "denoise_file", "denoise_files", "load_engine", "plan_denoising"]

TENSORFLOW_ENGINES = ("keras", "savedmodel")  # processes, because their threads wait for each other
NAMES_SHOWN = 10  # files listed under one heading of the summary; failures are listed all


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


# ----------------------------------------------------------------------------------------------------------------------
# Before work starts: what will be written, and everything that can be refused
# ----------------------------------------------------------------------------------------------------------------------


def plan_denoising(
    source: Path,
    target: Path | None = None,
    keep_rate: bool = False,
    keep_channels: bool = False,
    clean: Path | None = None,
    may_exist: bool = False,
) -> list[Job]:
    """The job of each recording in a folder, or of one recording.

    target: the folder to write to; for one recording the file, or a folder that exists, or None for NAME_denoised
    beside it. keep_rate, keep_channels: as in the recording instead of 16 kHz and one channel. clean: a recording or a
    folder of them that is read later, so that nothing may be written there. may_exist: outputs that exist are no error.
    Raises AudioFileError for everything that forbids to start.
    """
    folder, sources = find_recordings(source)
    if source.is_file():
        jobs = [_plan_recording(source, target, keep_rate, keep_channels)]
    else:
        if target is None:
            raise AudioFileError(f"{source}: is a folder. Expected the name of a folder to write to, too.")
        _require_apart(target, source, "input")
        if clean and clean.is_dir():
            _require_apart(target, clean, "clean")
        jobs = [_plan_file(path, target / path.relative_to(folder), keep_rate, keep_channels) for path in sources]
    readable = [job for job in jobs if job.sample_format]
    taken: dict[Path, Job] = {}
    for job in readable:
        other = taken.setdefault(job.target, job)
        if other is not job:
            converted = job if job.converted_from else other
            raise AudioFileError(
                f"{other.source} and {job.source}: both would be written to {job.target}, because "
                f"{converted.converted_from} cannot be written and becomes {converted.sample_format}. Rename one."
            )
    inputs = {path.resolve() for path in [*sources, *(find_recordings(clean)[1] if clean else [])]}
    for job in readable:
        if job.target.resolve() in inputs:
            raise AudioFileError(f"{job.target}: is one of the recordings to be read. Choose another output.")
    present = [job.target for job in readable if os.path.lexists(job.target)]
    if present and not may_exist:
        raise AudioFileError(
            f"{present[0]}: exists already ({len(present)} of {len(readable)} outputs do). Expected none of them; "
            "choose another output, or say --overwrite or --skip-existing."
        )
    return jobs


def _plan_recording(source: Path, target: Path | None, keep_rate: bool, keep_channels: bool) -> Job:
    """The job of one recording that was named itself. Raises AudioFileError if it cannot be read, or written there."""
    named = target is not None and not target.is_dir()
    if target is None:
        target = source.with_stem(f"{source.stem}_denoised")
    elif not named:
        target = target / source.name
    job = _plan_file(source, target, keep_rate, keep_channels)
    if job.unreadable:
        raise AudioFileError(job.unreadable)
    if not named:
        return job
    if target.exists() and target.samefile(source):  # perhaps by another name, where upper case does not count
        raise AudioFileError(f"{target}: is one of the recordings to be read. Choose another output.")
    sample_format = format_for_name(target, audio_info(source).sample_format, job.sample_rate, job.channels)
    return replace(job, target=target, sample_format=sample_format, converted_from=None)


def _plan_file(source: Path, target: Path, keep_rate: bool, keep_channels: bool) -> Job:
    """The job of a recording; its target becomes a wav where the recording's format cannot be written."""
    try:
        info = audio_info(source)
    except AudioFileError as error:
        return Job(source, target, unreadable=str(error))
    rate, channels = info.sample_rate if keep_rate else SAMPLE_RATE, info.channels if keep_channels else 1
    sample_format = writable_format(info.sample_format, rate, channels)
    if sample_format == info.sample_format:
        return Job(source, target, rate, channels, sample_format)
    if sample_format.container != info.sample_format.container:
        target = target.with_suffix(".wav")
    return Job(source, target, rate, channels, sample_format, converted_from=info.sample_format)


def _require_apart(output: Path, folder: Path, name: str) -> None:
    """Raises AudioFileError if `output` is `folder`, lies inside it, or is a file."""
    real, inside = output.resolve(), folder.resolve()
    if real == inside or inside in real.parents:
        where = "is" if real == inside else "lies inside"
        raise AudioFileError(f"{output}: {where} the {name} folder {folder}. Expected a folder apart from it.")
    if output.exists() and not output.is_dir():
        raise AudioFileError(f"{output}: is a file. Expected a folder to write to; choose another name.")


# ----------------------------------------------------------------------------------------------------------------------
# Engines
# ----------------------------------------------------------------------------------------------------------------------


class Stream(Protocol):
    """C signals at 16 kHz in pieces: float32 (C, M) in, aligned ones out; in the end as many came out as went in."""

    def process(self, samples: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...


class WholeSignals:
    """A stream that keeps what comes until all is there, for an engine that takes whole signals (C, L)."""

    def __init__(self, denoise: Callable[[np.ndarray], np.ndarray]) -> None:
        self.denoise = denoise
        self.pieces: list[np.ndarray] = []

    def process(self, samples: np.ndarray) -> np.ndarray:
        self.pieces.append(samples)
        return samples[:, :0]

    def flush(self) -> np.ndarray:
        return self.denoise(np.concatenate(self.pieces, axis=1))


class BlockByBlock:
    """A stream through exported models. Each signal has runtimes of its own, because threads must not share them."""

    def __init__(self, kind: str, model_dir: Path, signals: int) -> None:
        from dtln.streaming.backends import open_backend
        from dtln.streaming.engine import StreamingDenoiser

        self.denoisers = [StreamingDenoiser(open_backend(kind, model_dir)) for _ in range(signals)]

    def process(self, samples: np.ndarray) -> np.ndarray:
        return np.stack([denoiser.process(signal) for denoiser, signal in zip(self.denoisers, samples, strict=True)])

    def flush(self) -> np.ndarray:
        return np.stack([denoiser.flush() for denoiser in self.denoisers])


@lru_cache(maxsize=1)
def load_engine(engine: str, weights: Path) -> Callable[[int], Stream]:
    """A function that makes a stream of so many signals. Each process loads the network once.

    engine: "fast", "keras" or a kind of export. weights: an `.h5` file, or for an export its folder. Raises
    FileNotFoundError, WeightsFileError or ModelError for what cannot be loaded, and MissingPackageError.
    """
    if engine in EXPORT_KINDS:
        BlockByBlock(engine, weights, 1)  # finds out here what cannot be opened
        return partial(BlockByBlock, engine, weights)
    if engine == "keras":
        for package in ("tensorflow", "keras"):
            require(package, "the engine keras")
        import DTLN_model

        denoise = DTLN_model.load_network(weights).denoise
        return lambda signals: WholeSignals(denoise)
    from dtln.evaluation.sequences import SequenceDenoiser, SequenceNetwork

    return partial(SequenceDenoiser, SequenceNetwork(weights))


# ----------------------------------------------------------------------------------------------------------------------
# The work
# ----------------------------------------------------------------------------------------------------------------------


def denoise_files(
    jobs: Sequence[Job],
    engine: str = "fast",
    weights: Path = DEFAULT_WEIGHTS,
    workers: int | None = None,
    skip_existing: bool = False,
) -> list[DenoisedFile]:
    """Does the jobs, prints the summary and returns what became of each that was not skipped.

    engine, weights: as in `load_engine`. workers: files at a time; None: one per core, with TensorFlow one.
    skip_existing: leaves outputs that exist as they are. Raises as `load_engine`, before the first file.
    """
    todo = [job for job in jobs if not (skip_existing and job.sample_format and job.target.exists())]
    load_engine(engine, weights)  # here, so that not every worker finds out what is wrong with them
    processes = engine in TENSORFLOW_ENGINES
    started = time.perf_counter()
    done = run_all(
        partial(denoise_file, engine, weights),
        todo,
        workers or (1 if processes else os.cpu_count() or 1),
        "denoising",
        lambda job, reason: DenoisedFile(job, f"{job.source}: {reason}"),
        processes,
    )
    _report(done, len(jobs) - len(todo), time.perf_counter() - started)
    return done


def denoise_file(engine: str, weights: Path, job: Job) -> DenoisedFile:
    """Denoises one recording piece by piece, in constant memory. Whatever goes wrong with it is its `failure`."""
    if job.sample_format is None:
        return DenoisedFile(job, job.unreadable)
    try:
        info = audio_info(job.source)
        stream = load_engine(engine, weights)(job.channels)
        clipped = written = 0
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with audio_writer(job.target, job.sample_rate, job.channels, job.sample_format) as write:
            for samples in _denoised(job, stream):  # (M, C)
                if not np.all(np.isfinite(samples)):
                    raise AudioFileError(
                        f"{job.source}: the network gave NaN or Inf. Expected sound weights; check {weights}."
                    )
                if job.sample_rate == info.sample_rate:  # back from 16 kHz, there may be some samples too many
                    samples = samples[: info.length - written]
                clipped += write(samples)
                written += len(samples)
    except AudioFileError as error:
        return DenoisedFile(job, str(error))
    except Exception as error:  # the other files are still to be done
        return DenoisedFile(job, f"{job.source}: {describe_error(error)}")
    return DenoisedFile(job, seconds=info.length / info.sample_rate, empty=info.length == 0, clipped=clipped)


def _denoised(job: Job, stream: Stream) -> Iterator[np.ndarray]:
    """The denoised recording in pieces (M, C) at the rate of the output."""
    resampler = Resampler(SAMPLE_RATE, job.sample_rate, job.channels)
    begun = False
    for samples in audio_blocks(job.source, SAMPLE_RATE, mono=job.channels == 1):  # (M, C)
        begun = True
        yield resampler.process(stream.process(samples.T).T)
    if begun:
        yield resampler.process(stream.flush().T, last=True)


def describe_error(error: Exception) -> str:
    """An unforeseen error in a line: its type, its message, and where it was raised."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"


# ----------------------------------------------------------------------------------------------------------------------
# The summary
# ----------------------------------------------------------------------------------------------------------------------


def _report(files: Sequence[DenoisedFile], skipped: int, seconds: float) -> None:
    """Prints the summary; the command prints the failures themselves, last of all."""
    done = [file for file in files if not file.failure]
    audio = sum(file.seconds for file in done)
    speed = f" in {seconds:.1f} s, {audio / seconds:.1f} x real time" if audio else ""
    print(f"{count(len(done), 'file')} denoised: {audio:.1f} s of audio{speed}")
    if skipped:
        print(f"{count(skipped, 'file')} skipped, because the output exists")
    converted = [
        f"{job.source}: {job.converted_from} cannot be written, {job.target} is {job.sample_format}"
        for job in (file.job for file in done)
        if job.converted_from
    ]
    print_files("converted", converted)
    print_files("clipped at full scale", [f"{f.job.target}: {count(f.clipped, 'sample')}" for f in done if f.clipped])
    print_files("empty", [f"{f.job.source}: holds no samples, neither does {f.job.target}" for f in done if f.empty])
    if len(done) < len(files):
        print(f"{count(len(files) - len(done), 'file')} failed")


def print_files(title: str, lines: Sequence[str]) -> None:
    """Prints how many files the title says something about, and the first of them; nothing where there are none."""
    if lines:
        print(f"{count(len(lines), 'file')} {title}:")
        print("\n".join(f"  {line}" for line in lines[:NAMES_SHOWN]))
        if len(lines) > NAMES_SHOWN:
            print(f"  and {len(lines) - NAMES_SHOWN} more")


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
