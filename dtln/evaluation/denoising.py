"""Denoising of a folder: what will be written, the work on each file, the summary."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dtln.evaluation.outcomes import Job, Outcome, count, print_files
from dtln.formats import EXPORT_KINDS
from dtln.pool import run_all

if TYPE_CHECKING:
    import numpy as np


def plan(args: argparse.Namespace) -> tuple[list[Job], list[Outcome]]:
    """The jobs, and the files that cannot be read. Raises AudioFileError for everything that forbids to start."""
    from dtln.audio.folders import find_audio_files
    from dtln.errors import AudioFileError

    require_apart(args.output, args.input, "input")
    if args.reference:
        require_apart(args.output, args.reference, "clean")
    sources = find_audio_files(args.input)
    clean = find_audio_files(args.reference) if args.reference else []
    jobs, unreadable = [], []
    for source in sources:
        try:
            jobs.append(plan_file(source, args))
        except AudioFileError as error:
            unreadable.append(Outcome(Job(source, args.output / source.relative_to(args.input), None), str(error)))

    taken: dict[Path, Job] = {}
    for job in jobs:
        other = taken.setdefault(job.target, job)
        if other is not job:
            converted = job if job.converted_from else other
            raise AudioFileError(
                f"{other.source} and {job.source}: both would be written to {job.target}, because "
                f"{converted.converted_from} cannot be written and becomes {converted.sample_format}. Rename one."
            )
    inputs = {source.resolve() for source in [*sources, *clean]}
    for job in jobs:
        if job.target.resolve() in inputs:
            raise AudioFileError(f"{job.target}: is one of the recordings to be read. Choose another output folder.")
    existing = [job.target for job in jobs if os.path.lexists(job.target)]
    if existing and not (args.overwrite or args.skip_existing):
        raise AudioFileError(
            f"{existing[0]}: exists already ({len(existing)} of {len(jobs)} outputs do). Expected none of them; choose "
            "another output folder, or say --overwrite or --skip-existing."
        )
    return jobs, unreadable


def plan_file(source: Path, args: argparse.Namespace) -> Job:
    """Where one recording goes and how. Raises AudioFileError if it is no audio file."""
    from dtln.audio.headers import audio_info
    from dtln.audio.writing import writable_format
    from dtln.facts import SAMPLE_RATE

    info = audio_info(source)
    rate = info.sample_rate if args.keep_rate else SAMPLE_RATE
    sample_format = writable_format(info.sample_format, rate, info.channels if args.keep_channels else 1)
    target = args.output / source.relative_to(args.input)
    if sample_format == info.sample_format:
        return Job(source, target, sample_format)
    if sample_format.container != info.sample_format.container:
        target = target.with_suffix(".wav")
    return Job(source, target, sample_format, info.sample_format)


def require_apart(output: Path, folder: Path, name: str) -> None:
    """Raises AudioFileError if `output` is `folder`, lies inside it, or is a file."""
    from dtln.errors import AudioFileError

    real, inside = output.resolve(), folder.resolve()
    if real == inside or inside in real.parents:
        where = "is" if real == inside else "lies inside"
        raise AudioFileError(f"{output}: {where} the {name} folder {folder}. Expected a folder apart from it.")
    if output.exists() and not output.is_dir():
        raise AudioFileError(f"{output}: is a file. Expected a folder to write to; choose another name.")


class Stream(Protocol):
    """C signals at 16 kHz that come in pieces: float32 (C, M) in, aligned ones out, as many in the end as went in."""

    def process(self, samples: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...


class WholeSignals:
    """A stream that keeps what comes until all is there, for an engine that takes whole signals."""

    def __init__(self, denoise: Callable[[np.ndarray], np.ndarray]) -> None:
        self.denoise, self.pieces = denoise, []

    def process(self, samples: np.ndarray) -> np.ndarray:
        self.pieces.append(samples)
        return samples[:, :0]

    def flush(self) -> np.ndarray:
        import numpy as np

        return self.denoise(np.concatenate(self.pieces, axis=1))


class BlockByBlock:
    """A stream through exported models, each signal with runtimes of its own: they are not to be shared by threads."""

    def __init__(self, kind: str, model_dir: Path, signals: int) -> None:
        from dtln.streaming.backends import open_backend
        from dtln.streaming.engine import StreamingDenoiser

        self.denoisers = [StreamingDenoiser(open_backend(kind, model_dir)) for _ in range(signals)]

    def process(self, samples: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.stack([denoiser.process(signal) for denoiser, signal in zip(self.denoisers, samples, strict=True)])

    def flush(self) -> np.ndarray:
        import numpy as np

        return np.stack([denoiser.flush() for denoiser in self.denoisers])


@lru_cache(maxsize=1)
def load_engine(engine: str, weights: Path) -> Callable[[int], Stream]:
    """Makes streams of as many signals as it is told, through the network in an `.h5` file, loaded once in a process,
    or through the exports in a folder.

    Raises FileNotFoundError, WeightsFileError or ModelError for what cannot be loaded,
    ImportError where packages are missing.
    """
    if engine in EXPORT_KINDS:
        BlockByBlock(engine, weights, 1)  # what cannot be opened is found out here
        return partial(BlockByBlock, engine, weights)
    if engine == "keras":
        import DTLN_model

        denoise = DTLN_model.load_network(weights).denoise
        return lambda signals: WholeSignals(denoise)
    from dtln.evaluation.sequences import SequenceDenoiser, SequenceNetwork

    return partial(SequenceDenoiser, SequenceNetwork(weights))


def denoise_file(engine: str, weights: Path, keep_rate: bool, keep_channels: bool, job: Job) -> Outcome:
    """Denoises one recording piece by piece; whatever goes wrong with it is its outcome."""
    import numpy as np

    from dtln.audio.headers import audio_info
    from dtln.audio.reading import audio_blocks
    from dtln.audio.resampling import Resampler
    from dtln.audio.writing import audio_writer
    from dtln.errors import AudioFileError
    from dtln.facts import SAMPLE_RATE

    try:
        info = audio_info(job.source)
        channels = info.channels if keep_channels else 1
        rate = info.sample_rate if keep_rate else SAMPLE_RATE
        stream = load_engine(engine, weights)(channels)
        resampler = Resampler(SAMPLE_RATE, rate, channels)
        clipped = written = 0
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with audio_writer(job.target, rate, channels, job.sample_format) as write:

            def finish(denoised: np.ndarray, last: bool = False) -> None:
                nonlocal clipped, written
                if not np.all(np.isfinite(denoised)):
                    raise AudioFileError(
                        f"{job.source}: the network gave NaN or Inf. Expected sound weights; check {weights}."
                    )
                samples = resampler.process(denoised.T, last)  # (M, C)
                if keep_rate:
                    samples = samples[: info.length - written]
                clipped += write(samples)
                written += len(samples)

            for samples in audio_blocks(job.source, SAMPLE_RATE, mono=not keep_channels):  # (M, C)
                finish(stream.process(samples.T))
            if info.length:
                finish(stream.flush(), last=True)
    except AudioFileError as error:
        return Outcome(job, str(error))
    except Exception as error:  # the other files are still to be done
        return Outcome(job, f"{job.source}: {type(error).__name__}: {error}")
    return Outcome(job, seconds=info.length / info.sample_rate, empty=info.length == 0, clipped=clipped)


def denoise_files(jobs: Sequence[Job], unreadable: list[Outcome], args: argparse.Namespace) -> list[Outcome]:
    """Denoises what is not to be skipped and prints the summary; returns what became of these and of the unreadable.

    Raises as `load_engine` before the first file.
    """
    todo = [job for job in jobs if not (args.skip_existing and job.target.exists())]
    load_engine(args.engine, args.weights)  # a file that holds no weights is found out here, not in every worker
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    work = partial(denoise_file, args.engine, args.weights, args.keep_rate, args.keep_channels)
    processes = args.engine in (
        "keras",
        "savedmodel",
    )  # the others leave the interpreter's lock: threads share a network
    workers = args.jobs or (1 if processes else os.cpu_count() or 1)
    outcomes = unreadable + run_all(
        work, todo, workers, "denoising", lambda job, reason: Outcome(job, f"{job.source}: {reason}"), processes
    )
    report_denoising(outcomes, len(jobs) - len(todo), time.perf_counter() - started)
    return outcomes


def report_denoising(outcomes: Sequence[Outcome], skipped: int, seconds: float) -> None:
    """Prints the summary; the failures themselves come last of all."""
    done = [outcome for outcome in outcomes if not outcome.failure]
    audio = sum(outcome.seconds for outcome in done)
    speed = f" in {seconds:.1f} s, {audio / seconds:.1f} x real time" if audio else ""
    print(f"{count(len(done), 'file')} denoised: {audio:.1f} s of audio{speed}")
    if skipped:
        print(f"{count(skipped, 'file')} skipped, because the output exists")
    for title, lines in (
        (
            "converted",
            [
                f"{o.job.source}: {o.job.converted_from} cannot be written, {o.job.target} is {o.job.sample_format}"
                for o in done
                if o.job.converted_from
            ],
        ),
        ("clipped at full scale", [f"{o.job.target}: {count(o.clipped, 'sample')}" for o in done if o.clipped]),
        ("empty", [f"{o.job.source}: holds no samples, neither does {o.job.target}" for o in done if o.empty]),
    ):
        print_files(title, lines)
    failed = len(outcomes) - len(done)
    if failed:
        print(f"{count(failed, 'file')} failed")
