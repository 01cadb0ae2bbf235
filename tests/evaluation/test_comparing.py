"""dtln.evaluation.comparing and dtln compare: scores that were written before, brought together and compared."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from score_reports import report_of, write_scores

from dtln.commands import compare as command
from dtln.evaluation.comparing import compare_scores
from dtln.reporting import read_scores

pytest.importorskip("scipy")


@pytest.fixture
def write(tmp_path):
    """Function: the name of a system, and what `write_scores` takes -> NAME.json and NAME.csv."""
    return lambda name, *arguments, **more: write_scores(tmp_path / f"{name}.json", *arguments, **more)


@pytest.fixture
def gains():
    return np.random.default_rng(0).normal(6, 1, 24)


def test_verdicts_means_and_bins(write, gains, capsys, tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.2, 24)
    files = [write("ours", gains), write("theirs", gains - 1 + noise), write("alike", gains + 0.1 * noise)]
    capsys.readouterr()
    assert command.main([*map(str, files), "--json", str(tmp_path / "comparison.json")]) == 0
    out = capsys.readouterr().out
    assert "means over 24 files, with 95 % intervals:" in out
    assert re.search(r"theirs - ours, 24 files:\n.*verdict\nSI-SDR dB +-\d.*ours ahead\nSNR dB +-.*ours ahead", out)
    assert re.search(r"alike - ours, 24 files:\n.*\nSI-SDR dB.*no difference found\nSNR dB.*no difference found", out)
    assert "theirs - ours by input SNR" in out and re.search(r"\n-2.5 to 2.5 dB, 6 files +-\d", out)
    report = json.loads((tmp_path / "comparison.json").read_text())
    assert report["first"] == "ours" and list(report["means"]) == ["ours", "theirs", "alike"]
    first = report["differences"][0]
    assert (first["other"], first["metric"], first["verdict"]) == ("theirs", "si_sdr_db", "ours ahead")
    assert first["mean"]["mean"] == pytest.approx(np.mean(noise) - 1) and first["mean"]["files"] == 24
    assert list(report["by_input_snr"]) == [f"{low:g} to {low + 5:g} dB" for low in (-2.5, 2.5, 7.5, 12.5)]


def test_parts_of_one_system_are_joined(write, gains):
    whole = write("whole", gains)
    first = read_scores(write("part_1", gains[:10]), "parts")
    second = read_scores(write("part_2", gains[10:], file_name="other_{}.wav"), "parts")
    comparison = compare_scores([first, read_scores(whole), second])[0]
    assert len(comparison.files) == 10 and comparison.missing["parts"] == tuple(f"mix_{i}.wav" for i in range(10, 24))
    assert len(comparison.missing["whole"]) == 14


def test_missing_and_few_files_are_said(write, gains, capsys):
    assert command.main([f"A={write('a', gains[:6])}", f"B={write('b', gains[:5])}"]) == 0
    out = capsys.readouterr().out
    assert "B lacks 1 file, left out of all: mix_5.wav" in out and "fewer than 10 files" in out


def test_bins_without_a_metric(write, gains, capsys, tmp_path):
    """A bin in which no score is finite, and files without a metric that others have."""
    snrs = [0.0] * 12 + [10.0] * 12
    values = [{"si_sdr_db": math.nan if snr else gain, "pesq_wb": 2.0} for gain, snr in zip(gains, snrs, strict=True)]
    del values[-1]["pesq_wb"]
    names = [f"mix_{index}.wav" for index in range(24)]
    report = report_of(names, [{"enhanced": own | {"snr_db": 1.0}} for own in values], input_snr_db=snrs)
    (tmp_path / "a.json").write_text(json.dumps(report))
    assert command.main([str(tmp_path / "a.json"), str(write("b", gains))]) == 0
    out = capsys.readouterr().out
    assert re.search(r"-2.5 to 2.5 dB, 12 files +-?\d.*\n7.5 to 12.5 dB, 12 files +- +-?\d", out)
    assert "(12 files: others are not finite)" in out
    assert "note: left out, because not all files have such scores: PESQ WB" in out


def test_other_settings_are_said(write, gains, capsys):
    assert command.main([str(write("a", gains)), str(write("b", gains, settings={"align": True}))]) == 0
    assert "note: the scores were made with different align: False (a), True (b)" in capsys.readouterr().out


def test_one_reference_in_other_words_is_one(write, gains, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clean").mkdir()
    one, other = ({"reference": name} for name in ("clean", str(tmp_path / "clean")))
    assert command.main([str(write("a", gains, settings=one)), str(write("b", gains, settings=other))]) == 0
    assert "different reference" not in capsys.readouterr().out
    other = {"reference": str(tmp_path / "others")}
    assert command.main([str(write("a", gains, settings=one)), str(write("b", gains, settings=other))]) == 0
    assert re.search(r"different reference: \S*clean \(a\), \S*others \(b\)", capsys.readouterr().out)


def test_what_cannot_be_compared(write, gains, tmp_path, capsys):
    a = write("a", gains)
    for arguments, message in (
        ([a, tmp_path], "is a folder. Expected what --json or --csv"),
        ([a, tmp_path / "no.json"], r"no.json: cannot be read \(No such file"),
        (
            [a, a, write("e", gains)],
            "both are called a, and both have mix_0.wav. Give different systems different names",
        ),
        ([f"x={a}", f"x={write('f', gains, file_name='y_{}.wav')}"], "all scores are those of x. Expected two systems"),
        (
            [a, write("c", gains, file_name="x_{}.wav")],
            "a, c have no file in common: mix_0.wav, x_0.wav.* Score the same recordings",
        ),
        (
            [a, write("b", gains, np.ones(24))],
            r"b.json: the noisy recording of mix_0.wav has 1.00 SNR dB, in .*a.json 0.00",
        ),
        ([a, write("d", gains), "--json", a], "a.json: holds scores that are compared. Choose another name"),
        ([a, write("d", gains), "--json", tmp_path / "no" / "c.json"], "c.json: its folder does not exist"),
    ):
        assert command.main([str(argument) for argument in arguments]) == 1
        assert re.search(message, capsys.readouterr().err), message
    with pytest.raises(SystemExit, match="2"):
        command.main([str(a)])
    assert "expected the scores of two systems at least" in capsys.readouterr().err
