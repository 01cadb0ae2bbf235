"""dtln.reporting.written: scores that were written before, read, joined, and matched between systems."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from score_reports import report_of, write_scores

from dtln.errors import SettingsError
from dtln.evaluation.scores import Pair, ScoredFile, write_csv
from dtln.reporting import read_scores, system_of
from dtln.reporting.written import SAME_SNR, match, path_from
from dtln.scoring.input_snr import bins_by_snr


@pytest.fixture
def gains():
    return np.random.default_rng(0).normal(6, 1, 24)


def system(name: str, files: dict[str, float], **columns: list) -> object:
    """A system whose files have these SNRs, under noise of 3 dB."""
    scores = [{"noisy": {"snr_db": 3.0}, "enhanced": {"snr_db": value}} for value in files.values()]
    return system_of(name, report_of(list(files), scores, **columns), Path(f"{name}.json"))


def test_csv_and_json_hold_the_same(gains, tmp_path):
    of_json = read_scores(write_scores(tmp_path / "a.json", gains))
    of_csv = read_scores(tmp_path / "a.csv", "called")
    assert (of_csv.name, of_json.name) == ("called", "a")
    for one, other in zip(of_json.files, of_csv.files, strict=True):
        assert (one.name, one.signal, one.input_snr) == (other.name, other.signal, other.input_snr)
        assert other.own == pytest.approx(one.own, rel=1e-5) and other.noisy == pytest.approx(one.noisy)
        assert one.sound == {"enhanced": str(tmp_path / "x.wav")} and other.sound == {}


def test_infinite_scores_are_not_numbers_but_input_snrs_are_infinite(tmp_path):
    write_scores(tmp_path / "a.json", [math.inf, 1.0, 2.0], [5.0, math.inf, 0.0])
    for name in ("a.json", "a.csv"):
        first, second, third = read_scores(tmp_path / name).files
        assert math.isnan(first.own["snr_db"]) and math.isnan(second.noisy["snr_db"])
        assert (first.input_snr, second.input_snr, third.input_snr) == (5.0, math.inf, 0.0)


@pytest.mark.parametrize("snr", [None, 7.0])
def test_the_snr_of_the_only_recording_is_not_that_of_the_mixture(tmp_path, snr):
    """Both columns of a CSV are called input_snr_db."""
    pair = Pair("a.wav", {"input": tmp_path / "a.wav"}, None, snr)
    write_csv(tmp_path / "a.csv", [ScoredFile(pair, scores={"input": {"stoi_percent": 90.0, "snr_db": 3.0}})])
    (file,) = read_scores(tmp_path / "a.csv").files
    assert file.own == {"stoi_percent": 90.0, "snr_db": 3.0} and file.input_snr == snr


def test_numbers_that_no_report_has(tmp_path):
    report = report_of(["a.wav", "b.wav"], [{"enhanced": {"snr_db": 1.0}}] * 2, seconds=[math.nan, 1.0])
    report["files"][0]["input_snr_db"], report["files"][1]["input_snr_db"] = math.nan, 1e308
    odd = system_of("A", report)
    assert [(file.seconds, file.input_snr) for file in odd.files] == [(0.0, None), (1.0, 1e308)]
    assert sum(map(len, bins_by_snr([5.0, 1e308]).values())) == 2


def test_tables_that_spreadsheets_saved(gains, tmp_path):
    plain = read_scores(write_scores(tmp_path / "a.json", gains, file_name="mix\udcff_{}.wav").with_suffix(".csv"))
    assert plain.files[0].name == "mix\udcff_0.wav"  # as the JSON has it
    text = (tmp_path / "a.csv").read_text()
    blank = "," * text.partition("\n")[0].count(",") + "\n"
    for other in (
        text + blank,
        text.replace(",", "\t"),
        text.replace(",", ";").replace(".", ",").replace(",wav", ".wav"),
    ):
        (tmp_path / "b.csv").write_text(other, encoding="utf-8-sig")
        found = read_scores(tmp_path / "b.csv")
        assert [(f.name, f.own, f.noisy) for f in found.files] == [(f.name, f.own, f.noisy) for f in plain.files]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"holds no scores \(.*double quotes.*\). Expected what --json or --csv of `dtln score` wrote"),
        ("{}", "holds no scores. Expected what"),
        ("[]", r"holds no scores \(neither JSON nor a table with the column file\). Expected what"),
        ('{"files": [1]}', "holds no scores"),
        ('{"files": [{}]}', "holds no scores"),
        ('{"files": [{"file": "a.wav", "scores": {"input": {"snr_db": "loud"}}}]}', "holds no scores"),
        ('{"files": [{"file": "a.wav", "scores": {"input": 1}}]}', "holds no scores"),
        ('{"files": [{"file": "", "scores": {"input": {"snr_db": 1}}}]}', "has scores of ''. Expected a name"),
        ('{"files": [{"file": "a.wav", "scores": {"input": {"snr_db": 1' + "0" * 400 + "}}}]}", "holds no scores"),
        ('{"files": ' + "[" * 100_000, "holds no scores"),
        ('{"files": [], "settings": {"shard": "all"}}', "holds no scores"),
        ('{"files": [], "settings": {"shard": 0}}', "holds no scores"),
        ("", "holds no scores"),
        ("no table", "holds no scores"),
        ("file,enhanced_snr_db\na.wav,loud\n", "holds no scores .*float: 'loud'"),
        (
            "file,enhanced_snr_db\na.wav\n",
            r"holds no scores \(a row begins with 'a.wav' and has 1 cells under 2 headings\)",
        ),
        ("file," + "x" * 200_000, "holds no scores"),
        ("file,enhanced_snr_db\n,1\n", "has scores of ''. Expected a name of a file in each row"),
        ("file,enhanced_snr_db\na.wav,1\na.wav,2\n", "has a.wav twice. Expected each file once"),
    ],
)
def test_files_that_hold_no_scores(tmp_path, text, message):
    (tmp_path / "scores").write_text(text)
    with pytest.raises(SettingsError, match=f"scores: {message}"):
        read_scores(tmp_path / "scores")


@pytest.mark.parametrize(
    "text", ['{"files": []}', '{"files": [{"file": "a.wav", "scores": {}}]}', "file,input_snr_db\na.wav,3\n", "file\n"]
)
def test_systems_without_scores_are_refused_but_not_parts(tmp_path, text):
    (tmp_path / "empty.txt").write_text(text)
    empty = read_scores(tmp_path / "empty.txt", "A")
    with pytest.raises(SettingsError, match="empty.txt: holds the scores of no file. Score some recordings first"):
        match([empty])
    assert match([empty, system("A", {"a.wav": 1})]).shared == ("a.wav",)


def test_parts_that_are_missing_are_told(tmp_path):
    for part in (1, 3):
        path = tmp_path / f"{part}.json"
        write_scores(path, [1.0], file_name=f"{part}_{{}}.wav", settings={"shard": f"{part}/3"})
    parts = [read_scores(tmp_path / f"{part}.json", "A") for part in (1, 3)]
    assert match(parts).notes == ("of A, 2 of 3 parts are here: 1/3, 3/3",)
    write_scores(tmp_path / "2.json", [1.0], file_name="2_{}.wav", settings={"shard": "2/3"})
    assert match([*parts, read_scores(tmp_path / "2.json", "A")]).notes == ()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match="is a folder. Expected what --json or --csv of `dtln score` wrote: `dtln"):
        read_scores(tmp_path)
    with pytest.raises(SettingsError, match=r"no.json: cannot be read \(No such file.*; check the path"):
        read_scores(tmp_path / "no.json")
    (tmp_path / "excel.csv").write_bytes("file,enhanced_snr_db\nMüller.wav,1\n".encode("cp1252"))
    with pytest.raises(SettingsError, match="excel.csv: is no text in UTF-8.*let spreadsheets save CSV in UTF-8"):
        read_scores(tmp_path / "excel.csv")


def test_recordings_are_found_from_the_scores_or_above_them(tmp_path, monkeypatch):
    for place in ("project/out/one", "project/noisy", "elsewhere"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "project/out/one/a.wav").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = Path("../project/out")
    assert path_from("out/one/a.wav", folder).samefile(tmp_path / "project/out/one/a.wav")
    assert path_from("gone.wav", folder) == Path("../project/out/gone.wav")
    assert path_from("noisy/" + 300 * "x", folder).parent == Path("../project/out/noisy")


def test_files_are_matched_by_name_then_by_id():
    first = system("A", {"a.wav": 1, "b.wav": 2, "x_fileid_1.wav": 3, "x_fileid_2.wav": 4, "deep/c.wav": 5})
    other = system("B", {"y_fileid_2.flac": 40, "b.flac": 20, "x_fileid_1.flac": 30, "z.wav": 0, "c.wav": 0})
    found = match([first, other])
    assert found.shared == ("b.wav", "x_fileid_1.wav", "x_fileid_2.wav")
    assert [found.files[1][name].own["snr_db"] for name in found.shared] == [20, 30, 40]
    assert found.files[1].keys() - set(found.shared) == {"z.wav", "c.wav"}


def test_names_that_differ_in_the_extension_alone():
    both = {"a.wav": 1, "a.flac": 2}
    assert match([system("A", both), system("B", both)]).shared == ("a.wav", "a.flac")
    assert match([system("A", both), system("B", {"a.flac": 2, "a.ogg": 3})]).shared == ("a.flac",)
    assert match([system("A", {"M\u00fcller.wav": 1}), system("B", {"Mu\u0308ller.wav": 2})]).shared == (
        "M\u00fcller.wav",
    )
    twice = {"x_fileid_1.wav": 1, "y_fileid_1.wav": 2, "b.wav": 0}  # no id tells which one it is
    assert match([system("A", twice), system("B", {"z_fileid_1.wav": 1, "b.wav": 0})]).shared == ("b.wav",)


def test_parts_of_one_system_are_joined(gains, tmp_path):
    whole = read_scores(write_scores(tmp_path / "whole.json", gains))
    first = read_scores(write_scores(tmp_path / "1.json", gains[:10]), "parts")
    second = read_scores(write_scores(tmp_path / "2.json", gains[:5], file_name="other_{}.wav"), "parts")
    found = match([first, whole, second])
    assert [system.name for system in found.systems] == ["parts", "whole"] and len(found.shared) == 10
    assert len(found.files[0]) == 15 and len(found.files[1]) == 24
    third = read_scores(write_scores(tmp_path / "3.json", gains[:1], file_name="other_{}.wav"), "parts")
    with pytest.raises(SettingsError, match=r"3.json and \S*2.json: both are called parts, and both have other_0.wav"):
        match([first, second, third])


def test_other_settings_of_systems_and_of_their_parts_are_told(gains, tmp_path):
    def made(name: str, called: str, of: str, file_name: str = "mix_{}.wav") -> object:
        return read_scores(write_scores(tmp_path / name, gains, None, file_name, {"reference": of}), called)

    parts = [made("1.json", "x", "A"), made("2.json", "x", "B", "z_{}.wav")]
    words = "the scores were made with different reference: A and B (x), A (y)"
    assert match([*parts, made("3.json", "y", "A")]).notes == (words,)
    assert match([parts[0], made("4.json", "y", "A")]).notes == ()
    read_scores(tmp_path / "1.csv")
    assert match([parts[0], read_scores(tmp_path / "1.csv")]).notes == ()  # a CSV does not say


def test_metrics_that_not_all_have_are_told():
    more = report_of(["a.wav"], [{"enhanced": {"snr_db": 1.0, "pesq_wb": 2.0}}])
    found = match([system_of("A", more), system("B", {"a.wav": 1})])
    assert found.metrics == ("snr_db",)
    assert found.notes == ("left out, because not all files have such scores: PESQ WB",)


def test_what_cannot_be_matched():
    with pytest.raises(
        SettingsError, match=r"A, B have no file in common: a.wav, b.wav, for example. Expected the same"
    ):
        match([system("A", {"a.wav": 1}), system("B", {"b.wav": 1})])
    other = system_of("B", report_of(["a.wav"], [{"input": {"dnsmos_sig": 3.0}}]))
    with pytest.raises(SettingsError, match="A, B have no metric in common. Score the same recordings with the same"):
        match([system("A", {"a.wav": 1}), other])


@pytest.mark.parametrize("key", ["snr_db", "si_sdr_db"])
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (3.0, 3.0 + 0.9 * SAME_SNR, True),
        (3.0, 3.0 + 1.1 * SAME_SNR, False),
        (None, None, True),  # speech that is clean already
        (None, 70.0, True),  # the same in 16 bits
        (None, 30.0, False),
        (None, -math.inf, True),  # never written: infinity stands for no noise
    ],
)
def test_other_noisy_recordings_are_refused(key, one, other, same):
    def scored(name: str, snr: float | None) -> object:
        scores = {"noisy": {key: snr, "pesq_wb": 1.0 if name == "A" else 4.0}, "enhanced": {"snr_db": 9.0}}
        return system_of(name, report_of(["a.wav"], [scores]), Path(f"{name}.json"))

    systems = [scored("A", one), scored("B", other)]
    if same:
        assert match(systems).shared == ("a.wav",)
    else:
        with pytest.raises(SettingsError, match=r"B.json: the noisy recording of a.wav has .* in A.json .* Expected"):
            match(systems)
