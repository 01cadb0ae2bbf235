"""dtln.evaluation.comparing and dtln compare: scores that were written before, brought together and compared."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from dtln.commands import compare as command
from dtln.errors import SettingsError
from dtln.evaluation.comparing import compare_scores, read_scores
from dtln.evaluation.scores import Pair, ScoredFile, write_csv, write_json

pytest.importorskip("scipy")


@pytest.fixture
def write(tmp_path):
    """Writes a report of scores as `dtln score` does: gains of the enhanced files in dB -> NAME.json and NAME.csv."""

    def write(name, gains, snrs=None, file_name="mix_{}.wav", settings=None):
        files = []
        for index, gain in enumerate(gains):
            snr = (index % 4) * 5.0 if snrs is None else snrs[index]
            scores = {"noisy": {"snr_db": snr, "si_sdr_db": snr}, "enhanced": {"snr_db": snr + gain, "si_sdr_db": gain}}
            pair = Pair(file_name.format(index), {"enhanced": tmp_path / "x.wav"}, None, snr)
            files.append(ScoredFile(pair, scores=scores))
        write_json(tmp_path / f"{name}.json", files, {"reference": "CLEAN", "align": False} | (settings or {}))
        write_csv(tmp_path / f"{name}.csv", files)
        return tmp_path / f"{name}.json"

    return write


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


def test_csv_and_json_hold_the_same(write, gains, tmp_path):
    of_json = read_scores(write("a", gains))
    of_csv = read_scores(tmp_path / "a.csv", "called")
    assert of_csv.name == "called" and of_json.name == "a"
    assert list(of_json.scores) == list(of_csv.scores) and of_json.input_snrs == pytest.approx(of_csv.input_snrs)
    for file, scores in of_json.scores.items():
        assert of_csv.scores[file] == pytest.approx(scores, rel=1e-5)


def test_infinite_scores_are_not_numbers(write):
    assert math.isnan(read_scores(write("a", [math.inf])).scores["mix_0.wav"]["snr_db"])


def test_files_are_matched_by_name_or_id(write, gains):
    one = read_scores(write("a", gains))
    other = read_scores(write("b", gains[:20], file_name="mix_{}.flac"))
    whole = compare_scores([one, other])[0]
    assert len(whole.files) == 20 and len(whole.missing["b"]) == 4
    by_id = read_scores(write("c", gains, file_name="book_snr5_fileid_{}.wav"))
    by_other_id = read_scores(write("d", gains, file_name="clean_fileid_{}.wav"))
    assert compare_scores([by_id, by_other_id])[0].files[0] == "fileid_0"


def test_parts_of_one_system_are_joined(write, gains):
    whole = write("whole", gains)
    first = read_scores(write("part_1", gains[:10]), "parts")
    second = read_scores(write("part_2", gains[10:], file_name="other_{}.wav"), "parts")
    comparison = compare_scores([first, read_scores(whole), second])[0]
    assert len(comparison.files) == 10 and comparison.missing["parts"] == tuple(f"mix_{i}" for i in range(10, 24))
    assert len(comparison.missing["whole"]) == 14


def test_missing_and_few_files_are_said(write, gains, capsys):
    assert command.main([f"A={write('a', gains[:6])}", f"B={write('b', gains[:5])}"]) == 0
    out = capsys.readouterr().out
    assert "B lacks 1 file, left out of all: mix_5" in out and "fewer than 10 files" in out


def test_other_settings_are_said(write, gains, capsys):
    assert command.main([str(write("a", gains)), str(write("b", gains, settings={"align": True}))]) == 0
    assert "note: the scores were made with different align: False (a), True (b)" in capsys.readouterr().out


def test_parts_with_other_settings_are_said(write, gains, capsys):
    one = write("one", gains[:12], settings={"reference": "A"})
    two = write("two", gains[12:], file_name="z_{}.wav", settings={"reference": "B"})
    both = write("both", gains, settings={"reference": "A"})
    assert command.main([f"x={one}", f"x={two}", str(both)]) == 0
    assert "note: the scores were made with different reference: A and B (x), A (both)" in capsys.readouterr().out


def test_tables_that_spreadsheets_saved(write, gains, tmp_path):
    plain = read_scores(write("a", gains, file_name="mix\udcff_{}.wav").with_suffix(".csv"))
    assert list(plain.scores)[0] == "mix\udcff_0.wav"  # as the JSON has it
    text = (tmp_path / "a.csv").read_text()
    blank = "," * text.partition("\n")[0].count(",") + "\n"
    for other in (
        text + blank,
        text.replace(",", "\t"),
        text.replace(",", ";").replace(".", ",").replace(",wav", ".wav"),
    ):
        (tmp_path / "b.csv").write_text(other, encoding="utf-8-sig")
        assert read_scores(tmp_path / "b.csv").scores == plain.scores


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "a.json: holds no scores. Expected a file that --json or --csv"),
        ('{"files": [{}]}', "a.json: holds no scores"),
        ("file,enhanced_snr_db\na.wav,loud\n", "a.json: holds no scores"),
        ("file,enhanced_snr_db\na.wav\n", "a.json: holds no scores"),
        ("file," + "x" * 200_000, "a.json: holds no scores"),
        ("file,enhanced_snr_db\n,1\n", "a.json: has scores of ''. Expected a name of a file in each row"),
        ("file,enhanced_snr_db\na.wav,1\na.wav,2\n", "a.json: has a.wav twice. Expected each file once"),
        ("no table", "a.json: holds the scores of no file"),
        ("file,input_snr_db\na.wav,3\n", "a.json: holds the scores of no file"),
    ],
)
def test_files_that_hold_no_scores(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_scores(tmp_path / "a.json")


def test_what_cannot_be_compared(write, gains, tmp_path, capsys):
    a = write("a", gains)
    for arguments, message in (
        ([a, tmp_path], "is a folder. Expected scores: write them with `dtln score"),
        ([a, tmp_path / "no.json"], r"no.json: cannot be read \(No such file"),
        (
            [a, a, write("e", gains)],
            "both are called a, and both have mix_0.wav. Give different systems different names",
        ),
        ([f"x={a}", f"x={write('f', gains, file_name='y_{}.wav')}"], "all scores are those of x. Expected two systems"),
        ([a, write("c", gains, file_name="x_{}.wav")], "a, c have no file in common.* Score the same recordings"),
        ([a, write("b", gains, np.ones(24))], r"b.json: the noisy recording mix_0 has an SNR of 1.00 dB, in .*a.json"),
        ([a, write("d", gains), "--json", tmp_path / "no" / "c.json"], "c.json: its folder does not exist"),
    ):
        assert command.main([str(argument) for argument in arguments]) == 1
        assert re.search(message, capsys.readouterr().err), message
    with pytest.raises(SystemExit, match="2"):
        command.main([str(a)])
    assert "expected the scores of two systems at least" in capsys.readouterr().err
