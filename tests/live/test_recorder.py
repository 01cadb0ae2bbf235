"""dtln.live.recorder: what is in the files, and what becomes of a session whose disk is slow, full or gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from dtln.errors import SettingsError
from dtln.live import recorder as module
from dtln.live.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]


def read(path: Path) -> tuple[np.ndarray, int]:
    """(int16 samples (L, C), rate)."""
    with wave.open(str(path), "rb") as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.reshape(-1, file.getnchannels()), file.getframerate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wait_for_event(recorder: Recorder) -> str:
    for _ in range(500):
        if event := recorder.pop_event():
            return event
        time.sleep(0.02)
    raise AssertionError("no event")


@pytest.fixture
def held(monkeypatch) -> threading.Event:
    """The disk takes nothing until this is set."""
    free, write = threading.Event(), module._Track.write
    monkeypatch.setattr(module._Track, "write", lambda self: (free.wait(20), write(self)))
    return free


def test_both_files_hold_what_was_put(tmp_path, noise):
    heard, played = noise(30000), noise(20000, 2, seed=1)
    with Recorder(tmp_path / "talk", 48000, 1, 44100, 2) as recorder:
        scratch = np.zeros(1000, np.float32)
        for start in range(0, 30000, 1000):
            scratch[:] = heard[start : start + 1000]  # as a ring is used again
            recorder.put_input(scratch)
        for part in np.array_split(played, 17):
            recorder.put_output(part)
        assert names(tmp_path) == ["talk_input.unfinished.wav", "talk_output.unfinished.wav"]
    assert names(tmp_path) == ["talk_input.wav", "talk_output.wav"]
    for kind, samples, rate in (("input", heard[:, None], 48000), ("output", played, 44100)):
        recorded, found = read(tmp_path / f"talk_{kind}.wav")
        assert found == rate
        np.testing.assert_array_equal(recorded, np.rint(samples * 32768))
    assert recorder.dropped == recorder.clipped == {"input": 0, "output": 0}
    assert recorder.pop_event() is None and recorder.paths == [tmp_path / f"talk_{k}.wav" for k in ("input", "output")]


def test_clipping_is_counted_and_nan_is_silence(tmp_path):
    with Recorder(tmp_path / "a", 16000, 1, 16000, 1) as recorder:
        recorder.put_input(np.float32([1.0, -1.0, 1.1, -7, np.inf, np.nan, 0.5]))
    assert read(tmp_path / "a_input.wav")[0][:, 0].tolist() == [32767, -32768, 32767, -32768, 32767, 0, 16384]
    assert recorder.clipped == {"input": 3, "output": 0}


def test_slow_disk_costs_samples_that_are_counted_and_silent(tmp_path, held):
    recorder, second = Recorder(tmp_path / "a", 1000, 1, 1000, 1), np.full(1000, 0.5, np.float32)
    for _ in range(13):
        start = time.monotonic()
        recorder.put_input(second)
        assert time.monotonic() - start < 10  # 20 s if it waited for the disk
    assert recorder.dropped == {"input": 3000, "output": 0}
    held.set()
    while recorder._tracks["input"]._queue:
        time.sleep(0.01)
    recorder.put_input(second)
    recorder.close()
    recorded = read(tmp_path / "a_input.wav")[0][:, 0]
    np.testing.assert_array_equal(recorded.reshape(14, 1000).mean(axis=1), [16384] * 10 + [0] * 3 + [16384])


def test_gap_at_the_end_is_silence_too(tmp_path, held):
    recorder = Recorder(tmp_path / "a", 1000, 1, 1000, 1)
    for _ in range(12):
        recorder.put_output(np.full(1000, 0.5, np.float32))
    held.set()
    recorder.close()
    recorded = read(tmp_path / "a_output.wav")[0]
    assert len(recorded) == 12000 and not recorded[10000:].any() and recorder.dropped["output"] == 2000


def test_disk_that_hangs_does_not_hold_the_end_up(tmp_path, held, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.2)
    recorder = Recorder(tmp_path / "a", 1000, 1, 1000, 1)
    recorder.close()
    assert "does not answer" in recorder.pop_event()
    held.set()


def test_files_that_exist_are_refused(tmp_path):
    for name in ("a_input.wav", "a_output.wav", "a_output.unfinished.wav"):
        (tmp_path / name).write_bytes(b"precious")
        with pytest.raises(SettingsError, match=rf"{name}: exists already, .*choose another prefix"):
            Recorder(tmp_path / "a", 16000, 1, 16000, 1)
        assert names(tmp_path) == [name] and (tmp_path / name).read_bytes() == b"precious"
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError):
        Recorder(tmp_path / "nowhere" / "a", 16000, 1, 16000, 1)


def test_new_files_begin_at_the_same_moment_before_they_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_FILE", 2 * 2000 * 3 + 100)  # 3 s of the larger file
    ramp = np.arange(8000, dtype=np.float32) / 32768
    with Recorder(tmp_path / "a", 1000, 1, 1000, 2) as recorder:
        recorder.put_input(ramp[:7500])
        recorder.put_output(np.stack([ramp, -ramp], axis=1))
    parts = [read(tmp_path / f"a_input{number}.wav")[0][:, 0] for number in ("", "_2", "_3")]
    assert [len(part) for part in parts] == [3000, 3000, 1500]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(7500))
    assert [len(read(tmp_path / f"a_output{number}.wav")[0]) for number in ("", "_2", "_3")] == [3000, 3000, 2000]


def test_files_are_aligned_after_a_reconnection_that_cuts_the_output_short(tmp_path):
    ones = np.ones(48000, np.float32) / 2
    with Recorder(tmp_path / "a", 48000, 1, 16000, 1) as recorder:
        for missing in (600, 0, 300):
            recorder.change(48000, 1, 16000, 1)
            recorder.put_input(ones)
            recorder.put_output(ones[: 16000 - missing])
    heard, played = (read(path)[0][:, 0] for path in recorder.paths)
    assert len(heard) == 3 * 48000 and heard.all()
    np.testing.assert_array_equal(np.flatnonzero(played == 0), np.arange(16000 - 600, 16000))
    assert recorder.dropped == {"input": 0, "output": 0}


def test_other_rates_after_a_reconnection_begin_new_files(tmp_path):
    ones = np.full(800, 0.5, np.float32)
    with Recorder(tmp_path / "a", 16000, 1, 16000, 1) as recorder:
        for formats in ((16000, 1, 16000, 1), (48000, 1, 16000, 1)):
            recorder.change(*formats)
            recorder.put_input(ones)
            recorder.put_output(ones)
    assert names(tmp_path) == ["a_input.wav", "a_input_2.wav", "a_output.wav", "a_output_2.wav"]
    assert [read(path)[1] for path in recorder.paths] == [16000, 48000, 16000, 16000]
    assert [len(read(path)[0]) for path in recorder.paths] == [800] * 4


def test_folder_that_vanishes_ends_the_recording_alone(tmp_path):
    folder = tmp_path / "sound"
    folder.mkdir()
    recorder = Recorder(folder / "a", 16000, 1, 16000, 1)
    shutil.rmtree(folder)
    event = wait_for_event(recorder)
    assert event.startswith(f"the recording has ended: {folder}/a_input.wav: was deleted") and "What was" not in event
    recorder.put_input(np.zeros(100, np.float32))
    recorder.close()
    assert recorder.pop_event() is None


LIMITED = """
import resource, signal, sys, time
import numpy as np
from dtln.live.recorder import Recorder
if sys.argv[2:]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
recorder = Recorder(sys.argv[1], 16000, 1, 16000, 1)
while (event := recorder.pop_event()) is None:
    recorder.put_input(np.full(1600, 0.5, np.float32))
    recorder.put_output(np.full(1600, 0.25, np.float32))
    time.sleep(0.01)
recorder.close()
print(event, recorder.describe(), sep='\\n')
"""


def test_disk_that_is_full_leaves_what_was_recorded(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a"), "100000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("the recording has ended: Is too large") and done.stderr == "", done.stderr
    assert names(tmp_path) == ["a_input.unfinished.wav", "a_output.unfinished.wav"]
    event, described = done.stdout.splitlines()
    assert all(name in event for name in names(tmp_path))
    files = ", ".join(str(tmp_path / name) for name in names(tmp_path))
    assert described == f"recorded until that failed: {files}"
    recorded, _ = read(tmp_path / "a_input.unfinished.wav")
    assert 10000 < len(recorded) <= 50000 and np.all(recorded == 16384)


def test_run_that_is_killed_leaves_files_that_play(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a")]
    with subprocess.Popen(command, cwd=ROOT) as process:
        path = tmp_path / "a_output.unfinished.wav"
        while not path.exists() or path.stat().st_size < 100000:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    recorded, rate = read(path)
    assert rate == 16000 and len(recorded) >= 20000 and np.all(recorded == 8192)
