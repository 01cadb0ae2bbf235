"""Denoising of folders and single recordings: what will be written, all the work, the summary."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dtln.audio.folders import find_recordings, of_shard
from dtln.audio.headers import audio_info
from dtln.audio.writing import format_for_name, writable_format
from dtln.cluster import Cluster, common_folder
from dtln.errors import AudioFileError, NotAudioError, count, describe_error, one_line
from dtln.evaluation.engines import TENSORFLOW_ENGINES, load_engine
from dtln.evaluation.recording import DenoisedFile, DenoisingSettings, Job, denoise_file
from dtln.facts import SAMPLE_RATE
from dtln.files import sweep_partials
from dtln.interrupts import last_words
from dtln.pool import run_all
from dtln.shards import Shard

__all__ = ["account", "denoise_files", "plan_denoising"]

DEFAULTS = DenoisingSettings()
NAMES_SHOWN = 10  # files listed under one heading of the summary; failures are listed all


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
    salvage: bool = False,
    shard: Shard | None = None,
) -> list[Job]:
    """The job of each recording in a folder, or in a shard of it, or of one recording.

    target: the folder to write to; for one recording the file, or a folder that exists, or None for NAME_denoised
    beside it. keep_rate, keep_channels: as in the recording instead of 16 kHz and one channel. clean: a recording or a
    folder of them that is read later, so that nothing may be written there. may_exist: outputs that exist are no error.
    salvage: as in DenoisingSettings.
    Raises AudioFileError for everything that forbids to start.
    """
    unlisted: list[Job] = []
    folder, sources = find_recordings(source, lambda path, reason: unlisted.append(Job(path, path, unreadable=reason)))
    mine = set(of_shard(shard, folder, [*sources, *(job.source for job in unlisted)]))
    unlisted = [job for job in unlisted if job.source in mine]
    if not mine:
        jobs = []
    elif source.is_file():
        jobs = [_plan_recording(source, target, keep_rate, keep_channels, salvage)]
    else:
        if target is None:
            raise AudioFileError(f"{source}: is a folder. Expected the name of a folder to write to, too.")
        _require_apart(target, source, "input")
        if clean and clean.is_dir():
            _require_apart(target, clean, "clean")
        jobs = [
            _plan_file(path, target / path.relative_to(folder), keep_rate, keep_channels, salvage)
            for path in sources
            if path in mine
        ]
    jobs = _with_names_apart(jobs) + unlisted
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
    inputs = {os.path.realpath(path) for path in [*sources, *(find_recordings(clean)[1] if clean else [])]}
    for job in readable:
        if os.path.realpath(job.target) in inputs:
            raise AudioFileError(f"{job.target}: is one of the recordings to be read. Choose another output.")
    present = [job.target for job in readable if os.path.lexists(job.target)]
    if present and not may_exist:
        raise AudioFileError(
            f"{present[0]}: exists already ({len(present)} of {len(readable)} outputs do). Expected none of them; "
            "choose another output, or say --overwrite or --skip-existing."
        )
    return jobs


def _plan_recording(source: Path, target: Path | None, keep_rate: bool, keep_channels: bool, salvage: bool) -> Job:
    """The job of one recording that was named itself. Raises AudioFileError if it cannot be read, or written there."""
    named = target is not None and not target.is_dir()
    if target is None:
        target = source.with_stem(f"{source.stem}_denoised")
    elif not named:
        target = target / source.name
    job = _plan_file(source, target, keep_rate, keep_channels, salvage)
    if job.unreadable:
        raise AudioFileError(job.unreadable)
    if not named:
        return job
    if target.exists() and target.samefile(source):  # perhaps by another name, where upper case does not count
        raise AudioFileError(f"{target}: is one of the recordings to be read. Choose another output.")
    sample_format = format_for_name(target, audio_info(source, salvage).sample_format, job.sample_rate, job.channels)
    return replace(job, target=target, sample_format=sample_format, converted_from=None)


def _plan_file(source: Path, target: Path, keep_rate: bool, keep_channels: bool, salvage: bool) -> Job:
    """The job of a recording; its target becomes a wav where the recording's format cannot be written."""
    try:
        info = audio_info(source, salvage)
    except AudioFileError as error:
        return Job(source, target, unreadable=str(error), no_audio=isinstance(error, NotAudioError))
    except Exception as error:  # the other files are still to be done
        return Job(source, target, unreadable=f"{source}: {describe_error(error)}")
    rate, channels = info.sample_rate if keep_rate else SAMPLE_RATE, info.channels if keep_channels else 1
    sample_format = writable_format(info.sample_format, rate, channels)
    job = Job(source, target, rate, channels, sample_format, seconds=info.length / info.sample_rate)
    if sample_format == info.sample_format:
        return job
    if sample_format.container != info.sample_format.container:
        job = replace(job, target=target.with_suffix(".wav"))
    return replace(job, converted_from=info.sample_format)


def _with_names_apart(jobs: Sequence[Job]) -> list[Job]:
    """The jobs; those that would become the same wav keep their extensions before it: call.m4a.wav, call.webm.wav."""
    count_of = Counter(job.target for job in jobs if job.sample_format)

    def apart(job: Job) -> Job:
        renamed = job.sample_format and job.target.name != job.source.name
        if not renamed or count_of[job.target] == 1:
            return job
        return replace(job, target=job.target.with_name(f"{job.source.name}.wav"))

    return [apart(job) for job in jobs]


def _require_apart(output: Path, folder: Path, name: str) -> None:
    """Raises AudioFileError if `output` is `folder`, lies inside it, or is a file."""
    real, inside = output.resolve(), folder.resolve()
    if real == inside or inside in real.parents:
        where = "is" if real == inside else "lies inside"
        raise AudioFileError(f"{output}: {where} the {name} folder {folder}. Expected a folder apart from it.")
    if output.exists() and not output.is_dir():
        raise AudioFileError(f"{output}: is a file. Expected a folder to write to; choose another name.")


# ----------------------------------------------------------------------------------------------------------------------
# The work
# ----------------------------------------------------------------------------------------------------------------------


def denoise_files(
    jobs: Sequence[Job],
    settings: DenoisingSettings = DEFAULTS,
    workers: int | None = None,
    skip_existing: bool = False,
    ray: str | None = None,
) -> list[DenoisedFile]:
    """Does the jobs, prints the summary and returns what became of each that was not skipped.

    workers: files at a time; None: one per core, with TensorFlow one. skip_existing: leaves outputs that exist as they
    are. ray: the address of a cluster that does the work, as `dtln.cluster.Cluster` takes it. Raises as `load_engine`,
    before the first file, and with `ray` as `Cluster` and its `as_done`.
    """
    silent = [job for job in jobs if job.no_audio]
    todo = [
        job for job in jobs if not job.no_audio and not (skip_existing and job.sample_format and job.target.exists())
    ]
    load_engine(settings.engine, settings.weights)  # here, so that not every worker finds out what is wrong with them
    processes = settings.engine in TENSORFLOW_ENGINES
    for folder in {job.target.parent for job in todo}:
        sweep_partials(folder)
    started = time.perf_counter()
    with last_words(_written_so_far(todo)):
        work = partial(denoise_file, settings)
        audio = [job.seconds for job in todo]
        if ray and todo:
            read = [common_folder(job.source for job in todo), settings.weights]
            with Cluster(ray, workers, read, common_folder(job.target for job in todo)) as cluster:
                started = time.perf_counter()
                done = cluster.run_all(work, todo, "denoising", _lost, audio)
        else:
            workers = workers or (1 if processes else os.cpu_count() or 1)
            done = run_all(work, todo, workers, "denoising", _lost, processes, audio)
    for folder in {job.target.parent for job in todo} if ray or processes else ():
        sweep_partials(folder)  # of processes that were killed
    _report(done, len(jobs) - len(silent) - len(todo), time.perf_counter() - started)
    print_files("without sound, passed over", [job.unreadable or "" for job in silent])
    return done


def _lost(job: Job, reason: str) -> DenoisedFile:
    """What became of a job whose process was killed."""
    return DenoisedFile(job, f"{job.source}: {reason}")


def account(jobs: Sequence[Job], done: Sequence[DenoisedFile]) -> list[dict[str, object]]:
    """What became of each job, for JSON: denoised, failed, skipped, or passed over because it holds no sound."""
    found = {file.job.source: file for file in done}

    def entry(job: Job) -> dict[str, object]:
        file = found.get(job.source)
        about: dict[str, object] = {"source": str(job.source), "target": str(job.target)}
        if job.no_audio:
            return about | {"status": "passed over", "reason": job.unreadable}
        if file is None:
            return about | {"status": "skipped", "reason": "the output exists"}
        if file.failure:
            return about | {"status": "failed", "reason": file.failure}
        return about | {
            "status": "denoised",
            "seconds": file.seconds,
            "sample_rate": job.sample_rate,
            "channels": job.channels,
            "format": str(job.sample_format),
            "converted_from": str(job.converted_from) if job.converted_from else None,
            "clipped": file.clipped,
            "findings": [{"title": title, "words": words} for title, words in file.findings],
        }

    return [entry(job) for job in jobs]


def _written_so_far(jobs: Sequence[Job]) -> Callable[[], str]:
    """What an interrupted run says: how many outputs it has written, as seen on the disk.

    It also deletes what processes left that were killed.
    """

    def inode(job: Job) -> int | None:
        try:
            return os.lstat(job.target).st_ino
        except OSError:
            return None

    older = [inode(job) for job in jobs]  # a file that takes the place of another is a new one

    def words() -> str:
        for folder in {job.target.parent for job in jobs}:
            sweep_partials(folder)
        written = sum(inode(job) not in (None, old) for job, old in zip(jobs, older, strict=True))
        return f"{written} of {count(len(jobs), 'file')} written, complete; --skip-existing goes on"

    return words


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
    found: dict[str, list[str]] = {}
    for title, words in (finding for file in done for finding in file.findings):
        found.setdefault(title, []).append(words)
    for title, lines in found.items():
        print_files(title, lines)
    if len(done) < len(files):
        print(f"{count(len(files) - len(done), 'file')} failed")


def print_files(title: str, lines: Sequence[str]) -> None:
    """Prints how many files the title says something about, and the first of them; nothing where there are none."""
    if lines:
        print(f"{count(len(lines), 'file')} {title}:")
        print("\n".join(f"  {one_line(line)}" for line in lines[:NAMES_SHOWN]))
        if len(lines) > NAMES_SHOWN:
            print(f"  and {len(lines) - NAMES_SHOWN} more")
