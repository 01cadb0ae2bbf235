"""Many jobs at once on the machines of a Ray cluster (https://docs.ray.io), with the guarantees of `dtln.pool`."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import dtln
from dtln.errors import KNOWN_PACKAGES, SettingsError, require
from dtln.files import marked_folder
from dtln.pool import STOP_SECONDS, TICK_SECONDS, Progress, TimedResult, WorkerKilled

__all__ = ["Cluster", "common_folder"]

LOCAL = "local"  # the address that stands for a cluster on this machine
ATTEMPTS = 4  # of one job whose workers are killed; on machines that may be taken away one is not enough
MOST_JOBS, MOST_SECONDS = 16, 300.0  # of one task: what a worker that is killed loses, at most
TASKS_PER_CORE = 4  # at least, where there are jobs enough, so that none is idle while others have much left
CORES_FOR_SECONDS = 2.0  # for which the number of cores is believed: machines come and go
CONNECT_SECONDS = 10.0  # for the head of a cluster to answer
PATIENCE_SECONDS = 30.0  # without a result, until the reason is looked for
OBJECT_STORE = 100 * 2**20  # bytes, of a cluster on this machine; it holds no audio
KILLED = (
    f"{ATTEMPTS} worker processes were killed, perhaps because memory ran out. Try again on machines with more memory."
)

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """What a machine must see to take part.

    version: of the toolkit. packages: that are imported. folder: below which relative paths are. read: what must be
    there. mark: a file that this program made in the folder that it writes to.
    """

    version: str
    packages: tuple[str, ...]
    folder: str
    read: tuple[str, ...]
    mark: str | None


class Cluster:
    """A Ray cluster, for the length of a `with` block.

    address: `local` starts one on this machine, which ends with the block; `auto`, HOST:PORT or ray://HOST:PORT is one
    that runs. workers: how many tasks run at once, at most; None: one on each core. read: what every machine must see.
    write: the folder that all write to, which is made when work starts. Raises MissingPackageError without Ray, and
    SettingsError where no cluster is found.
    """

    def __init__(
        self, address: str, workers: int | None = None, read: Sequence[Path] = (), write: Path | None = None
    ) -> None:
        self.ray: Any = require("ray", f"--ray {address}")
        self.address, self.workers = address, workers
        self._read, self._write = tuple(map(str, read)), write
        self._closing = ExitStack()
        self._running: dict[Any, tuple[list[Any], int]] = {}  # what the tasks do, and how often it was begun
        self._cores, self._counted = 0, float("-inf")

    def __enter__(self) -> Cluster:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what its next version does; else it warns
        ends = signal.getsignal(signal.SIGTERM)
        try:
            address = self.address
            if address == "auto":
                with suppress(AttributeError):  # no public function says which cluster that is
                    address = self.ray._private.services.get_ray_address_from_environment(address, None)
            if found := re.fullmatch(r"(?:ray://)?\[?(.+?)\]?:(\d+)", address):  # Ray itself tries for minutes
                _require_cluster(found[1], int(found[2]))
            if self.address == LOCAL:
                cores = self.workers or os.cpu_count() or 1
                self.ray.init(LOCAL, num_cpus=cores, include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
            else:
                try:
                    self.ray.init(self.address, **quiet)
                except ConnectionAbortedError:  # the server of a client died as it began, Ray issue 63202
                    self.ray.init(self.address, **quiet)
        except (OSError, OverflowError, ValueError, RuntimeError, ImportError, self.ray.exceptions.RayError) as error:
            raise SettingsError(
                f"--ray {self.address}: no cluster answers there ({_said(error)}). Expected auto, HOST:PORT or "
                "ray://HOST:PORT of a cluster that runs, with the same versions of Python and Ray, or local. Where it "
                "asks for a token, set RAY_AUTH_MODE=token."
            ) from error
        finally:
            with suppress(ValueError):  # in another thread than the main one Ray leaves it alone, too
                signal.signal(signal.SIGTERM, ends)  # for which Ray has one of its own: no last words, status 1
        self._closing.callback(self.ray.shutdown)
        self._closing.callback(self._end)  # before that: Ray begins anew where it is asked after it
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()

    def run_all(
        self,
        work: Callable[[Job], TimedResult],
        jobs: Sequence[Job],
        title: str,
        lost: Callable[[Job, str], TimedResult],
        audio: Sequence[float] | None = None,
    ) -> list[TimedResult]:
        """As `dtln.pool.run_all`, but on the cluster. Raises as `as_done`."""
        results: dict[int, TimedResult] = {}
        expected = [1.0] * len(jobs) if audio is None else [max(seconds, 1e-3) for seconds in audio]
        waiting = deque(sorted(range(len(jobs)), key=lambda index: -expected[index]))  # no long one comes last
        with Progress(title, len(jobs), "file", size=sum(expected)) as progress:
            size = expected.__getitem__ if audio is not None else None
            for index, result in self.as_done(work, waiting, jobs.__getitem__, size):
                results[index] = lost(jobs[index], str(result)) if isinstance(result, WorkerKilled) else result
                progress.step(results[index].seconds, expected[index])
        return [results[index] for index in range(len(jobs))]

    def as_done(
        self,
        work: Callable[[Job], Result],
        waiting: deque[Any],
        job_of: Callable[[Any], Job],
        seconds_of: Callable[[Any], float] | None = None,
    ) -> Iterator[tuple[Any, Result | WorkerKilled]]:
        """Takes what is `waiting` from the left and gives each with what `work` made of its job, as they are done.

        A job whose worker is killed is done again, alone, and gives WorkerKilled after ATTEMPTS. job_of: the job of
        what waits. seconds_of: of its audio. The caller may add to `waiting` in between. Raises SettingsError where a
        machine does not see what it must, or the cluster is gone, OSError where `write` cannot be written to, and what
        `work` raises; then, and after an interrupt, all tasks are ended.
        """
        mark = None
        if self._write is not None:
            self._write.mkdir(parents=True, exist_ok=True)
            mark = str(self._closing.enter_context(marked_folder(self._write)))
        packages = tuple(sorted(KNOWN_PACKAGES & sys.modules.keys()))  # `work` would find out file by file
        place = Place(dtln.__version__, packages, os.getcwd(), self._read, mark)
        task = self.ray.remote(num_cpus=1, max_retries=0)(_task())
        pack = self.ray.cloudpickle.dumps
        shared = self._ask(self.ray.put, pack((place, work)))
        patience = time.monotonic() + PATIENCE_SECONDS
        running = self._running
        again: deque[tuple[Any, int]] = deque()
        most = max(1, min(MOST_JOBS, len(waiting) // max(1, TASKS_PER_CORE * self.cores())))
        try:
            while waiting or running or again:
                while (waiting or again) and len(running) < (self.workers or max(2, 2 * self.cores())):
                    batch, attempt = ([again[0][0]], again.popleft()[1]) if again else ([], 1)
                    seconds = 0.0
                    while attempt == 1 and waiting and len(batch) < most and seconds < MOST_SECONDS:
                        batch.append(waiting.popleft())
                        seconds += seconds_of(batch[-1]) if seconds_of else 0.0
                    reference = self._ask(task.remote, shared, pack([job_of(entry) for entry in batch]))
                    running[reference] = batch, attempt
                done, _ = self._ask(self.ray.wait, list(running), num_returns=1, timeout=TICK_SECONDS)
                if done:
                    patience = float("inf")
                elif time.monotonic() > patience:
                    patience = float("inf")
                    self._tell_free_cores()
                for reference in done:
                    batch, attempt = running.pop(reference)
                    results = self._results(reference)
                    if results is not None:
                        yield from zip(batch, results, strict=True)
                    elif attempt == ATTEMPTS:
                        yield batch[0], WorkerKilled(KILLED)
                    else:
                        again.extend((entry, attempt + 1) for entry in batch)
        finally:
            self._end()

    def cores(self) -> int:
        """How many cores the cluster has now."""
        if time.monotonic() - self._counted > CORES_FOR_SECONDS:
            self._cores, self._counted = int(self._ask(self.ray.cluster_resources).get("CPU", 0)), time.monotonic()
        return self._cores

    def _ask(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What a call of Ray gives. Raises what that is about a task, and SettingsError where the cluster is gone."""
        try:
            return call(*args, **options)
        except self.ray.exceptions.RayError:
            raise
        except Exception as error:  # a client of a cluster has many for this
            raise SettingsError(
                f"--ray {self.address}: the cluster is gone ({_said(error)}). What was written is complete. Expected "
                "it to run until the end; start it, and go on."
            ) from error

    def _tell_free_cores(self) -> None:
        """Says why there may be no result yet."""
        free = int(self._ask(self.ray.available_resources).get("CPU", 0))
        print(
            f"--ray {self.address}: no result yet; of the {self.cores()} cores of the cluster {free} are free, and a "
            "task needs one.",
            file=sys.stderr,
        )

    def _results(self, reference: Any) -> list[Any] | None:
        """What a task gave; None if its worker was killed, or its machine is gone."""
        try:
            kind, value = self._ask(self.ray.get, reference)
        except self.ray.exceptions.RayTaskError as error:  # it could not begin: `_do` catches what `work` raises
            last = str(error).strip().splitlines()[-1]
            raise SettingsError(
                f"--ray {self.address}: a worker cannot begin ({last}). Expected the toolkit {dtln.__version__} and "
                "its packages on every machine; install them there."
            ) from error
        except self.ray.exceptions.RayError:
            return None
        if kind == "unfit":
            raise SettingsError(f"--ray {self.address}: {value}")
        if kind == "error":
            raised, trace = value
            raise raised from RuntimeError(f"\n{trace}")
        return value

    def _end(self) -> None:
        """Ends the tasks that run, at once, and waits a little until their workers are gone."""
        references = list(self._running)
        self._running.clear()
        with suppress(Exception):  # the cluster itself may be gone
            for reference in references:
                self.ray.cancel(reference, force=True)
            if references:
                self.ray.wait(references, num_returns=len(references), timeout=STOP_SECONDS)


def common_folder(paths: Iterable[Path]) -> Path:
    """The folder that all files lie below, absolute."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))


def _said(error: Exception) -> str:
    """What an error says, on one line, or its name; the last line of a traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(" ".join(lines[-1:] if any("Traceback" in line for line in lines) else lines).split())


def _require_cluster(host: str, port: int) -> None:
    """Raises OSError where nothing listens, or something that speaks HTTP/1: the dashboard, which has a port beside."""
    with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
        first = b""
        with suppress(OSError):  # one that wants TLS ends the connection
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            first = connection.recv(5)
        if first == b"HTTP/":
            raise OSError("a web server does; is it the port of the dashboard?")


def _task() -> Callable[[bytes, bytes], tuple[str, Any]]:
    """A function that calls `_do` in a worker with the two that are pickled.

    Ray sends it as code, because it is no name of a module: a worker takes the toolkit from the clone that we run from,
    where it sees that, and not another one that is installed there.
    """
    root = Path(__file__).resolve().parents[1]
    clone = str(root) if (root / "pyproject.toml").is_file() else ""

    def dtln_task(shared: bytes, jobs: bytes) -> tuple[str, Any]:
        import os
        import pickle
        import sys

        if clone and clone not in sys.path and os.path.isdir(clone):
            sys.path.insert(0, clone)
        from dtln.cluster import _do

        return _do(pickle.loads(shared), pickle.loads(jobs))

    return dtln_task


def _do(shared: tuple[Place, Callable[[Any], Any]], jobs: Sequence[Any]) -> tuple[str, Any]:
    """The results of jobs, made in a worker: ("done", results), ("error", ...), or ("unfit", why) of this machine."""
    place, work = shared
    if lack := _lack(place):
        return "unfit", lack
    try:
        return "done", [work(job) for job in jobs]
    except Exception as error:
        import traceback

        return "error", (error, traceback.format_exc())


@lru_cache(maxsize=1)
def _lack(place: Place) -> str:
    """What this machine lacks to take part, in words; "" if nothing. Each worker looks once."""
    here = f"the machine {socket.gethostname()}"
    if place.version != dtln.__version__:
        return f"{here} has version {dtln.__version__} of the toolkit. Expected {place.version}; install it there."
    for package in place.packages:
        if find_spec(package) is None:
            return f"{here} lacks the package {package}. Expected the same packages on every machine; install it there."
    with suppress(OSError):  # if all paths are absolute, nothing is lost
        os.chdir(place.folder)
    for path in place.read:
        if not _readable(path):
            return (
                f"{here} does not see {path}, or nothing in it. Expected every machine to see the same files under the "
                "same paths; mount the file system that they are on there."
            )
    if place.mark and not os.path.exists(place.mark):
        return (
            f"{here} sees another folder {os.path.dirname(place.mark)} than this one. Expected a file system that all "
            "machines share; mount it there."
        )
    if place.mark and not os.access(os.path.dirname(place.mark) or ".", os.W_OK):
        return (
            f"{here} may not write to {os.path.dirname(place.mark)}. Expected Ray to run there as a user who may; "
            "change the folder's permissions."
        )
    return ""


def _readable(path: str) -> bool:
    """Whether a file may be read, or a folder holds anything; a file system that is not mounted leaves an empty one."""
    with suppress(OSError):
        if not os.path.isdir(path):
            return os.access(path, os.R_OK)
        with os.scandir(path) as entries:
            return any(entries)
    return False
