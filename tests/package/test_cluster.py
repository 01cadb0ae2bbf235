"""dtln.cluster: what a machine must see to take part; tests/evaluation/test_ray.py runs it on Ray."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

import dtln
from dtln.cluster import Cluster, Place, _do, common_folder
from dtln.commands.run import run
from dtln.errors import SettingsError, install_line
from dtln.files import marked_folder, sweep_partials


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Function: fields that differ -> a place that this machine sees else, and is in afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").touch()
    (tmp_path / "empty").mkdir()  # as a file system that is not mounted leaves one
    (tmp_path / "mark").touch()
    fitting = Place(dtln.__version__, ("numpy",), folder=str(tmp_path), read=("in",), mark="mark")
    return partial(replace, fitting)


def double(job: int) -> int:
    return 2 * job


def test_jobs_of_a_task(place, tmp_path):
    os.chdir("/")
    assert _do((place(), double), [1, 2]) == ("done", [2, 4])
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"version": "0.0.1"}, f"has version {dtln.__version__} of the toolkit. Expected 0.0.1; install it there."),
        ({"packages": ("numpy", "nunpy")}, "lacks the package nunpy. Expected the same packages on every machine"),
        ({"read": ("in", "gone")}, "does not see gone, or nothing in it. Expected every machine to see the same files"),
        (
            {"mark": "out/other"},
            "sees another folder out than this one. Expected a file system that all machines share",
        ),
        ({"read": ("empty",)}, "does not see empty, or nothing in it. Expected every machine"),
        ({"folder": "/gone", "read": ("/gone/in",)}, "does not see /gone/in, or nothing in it. Expected every machine"),
    ],
)
def test_machine_that_lacks_something(place, others, words):
    kind, said = _do((place(**others), double), [1])
    assert kind == "unfit" and said.startswith("the machine ") and words in said


def test_machine_that_may_not_write(place, monkeypatch):
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and may(path, mode))
    kind, said = _do((place(mark=os.path.abspath("mark")), double), [1])
    assert kind == "unfit" and f"may not write to {os.getcwd()}. Expected Ray to run there as a user who may" in said


def test_mark_is_there_for_the_block_alone(tmp_path):
    with marked_folder(tmp_path) as mark:
        sweep_partials(tmp_path)  # by another program
        assert mark.exists() and mark.parent == tmp_path and mark.name.startswith(".")
    assert not list(tmp_path.iterdir())


def test_common_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert common_folder([Path("a/b/c.wav"), tmp_path / "a" / "d" / "e.wav"]) == tmp_path / "a"
    assert common_folder([Path("c.wav")]) == tmp_path


def test_missing_ray(tmp_path, monkeypatch, capsys, folders, noise):
    import soundfile

    monkeypatch.setitem(sys.modules, "ray", None)
    soundfile.write(folders[0] / "a.wav", noise(800), 16000)
    words = ["-i", str(folders[0]), "-o", str(folders[1]), "--ray", "local"]
    assert run("dtln.commands.enhance", words, "dtln enhance") == 1
    assert f"dtln enhance: --ray local needs the package ray: {install_line('ray')}" in capsys.readouterr().err
    assert not folders[1].exists()


def test_work_that_raises(place):
    with pytest.raises(ZeroDivisionError):
        kind, (error, trace) = _do((place(), lambda job: 1 // job), [0])
        assert kind == "error" and "1 // job" in trace
        raise error


def test_cluster_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match="needs the package ray"):
        Cluster("auto")


class FakeRayError(Exception):
    pass


class FakeRay:
    """Ray, as far as `Cluster` knows it, with one core and tasks that do not end.

    waits: what each `wait` raises, the results of the task that it finds done, or None. init: what each raises.
    """

    cloudpickle = pickle
    exceptions = SimpleNamespace(RayError=FakeRayError, RayTaskError=FakeRayError)

    def __init__(self, waits: Sequence[Exception | list[object] | None] = (), init: Sequence[Exception] = ()) -> None:
        self.waits, self.errors = deque(waits), deque(init)
        self.called: list[str] = []
        self.tasks: list[list[object]] = []  # the jobs of each

    def init(self, *args: object, **options: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray takes it for itself
        if self.errors:
            raise self.errors.popleft()

    def wait(self, references: list[object], **options: object) -> tuple[list[object], list[object]]:
        self.results = self.waits.popleft() if self.waits else None
        if isinstance(self.results, Exception):
            raise self.results
        return (references[:1], references[1:]) if self.results else ([], references)

    def get(self, reference: object) -> tuple[str, object]:
        return "done", self.results

    def remote(self, **options: object) -> Callable[[object], SimpleNamespace]:
        def begin(shared: object, jobs: bytes) -> object:
            self.tasks.append(pickle.loads(jobs))
            return object()

        return lambda task: SimpleNamespace(remote=begin)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def __getattr__(self, name: str) -> Callable[..., dict[str, float]]:
        return lambda *args, **options: self.called.append(name) or {}


@pytest.fixture
def fake(monkeypatch):
    """Function: what Ray raises -> a FakeRay, which `Cluster` takes for Ray."""

    def make(**errors: object) -> FakeRay:
        ray = FakeRay(**errors)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray

    return make


def test_cluster_that_is_gone(fake, tmp_path, monkeypatch, capsys):
    """Before, it has no free core, which is told once. The tasks are ended before Ray is, and SIGTERM remains ours."""
    monkeypatch.setattr("dtln.cluster.PATIENCE_SECONDS", 0.0)
    ray = fake(waits=[None, None, ConnectionError("socket\nclosed")])
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(SettingsError, match=r"^--ray auto: the cluster is gone \(socket closed\)\. What was written is"),
        Cluster("auto", write=tmp_path / "out") as cluster,
    ):
        assert signal.getsignal(signal.SIGTERM) is before and not (tmp_path / "out").exists()
        list(cluster.as_done(double, deque([1, 2]), int))
    told = "--ray auto: no result yet; of the 1 cores of the cluster 0 are free, and a task needs one."
    assert capsys.readouterr().err.count(told) == 1
    assert ray.called.index("cancel") < ray.called.index("shutdown") and not list((tmp_path / "out").iterdir())


def test_tasks_end_before_ray_where_the_caller_fails(fake):
    ray = fake(waits=[[2]])
    with pytest.raises(KeyError), Cluster("auto") as cluster:
        results = cluster.as_done(double, deque([1, 2]), int)
        assert next(results) == (1, 2)
        raise KeyError
    assert ray.called.count("cancel") == 1 and ray.called.index("cancel") < ray.called.index("shutdown")


def test_longest_recordings_come_first(fake):
    ray = fake(waits=[ConnectionError()])
    with pytest.raises(SettingsError, match="the cluster is gone"), Cluster("auto", 3) as cluster:
        cluster.run_all(double, list("abcd"), "working", double, audio=[1.0, 400.0, 2.0, 1.0])
    assert ray.tasks == [["b"], ["c"], ["a"]]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Version mismatch:\n  Ray: 2.40\n  Python: 3.11"), "Version mismatch: Ray: 2.40 Python: 3.11"),
        (ConnectionError("failed: Traceback (most recent call last):\n  File x\nKeyError: 3\n"), "KeyError: 3"),
        (ConnectionError(), "ConnectionError"),
        (FakeRayError("The token is missing."), "The token is missing."),
    ],
)
def test_what_ray_says_of_an_address(fake, error, words):
    fake(init=[error])
    with pytest.raises(SettingsError, match=rf"^--ray auto: no cluster .* \({re.escape(words)}\)\. Expected"):
        Cluster("auto").__enter__()


def test_server_of_a_client_that_dies_is_asked_for_again_once(fake):
    dead = ConnectionAbortedError("Initialization failure from server:\nTraceback:\npsutil.ZombieProcess: pid=12345")
    fake(init=[dead])
    with Cluster("auto"):
        pass
    ray = fake(init=[dead, dead, dead])
    with pytest.raises(SettingsError, match=r"\(psutil.ZombieProcess: pid=12345\)"):
        Cluster("auto").__enter__()
    assert len(ray.errors) == 1


def test_port_of_a_web_server(fake):
    """Ray itself would try for more than ten minutes."""
    fake()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(server.handle_request)
        address = f"127.0.0.1:{server.server_port}"
        with pytest.raises(SettingsError, match=f"^--ray {address}: no cluster answers there .a web server does"):
            Cluster(address).__enter__()
