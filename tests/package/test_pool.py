"""dtln.pool: threads, processes and one worker here; interrupts, killed processes, progress."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from dtln.pool import Progress, advance, as_finished, open_pool, run_all

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    words: str
    seconds: float = 1.0


def answer(job: int) -> Answer:
    """The number of a job, its process and the threads that libraries may use; job -1 kills its process."""
    if job == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    return Answer(f"{job} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")


def lost(job: int, reason: str) -> Answer:
    return Answer(f"{job} {reason}", 0.0)


@pytest.mark.parametrize(("workers", "processes"), [(1, False), (3, False), (1, True), (2, True)])
def test_results_come_in_the_order_of_the_jobs(workers, processes, capsys):
    results = [result.words.split() for result in run_all(answer, range(20), workers, "asking", lost, processes)]
    assert [int(job) for job, _, _ in results] == list(range(20))
    elsewhere = {pid for _, pid, _ in results} - {str(os.getpid())}
    assert bool(elsewhere) == (processes and workers > 1) and len(elsewhere) <= workers
    if elsewhere:
        assert {threads for _, _, threads in results} == {str(max(1, (os.cpu_count() or 1) // workers))}
    assert "asking: 100%, 20/20 files, " in capsys.readouterr().err


def test_no_jobs_at_all(capsys):
    assert run_all(answer, [], 4, "asking", lost, processes=True) == []
    assert capsys.readouterr().err == ""


def test_killed_process_costs_the_job_that_it_did():
    """The others are done, by a new process where two were killed."""
    results = run_all(answer, [-1, 14, 15, -1, 17, 18, 19, 20], 2, "asking", lost, processes=True)
    words = [result.words for result in results]
    assert words[0] == words[3] and words[0].startswith(
        "-1 a worker process was killed, perhaps because memory ran out"
    )
    assert [int(word.split()[0]) for word in words] == [-1, 14, 15, -1, 17, 18, 19, 20]
    assert not any("killed" in word for word in words if word != words[0])


def fail(job: int) -> Answer:
    raise ValueError(f"job {job}")


def hear(job: int) -> Answer:
    """Three seconds of audio, in pieces."""
    for _ in range(3):
        advance(1.0)
        time.sleep(0.3)
    return Answer(str(job), 3.0)


@pytest.mark.parametrize("processes", [False, True])
def test_progress_within_jobs(processes, capsys):
    run_all(hear, [1, 2], 2, "hearing", lost, processes, audio=[3.0, 3.0])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3 and "0/2 files" in lines[0] and "100%, 2/2 files" in lines[-1]
    assert int(lines[0].split()[1].rstrip("%,")) >= 16


@pytest.mark.parametrize("workers", [1, 3])
def test_interrupt_ends_jobs_at_their_next_advance(workers):
    begun, ended = [], []

    def work(job: int) -> Answer:
        begun.append(job)
        advance(0.1)
        if job == 0:
            time.sleep(0.1)  # in which the main thread begins to wait
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.2)
        advance(0.1)
        ended.append(job)
        return Answer("")

    with pytest.raises(KeyboardInterrupt):
        run_all(work, range(100), workers, "working", lost)
    assert len(begun) <= workers + 2 and 0 not in ended


def test_interrupted_processes_end_without_tracebacks(tmp_path):
    code = (
        "import os, signal, sys, time\n"
        "from dtln.pool import run_all\n"
        "def work(job):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"  # as a terminal sends it to every process
        "    time.sleep(0.1)\n"
        "    if job == 0: os.kill(os.getppid(), signal.SIGINT)\n"
        "if __name__ == '__main__':\n"
        "    try: run_all(work, range(50), 2, 'working', None, processes=True)\n"
        "    except KeyboardInterrupt: sys.exit(130)\n"
    )
    (tmp_path / "interrupted.py").write_text(code)
    run = subprocess.run(
        [sys.executable, tmp_path / "interrupted.py"], env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (130, "")


def test_error_of_a_job_ends_everything():
    for workers, processes in ((1, False), (2, False), (2, True)):
        with pytest.raises(ValueError, match="job"):
            run_all(fail, range(3), workers, "working", lost, processes)


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_that_are_added_meanwhile(workers):
    waiting, found = deque([3, 1]), []
    with open_pool(workers) as pool:

        def start(job: int) -> Future[int]:
            return pool.submit(lambda: job)

        for job, future in as_finished(start, waiting, ahead=workers):
            assert future.result() == job
            found.append(job)
            if job > 1:
                waiting.append(job - 1)
    assert sorted(found) == [1, 1, 2, 3]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_progress(stream):
    with Progress("mixing", 40, "pair", done=8, stream=stream) as progress:
        for _ in range(32):
            progress.step(30.0)
    text = stream.getvalue()
    assert "mixing: 100%, 40/40 pairs, " in text and text.rstrip(" \n").endswith(" x real time, 0:00 left")
    assert text.count("\n") == (1 if stream.isatty() else 8)
    assert not stream.isatty() or text.startswith("\rmixing: 22%, 9/40 pairs, ")


def test_progress_that_breaks_off_ends_its_line():
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress("mixing", 40, "pair", stream=stream) as progress:
        progress.step(1.0)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("left\n")
