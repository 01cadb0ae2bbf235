"""Denoise a folder of recordings with DTLN weights, and score the result where clean recordings are given.

    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5
    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5 --reference CLEAN_DIR --csv scores.csv
    run_evaluation.py --score-only -i DENOISED_DIR --noisy NOISY_DIR --reference CLEAN_DIR --json scores.json
    run_evaluation.py --score-only -i DENOISED_DIR --dnsmos

Sub-folders and names are kept. Recordings of any rate, channel count and format that soundfile reads are taken; what
is written is mono at 16 kHz, aligned with the input and of the input's sample format (a format that cannot be written
becomes wav; the summary says so). A file that cannot be denoised is reported at the end and the others are done; the
exit status is then 1.

Scores are PESQ (raw P.862 narrow band, its P.862.1 mapping, wide band), STOI, ESTOI, SI-SDR and SNR against clean
recordings of equal name, extensions aside, or of the same fileid_N; and DNSMOS, which needs none. --score-only takes
recordings that were denoised elsewhere, or noisy ones, and needs no TensorFlow. The means over files come with 95 %
intervals (Student's t), also broken down by input SNR, as a manifest or names like ..._snr5_fileid_1.wav tell it, else
as measured against the clean recordings. Silent recordings and such as are too short are left out and counted; delays,
clipping and levels that spoil a score are reported.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from convert_weights_and_savedmodel import FORMATS

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np

    from dtln_audio import SampleFormat

DEFAULT_MODEL_DIR = Path(__file__).resolve().parent / "pretrained_model"
NAMES_SHOWN = 10  # files listed under one heading of the summary; failures are listed all


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="IN", help="folder of noisy recordings")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "-m",
        "--weights",
        type=Path,
        metavar="H5",
        help="weights of the network (default: pretrained_model/model.h5 beside this script); for an export its folder",
    )
    parser.add_argument("--keep-rate", action="store_true", help="write the input's sampling rate instead of 16 kHz")
    parser.add_argument("--keep-channels", action="store_true", help="denoise each channel instead of their average")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave outputs that exist as they are")
    parser.add_argument(
        "--engine",
        choices=("fast", "keras", *FORMATS),
        default="fast",
        metavar="NAME",
        help="fast: the weights on ONNX Runtime, whole sequences at once (default); keras: the network itself, slower; "
        f"or an export, block by block: {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="files at a time, in threads (processes for keras, savedmodel and scores); default: one per core, with "
        "keras and savedmodel one",
    )
    scoring = parser.add_argument_group("scores")
    scoring.add_argument("--reference", type=Path, metavar="CLEAN_DIR", help="score against the recordings in here")
    scoring.add_argument("--dnsmos", action="store_true", help="score with DNSMOS too (needs the package speechmos)")
    scoring.add_argument("--score-only", action="store_true", help="denoise nothing: score the recordings in IN")
    scoring.add_argument(
        "--noisy", type=Path, metavar="NOISY_DIR", help="with --score-only: what IN was denoised from, to score it too"
    )
    scoring.add_argument(
        "--align", action="store_true", help="remove a delay against the clean recording, and cut both to what is left"
    )
    scoring.add_argument(
        "--manifest", type=Path, metavar="FILE", help="CSV table of input SNRs: noisy/file/name, snr_db"
    )
    scoring.add_argument("--csv", type=Path, metavar="FILE", help="write the scores of each file here")
    scoring.add_argument("--json", type=Path, metavar="FILE", help="write scores, means, intervals and settings here")
    args = parser.parse_args(argv)
    if args.weights is None:
        args.weights = DEFAULT_MODEL_DIR if args.engine in FORMATS else DEFAULT_MODEL_DIR / "model.h5"
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected at least one process")
    if not args.score_only:
        if args.output is None:
            parser.error("the following arguments are required: -o/--output (or --score-only)")
        if args.noisy:
            parser.error("--noisy goes with --score-only: what is denoised here is scored beside its input anyway")
    elif not (args.reference or args.dnsmos):
        parser.error("--score-only: say against which recordings with --reference CLEAN_DIR, or say --dnsmos")
    elif args.output or args.overwrite or args.skip_existing or args.keep_rate or args.keep_channels:
        parser.error("--score-only writes no recordings: leave out -o, --overwrite, --skip-existing and --keep-...")
    for option in ("csv", "json", "manifest"):
        if getattr(args, option) and not (args.reference or args.dnsmos):
            parser.error(
                f"--{option} is about scores: say against which recordings with --reference CLEAN_DIR, or say --dnsmos"
            )
    if args.align and not args.reference:
        parser.error("--align removes delays against clean recordings: say which with --reference CLEAN_DIR")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    from dtln_audio import AudioFileError

    try:
        jobs, unreadable = ([], []) if args.score_only else plan(args)
        pairs = plan_scores(jobs, args) if args.reference or args.dnsmos else []
        denoised = [] if args.score_only else denoise_files(jobs, unreadable, args)
        left_out = {outcome.job.source for outcome in denoised if outcome.failure or outcome.empty}
        pairs = [pair for pair in pairs if pair.signals[0][1] not in left_out]
        scored = score_files(pairs, args) if args.reference or args.dnsmos else []
    except (AudioFileError, ValueError, OSError, ImportError) as error:
        print(f"run_evaluation.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        written = (
            "no scores were written" if args.score_only else "what was written is complete, --skip-existing goes on"
        )
        print(f"run_evaluation.py: stopped; {written}", file=sys.stderr)
        return 130
    failures = [outcome for outcome in denoised + scored if outcome.failure]
    for outcome in failures:
        print(f"FAILED {outcome.failure}", file=sys.stderr)
    nothing_scored = scored and not any(outcome.scores for outcome in scored)
    return 1 if failures or nothing_scored else 0


# ----------------------------------------------------------------------------------------------------------------------
# Before work starts: what will be read and written, and everything that can be refused
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One recording: where it lies, where it goes, in which sample format."""

    source: Path
    target: Path
    sample_format: SampleFormat | None  # None: the header could not be read
    converted_from: SampleFormat | None = None  # the input's format where it cannot be written


@dataclass(frozen=True)
class Pair:
    """One recording to be scored, maybe beside the noisy one it came from, maybe against a clean one."""

    name: str  # below its folder
    signals: tuple[tuple[str, Path], ...]  # ("noisy", path), ("enhanced", path); or ("input", path) alone
    clean: Path | None
    known_snr: float | None = None  # of the noisy recording, dB, where a manifest or the names tell it

    @property
    def source(self) -> Path:
        """The recording that the pair is about."""
        return self.signals[-1][1]


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `failure` is a reason that names the file, None where it succeeded."""

    job: Job | Pair
    failure: str | None = None
    seconds: float = 0.0  # of audio
    empty: bool = False
    clipped: int = 0  # samples
    scores: dict[str, dict[str, float]] | None = None  # "noisy" and "enhanced" -> metric -> score
    excluded: str | None = None  # why no metric is defined for it
    findings: tuple[tuple[str, str], ...] = ()  # (kind, words that name the file) of what spoils the scores


def plan(args: argparse.Namespace) -> tuple[list[Job], list[Outcome]]:
    """The jobs, and the files that cannot be read. Raises AudioFileError for everything that forbids to start."""
    from dtln_audio import AudioFileError, find_audio_files

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
    from dtln_audio import SAMPLE_RATE, audio_info, writable_format

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
    from dtln_audio import AudioFileError

    real, inside = output.resolve(), folder.resolve()
    if real == inside or inside in real.parents:
        where = "is" if real == inside else "lies inside"
        raise AudioFileError(f"{output}: {where} the {name} folder {folder}. Expected a folder apart from it.")
    if output.exists() and not output.is_dir():
        raise AudioFileError(f"{output}: is a file. Expected a folder to write to; choose another name.")


def plan_scores(jobs: Sequence[Job], args: argparse.Namespace) -> list[Pair]:
    """What is scored: the jobs' recordings, or those of the input folder. Raises for everything that forbids to start.

    AudioFileError for recordings without partners, ValueError for a manifest that cannot be used, ModuleNotFoundError
    with the remedy for a missing package.
    """
    from dtln_audio import AudioFileError, find_audio_files
    from dtln_metrics import DNSMOS_PACKAGES, SCORING_PACKAGES, read_manifest, require_packages, snr_from_name

    require_packages(SCORING_PACKAGES if args.reference else ())
    require_packages(DNSMOS_PACKAGES if args.dnsmos else ())
    for report in (args.csv, args.json):
        if report and not report.absolute().parent.is_dir():
            raise AudioFileError(f"{report}: its folder does not exist. Make it first.")
    sources = find_audio_files(args.input) if args.score_only else [job.source for job in jobs]
    clean = partners(sources, args.input, args.reference) if args.reference else {}
    noisy = partners(sources, args.input, args.noisy) if args.noisy else {}
    targets = {job.source: job.target for job in jobs}
    pairs, names = [], []
    for source in sources:
        signals: tuple[tuple[str, Path], ...] = (("input", source),)
        if source in targets:
            signals = (("noisy", source), ("enhanced", targets[source]))
        elif source in noisy:
            signals = (("noisy", noisy[source]), ("enhanced", source))
        name = source.relative_to(args.input).as_posix()
        names.append([name, *([noisy[source].relative_to(args.noisy).as_posix()] if source in noisy else [])])
        pairs.append(Pair(name, signals, clean.get(source)))
    if args.manifest:
        snrs: list[float | None] = list(read_manifest(args.manifest, names))
    else:
        snrs = [next((snr for snr in map(snr_from_name, known) if snr is not None), None) for known in names]
    if None in snrs:
        return pairs  # measured SNRs are others than those of names: they are not mixed
    return [replace(pair, known_snr=snr) for pair, snr in zip(pairs, snrs, strict=True)]


def partners(sources: Sequence[Path], folder: Path, other: Path) -> dict[Path, Path]:
    """The recording in another folder that belongs to each. Raises AudioFileError if one has none or several."""
    from dtln_audio import find_audio_files, pair_files

    names = [source.relative_to(folder).as_posix() for source in sources]
    others = [file.relative_to(other).as_posix() for file in find_audio_files(other)]
    pairs = pair_files(names, others, folder, other)
    return {source: other / partner for source, (_, partner) in zip(sources, pairs, strict=True)}


# ----------------------------------------------------------------------------------------------------------------------
# The work on one file: these functions run in worker processes
# ----------------------------------------------------------------------------------------------------------------------


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
        from dtln_streaming import StreamingDenoiser, open_backend

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

    Raises FileNotFoundError, dtln_weights.WeightsFileError or dtln_streaming.ModelError for what cannot be loaded,
    ImportError where packages are missing.
    """
    if engine in FORMATS:
        BlockByBlock(engine, weights, 1)  # what cannot be opened is found out here
        return partial(BlockByBlock, engine, weights)
    if engine == "keras":
        import DTLN_model

        denoise = DTLN_model.load_network(weights).denoise
        return lambda signals: WholeSignals(denoise)
    from dtln_onnx import SequenceDenoiser, SequenceNetwork

    return partial(SequenceDenoiser, SequenceNetwork(weights))


def denoise_file(engine: str, weights: Path, keep_rate: bool, keep_channels: bool, job: Job) -> Outcome:
    """Denoises one recording piece by piece; whatever goes wrong with it is its outcome."""
    import numpy as np

    from dtln_audio import SAMPLE_RATE, AudioFileError, Resampler, audio_blocks, audio_info, audio_writer

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


def score_file(with_dnsmos: bool, aligned: bool, pair: Pair) -> Outcome:
    """Scores the recordings of a pair, mono at 16 kHz; whatever goes wrong with it is its outcome."""
    from dtln_audio import SAMPLE_RATE, AudioFileError, read_audio
    from dtln_metrics import UNRELATED, NotScorable, align, dnsmos, find_delay, findings, score

    found: list[tuple[str, str]] = []
    scores: dict[str, dict[str, float]] = {}
    path = pair.clean or pair.source
    try:
        clean = read_audio(pair.clean, sample_rate=SAMPLE_RATE, mono=True)[0] if pair.clean else None
        for name, path in pair.signals:
            signal, _ = read_audio(path, sample_rate=SAMPLE_RATE, mono=True)
            target, estimate = clean, signal
            if clean is not None and aligned:
                delay, correlation = find_delay(clean, signal)
                target, estimate = align(clean, signal, delay if abs(correlation) >= UNRELATED else 0)
                if not len(clean) == len(signal) == len(estimate):
                    words = f"{delay:+d} samples of delay removed, {len(estimate)} samples of both recordings scored"
                    found.append(("aligned", f"{path}: {words}"))
            elif clean is not None and len(clean) != len(signal):
                raise AudioFileError(
                    f"{pair.clean}: has {len(clean)} samples at 16 kHz, {path} {len(signal)}. Expected equal lengths; "
                    "make the pair again, or say --align to cut both to what they share."
                )
            found += [(kind, f"{path}: {words}") for kind, words in findings(estimate, target).items()]
            scores[name] = {} if target is None else score(target, estimate)
            if with_dnsmos:
                scores[name] |= dnsmos(signal)
    except AudioFileError as error:
        return Outcome(pair, str(error))
    except NotScorable as error:
        against = f" against {pair.clean}" if pair.clean else ""
        return Outcome(pair, excluded=f"{path}{against}: {error}", findings=tuple(found))
    except Exception as error:  # the other files are still to be done
        return Outcome(pair, f"{path}: cannot be scored: {type(error).__name__}: {error}")
    return Outcome(pair, seconds=len(signal) / SAMPLE_RATE, scores=scores, findings=tuple(found))


# ----------------------------------------------------------------------------------------------------------------------
# The work on all files
# ----------------------------------------------------------------------------------------------------------------------

Work = Callable[[Any], Outcome]  # takes a Job or a Pair


def denoise_files(jobs: Sequence[Job], unreadable: list[Outcome], args: argparse.Namespace) -> list[Outcome]:
    """Denoises what is not to be skipped and prints the summary; returns what became of these and of the unreadable.

    Raises as `load_engine` before the first file.
    """
    todo = [job for job in jobs if not (args.skip_existing and job.target.exists())]
    load_engine(args.engine, args.weights)  # a file that holds no weights is found out here, not in every worker
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    work = partial(denoise_file, args.engine, args.weights, args.keep_rate, args.keep_channels)
    if args.engine in ("keras", "savedmodel"):
        outcomes = unreadable + in_processes(work, todo, args.jobs or 1, "denoising")
    else:
        outcomes = unreadable + in_threads(work, todo, args.jobs or os.cpu_count() or 1, "denoising")
    report_denoising(outcomes, len(jobs) - len(todo), time.perf_counter() - started)
    return outcomes


def in_threads(work: Work, jobs: Sequence[Job | Pair], threads: int, title: str) -> list[Outcome]:
    """The outcome of every job, in the order of the jobs: for work that leaves the interpreter's lock.

    Threads share the network and begin at once; processes would each load it.
    """
    from concurrent.futures import ThreadPoolExecutor

    return in_pool(ThreadPoolExecutor(threads), work, jobs, title)


def in_processes(work: Work, jobs: Sequence[Job | Pair], processes: int, title: str) -> list[Outcome]:
    """The outcome of every job, in the order of the jobs; more than one process are started afresh (spawn)."""
    processes = min(processes, len(jobs))
    if processes <= 1:
        return list(with_progress((work(job) for job in jobs), len(jobs), title))
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), limit_threads, (threads,))
    return in_pool(pool, work, jobs, title)


def in_pool(pool: Executor, work: Work, jobs: Sequence[Job | Pair], title: str) -> list[Outcome]:
    """The outcome of every job, in the order of the jobs, from a pool that is shut down afterwards."""
    from concurrent.futures import BrokenExecutor, as_completed

    with pool:
        futures = {pool.submit(work, job): job for job in jobs}

        def finished() -> Iterator[Outcome]:
            for future in as_completed(futures):
                job = futures[future]
                try:
                    yield future.result()
                except BrokenExecutor:
                    reason = "a worker process was killed, perhaps for want of memory. Try again with fewer --jobs."
                    yield Outcome(job, f"{job.source}: {reason}")

        try:
            outcomes = {outcome.job: outcome for outcome in with_progress(finished(), len(jobs), title)}
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcomes[job] for job in jobs]


def one_per_core(files: int) -> int:
    """Processes that are worth their start for so many files to score."""
    return max(1, min(os.cpu_count() or 1, files // 8))


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


def score_files(pairs: Sequence[Pair], args: argparse.Namespace) -> list[Outcome]:
    """Scores all pairs, prints the means and writes the scores of each file if a name for them was given."""
    outcomes = in_processes(
        partial(score_file, args.dnsmos, args.align), pairs, args.jobs or one_per_core(len(pairs)), "scoring"
    )
    scored = [outcome for outcome in outcomes if outcome.scores]
    snrs = input_snrs(scored)
    report_scores(outcomes, scored, snrs)
    if args.csv:
        write_csv(args.csv, scored, snrs)
        print(f"scores of {count(len(scored), 'file')} written to {args.csv}")
    if args.json:
        write_json(args.json, outcomes, scored, snrs, args)
        print(f"scores, means and settings written to {args.json}")
    return outcomes


def input_snrs(scored: Sequence[Outcome]) -> list[float]:
    """The SNR in dB of each noisy recording, as told or else as measured; [] where there is neither for all."""
    known = [outcome.job.known_snr for outcome in scored]
    if None not in known:
        return known
    measured = [outcome.scores.get("noisy", {}).get("snr_db") for outcome in scored]
    return [] if None in measured else measured


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
        print_files(title, lines)
    failed = len(outcomes) - len(done)
    if failed:
        print(f"{count(failed, 'file')} failed")


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


def report_scores(outcomes: Sequence[Outcome], scored: Sequence[Outcome], snrs: Sequence[float]) -> None:
    """Prints the means with their intervals, those by input SNR, what was left out, and what spoils scores."""
    from dtln_metrics import bins_by_snr, summarise, table_lines

    if not scored:
        print("no file could be scored")
    else:
        intervals = ", with 95 % intervals" if len(scored) > 1 else ""
        print(f"means over {count(len(scored), 'file')}{intervals}:")
        print("\n".join(table_lines(summarise([outcome.scores for outcome in scored]))))
    bins = bins_by_snr(snrs)
    for label, indices in bins.items() if len(bins) > 1 else ():
        print(f"input SNR {label}, {count(len(indices), 'file')}:")
        print("\n".join(table_lines(summarise([scored[index].scores for index in indices]))))
    print_files("left out of the means", [outcome.excluded for outcome in outcomes if outcome.excluded])
    lines: dict[str, list[str]] = {}
    for kind, words in (finding for outcome in outcomes for finding in outcome.findings):
        lines.setdefault(kind, []).append(words)
    for kind in sorted(lines):
        print_files(kind, lines[kind])


def write_csv(path: Path, scored: Sequence[Outcome], snrs: Sequence[float]) -> None:
    """Writes a table with one row a file: its name, its input SNR where known, and each metric of each signal."""
    import csv

    from dtln_audio import complete_file

    columns = [(signal, key) for signal, scores in scored[0].scores.items() for key in scores] if scored else []
    with complete_file(path) as part, open(part, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", *(["input_snr_db"] if snrs else []), *(f"{signal}_{key}" for signal, key in columns)])
        for index, outcome in enumerate(scored):
            values = [*snrs[index : index + 1], *(outcome.scores[signal][key] for signal, key in columns)]
            writer.writerow([outcome.job.name, *(f"{value:.6g}" for value in values)])


def write_json(
    path: Path,
    outcomes: Sequence[Outcome],
    scored: Sequence[Outcome],
    snrs: Sequence[float],
    args: argparse.Namespace,
) -> None:
    """Writes settings, versions, means with intervals, also by input SNR, and each file; null is what is not finite."""
    import json
    import math

    from dtln_audio import SAMPLE_RATE, complete_file
    from dtln_metrics import CONFIDENCE, bins_by_snr, summarise, versions

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def means(files: Sequence[Outcome]) -> dict[str, object]:
        return {
            signal: {
                key: plain({"mean": mean.mean, "low": mean.low, "high": mean.high}) for key, mean in of_signal.items()
            }
            for signal, of_signal in summarise([outcome.scores for outcome in files]).items()
        }

    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    for unused in ("output", "weights") if args.score_only else ():
        del settings[unused]
    told = scored and scored[0].job.known_snr is not None
    report = {
        "settings": {
            **settings, "sample_rate": SAMPLE_RATE, "confidence": CONFIDENCE, "interval": "Student's t over files",
            "difference": "enhanced - noisy, file by file",
            "input_snr": ("manifest" if args.manifest else "names") if told else "measured" if snrs else None,
        },
        "versions": versions(),
        "count": {
            "scored": len(scored),
            "left_out": sum(bool(outcome.excluded) for outcome in outcomes),
            "failed": sum(bool(outcome.failure) for outcome in outcomes),
        },
        "means": means(scored) if scored else {},
        "by_input_snr": {
            label: {"count": len(indices), "means": means([scored[index] for index in indices])}
            for label, indices in bins_by_snr(snrs).items()
        },
        "files": [
            {
                "file": outcome.job.name,
                "clean": str(outcome.job.clean) if outcome.job.clean else None,
                "input_snr_db": plain(snrs[index]) if snrs else None,
                "scores": plain(outcome.scores),
                "findings": [words for _, words in outcome.findings],
            }
            for index, outcome in enumerate(scored)
        ],
        "left_out": [outcome.excluded for outcome in outcomes if outcome.excluded],
        "failed": [outcome.failure for outcome in outcomes if outcome.failure],
    }  # fmt: skip
    with complete_file(path) as part:
        part.write_text(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
