"""dtln report, and --report of dtln score and dtln enhance: from recordings to the page."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.commands import enhance, report, score


@pytest.fixture
def folders_of_two(tmp_path, noise) -> Path:
    """The folder of `clean`, `noisy`, `one` and `two`, each with a.wav and b.wav; `two` has less noise than `one`."""
    for seed, name in enumerate(("a.wav", "b.wav")):
        speech = noise(16000, seed=seed) * np.sin(2 * np.pi * 2 * np.arange(16000) / 16000) ** 2
        for folder, share in (("clean", 0.0), ("noisy", 0.3), ("one", 0.2), ("two", 0.1)):
            (tmp_path / folder).mkdir(exist_ok=True)
            soundfile.write(tmp_path / folder / name, speech + share * noise(16000, seed=9), 16000, subtype="FLOAT")
    return tmp_path


@pytest.fixture
def scored(folders_of_two, monkeypatch) -> Path:
    """That folder, with the scores of `one` in scores.json; it is the current folder."""
    pytest.importorskip("pystoi")
    monkeypatch.chdir(folders_of_two)
    assert score.main(["one", "--reference", "clean", "--noisy", "noisy", "--no-pesq", "--json", "scores.json"]) == 0
    return folders_of_two


def data_of(page: Path) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))[1])


def test_score_and_enhance_write_pages(folders_of_two, identity_weights, capsys):
    pytest.importorskip("pystoi")
    folder, page = folders_of_two, folders_of_two / "page.html"
    common = ["--reference", str(folder / "clean"), "--no-pesq", "--report", str(page)]
    assert score.main([str(folder / "one"), "--noisy", str(folder / "noisy"), *common]) == 0
    assert f"page written to {page}" in capsys.readouterr().out
    data = data_of(page)
    assert data["names"] == ["a.wav", "b.wav"] and list(data["scores"]) == ["noisy", "enhanced"]
    assert data["links"]["enhanced"] == ["one/a.wav", "one/b.wav"] and data["embedded"] == [0, 1]
    out = folder / "out"
    assert enhance.main([str(folder / "noisy"), "-o", str(out), "-m", str(identity_weights), *common]) == 0
    assert data_of(page)["links"]["enhanced"] == ["out/a.wav", "out/b.wav"]
    assert score.main([str(folder / "one"), *common]) == 0  # without noisy recordings
    assert list(data_of(page)["scores"]) == ["input"]


def test_page_without_scores_is_not_written(folders_of_two, capsys):
    pytest.importorskip("pystoi")
    for name in ("a.wav", "b.wav"):
        soundfile.write(folders_of_two / "clean" / name, np.zeros(16000), 16000)
    page = folders_of_two / "page.html"
    arguments = [folders_of_two / "one", "--reference", folders_of_two / "clean", "--no-pesq", "--report", page]
    assert score.main([str(argument) for argument in arguments]) == 1
    assert f"{page}: not written, because no file could be scored" in capsys.readouterr().out and not page.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("page", "is no name of a page"),
        ("missing/page.html", "its folder does not exist. Make it first"),
        ("folder.html", "is a folder. Expected the name of a file"),
    ],
)
def test_wrong_names_are_told_before_work_starts(folders_of_two, capsys, name, message):
    (folders_of_two / "folder.html").mkdir()
    arguments = [folders_of_two / "one", "--reference", folders_of_two / "clean", "--report", folders_of_two / name]
    assert score.main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert message in err and "means" not in out
    assert report.main([str(folders_of_two / "scores.json"), "-o", str(folders_of_two / name)]) == 1
    assert message in capsys.readouterr().err


def test_report_needs_scores(capsys):
    with pytest.raises(SystemExit):
        score.main(["a", "--report", "page.html"])
    with pytest.raises(SystemExit):
        enhance.main(["a", "-o", "b", "--report", "page.html"])
    assert capsys.readouterr().err.count("--report is about scores: say against which recordings") == 2


def test_systems_side_by_side(scored, capsys):
    arguments = ["scores.json", "-o", "page.html", "--name", "One", "--compare", "Two=two", "--title", "1 & 2"]
    assert report.main(arguments) == 0
    out = capsys.readouterr().out
    assert "Two:\nmeans over 2 files" in out and re.search(r"page of 2 files written to page.html, 0\.\d MB\n", out)
    data = data_of(scored / "page.html")
    assert list(data["scores"]) == ["noisy", "One", "Two"] and data["title"] == "1 & 2"
    (line,) = [line for line in data["differences"] if (line["of"], line["to"]) == ("Two", "One")]
    assert line["means"]["snr_db"][0] == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert list(data["metrics"]) == ["stoi_percent", "estoi_percent", "si_sdr_db", "snr_db"]  # with the flags of One
    flags = ["--reference", "clean", "--noisy", "noisy", "--no-pesq", "--json", "two.json"]
    assert score.main(["two", *flags]) == 0
    assert report.main([*arguments[:5], "--compare", "Two=two.json"]) == 0
    assert data_of(scored / "page.html")["scores"]["Two"]["snr_db"] == data["scores"]["Two"]["snr_db"]


def test_parts_and_tables(scored, capsys):
    """Shards of two systems, one of which wrote CSV, are the same page as their wholes but for the sound of the CSV."""
    assert score.main(["two", "--reference", "clean", "--noisy", "noisy", "--no-pesq", "--json", "two.json"]) == 0
    assert report.main(["scores.json", "-o", "whole.html", "--compare", "Two=two.json"]) == 0
    for folder, kind in (("one", "json"), ("two", "csv")):
        for part in (1, 2):
            flags = ["--reference", "clean", "--noisy", "noisy", "--no-pesq", "--shard", f"{part}/2"]
            assert score.main([folder, *flags, f"--{kind}", f"{folder}_{part}.{kind}"]) == 0
    capsys.readouterr()
    parts = ["one_1.json", "one_2.json", "--compare", "Two=two_1.csv", "--compare", "Two=two_2.csv"]
    assert report.main([*parts, "-o", "page.html"]) == 0
    note = "there is no sound of Two: a CSV does not say where recordings lie. What --json writes does"
    assert capsys.readouterr().out.endswith(f"note: {note}\n")
    whole, page = data_of(scored / "whole.html"), data_of(scored / "page.html")
    assert whole["names"] == page["names"] and page["notes"] == [note] and whole["notes"] == []
    assert list(page["links"]) == ["noisy", "enhanced", "clean"] and page["embedded"] == [0, 1]
    for signal, columns in whole["scores"].items():
        for key, values in columns.items():
            assert page["scores"][signal][key] == pytest.approx(values, rel=1e-4)


def test_scores_of_enhance_are_compared_against_what_it_denoised(scored, identity_weights):
    flags = ["--reference", "clean", "--no-pesq", "--json", "enhanced.json"]
    assert enhance.main(["noisy", "-o", "out", "-m", str(identity_weights), *flags]) == 0
    assert report.main(["enhanced.json", "-o", "page.html", "--name", "nothing", "--compare", "Two=two"]) == 0
    scores = data_of(scored / "page.html")["scores"]
    assert scores["nothing"]["snr_db"] == pytest.approx(scores["noisy"]["snr_db"], abs=0.01)
    assert scores["Two"]["snr_db"][0] > scores["noisy"]["snr_db"][0] + 9


def test_scores_are_found_from_another_folder(scored, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert report.main([str(scored / "scores.json"), "-o", "page.html", "--embed", "0"]) == 0
    data = data_of(tmp_path / "elsewhere" / "page.html")
    assert data["links"]["clean"] == ["../clean/a.wav", "../clean/b.wav"] and data["embedded"] == []


def test_recordings_of_another_experiment_are_not_taken_for_those_of_the_scores(scored, tmp_path, monkeypatch):
    """Both have the same folders, and the scores name them from there."""
    other = tmp_path / "other"
    for folder in ("clean", "noisy", "one"):
        shutil.copytree(scored / folder, other / folder)
    monkeypatch.chdir(other)
    assert report.main([f"..{os.sep}scores.json", "-o", "page.html", "--embed", "0"]) == 0
    assert data_of(other / "page.html")["links"]["enhanced"] == ["../one/a.wav", "../one/b.wav"]


def test_recordings_that_were_not_denoised_are_named(folders_of_two, identity_weights, monkeypatch):
    """By --report, and by a page of what --json wrote."""
    pytest.importorskip("pystoi")
    monkeypatch.chdir(folders_of_two)
    for folder in ("noisy", "clean"):
        Path(folder, "bad.wav").write_bytes(b"RIFF, but no sound")
        soundfile.write(Path(folder, "empty.wav"), np.zeros(0), 16000)
    flags = ["--reference", "clean", "--no-pesq", "--report", "page.html", "--json", "scores.json"]
    assert enhance.main(["noisy", "-o", "out", "-m", str(identity_weights), *flags]) == 1
    assert report.main(["scores.json", "-o", "later.html"]) == 0
    for page in ("page.html", "later.html"):
        data = data_of(Path(page))
        assert data["names"] == ["a.wav", "b.wav"]
        failed, empty = data["apart"]
        assert failed.startswith(f"failed: {Path('noisy', 'bad.wav')}: cannot be read as audio")
        assert empty == f"left out: {Path('noisy', 'empty.wav')}: holds no samples"


def test_folder_of_sound(scored, capsys):
    assert report.main(["scores.json", "-o", "page.html", "--files"]) == 0
    assert ", its sound to page_files beside it" in capsys.readouterr().out
    assert sorted(path.name for path in (scored / "page_files").iterdir()) == ["0.js", "1.js"]


def test_what_cannot_be_compared_is_told(scored, capsys):
    def fails(*arguments: str) -> str:
        assert report.main(["scores.json", "-o", "page.html", *arguments]) == 1
        return capsys.readouterr().err

    assert "dtln report: nowhere: cannot be read (No such file or directory)" in fails("--compare", "B=nowhere")
    for name in ("enhanced", "noisy", "clean"):
        assert f"two: {name} is the name of something else. Expected another" in fails("--compare", f"{name}=two")
    assert "two: B is the name of something else" in fails("--compare", "B=two", "--compare", "B=one")
    assert "a.wav: is no text in UTF-8" in fails("--compare", "B=two/a.wav")
    assert "both are called enhanced, and both have a.wav" in fails("--compare", "enhanced=scores.json")
    (scored / "two" / "c.wav").write_bytes((scored / "two" / "a.wav").read_bytes())
    assert re.search(r"c.wav: has no partner in .*clean", fails("--compare", "B=two"))
    assert not (scored / "page.html").exists()
    text = json.loads((scored / "scores.json").read_text())
    text["settings"] = {}
    (scored / "scores.json").write_text(json.dumps(text))
    assert "scores.json: does not say how enhanced was scored. Expected what --json" in fails("--compare", "B=two")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "two"], "'two': expected a name, = and a path"),
        (["--embed", "-1"], "'-1': expected a whole number from 0 on"),
        (["--embed", "1", "--files"], "not allowed with argument --embed"),
        (["--jobs", "0"], "argument --jobs"),
    ],
)
def test_refused_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        report.main(["scores.json", "-o", "page.html", *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err
