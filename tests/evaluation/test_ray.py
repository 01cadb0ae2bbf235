"""--ray: a run on a cluster of two nodes gives what a local one gives, whatever happens to workers and nodes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
from signals import coloured_noise
from synthesised import arguments, contents, make

from dtln.commands import enhance

ROOT = Path(__file__).resolve().parents[2]
FILES = 60
PATIENT = {  # what Ray's client and its server wait for each other, s
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "200",
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "200",
    "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "200",
}
CLUSTER = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # else one in ten servers of clients dies, github.com/ray-project/ray/issues/63202
}
pytestmark = pytest.mark.environments("ray")


class RayCluster:
    """A cluster of `ray_cluster.py`."""

    def __init__(self, python: str) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        port = free_port()
        self.client_address = f"ray://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [python, ROOT / "tests" / "ray_cluster.py", str(port)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            env=os.environ | PATIENT | CLUSTER, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        self.address = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():  # Ray prints, too
            if re.match(r"[\d.]+:\d+$|\w+: \d+ nodes$", line):
                return line.strip()
        self.errors.seek(0)
        raise RuntimeError(f"the cluster ended: {self.errors.read()[-3000:]}")

    def tell(self, words: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()
        return self._answer()

    def workers(self) -> dict[int, int]:
        """The workers that do our tasks just now: process and that of its node."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                name = (folder / "cmdline").read_bytes().rstrip(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
            if name.startswith(b"ray::dtln_task") and _descends(parent, self.process.pid):
                found[int(folder.name)] = parent
        return found

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what did not end by itself


def free_port() -> int:
    """One that nobody listens at, and that Ray does not want for its workers, 10002 to 19999."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            if (port := server.getsockname()[1]) >= 20000:
                return port


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == ancestor


@pytest.fixture(scope="module")
def python(python_of) -> str:
    return python_of("ray")


@pytest.fixture(scope="module")
def cluster(python) -> Iterator[RayCluster]:
    cluster = RayCluster(python)
    yield cluster
    cluster.end()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A folder of recordings, of which one is bad, and what a local run makes of them."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "in" / "deep").mkdir(parents=True)
    for index in range(FILES):
        name = f"deep/{index}.wav" if index % 2 else f"{index}.flac"
        soundfile.write(folder / "in" / name, coloured_noise(16000 * (6 + index % 3), seed=index), 16000)
    (folder / "in" / "bad.wav").write_bytes(b"bad")
    assert enhance.main(["-i", str(folder / "in"), "-o", str(folder / "out")]) == 1
    return folder / "in", contents(folder / "out")


def start(python: str, *words: object, cwd: Path = ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-m", "dtln", *map(str, words)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
        env=os.environ | PATIENT | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def run(python: str, *words: object, cwd: Path = ROOT) -> tuple[int, str, str]:
    process = start(python, *words, cwd=cwd)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Waits until a condition holds, while a process runs."""
    deadline = time.monotonic() + 200
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate())
        time.sleep(0.01)


@contextlib.contextmanager
def held(
    cluster: RayCluster, process: subprocess.Popen[str], count: int, done: Path | None = None
) -> Iterator[set[int]]:
    """Yields `count` workers at our tasks, stopped for the block, so that there is work left however slow we are here.

    done: where some outputs are to be before.
    """
    stopped: set[int] = set()

    def enough() -> bool:
        if done is None or len(outputs(done)) >= 3:
            for pid in cluster.workers().keys() - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
        return len(stopped) >= count

    try:
        until(enough, process)
        yield stopped
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def outputs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.*") if path.is_file() and not path.name.startswith(".")]


def test_same_outputs_as_a_local_run(python, cluster, recordings, tmp_path):
    """Relative paths, a bad file, progress, JSON; then nothing is left to do."""
    source, expected = recordings
    words = ["enhance", os.path.relpath(source, tmp_path), "-o", "out", "--ray", cluster.address]
    status, out, err = run(python, *words, "--json", "report.json", cwd=tmp_path)
    assert status == 1 and contents(tmp_path / "out") == expected
    assert f"{FILES} files denoised" in out and "1 file failed" in out
    assert len(re.findall("^FAILED .*bad.wav: cannot be read as audio", err, re.MULTILINE)) == 1
    assert re.search(rf"denoising: 100%, {FILES + 1}/{FILES + 1} files, [\d.]+ x real time, 0:00 left", err)
    entries = json.loads((tmp_path / "report.json").read_text())["denoised"]
    assert [entry["source"] for entry in entries] == sorted(entry["source"] for entry in entries)

    status, out, err = run(python, *words, "--skip-existing", cwd=tmp_path)
    assert status == 1 and "0 files denoised" in out and f"{FILES} files skipped" in out
    status, out, err = run(python, *words, cwd=tmp_path)
    assert status == 1 and "exists already" in err


def test_killed_worker_costs_nothing(python, cluster, recordings, tmp_path):
    source, expected = recordings
    process = start(python, "enhance", source, "-o", tmp_path / "out", "--ray", cluster.address)
    with held(cluster, process, 1, tmp_path / "out") as victims:
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and err.count("FAILED") == 1, err
    assert contents(tmp_path / "out") == expected  # without partials


def test_node_that_comes_and_node_that_goes(python, cluster, recordings, tmp_path):
    source, expected = recordings
    process = start(python, "enhance", source, "-o", tmp_path / "out", "--ray", cluster.address)
    with held(cluster, process, 2, tmp_path / "out"):
        before = set(cluster.workers().values())
        assert cluster.tell("add") == "add: 3 nodes"
        with held(cluster, process, 3):
            assert set(cluster.workers().values()) - before
            assert cluster.tell("remove") == "remove: 2 nodes"
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and err.count("FAILED") == 1, err
    assert contents(tmp_path / "out") == expected


@pytest.mark.parametrize(("number", "client"), [("SIGINT", False), ("SIGTERM", False), ("SIGTERM", True)])
def test_interrupt(python, cluster, recordings, tmp_path, number, client):
    source, expected = recordings
    words = ["enhance", source, "-o", tmp_path / "out", "--ray", cluster.client_address if client else cluster.address]
    process = start(python, *words)
    with held(cluster, process, 1, tmp_path / "out"):
        process.send_signal(getattr(signal, number))
        out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + getattr(signal, number) and "Traceback" not in err, err
    written = int(re.search(rf"stopped: (\d+) of {FILES + 1} files written, complete; --skip-existing goes on", err)[1])
    deadline = time.monotonic() + 200
    while cluster.workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not cluster.workers()
    left = {name: data for name, data in contents(tmp_path / "out").items() if "/." not in f"/{name}"}
    assert written <= len(left) <= FILES and left.items() <= expected.items()  # a worker may complete the one it is at
    status, out, err = run(python, *words, "--skip-existing")
    assert contents(tmp_path / "out") == expected  # without partials, also of the run that was stopped


def test_shard_on_a_cluster_of_this_machine(python, recordings, tmp_path):
    source, expected = recordings
    run(python, "enhance", source, "-o", tmp_path / "out", "--ray", "local", "--shard", "1/4", "--jobs", 2)
    found = contents(tmp_path / "out")
    assert found.items() <= expected.items() and len(found) in range(FILES // 5, FILES // 3)


def test_job_that_kills_its_worker_costs_itself_alone(python, tmp_path):
    """The others of its task are done, by another worker."""
    code = (
        "import os, signal\n"
        "from types import SimpleNamespace\n"
        "from dtln.cluster import Cluster\n"
        "def work(job):\n"
        "    if job == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return SimpleNamespace(words=f'{job} done', seconds=1.0)\n"
        "def lost(job, reason): return SimpleNamespace(words=f'{job} {reason}', seconds=0.0)\n"
        "def fail(job): raise KeyError(job)\n"
        "with Cluster('local', 1) as cluster:\n"
        "    print(*(r.words for r in cluster.run_all(work, range(20), 'working', lost)), sep='\\n')\n"
        "    try: cluster.run_all(fail, [3], 'failing', lost)\n"
        "    except KeyError as error: print('KeyError', error)\n"
    )
    result = subprocess.run(
        [python, "-c", code], cwd=ROOT, text=True, capture_output=True, timeout=300, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = [line for line in result.stdout.splitlines() if re.match(r"\d+ |KeyError", line)]  # Ray prints, too
    assert [line for line in lines if line.endswith(" done")] == [f"{job} done" for job in range(20) if job != 7]
    assert lines[7].startswith("7 4 worker processes were killed, perhaps because memory ran out. Try again")
    assert lines[20] == "KeyError 3"


def test_scores(python, cluster, recordings, tmp_path):
    source, _ = recordings
    words = ["score", source / "deep", "--reference", source / "deep", "--no-pesq", "--csv"]
    for name, more in (("here.csv", ["--jobs", 1]), ("there.csv", ["--ray", cluster.address])):
        status, out, err = run(python, *words, tmp_path / name, *more)
        assert status == 0, err
    assert "scoring: 100%, 30/30 files" in err
    here, there = ((tmp_path / name).read_text() for name in ("here.csv", "there.csv"))
    assert here == there and len(here.splitlines()) == 31


def test_synthesis(python, cluster, corpus, tmp_path):
    """An address without a cluster begins no folder."""
    make(corpus, tmp_path / "here", "--count", 40)
    status, out, err = run(python, "synthesize", *arguments(corpus, tmp_path / "there", "--ray", "127.0.0.1:1"))
    assert status == 1 and "no cluster answers there" in err and not (tmp_path / "there").exists()
    status, out, err = run(
        python, "synthesize", *arguments(corpus, tmp_path / "there", "--count", 40, "--ray", cluster.address)
    )
    assert status == 0 and "40 pairs, 0.02 h; 40 made now" in out, err
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_no_cluster_at_the_address(python, recordings, tmp_path, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # for auto, as the file of a cluster that was killed
    status, out, err = run(python, "enhance", recordings[0], "-o", tmp_path / "out", "--ray", address)
    assert status == 1 and "Traceback" not in err
    assert re.search(
        rf"dtln enhance: --ray {address}: no cluster answers there \(.*refused\)\. Expected auto, HOST:PORT", err
    )
