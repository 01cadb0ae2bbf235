"""--ray: a run on a cluster of two nodes gives what a local one gives, whatever happens to workers and nodes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
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
pytestmark = pytest.mark.environments("ray")


class RayCluster:
    """A cluster of `ray_cluster.py`."""

    def __init__(self, python: str) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [python, ROOT / "tests" / "ray_cluster.py"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}, cwd=ROOT,
            start_new_session=True,
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
        try:
            self.process.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # what did not end by itself


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
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
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
    until(lambda: len(outputs(tmp_path / "out")) >= 5 and cluster.workers(), process)
    victims = cluster.workers()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and victims and err.count("FAILED") == 1, err
    assert contents(tmp_path / "out") == expected  # without partials


def test_node_that_comes_and_node_that_goes(python, cluster, recordings, tmp_path):
    source, expected = recordings
    process = start(python, "enhance", source, "-o", tmp_path / "out", "--ray", cluster.address)
    until(lambda: len(outputs(tmp_path / "out")) >= 3, process)
    until(lambda: len(cluster.workers()) == 2, process)
    before = cluster.workers()
    for pid in before:
        os.kill(pid, signal.SIGSTOP)  # so that there is work left for the new node
    assert cluster.tell("add") == "add: 3 nodes"
    until(lambda: set(cluster.workers().values()) - set(before.values()), process)
    for pid in before:
        os.kill(pid, signal.SIGCONT)
    assert cluster.tell("remove") == "remove: 2 nodes"
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and err.count("FAILED") == 1, err
    assert contents(tmp_path / "out") == expected


def test_interrupt(python, cluster, recordings, tmp_path):
    source, expected = recordings
    process = start(python, "enhance", source, "-o", tmp_path / "out", "--ray", cluster.address)
    until(lambda: len(outputs(tmp_path / "out")) >= 5 and cluster.workers(), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130 and "Traceback" not in err
    written = int(re.search(rf"stopped: (\d+) of {FILES + 1} files written, complete; --skip-existing goes on", err)[1])
    deadline = time.monotonic() + 20
    while cluster.workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not cluster.workers()
    left = {name: data for name, data in contents(tmp_path / "out").items() if "/." not in f"/{name}"}
    assert len(left) == written and left.items() <= expected.items()
    status, out, err = run(
        python, "enhance", source, "-o", tmp_path / "out", "--ray", cluster.address, "--skip-existing"
    )
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
    rows = [(tmp_path / name).read_text().splitlines() for name in ("here.csv", "there.csv")]
    assert [row.split(",")[:2] for row in rows[0]] == [row.split(",")[:2] for row in rows[1]] and len(rows[0]) == 31


def test_synthesis(python, cluster, corpus, tmp_path):
    make(corpus, tmp_path / "here", "--count", 40)
    status, out, err = run(
        python, "synthesize", *arguments(corpus, tmp_path / "there", "--count", 40, "--ray", cluster.address)
    )
    assert status == 0 and "40 pairs, 0.02 h; 40 made now" in out, err
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_no_cluster_at_the_address(python, recordings, tmp_path):
    status, out, err = run(python, "enhance", recordings[0], "-o", tmp_path / "out", "--ray", "127.0.0.1:1")
    assert status == 1 and "Traceback" not in err
    assert re.search(
        r"dtln enhance: --ray 127.0.0.1:1: no cluster answers there \(.*\)\. Expected auto, HOST:PORT", err
    )
