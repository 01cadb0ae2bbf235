"""Many jobs at once, in threads or processes, and how far they are."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol, TextIO, TypeVar

__all__ = ["Progress", "as_finished", "open_pool", "run_all"]

WORKER_KILLED = "a worker process was killed, perhaps because memory ran out. Try again with fewer --jobs."


class Timed(Protocol):
    """A result that knows how many seconds of audio it stands for."""

    @property
    def seconds(self) -> float: ...


Job = TypeVar("Job")
Result = TypeVar("Result")
TimedResult = TypeVar("TimedResult", bound=Timed)


class Here(Executor):
    """Makes each call at once, in this thread."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def open_pool(workers: int, processes: bool = False, threads: int | None = None) -> Iterator[Executor]:
    """An executor with so many workers; for one worker it makes the calls here.

    processes: workers are processes, started afresh (spawn), instead of threads. threads: how many threads numerical
    libraries may use in each process; None leaves that to them. When the block ends, by an interrupt (Ctrl-C) too,
    calls that have not begun are dropped, and those that run are completed.
    """
    pool: Executor
    if workers == 1:
        pool = Here()
    elif processes:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_process, (threads,))
    else:
        pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_process(threads: int | None) -> None:
    """Leaves interrupts to the parent, and sets the threads of numerical libraries, which are imported later."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threads is not None:
        for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)


def as_finished(
    start: Callable[[Job], Future[Result]], waiting: deque[Job], ahead: int
) -> Iterator[tuple[Job, Future[Result]]]:
    """Starts jobs from the left of `waiting` and gives each with its finished future, in the order in which they end.

    start: submits one job to an executor. ahead: jobs that are started before the first is given back; two for each
    worker keep all busy, and one worker here needs one. The caller may add to `waiting` in between. Where a worker
    process was killed, the futures of all jobs that are left raise BrokenExecutor.
    """
    running: dict[Future[Result], Job] = {}
    while waiting or running:
        while waiting and len(running) < ahead:
            job = waiting.popleft()
            try:
                future = start(job)
            except BrokenExecutor as error:
                future = Future()
                future.set_exception(error)
            running[future] = job
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future


def run_all(
    work: Callable[[Job], TimedResult],
    jobs: Sequence[Job],
    workers: int,
    title: str,
    lost: Callable[[Job, str], TimedResult],
    processes: bool = False,
) -> list[TimedResult]:
    """The result of every job, in the order of the jobs; draws the progress on stderr.

    processes: as in `open_pool`; the processor's cores are divided among them. lost: the result of a job whose process
    was killed, from the job and the reason in words. Exceptions of `work` itself end everything.
    """
    workers = max(1, min(workers, len(jobs)))
    results: dict[int, TimedResult] = {}
    threads = max(1, (os.cpu_count() or 1) // workers)
    waiting, ahead = deque(range(len(jobs))), 1 if workers == 1 else 2 * workers
    with open_pool(workers, processes, threads) as pool, Progress(title, len(jobs), "file") as progress:
        for index, future in as_finished(lambda index: pool.submit(work, jobs[index]), waiting, ahead):
            try:
                results[index] = future.result()
            except BrokenExecutor:
                results[index] = lost(jobs[index], WORKER_KILLED)
            progress.step(results[index].seconds)
    return [results[index] for index in range(len(jobs))]


class Progress:
    """Says how far the work is: on a terminal in one line, elsewhere in a line for every tenth. Use it as a context.

    done: jobs of an earlier run, which are part of `total`. stream: stderr if None.
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, stream: TextIO | None = None) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self._first, self._seconds = done, 0.0
        self._started, self._shown, self._line_is_open = time.monotonic(), -1.0, False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._line_is_open:
            print(file=self.stream, flush=True)

    def step(self, seconds: float) -> None:
        """One job more is done, of so many seconds of audio."""
        self.done += 1
        self._seconds += seconds
        elapsed = max(time.monotonic() - self._started, 1e-9)
        if self.terminal and (elapsed - self._shown > 0.2 or self.done == self.total):
            self._shown, self._line_is_open = elapsed, True
            print(f"\r{self._text(elapsed):<78}", end="", file=self.stream, flush=True)
        elif not self.terminal and self.done * 10 // self.total > (self.done - 1) * 10 // self.total:
            print(self._text(elapsed), file=self.stream, flush=True)

    def _text(self, elapsed: float) -> str:
        minutes, seconds = divmod(round((self.total - self.done) * elapsed / (self.done - self._first)), 60)
        return (
            f"{self.title}: {100 * self.done // self.total}%, {self.done}/{self.total} {self.unit}s, "
            f"{self._seconds / elapsed:.1f} x real time, {minutes}:{seconds:02d} left"
        )
