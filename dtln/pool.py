"""Many jobs at once, in threads or processes, and how far they are."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TextIO, TypeVar

from dtln.terminal import Line

__all__ = ["Progress", "WorkerKilled", "advance", "as_finished", "open_pool", "run_all"]

STOP_SECONDS = 0.4  # how long an interrupted run waits for jobs to end by themselves
TICK_SECONDS = 0.2  # between two looks at the progress


class WorkerKilled(RuntimeError):
    """The process that did a job was killed; other jobs are not concerned."""

    def __init__(
        self, words: str = "a worker process was killed, perhaps because memory ran out. Try again with fewer --jobs."
    ) -> None:
        super().__init__(words)


class Stopped(BaseException):
    """Ends a job whose run is to end; no `except Exception` takes it for a failure of the job."""


class Timed(Protocol):
    """A result that knows how many seconds of audio it stands for."""

    @property
    def seconds(self) -> float: ...


Job = TypeVar("Job")
Result = TypeVar("Result")
TimedResult = TypeVar("TimedResult", bound=Timed)
_current = threading.local()  # .advance: of the job that this thread does


def advance(seconds: float) -> None:
    """Says, from within a job of `run_all`, that so many seconds of its audio are done. Ends the job if all is to end.

    A job calls it often, so that progress is seen and an interrupt is heard; outside of `run_all` it does nothing.
    """
    getattr(_current, "advance", float)(seconds)


class Here(Executor):
    """Makes each call at once, in this thread."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Workers(ThreadPoolExecutor):
    """Makes calls in threads, or in processes, started afresh (spawn), one for each thread.

    A process that is killed costs the call that it was making, which raises WorkerKilled; the next call gets a new one.
    threads: how many threads numerical libraries may use in each process; None leaves that to them.
    """

    def __init__(self, workers: int, processes: bool, threads: int | None) -> None:
        super().__init__(workers, initializer=_leave_signals_to_the_main_thread)
        self._in_processes, self._library_threads, self._killed = processes, threads, False
        self._own = threading.local()  # .worker: the process of a thread and the connection to it
        self._workers: list[tuple[Any, Any]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self.begin(float, partial(function, *args, **kwargs))

    def begin(self, note: Callable[[float], Any], call: Callable[[], Any]) -> Future[Any]:
        """`submit`; note: is told the seconds that the call gives to `advance`, and may raise Stopped."""
        return super().submit(self._make, note, call)

    def _make(self, note: Callable[[float], Any], call: Callable[[], Any]) -> Any:
        note(0.0)
        if not self._in_processes:
            _current.advance = note
            return call()
        process, connection = self._worker()
        try:
            connection.send(call)
            while True:
                kind, value = connection.recv()
                if kind == "result":
                    return value
                if kind == "error":
                    error, trace = value
                    raise error from RuntimeError(f"\n{trace}")
                note(value)
        except (EOFError, ConnectionError) as error:
            self._forget(process, connection)
            raise WorkerKilled from error
        except Stopped:
            self._forget(process, connection)
            raise

    def _worker(self) -> tuple[Any, Any]:
        """This thread's process and the connection to it."""
        if getattr(self._own, "worker", None) is None:
            import multiprocessing

            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._library_threads), daemon=True)
            process.start()
            theirs.close()
            self._own.worker = process, ours
            self._workers.append(self._own.worker)
            if self._killed:
                process.kill()
        return self._own.worker

    def _forget(self, process: Any, connection: Any) -> None:
        process.kill()
        connection.close()
        self._workers.remove(self._own.worker)
        self._own.worker = None

    def kill(self) -> None:
        """Ends all processes at once; the calls that they are making raise WorkerKilled."""
        self._killed = True
        for process, _ in tuple(self._workers):
            process.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        for process, connection in tuple(self._workers) if wait else ():
            connection.close()  # on which the process ends
            process.join()


def _serve(connection: Any, threads: int | None) -> None:
    """Makes the calls that come, in a process of its own, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threads is not None:  # before numerical libraries are imported
        for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)
    _current.advance = lambda seconds: connection.send(("advance", seconds))
    try:
        while True:
            call = connection.recv()
            try:
                answer: tuple[str, Any] = "result", call()
            except Exception as error:
                import traceback

                answer = "error", (error, traceback.format_exc())
            connection.send(answer)
    except (EOFError, ConnectionError):  # the parent has what it wanted, or is gone
        pass


def _leave_signals_to_the_main_thread() -> None:
    """Also for the processes that this thread starts: a terminal sends Ctrl+C to them, too."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))


@contextmanager
def open_pool(workers: int, processes: bool = False, threads: int | None = None) -> Iterator[Executor]:
    """An executor with so many workers; for one worker it makes the calls here.

    processes, threads: as in `Workers`. When the block ends, calls that have not begun are dropped, and those that run
    are completed; after an interrupt (Ctrl-C) their processes are killed instead.
    """
    if workers == 1:
        yield Here()
        return
    pool = Workers(workers, processes, threads)
    try:
        yield pool
    except KeyboardInterrupt:
        pool.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def as_finished(
    start: Callable[[Job], Future[Result]], waiting: deque[Job], ahead: int, tick: Callable[[], object] = bool
) -> Iterator[tuple[Job, Future[Result]]]:
    """Starts jobs from the left of `waiting` and gives each with its finished future, in the order in which they end.

    start: submits one job to an executor. ahead: jobs that are started before the first is given back; two for each
    worker keep all busy, and one worker here needs one. tick: called again and again. The caller may add to `waiting`
    in between.
    """
    running: dict[Future[Result], Job] = {}
    while waiting or running:
        while waiting and len(running) < ahead:
            job = waiting.popleft()
            running[start(job)] = job
        done = wait(running, TICK_SECONDS, FIRST_COMPLETED).done
        tick()
        for future in done:
            yield running.pop(future), future


def run_all(
    work: Callable[[Job], TimedResult],
    jobs: Sequence[Job],
    workers: int,
    title: str,
    lost: Callable[[Job, str], TimedResult],
    processes: bool = False,
    audio: Sequence[float] | None = None,
) -> list[TimedResult]:
    """The result of every job, in the order of the jobs; draws the progress on stderr.

    processes: more than one worker are processes, among which the processor's cores are divided. lost: the result of a
    job whose process was killed, from the job and the reason in words. audio: how many seconds each job will probably
    take from its recording; then jobs call `advance`, and the progress is that in audio. Exceptions of `work` itself
    end everything. After an interrupt jobs end at their next `advance`; those that do not in time are left to
    themselves (threads) or killed (processes), and the caller ends the program.
    """
    workers = max(1, min(workers, len(jobs)))
    results: dict[int, TimedResult] = {}
    heard: dict[int, float] = {}  # s of audio that running jobs have done
    begun: dict[int, Future[TimedResult]] = {}
    stop = threading.Event()
    expected = [1.0] * len(jobs) if audio is None else [max(seconds, 1e-3) for seconds in audio]
    pool = Workers(workers, processes and workers > 1, max(1, (os.cpu_count() or 1) // workers))

    def start(index: int) -> Future[TimedResult]:
        def note(seconds: float) -> None:
            if stop.is_set():
                raise Stopped
            heard[index] = heard.get(index, 0.0) + seconds

        begun[index] = pool.begin(note, partial(work, jobs[index]))
        return begun[index]

    try:
        with Progress(title, len(jobs), "file", size=sum(expected)) as progress:

            def tick() -> None:
                partly = [(index, seconds) for index, seconds in tuple(heard.items()) if audio is not None]
                progress.show(sum(s for _, s in partly), sum(min(s, expected[index]) for index, s in partly))

            for index, future in as_finished(start, deque(range(len(jobs))), 2 * workers, tick):
                try:
                    results[index] = future.result()
                except WorkerKilled as error:
                    results[index] = lost(jobs[index], str(error))
                heard.pop(index, None)
                del begun[index]
                progress.step(results[index].seconds, expected[index])
    except KeyboardInterrupt:
        stop.set()
        pool.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        wait(tuple(begun.values()), STOP_SECONDS)
        raise
    except BaseException:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()
    return [results[index] for index in range(len(jobs))]


class Progress:
    """Says how far the work is: on a terminal in one line, elsewhere in a line for every tenth. Use it as a context.

    done: jobs of an earlier run, which are part of `total`. stream: stderr if None. size: of all jobs together, in any
    measure; None: all are equally long. A stream that cannot be written to any more is left alone.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        done: int = 0,
        stream: TextIO | None = None,
        size: float | None = None,
    ) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.stream = sys.stderr if stream is None else stream
        self.terminal, self._line = self.stream.isatty(), Line(self.stream)
        self.size = max(float(total) if size is None else size, 1e-9)
        self._first = self._size_done = float(done)
        self._seconds, self._tenths = 0.0, int(10 * self._first / self.size)
        self._started, self._shown = time.monotonic(), -1.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._line.end()

    def step(self, seconds: float, size: float = 1.0) -> None:
        """One job more is done, of so many seconds of audio and of this size."""
        self.done += 1
        self._seconds += seconds
        self._size_done += size
        self.show()

    def show(self, seconds: float = 0.0, size: float = 0.0) -> None:
        """Says how far the work is. seconds, size: the part of running jobs that is done."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        share = 1.0 if self.done == self.total else min((self._size_done + size) / self.size, 0.99)
        tenths = int(10 * share + 1e-9)
        if share == 0:  # nothing to tell yet
            return
        if self.terminal and (elapsed - self._shown > TICK_SECONDS or self.done == self.total):
            self._shown = elapsed
            self._line.show(self._text(elapsed, share, seconds))
        elif not self.terminal and tenths > self._tenths:
            self._line.say(self._text(elapsed, share, seconds))
        self._tenths = max(tenths, self._tenths)

    def _text(self, elapsed: float, share: float, seconds: float) -> str:
        new = max(share - self._first / self.size, 1e-9)
        minutes, left = divmod(round((1 - share) * elapsed / new), 60)
        return (
            f"{self.title}: {int(100 * share + 1e-9)}%, {self.done}/{self.total} {self.unit}s, "
            f"{(self._seconds + seconds) / elapsed:.1f} x real time, {minutes}:{left:02d} left"
        )
