"""dtln score: recordings that were denoised already; tests/evaluation/test_scores.py tests what it gives."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import soundfile

from dtln.commands import enhance, score


@pytest.fixture
def triple(tmp_path, noise):
    """The folder of `clean`, `noisy` and `denoised`, each with a.wav and b.wav."""
    for seed, name in enumerate(("a.wav", "b.wav")):
        speech = noise(16000, seed=seed) * np.sin(2 * np.pi * 2 * np.arange(16000) / 16000) ** 2
        for folder, share in (("clean", 0.0), ("noisy", 0.3), ("denoised", 0.1)):
            (tmp_path / folder).mkdir(exist_ok=True)
            soundfile.write(tmp_path / folder / name, speech + share * noise(16000, seed=9), 16000, subtype="FLOAT")
    return tmp_path


def test_same_scores_as_score_only(triple):
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    flags = ["--reference", triple / "clean", "--noisy", triple / "noisy", "--json", triple / "scores.json"]
    reports = []
    for main, arguments in (
        (score.main, [triple / "denoised", *flags]),
        (score.main, ["-i", triple / "denoised", *flags]),
        (enhance.main, ["--score-only", "-i", triple / "denoised", *flags]),
        (enhance.main, [triple / "denoised", "--score-only", *flags]),
    ):
        assert main([str(argument) for argument in arguments]) == 0
        reports.append(json.loads((triple / "scores.json").read_text(encoding="utf-8")))
    for report in reports:
        for file, other in zip(report["files"], reports[0]["files"], strict=True):
            assert file["file"] == other["file"]
            for signal in ("noisy", "enhanced"):  # ESTOI draws random numbers
                assert file["scores"][signal] == pytest.approx(other["scores"][signal], rel=1e-2)
    assert list(reports[0]["means"]) == ["noisy", "enhanced", "difference"]
    assert set(reports[0]["settings"]) < set(reports[2]["settings"]) and "weights" not in reports[2]["settings"]


def test_one_recording(triple, capsys):
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    arguments = [triple / "denoised" / "a.wav", "--reference", triple / "clean" / "a.wav", "--noisy", triple / "noisy"]
    assert score.main([str(argument) for argument in arguments]) == 0
    out = capsys.readouterr().out
    assert "means over 1 file:" in out and re.search(r"\nnoisy .*\nenhanced .*\ndifference ", out)


def test_equal_folders_are_told_before_work_starts(triple, capsys, monkeypatch):
    clean, noisy, denoised = (str(triple / name) for name in ("clean", "noisy", "denoised"))
    monkeypatch.setattr("dtln.evaluation.scores.plan_scores", lambda *_, **__: [])
    monkeypatch.setattr("dtln.evaluation.scores.score_files", lambda *_, **__: [])
    linked = triple / "link"
    linked.symlink_to(clean)
    for arguments, message in (
        ([denoised, "--reference", clean, "--noisy", str(linked)], r"link is noisy input and clean reference at once"),
        ([clean, "--reference", clean], r"clean is scored against itself. Expected denoised .*--noisy .*clean` tells"),
        ([noisy, "--reference", clean, "--noisy", noisy], "noisy is denoised and noisy at once, so all differences"),
        ([denoised, "--reference", clean, "--noisy", noisy], None),
        ([denoised, "--reference", clean], None),
        ([denoised, "--dnsmos"], None),
    ):
        score.main(arguments)
        err = capsys.readouterr().err
        assert re.search(f"dtln score: note: .*{message}", err) if message else err == "", message


def test_transparency_is_told_as_it_is_measured(triple, capsys, monkeypatch):
    monkeypatch.setattr("dtln.evaluation.denoising.plan_denoising", lambda *_, **__: [])
    monkeypatch.setattr("dtln.evaluation.denoising.denoise_files", lambda *_, **__: [])
    monkeypatch.setattr("dtln.evaluation.scores.score_files", lambda *_, **__: [])
    arguments = [str(triple / "clean"), "-o", str(triple / "out"), "--reference", str(triple / "clean"), "--no-pesq"]
    assert enhance.main(arguments, "dtln enhance") == 0
    assert re.search("dtln enhance: note: .*scores say what denoising does to clean speech", capsys.readouterr().err)


def test_folder_against_one_file(triple, capsys):
    pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    arguments = [triple / "denoised", "--reference", triple / "clean" / "a.wav"]
    assert score.main([str(argument) for argument in arguments]) == 1
    assert re.search(r"dtln score: .*a.wav: is a file, .*denoised a folder. Expected two", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one recording or folder, as an argument or after -i"),
        (["a"], "say against which recordings with --reference CLEAN, or say --dnsmos"),
        (["a", "--dnsmos", "--align"], "--align removes delays against clean recordings"),
        (["a", "--dnsmos", "--jobs", "0"], "--jobs 0: expected at least one process"),
        (["a", "--dnsmos", "-o", "b"], "unrecognized arguments: -o b"),
    ],
)
def test_refused_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        score.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_package_is_told_before_work_starts(triple, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert score.main([str(triple / "denoised"), "--reference", str(triple / "clean")]) == 1
    err = capsys.readouterr().err
    assert re.search(r"dtln score: scoring needs the package pesq: pip install .*\[score\]", err)


def test_damaged_recordings_are_scored_with_salvage(triple, capsys):
    pytest.importorskip("pystoi")
    path = triple / "denoised" / "a.wav"
    path.write_bytes(path.read_bytes()[:-4000])  # a second less a sixteenth
    clean = soundfile.read(triple / "clean" / "a.wav")[0]
    soundfile.write(triple / "clean" / "a.wav", clean[:15000], 16000, subtype="FLOAT")
    arguments = [str(triple / "denoised"), "--reference", str(triple / "clean"), "--no-pesq"]
    assert score.main(arguments) == 1
    assert "a.wav: is truncated" in capsys.readouterr().err
    assert score.main([*arguments, "--salvage"]) == 0
