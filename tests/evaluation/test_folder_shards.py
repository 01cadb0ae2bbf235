"""--shard: a folder in parts, each as if it were alone, and together as if there were no parts."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.audio.folders import find_audio_files, of_shard
from dtln.commands import score
from dtln.evaluation.denoising import plan_denoising
from dtln.shards import Shard


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def mixed(folders, noise):
    """The input folder, with recordings of many lengths, sub-folders, and files that cannot be read."""
    source, _ = folders
    (source / "deep").mkdir()
    for index in range(9):
        soundfile.write(source / ("deep" if index % 2 else ".") / f"{index}.wav", noise(700 * (index + 1)), 16000)
    soundfile.write(source / "2.wve", noise(8000), 8000, format="WVE", subtype="ALAW")  # would become 2.wav
    (source / "2.wve.wav").write_bytes((source / "0.wav").read_bytes())
    (source / "bad.wav").write_bytes(b"bad")
    (source / "empty.flac").touch()
    (source / "lost.wav").symlink_to("nowhere.wav")
    return source


def test_shards_write_what_one_run_writes(mixed, folders, evaluate, tmp_path, capsys):
    _, target = folders
    (mixed / "2.wve.wav").unlink()
    assert evaluate() == 1
    whole, failures = files_below(target), re.findall("FAILED .*", capsys.readouterr().err)
    assert len(whole) == 10 and len(failures) == 3 and "2.wve.wav" in whole
    target.rename(tmp_path / "whole")
    written, failed = [0], []
    for number in (1, 2, 3):
        evaluate("--shard", f"{number}/3", "--skip-existing")
        written.append(len(files_below(target)))
        failed += re.findall("FAILED .*", capsys.readouterr().err)
    assert files_below(target) == whole
    assert sorted(failed) == sorted(failures)
    assert all(later > before for before, later in zip(written, written[1:], strict=False))


def test_shards_have_like_durations(tmp_path):
    """Recordings of one format, of lengths as they occur, in 8 shards."""
    rng = np.random.default_rng(0)
    for index in range(400):
        with open(tmp_path / f"{index:03d}.wav", "wb") as stream:
            stream.truncate(int(rng.lognormal(11, 1)))
    paths = find_audio_files(tmp_path)
    loads = [sum(p.stat().st_size for p in of_shard(Shard(i, 8), tmp_path, paths)) for i in range(1, 9)]
    assert max(loads) < 1.02 * min(loads)


def test_files_without_sizes_are_spread(tmp_path):
    for index in range(12):
        (tmp_path / f"{index}.wav").touch()
    paths = find_audio_files(tmp_path)
    assert [len(of_shard(Shard(i, 4), tmp_path, paths)) for i in range(1, 5)] == [3, 3, 3, 3]


def test_names_that_may_meet_are_in_one_shard(mixed):
    for number in range(1, 8):
        names = {path.name for path in of_shard(Shard(number, 7), mixed, find_audio_files(mixed))}
        assert names & {"2.wav", "2.wve", "2.wve.wav"} in (set(), {"2.wav", "2.wve", "2.wve.wav"})


def test_folder_that_cannot_be_listed_is_named_in_one_shard(folders, noise, monkeypatch):
    source, target = folders
    (source / "closed").mkdir()
    soundfile.write(source / "a.wav", noise(800), 16000)
    listed = plan_denoising(source, target)
    from dtln.audio import folders as walking

    scan = walking.os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(walking.os, "scandir", scandir)
    shards = [plan_denoising(source, target, shard=Shard(number, 3)) for number in (1, 2, 3)]
    jobs = [job for shard in shards for job in shard]
    assert len(jobs) == len(listed) + 1
    assert [job.unreadable for job in jobs if job.unreadable] == [
        f"{source / 'closed'}: cannot be listed (Permission denied). Check its permissions."
    ]


def test_more_shards_than_recordings(folders, evaluate, noise, capsys):
    source, target = folders
    soundfile.write(source / "a.wav", noise(800), 16000)
    assert [evaluate("--shard", f"{number}/3") for number in (1, 2, 3)] == [0, 0, 0]
    assert [path.name for path in target.iterdir()] == ["a.wav"]
    assert capsys.readouterr().out.count("0 files denoised") == 2


def test_one_recording_is_in_one_shard(folders, noise):
    source, _ = folders
    soundfile.write(source / "a.wav", noise(800), 16000)
    shards = [plan_denoising(source / "a.wav", source / "b.wav", shard=Shard(number, 2)) for number in (1, 2)]
    assert sorted(map(len, shards)) == [0, 1]


def test_existing_outputs_of_other_shards_forbid_nothing(folders, evaluate, noise):
    source, _ = folders
    for name in "abcd":
        soundfile.write(source / f"{name}.wav", noise(800), 16000)
    assert evaluate("--shard", "1/2") == 0
    assert evaluate("--shard", "2/2") == 0
    assert evaluate("--shard", "2/2") == 1


def test_scores_of_shards(folders, tmp_path, noise):
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    for index in range(5):
        clean = noise(16000, seed=index) * np.sin(2 * np.pi * 2 * np.arange(16000) / 16000) ** 2
        for folder, share in (("clean", 0.0), ("denoised", 0.1)):
            (tmp_path / folder).mkdir(exist_ok=True)
            soundfile.write(tmp_path / folder / f"{index}.wav", clean + share * noise(16000, seed=9), 16000)

    def scores(*options: str) -> list[dict[str, str]]:
        arguments = [tmp_path / "denoised", "--reference", tmp_path / "clean", "--csv", tmp_path / "scores.csv"]
        assert score.main([*map(str, arguments), *options, "--json", str(tmp_path / "scores.json")]) == 0
        return list(csv.DictReader(open(tmp_path / "scores.csv", newline="")))

    whole = scores()
    parts = [row for number in (1, 2) for row in scores("--shard", f"{number}/2")]
    assert json.loads((tmp_path / "scores.json").read_text())["settings"]["shard"] == "2/2"
    assert sorted(row["file"] for row in parts) == [row["file"] for row in whole]
    found = {row["file"]: row["input_si_sdr_db"] for row in parts}
    assert found == {row["file"]: row["input_si_sdr_db"] for row in whole}


def test_shard_that_is_none(evaluate, capsys):
    with pytest.raises(SystemExit):
        evaluate("--shard", "4/3")
    assert "argument --shard: shard 4/3: expected I/N, with I from 1 to N" in capsys.readouterr().err
