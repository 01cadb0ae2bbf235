"""dtln.cluster: what a machine must see to take part; tests/evaluation/test_ray.py runs it on Ray."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import dtln
from dtln.cluster import Cluster, Place, _do, common_folder
from dtln.commands.run import run
from dtln.errors import install_line
from dtln.files import marked_folder, sweep_partials


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Function: fields that differ -> a place that this machine sees else, and is in afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "mark").touch()
    fitting = {"version": dtln.__version__, "folder": str(tmp_path), "read": ("in",), "mark": "mark"}
    return lambda **others: Place(**(fitting | others))


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
        ({"read": ("in", "gone")}, "does not see gone, or nothing in it. Expected every machine to see the same files"),
        (
            {"mark": "out/other"},
            "sees another folder out than this one. Expected a file system that all machines share",
        ),
        ({"folder": "/gone", "read": ("/gone/in",)}, "does not see /gone/in, or nothing in it. Expected every machine"),
    ],
)
def test_machine_that_lacks_something(place, others, words):
    kind, said = _do((place(**others), double), [1])
    assert kind == "unfit" and said.startswith("the machine ") and words in said


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
