"""Denoise a folder of recordings with DTLN weights, and score the result where clean recordings are given.

    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5
    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5 --reference CLEAN_DIR --csv scores.csv

Sub-folders and names are kept. Recordings of any rate, channel count and format that soundfile reads are taken; what
is written is mono at 16 kHz, aligned with the input and of the input's sample format (a format that cannot be written
becomes wav; the summary says so). A file that cannot be denoised is reported at the end and the others are done; the
exit status is then 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from dtln_audio import SampleFormat

DEFAULT_WEIGHTS = Path(__file__).resolve().parent / "pretrained_model" / "model.h5"
NAMES_SHOWN = 10  # files listed under one heading of the summary; failures are listed all


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="IN", help="folder of noisy recordings")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "-m",
        "--weights",
        type=Path,
        default=DEFAULT_WEIGHTS,
        metavar="H5",
        help="weights of the network (default: pretrained_model/model.h5 beside this script)",
    )
    parser.add_argument("--keep-rate", action="store_true", help="write the input's sampling rate instead of 16 kHz")
    parser.add_argument("--keep-channels", action="store_true", help="denoise each channel instead of their average")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave outputs that exist as they are")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--reference", type=Path, metavar="CLEAN_DIR", help="score against the equally named recordings in this folder"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the scores of each file here")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected at least one process")
    if args.csv and not args.reference:
        parser.error("--csv writes scores: say against which recordings with --reference CLEAN_DIR")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    from dtln_audio import AudioFileError

    try:
        jobs, unreadable = plan(args)
        todo = [job for job in jobs if not (args.skip_existing and job.target.exists())]
        load_denoiser(args.weights)  # a file that holds no weights is found out here, once, not in every worker
        args.output.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        outcomes = unreadable + in_processes(
            partial(denoise_file, args.weights, args.keep_rate, args.keep_channels), todo, args.jobs, "denoising"
        )
        seconds = time.perf_counter() - started
        report_denoising(outcomes, len(jobs) - len(todo), seconds)
        if args.reference:
            left_out = {outcome.job for outcome in outcomes if outcome.failure or outcome.empty}
            outcomes += score_files([job for job in jobs if job not in left_out], args)
    except (AudioFileError, ValueError, OSError, ModuleNotFoundError) as error:
        print(f"run_evaluation.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run_evaluation.py: stopped; what was written is complete, --skip-existing goes on", file=sys.stderr)
        return 130
    failures = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failures:
        print(f"FAILED {outcome.failure}", file=sys.stderr)
    return 1 if failures else 0


# ----------------------------------------------------------------------------------------------------------------------
# Before work starts: what will be read and written, and everything that can be refused
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One recording: where it lies, where it goes, in which sample format; the clean recording if it is scored."""

    source: Path
    target: Path
    sample_format: SampleFormat | None  # None: the header could not be read
    converted_from: SampleFormat | None = None  # the input's format where it cannot be written
    clean: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `failure` is a reason that names the file, None where it succeeded."""

    job: Job
    failure: str | None = None
    seconds: float = 0.0  # of audio
    empty: bool = False
    clipped: int = 0  # samples
    scores: dict[str, dict[str, float]] | None = None  # "noisy" and "enhanced" -> metric -> score


def plan(args: argparse.Namespace) -> tuple[list[Job], list[Outcome]]:
    """The jobs, and the files that cannot be read. Raises AudioFileError for everything that forbids to start."""
    from dtln_audio import AudioFileError, find_audio_files

    require_apart(args.output, args.input, "input")
    if args.reference:
        from dtln_metrics import require_packages

        require_apart(args.output, args.reference, "clean")
        require_packages()
    if args.csv and not args.csv.absolute().parent.is_dir():
        raise AudioFileError(f"{args.csv}: its folder does not exist. Make it first.")
    sources = find_audio_files(args.input)
    clean = match_references(sources, args.input, args.reference) if args.reference else {}
    jobs, unreadable = [], []
    for source in sources:
        try:
            jobs.append(plan_file(source, args, clean.get(source)))
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
    inputs = {source.resolve() for source in [*sources, *clean.values()]}
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


def plan_file(source: Path, args: argparse.Namespace, clean: Path | None) -> Job:
    """Where one recording goes and how. Raises AudioFileError if it is no audio file."""
    from dtln_audio import SAMPLE_RATE, audio_info, writable_format

    info = audio_info(source)
    rate = info.sample_rate if args.keep_rate else SAMPLE_RATE
    sample_format = writable_format(info.sample_format, rate, info.channels if args.keep_channels else 1)
    target = args.output / source.relative_to(args.input)
    if sample_format == info.sample_format:
        return Job(source, target, sample_format, clean=clean)
    if sample_format.container != info.sample_format.container:
        target = target.with_suffix(".wav")
    return Job(source, target, sample_format, info.sample_format, clean)


def require_apart(output: Path, folder: Path, name: str) -> None:
    """Raises AudioFileError if `output` is `folder`, lies inside it, or is a file."""
    from dtln_audio import AudioFileError

    real, inside = output.resolve(), folder.resolve()
    if real == inside or inside in real.parents:
        where = "is" if real == inside else "lies inside"
        raise AudioFileError(f"{output}: {where} the {name} folder {folder}. Expected a folder apart from it.")
    if output.exists() and not output.is_dir():
        raise AudioFileError(f"{output}: is a file. Expected a folder to write to; choose another name.")


def match_references(sources: Iterable[Path], noisy_dir: Path, clean_dir: Path) -> dict[Path, Path]:
    """The clean recording of each noisy one: equal path below its folder, whatever the extensions.

    Raises AudioFileError if one has none or several.
    """
    from dtln_audio import AudioFileError, find_audio_files

    stems: dict[Path, list[Path]] = {}
    for file in find_audio_files(clean_dir):
        stems.setdefault(file.relative_to(clean_dir).with_suffix(""), []).append(file)
    found = {source: stems.get(source.relative_to(noisy_dir).with_suffix(""), []) for source in sources}
    missing = [source for source, clean in found.items() if not clean]
    if missing:
        raise AudioFileError(
            f"{missing[0]}: has no clean recording in {clean_dir} ({len(missing)} of {len(found)} have none). Expected "
            "equal names below both folders, extensions aside."
        )
    for source, clean in found.items():
        if len(clean) > 1:
            raise AudioFileError(
                f"{source}: has {len(clean)} clean recordings, {clean[0]} and {clean[1]} among them. Expected one; "
                "remove the others."
            )
    return {source: clean[0] for source, clean in found.items()}


# ----------------------------------------------------------------------------------------------------------------------
# The work on one file: these functions run in worker processes
# ----------------------------------------------------------------------------------------------------------------------

Denoiser = Callable[["np.ndarray"], "np.ndarray"]  # signals (C, L) at 16 kHz -> aligned signals (C, L), float32


@lru_cache(maxsize=1)
def load_denoiser(weights: Path) -> Denoiser:
    """The Keras network behind an `.h5` file, loaded once in each process.

    Raises FileNotFoundError or DTLN_model.WeightsFileError.
    """
    import DTLN_model

    return DTLN_model.load_network(weights).denoise


def denoise_file(weights: Path, keep_rate: bool, keep_channels: bool, job: Job) -> Outcome:
    """Denoises one recording; whatever goes wrong with it is its outcome."""
    import numpy as np

    from dtln_audio import SAMPLE_RATE, AudioFileError, read_audio, resample, write_audio

    try:
        samples, source_rate = read_audio(job.source, mono=not keep_channels)  # (L,) or (L, C)
        seconds = len(samples) / source_rate
        signals = resample(samples, source_rate, SAMPLE_RATE).reshape(-1, 1 if samples.ndim == 1 else samples.shape[1])
        denoised = load_denoiser(weights)(signals.T).T if len(signals) else signals  # (L, C)
        if not np.all(np.isfinite(denoised)):
            raise AudioFileError(f"{job.source}: the network gave NaN or Inf. Expected sound weights; check {weights}.")
        rate = SAMPLE_RATE
        if keep_rate and source_rate != rate:
            denoised, rate = resample(denoised, rate, source_rate)[: len(samples)], source_rate
        job.target.parent.mkdir(parents=True, exist_ok=True)
        clipped = write_audio(job.target, denoised, rate, job.sample_format)
    except AudioFileError as error:
        return Outcome(job, str(error))
    except Exception as error:  # the other files are still to be done
        return Outcome(job, f"{job.source}: {type(error).__name__}: {error}")
    return Outcome(job, seconds=seconds, empty=len(samples) == 0, clipped=clipped)


def score_file(job: Job) -> Outcome:
    """Scores one noisy recording and its denoised one against the clean one, all mono at 16 kHz."""
    from dtln_audio import SAMPLE_RATE, AudioFileError, read_audio
    from dtln_metrics import score

    try:
        clean, noisy, enhanced = (
            read_audio(path, sample_rate=SAMPLE_RATE, mono=True)[0] for path in (job.clean, job.source, job.target)
        )
        if not len(noisy) == len(clean) == len(enhanced):
            raise AudioFileError(
                f"{job.clean}: has {len(clean)} samples at 16 kHz, {job.source} {len(noisy)}, {job.target} "
                f"{len(enhanced)}. Expected equal lengths; cut or make the pair again."
            )
        scores = {"noisy": score(clean, noisy), "enhanced": score(clean, enhanced)}
    except AudioFileError as error:
        return Outcome(job, str(error))
    except Exception as error:  # the other files are still to be done
        return Outcome(job, f"{job.source}: cannot be scored: {error}")
    return Outcome(job, seconds=len(clean) / SAMPLE_RATE, scores=scores)


# ----------------------------------------------------------------------------------------------------------------------
# The work on all files
# ----------------------------------------------------------------------------------------------------------------------

Work = Callable[[Job], Outcome]


def in_processes(work: Work, jobs: Sequence[Job], processes: int, title: str) -> list[Outcome]:
    """The outcome of every job, in the order of the jobs; more than one process are started afresh (spawn)."""
    processes = min(processes, len(jobs))
    if processes <= 1:
        return list(with_progress((work(job) for job in jobs), len(jobs), title))
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), limit_threads, (threads,))
    with pool:
        futures = {pool.submit(work, job): job for job in jobs}

        def finished() -> Iterator[Outcome]:
            for future in as_completed(futures):
                job = futures[future]
                try:
                    yield future.result()
                except BrokenProcessPool:
                    reason = "a worker process was killed, perhaps for want of memory. Try again with fewer --jobs."
                    yield Outcome(job, f"{job.source}: {reason}")

        try:
            outcomes = {outcome.job: outcome for outcome in with_progress(finished(), len(jobs), title)}
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcomes[job] for job in jobs]


def limit_threads(count: int) -> None:
    """Lets numerical libraries that are imported later use `count` threads, so that processes do not fight."""
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)


def with_progress(outcomes: Iterable[Outcome], total: int, title: str) -> Iterator[Outcome]:
    """Passes outcomes on and draws a bar on stderr, with the speed in seconds of audio per second."""
    from tqdm import tqdm

    started, seconds = time.perf_counter(), 0.0
    with tqdm(total=total, desc=title, unit="file") as bar:
        for outcome in outcomes:
            seconds += outcome.seconds
            bar.set_postfix_str(f"{seconds / (time.perf_counter() - started):.1f} x real time", refresh=False)
            bar.update()
            yield outcome


def score_files(jobs: Sequence[Job], args: argparse.Namespace) -> list[Outcome]:
    """Scores all pairs, prints the means and writes the scores of each file if a name for them was given."""
    outcomes = in_processes(score_file, jobs, args.jobs, "scoring")
    scored = [outcome for outcome in outcomes if outcome.scores]
    print_means(scored)
    if args.csv:
        write_scores(args.csv, scored, args.input)
        print(f"scores of {count(len(scored), 'file')} written to {args.csv}")
    return outcomes


# ----------------------------------------------------------------------------------------------------------------------
# Reports
# ----------------------------------------------------------------------------------------------------------------------


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
        if lines:
            print(f"{count(len(lines), 'file')} {title}:")
            print("\n".join(f"  {line}" for line in lines[:NAMES_SHOWN]))
            if len(lines) > NAMES_SHOWN:
                print(f"  and {len(lines) - NAMES_SHOWN} more")
    failed = len(outcomes) - len(done)
    if failed:
        print(f"{count(failed, 'file')} failed")


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_means(scored: Sequence[Outcome]) -> None:
    """Prints the mean of each metric for the noisy and the denoised recordings."""
    from dtln_metrics import METRICS

    if not scored:
        print("no file could be scored")
        return
    print(f"means over {count(len(scored), 'file')}:")
    print(f"{'':10}" + "".join(f"{heading:>13}" for heading in METRICS.values()))
    for signal in ("noisy", "enhanced"):
        means = [sum(o.scores[signal][key] for o in scored) / len(scored) for key in METRICS]
        print(f"{signal:10}" + "".join(f"{mean:13.3f}" for mean in means))


def write_scores(path: Path, scored: Sequence[Outcome], noisy_dir: Path) -> None:
    """Writes a table with one row a file: its name, and each metric for the noisy and the denoised recording."""
    import csv

    from dtln_audio import complete_file
    from dtln_metrics import METRICS

    columns = [(signal, key) for signal in ("noisy", "enhanced") for key in METRICS]
    with complete_file(path) as part, open(part, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", *(f"{signal}_{key}" for signal, key in columns)])
        for outcome in scored:
            name = outcome.job.source.relative_to(noisy_dir).as_posix()
            writer.writerow([name, *(f"{outcome.scores[signal][key]:.6g}" for signal, key in columns)])


if __name__ == "__main__":
    sys.exit(main())
