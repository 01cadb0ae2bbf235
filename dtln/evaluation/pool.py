"""Work on many files in threads or processes, with a progress bar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dtln.evaluation.outcomes import Job, Outcome, Pair

if TYPE_CHECKING:
    from concurrent.futures import Executor

Work = Callable[[Any], Outcome]  # takes a Job or a Pair


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
