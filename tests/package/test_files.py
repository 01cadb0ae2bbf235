"""dtln.files: a file appears complete or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln import files
from dtln.audio.headers import SampleFormat
from dtln.audio.writing import write_audio
from dtln.errors import AudioFileError, in_words
from dtln.files import complete_file, sweep_partials

ROOT = Path(__file__).resolve().parents[2]


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(AudioFileError, match="a.wav: cannot be written as WAV PCM_16 at 16000 Hz with 1 channels"):
        write_audio(tmp_path / "a.wav", np.zeros(10), 16000, SampleFormat("WAV", "PCM_16"))
    assert os.listdir(tmp_path) == []


def test_complete_file_keeps_the_old_one_on_error(tmp_path):
    path = tmp_path / ("long name " * 20 + ".txt")
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), complete_file(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt" and path.read_text() == "old"
        raise RuntimeError("half way")
    assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 1
    with complete_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and len(os.listdir(tmp_path)) == 1
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


@pytest.mark.parametrize(
    "name", ["\u8a9e" * 84 + ".w", "a" * 251 + ".wav", "a." + "\u8a9e" * 84, "\udce9" * 251 + ".wav"]
)
def test_longest_names(tmp_path, name):
    path = tmp_path / name
    with complete_file(path) as partial:
        partial.write_text("text")
        os.fsencode(partial.name).decode("utf-8")
    assert os.listdir(tmp_path) == [name] and path.read_text() == "text"


KILLED = """
import os, signal, sys
from dtln.files import complete_file
with complete_file(sys.argv[1]) as partial:
    partial.write_text("half")
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_partials_of_killed_programs_are_swept(tmp_path):
    """In the folder that is written to, not those that another program writes, and nothing that has another name."""
    others = {".a.partial.wav", ".a.partial.abcdefgh.x.wav", ".a.partial.ABCDEFGH.wav", "a.partial.abcdefgh.wav"}
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".folder.partial.abcdefgh").mkdir()
    (tmp_path / ".link.partial.abcdefgh.wav").symlink_to("a.partial.abcdefgh.wav")
    others |= {".folder.partial.abcdefgh", ".link.partial.abcdefgh.wav"}
    program = [sys.executable, "-c", KILLED, str(tmp_path / "a\nb.wav")]
    options = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "stdout": subprocess.PIPE, "text": True}
    subprocess.run([*program, "killed"], **options)
    left = set(os.listdir(tmp_path)) - others
    assert len(left) == 1
    with subprocess.Popen([*program, "alive"], stdin=subprocess.PIPE, **options) as alive:
        assert alive.stdout.readline() == "begun\n"
        (tmp_path / ".c.partial.abcdefgh.wav").touch()
        handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        with complete_file(tmp_path / "b.wav") as partial:
            sweep_partials(tmp_path)
            partial.write_text("b")
        assert not handles or len(os.listdir("/proc/self/fd")) == handles
        (living,) = set(os.listdir(tmp_path)) - others - {"b.wav"}
        assert living.startswith(".a\nb.partial.") and {living} != left
        alive.communicate("")
    assert set(os.listdir(tmp_path)) == others | {"a\nb.wav", "b.wav"}


def test_partial_that_is_swept_before_it_is_locked_is_begun_again(tmp_path, monkeypatch):
    flock, seen = files.fcntl.flock, []

    def late(handle, operation):
        if not seen:
            seen.extend(os.listdir(tmp_path))
            (tmp_path / seen[0]).unlink()
        flock(handle, operation)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with complete_file(tmp_path / "a.wav") as partial:
        partial.write_text("a")
        assert partial.name not in seen
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("broken", [OSError(38, "no locks"), None])
def test_file_systems_without_locks(tmp_path, monkeypatch, broken):
    """Nothing is swept there; on Windows what is open cannot be deleted."""
    if broken:

        def flock(handle, operation):
            raise broken

        monkeypatch.setattr(files.fcntl, "flock", flock)
    else:
        monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".b.partial.abcdefgh.wav").touch()
    with complete_file(tmp_path / "a.wav") as partial:
        partial.write_text("a")
    assert sorted(os.listdir(tmp_path)) == [*([".b.partial.abcdefgh.wav"] if broken else []), "a.wav"]


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_errors_name_the_file_and_not_its_partial(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(IsADirectoryError) as raised, complete_file(tmp_path / "folder.txt") as partial:
        partial.write_text("text")
    assert in_words(raised.value) == f"{tmp_path / 'folder.txt'}: is a folder. Expected a file."
    with pytest.raises(FileNotFoundError) as raised, complete_file(tmp_path / "nowhere" / "a.txt"):
        pass
    assert in_words(raised.value) == f"{tmp_path / 'nowhere'}: does not exist. Check the path."
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="out/a.txt: was deleted while it was"), complete_file(tmp_path / "out" / "a.txt"):
        shutil.rmtree(tmp_path / "out")
