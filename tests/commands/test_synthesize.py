"""synthesize_training_data.py: help, and every refusal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from synthesised import arguments, make, manifest

from dtln.commands import synthesize
from dtln.commands.run import run
from dtln.errors import MissingPackageError, install_line
from dtln.mixing.rooms import simulate_rooms
from dtln.synthesis import run as synthesis_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seconds", "0.5"], "--seconds 0.5: expected 1 to 3600"),
        (["--seconds", "nan"], "--seconds nan: expected 1 to 3600"),
        (["--count", "0"], "--hours or --count 0: expected more than none"),
        (["--snr-db", "9", "1"], "--snr-db 9 1 is an empty range: give the lower end first"),
        (["--level-dbfs", "0", "-9"], "--level-dbfs 0 -9 is an empty range"),
        (["--silence-share", "1.5"], "--silence-share 1.5: expected a share from 0 to 1"),
        (["--rir", "r", "--reverberant-share", "-1"], "--reverberant-share -1: expected a share from 0 to 1"),
        (["--reverberant-share", "0.5"], "--reverberant-share needs rooms: give --rir or --simulated-rooms"),
        (["--target", "early"], "--target early needs rooms: give --rir or --simulated-rooms"),
        (["--validation-share", "1"], "--validation-share 1: expected a share from 0 to below 1"),
        (["--count", "1"], "one pair cannot be divided into training and validation: raise --count"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--speaker-pattern", "(x"], "--speaker-pattern '(x': is no regular expression"),
        (["--speaker-pattern", "x"], "--speaker-pattern 'x': expected one group, found 0"),
        (["--speaker-pattern", "who([0-4])"], "who5_0.wav: --speaker-pattern who([0-4]) finds no speaker"),
        (["--speaker-pattern", "(who)"], "speech: holds one speaker (who). Expected two at least"),
        (["--speech", "missing"], "missing: expected a folder of audio files, found nothing"),
        (["--rir", "missing"], "missing: expected a folder of audio files, found nothing"),
        (["--settings", "missing.json"], "missing.json: cannot be read (No such file or directory)"),
    ],
)
def test_settings_that_do_not_fit(
    more: list[str], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize.main(arguments(corpus, tmp_path / "out", *more)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 3", "is no JSON"),
        ("[1]", "holds no JSON object"),
        ('{"sead": 3}', "unknown setting 'sead'. Expected some of speech, noise, rir"),
        ('{"seed": "3"}', 'seed is "3". Expected a whole number'),
        ('{"seed": true}', "seed is true. Expected a whole number"),
        ('{"simulated_rooms": 1}', "simulated_rooms is 1. Expected true or false"),
        ('{"snr_db": [1.5, 2]}', "snr_db is [1.5, 2]. Expected a list of two whole numbers"),
        ('{"silence_share": "0"}', 'silence_share is "0". Expected a number'),
        ('{"speech": 3}', "speech is 3. Expected a text"),
        ('{"target": "dry"}', "target 'dry': expected reverberant or early"),
        ('{"hours": 1, "count": 2}', "hours and count are both set"),
        ('{"rir": "x", "simulated_rooms": true}', "rir and simulated_rooms are both set"),
        ("{}", "give --hours or --count: how much to make"),
    ],
)
def test_bad_settings_files(
    text: str, message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.json").write_text(text)
    folders = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--output", tmp_path / "out"]
    if '"speech"' in text:
        folders = folders[2:]
    if '"target"' in text:
        folders += ["--simulated-rooms", "--count", "3"]
    if '"rir"' in text:
        folders += ["--count", "3"]
    assert synthesize.main([*map(str, folders), "--settings", str(tmp_path / "s.json")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_have_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synthesize.main(["--output", str(tmp_path / "out"), "--count", "3"]) == 1
    assert "--speech is missing: expected a folder of clean speech" in capsys.readouterr().err
    assert synthesize.main(["--output", str(tmp_path / "out"), "--count", "3", "--speech", "s"]) == 1
    assert "--noise is missing: expected a folder of noise recordings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "3"], "required: --output"),
        (["--output", "o", "--jobs", "0"], "--jobs 0: expected at least one process"),
        (["--output", "o", "--count", "3", "--hours", "1"], "--hours: not allowed with argument --count"),
        (["--output", "o", "--rir", "r", "--simulated-rooms"], "--simulated-rooms"),
        (["--output", "o", "--target", "dry"], "invalid choice: 'dry'"),
        (["--output", "o", "--snr-db", "0.5", "2"], "invalid int value: '0.5'"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        synthesize.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_output_folders_that_do_not_fit(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for output, more, message in (
        (tmp_path / "file", [], "file: is a file. Expected a folder to write to"),
        (
            tmp_path / "full",
            [],
            "full: is not empty. Expected a new or empty folder; choose another one, or say --resu",
        ),
        (tmp_path / "full", ["--resume"], "full: holds no settings.json. Expected a folder that this script began"),
        (corpus / "noise", [], "noise: is the --noise folder or lies inside it"),
        (corpus / "speech" / "new", [], "new: is the --speech folder or lies inside it"),
    ):
        assert synthesize.main(arguments(corpus, output, *more)) == 1
        assert message in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    assert not (corpus / "speech" / "new").exists()


def test_recordings_found_bad_before_work_starts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, message in (
        (b"", r"click_0.wav: is a file of 0 bytes"),
        (b"no audio", r"click_0.wav: cannot be read as audio"),
        (None, r"click_0.wav: holds 0.050 s. Expected at least 0.1 s; remove the file"),
    ):
        path = tmp_path / "noise" / "click_0.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.ones(800), 16000) if content is None else path.write_bytes(content)
        assert synthesize.main(arguments(corpus, tmp_path / "out", "--noise", path.parent)) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    path.unlink()
    for name in ("hum_0.wav", "hum_1.wav"):  # one kind by its name: the files are divided
        soundfile.write(path.parent / name, 0.1 * np.ones(16000), 16000)
    rows = make(corpus, tmp_path / "out", "--noise", path.parent)
    used = [
        {name for r in rows if r["subset"] == s for name, *_ in json.loads(r["noise"])}
        for s in ("training", "validation")
    ]
    assert sorted(map(sorted, used)) == [["hum_0.wav"], ["hum_1.wav"]]
    (path.parent / "hum_1.wav").unlink()
    assert synthesize.main(arguments(corpus, tmp_path / "out2", "--noise", path.parent)) == 1
    assert "noise: holds one (hum_0.wav). Expected two at least" in capsys.readouterr().err


def test_files_that_cannot_be_written(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(corpus, tmp_path / "out", "--count", 4)
    row = manifest(tmp_path / "out")[0]
    (tmp_path / "out" / row["noisy"]).unlink()
    (tmp_path / "out" / row["noisy"]).mkdir()  # in the way
    assert synthesize.main(["--output", str(tmp_path / "out"), "--resume"]) == 1
    assert "synthesize_training_data.py: " in capsys.readouterr().err


def test_help() -> None:
    run = subprocess.run(
        [sys.executable, "synthesize_training_data.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert synthesize.__doc__.splitlines()[0] in run.stdout and "--speaker-pattern PATTERN" in run.stdout


def test_missing_pyroomacoustics(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    remedy = f"simulating rooms needs the package pyroomacoustics: {install_line('pyroomacoustics')}"
    with pytest.raises(MissingPackageError, match=re.escape(remedy)):
        simulate_rooms(2, seed=1)
    command = arguments(corpus, tmp_path / "out", "--simulated-rooms")
    assert run("dtln.commands.synthesize", command, "synthesize_training_data.py") == 1
    assert remedy in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_soundfile(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert run("dtln.commands.synthesize", arguments(corpus, tmp_path / "out"), "synthesize_training_data.py") == 1
    line = install_line("soundfile", "synthesis")
    assert f"reading recordings needs the package soundfile: {line}" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ValueError that is none of ours is a bug, and not made one line."""

    def buggy(*_: object) -> object:
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(synthesis_run, "make_pair", buggy)
    with pytest.raises(ValueError, match="broadcast"):
        synthesize.main(arguments(corpus, tmp_path / "out"))
