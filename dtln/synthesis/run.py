"""The work on all pairs of a synthesis."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dtln.errors import SettingsError
from dtln.synthesis.drawing import PairPlan, draw_pair
from dtln.synthesis.output import JOURNAL_NAME, check_output, open_output, write_manifest
from dtln.synthesis.pairs import Row, make_pair
from dtln.synthesis.recordings import Part, divide
from dtln.synthesis.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

ATTEMPTS = 10  # draws of speech and noise before silence where there should be sound is an error


def make_pairs(
    settings: Settings, parts: Mapping[str, Part], output: Path, indices: Sequence[int], jobs: int
) -> Iterator[Row | str]:
    """Makes the pairs and gives the row of each as soon as it is there, in any order.

    Where recordings cannot be used it gives the reason in words and draws others for the pair. Raises SettingsError
    where no attempt succeeds, and what `make_pair` raises.
    """
    from concurrent.futures import FIRST_COMPLETED, wait

    waiting = [(index, 0) for index in reversed(indices)]
    running: dict[Future, PairPlan] = {}
    ahead = 2 * jobs if jobs > 1 else 1  # so that no process waits for its next pair
    with executor(jobs) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < ahead:
                    plan = draw_pair(settings, parts, *waiting.pop())
                    running[pool.submit(make_pair, settings, output, plan)] = plan
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    plan, result = running.pop(future), future.result()
                    if isinstance(result, str) and plan.attempt + 1 == ATTEMPTS:
                        raise SettingsError(
                            f"pair {plan.index}: {ATTEMPTS} draws gave nothing to use; the last: {result}"
                        )
                    if isinstance(result, str):
                        waiting.append((plan.index, plan.attempt + 1))
                    yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def executor(jobs: int) -> Executor:
    """Worker processes, started afresh; for one job the calls are made here."""
    import multiprocessing
    import signal
    from concurrent.futures import Executor, Future, ProcessPoolExecutor

    class Here(Executor):
        def submit(self, function: Callable, /, *args: object, **kwargs: object) -> Future:
            future: Future = Future()
            future.set_result(function(*args, **kwargs))
            return future

    context = multiprocessing.get_context("spawn")
    ignore = (signal.SIGINT, signal.SIG_IGN)  # of an interrupt only this process makes an end
    return Here() if jobs == 1 else ProcessPoolExecutor(jobs, context, signal.signal, ignore)


class Progress:
    """Says on a stream how far the work is: on a terminal in one line, elsewhere a line for every tenth."""

    def __init__(self, total: int, done: int, seconds: float, stream: TextIO) -> None:
        self.total, self.done, self.seconds, self.stream = total, done, seconds, stream
        self.first, self.started, self.shown = done, time.monotonic(), -1.0
        self.terminal = stream.isatty()

    def step(self) -> None:
        """One pair more."""
        self.done += 1
        elapsed = time.monotonic() - self.started
        speed = (self.done - self.first) / max(elapsed, 1e-9)  # pairs a second
        text = (
            f"{self.done} of {self.total} pairs, {self.done * self.seconds / 3600:.2f} h, "
            f"{speed * self.seconds:.0f} times real time, {(self.total - self.done) / speed / 60:.1f} min left"
        )
        if self.terminal and (elapsed - self.shown > 0.2 or self.done == self.total):
            self.shown = elapsed
            print(f"\r{text:<78}", end="\n" if self.done == self.total else "", file=self.stream, flush=True)
        elif not self.terminal and self.done * 10 // self.total > (self.done - 1) * 10 // self.total:
            print(text, file=self.stream, flush=True)


def synthesize(settings: Settings, output: Path, jobs: int, resume: bool) -> tuple[int, list[str]]:
    """Makes what `settings` ask for; (how many pairs were made now, why which recordings could not be used).

    Raises SettingsError, AudioFileError, OSError, or ModuleNotFoundError where a package is missing.
    """
    check_output(output, settings, resume)
    if settings.simulated_rooms:
        from dtln.mixing.rooms import require_pyroomacoustics

        require_pyroomacoustics()
    parts, fingerprint = divide(settings)
    rows = open_output(output, settings, fingerprint, resume)
    missing = [index for index in range(settings.total) if index not in rows]
    progress = Progress(settings.total, len(rows), settings.seconds, sys.stderr)
    unusable: set[str] = set()
    with open(output / JOURNAL_NAME, "a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line at which an earlier run was stopped
        for row in make_pairs(settings, parts, output, missing, jobs):
            if isinstance(row, str):
                unusable.add(row)
                continue
            rows[int(row["fileid"])] = row
            journal.write(json.dumps(row) + "\n")
            journal.flush()
            progress.step()
    write_manifest(output, rows)
    return len(missing), sorted(unusable)
