"""dtln.synthesis: the same settings give the same bytes, whatever the jobs and the breaks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from room_responses import response_folder
from synthesised import arguments, contents, make, manifest
from training_pairs import speech_like

from dtln.commands import synthesize
from dtln.commands.run import run
from dtln.synthesis import pairs as synthesis_pairs
from dtln.synthesis import run as synthesis_run
from dtln.synthesis.drawing import PairPlan
from dtln.synthesis.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_output_does_not_depend_on_the_number_of_jobs(corpus: Path, tmp_path: Path) -> None:
    options = ["--silence-share", 0.2, "--reverberant-share", 0.4, "--rir", response_folder(tmp_path / "rir")]
    for name, jobs, seed in (("one", 1, 5), ("two", 2, 5), ("other", 1, 6)):
        make(corpus, tmp_path / name, *options, "--jobs", jobs, "--seed", seed)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert len(one) == 22 and one == two
    assert not any(one.get(name) == content for name, content in other.items() if name.endswith(".wav"))
    for column in ("speech", "noise", "snr_db", "level_dbfs"):
        rows = zip(manifest(tmp_path / "one"), manifest(tmp_path / "other"), strict=True)
        assert sum(row[column] == other_row[column] for row, other_row in rows) < 5


def test_fewer_pairs_begin_alike(corpus: Path, tmp_path: Path) -> None:
    """A pair depends on seed and index alone (as long as it is for training in both)."""
    ten, six = (make(corpus, tmp_path / str(n), "--count", n, "--validation-share", 0.2) for n in (10, 6))
    assert [row["noisy"] for row in ten[:5]] == [row["noisy"] for row in six[:5]]
    assert contents(tmp_path / "10")[ten[4]["noisy"]] == contents(tmp_path / "6")[six[4]["noisy"]]


def test_settings_file_and_flags(corpus: Path, tmp_path: Path) -> None:
    make(corpus, tmp_path / "first", "--snr-db", 0, 9, "--silence-share", 0.1, "--seed", 3)
    settings = tmp_path / "first" / "settings.json"
    assert synthesize.main(["--output", str(tmp_path / "again"), "--settings", str(settings)]) == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "first")

    more = ["--seed", "4", "--hours", "0.001", "--rir", str(response_folder(tmp_path / "rir"))]
    assert synthesize.main(["--output", str(tmp_path / "flags"), "--settings", str(settings), *more]) == 0
    changed = json.loads((tmp_path / "flags" / "settings.json").read_text())
    assert (changed["seed"], changed["hours"], changed["count"]) == (4, 0.001, None)  # a flag wins, also over its rival
    assert (changed["snr_db"], changed["silence_share"]) == ([0, 9], 0.1)  # the rest is the file's
    assert len(manifest(tmp_path / "flags")) == 2


def test_resuming_after_a_kill(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a killed run leaves is complete, and going on from it ends in the same bytes as a run without a break."""
    options = ["--count", "150"]
    make(corpus, tmp_path / "whole", *options)
    broken = tmp_path / "broken"
    command = [sys.executable, "synthesize_training_data.py", *arguments(corpus, broken, *options)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(broken.glob("*/noisy/*.wav"))) < 20:
        time.sleep(0.002)
    process.kill()
    process.wait()
    left = [path for path in broken.glob("*/*/*.wav") if not path.name.startswith(".")]
    assert 20 <= len(left) < 300 and not (broken / "manifest.csv").exists()
    whole = contents(tmp_path / "whole")
    for path in left:
        assert path.read_bytes() == whole[path.relative_to(broken).as_posix()]

    journal = broken / "unfinished.jsonl"
    journal.write_text(journal.read_text()[:-7])  # the kill came while a row was written
    (broken / "training" / "noisy" / ".x.partial.0a1b2c3d.wav").write_bytes(b"RIFF")  # ... or a wav
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in left}
    assert synthesize.main(["--output", str(broken), "--resume"]) == 0
    made = int(re.search(r"150 pairs, 0.08 h; (\d+) made now", capsys.readouterr().out)[1])
    assert 150 - made >= len(left) // 2 - 2  # but for the torn row, and a pair whose row was not begun
    assert sum(path.stat().st_mtime_ns == time for path, time in before.items()) >= 2 * (150 - made)
    assert contents(broken) == whole


def test_resuming_a_finished_run(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make(corpus, tmp_path / "out")
    whole = contents(tmp_path / "out")
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--resume")) == 0
    assert "10 pairs, 0.01 h; 0 made now, 10 were there" in capsys.readouterr().out
    (tmp_path / "out" / rows[4]["clean"]).unlink()
    assert synthesize.main(arguments(corpus, tmp_path / "out", "--resume")) == 0
    assert "1 made now, 9 were there" in capsys.readouterr().out
    assert contents(tmp_path / "out") == whole


def test_resuming_before_anything_was_made(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert len(make(corpus, tmp_path / "out", "--resume")) == 10


def test_interrupt(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pair = synthesis_pairs.make_pair

    def interrupted(settings: Settings, output: Path, plan: PairPlan) -> object:
        if plan.index == 6:
            raise KeyboardInterrupt
        return make_pair(settings, output, plan)

    with monkeypatch.context() as patched:
        patched.setattr(synthesis_run, "make_pair", interrupted)
        assert run("dtln.commands.synthesize", arguments(corpus, tmp_path / "out"), "prog") == 130
    assert "prog: stopped: what was written is complete, --resume goes on" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.csv").exists()
    assert synthesize.main(["--output", str(tmp_path / "out"), "--resume"]) == 0
    make(corpus, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_resuming_with_other_settings_or_recordings(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = tmp_path / "speech"
    speech.mkdir()
    for index in range(3):
        soundfile.write(speech / f"a{index}_0.wav", speech_like(16000, index), 16000)
    command = ["--speech", str(speech), "--count", "4"]
    make(corpus, tmp_path / "out", *command)
    whole = contents(tmp_path / "out")
    assert (
        synthesize.main(arguments(corpus, tmp_path / "out", *command, "--resume", "--snr-db", 0, 5, "--seed", 1)) == 1
    )
    message = capsys.readouterr().err
    assert re.search(r"begun with other settings: snr_db \[-5, 25\] \(now \[0, 5\]\), seed 42 \(now 1\)\.", message)
    soundfile.write(speech / "a1_0.wav", speech_like(16001, 1), 16000)
    assert synthesize.main(arguments(corpus, tmp_path / "out", *command, "--resume")) == 1
    assert "are not those it was begun with" in capsys.readouterr().err
    assert contents(tmp_path / "out") == whole
