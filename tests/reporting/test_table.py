"""dtln.reporting.table and statistics: which files systems share, and what the page says about them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from score_reports import report_of

from dtln.errors import SettingsError
from dtln.reporting import combine, system_of
from dtln.reporting.statistics import by_input_snr, differences, improvements, means, verdicts
from dtln.scoring.means import mean_with_interval


def both(noisy: float | None, enhanced: float | None) -> dict:
    return {"noisy": {"si_sdr_db": noisy, "pesq_wb": 2.0}, "enhanced": {"si_sdr_db": enhanced, "pesq_wb": 2.5}}


def test_one_system():
    report = report_of(["b.wav", "a.wav"], [both(1.0, 4.0), both(2.0, None)], input_snr_db=[-3.0, 4.0])
    report["files"][1]["findings"] = ["a.wav: clipped"]
    report["left_out"] = ["c.wav: silent"]
    table = combine([system_of("mine", report)])
    assert (table.names, table.snrs, table.systems) == (["b.wav", "a.wav"], [-3.0, 4.0], ["mine"])
    assert table.metrics == ["pesq_wb", "si_sdr_db"]  # in the order of METRICS
    assert list(table.scores) == ["noisy", "mine"] and table.scores["noisy"]["si_sdr_db"] == [1.0, 2.0]
    assert table.scores["mine"]["si_sdr_db"][0] == 4.0 and math.isnan(table.scores["mine"]["si_sdr_db"][1])
    assert table.findings == [[], ["a.wav: clipped"]] and table.apart == ["left out: c.wav: silent"]
    assert improvements(table, "mine", "si_sdr_db")[0] == 3.0


def test_names_of_other_signals_are_refused():
    for name in ("noisy", "clean"):
        with pytest.raises(SettingsError, match=f"{name}: is the name of another signal. Expected another one"):
            combine([system_of(name, report_of(["a.wav"], [both(1, 4)]))])


def test_sound_is_that_which_is_known():
    signals = [{"noisy": "n.wav", "enhanced": "e.wav"}]
    first = system_of("A", report_of(["a.wav"], [both(1, 4)]))  # of a CSV
    other = system_of("B", report_of(["a.wav"], [both(1, 2)], signals=signals, clean=["c.wav"]))
    table = combine([first, other])
    assert {signal: [path.name for path in paths] for signal, paths in table.sound.items()} == {
        "noisy": ["n.wav"], "B": ["e.wav"], "clean": ["c.wav"],
    }  # fmt: skip
    assert table.notes[:1] == [
        "there is no sound of A: a CSV does not say where recordings lie. What --json writes does"
    ]


def test_systems_share_files_by_name_or_fileid():
    first = report_of(["x_fileid_1.wav", "x_fileid_2.wav", "x_fileid_3.wav"], [both(1, 4), both(2, 5), both(3, 6)])
    other = report_of(["y_fileid_3.flac", "y_fileid_1.flac"], [both(3, 3.5), both(1, 1.5)])
    table = combine([system_of("A", first), system_of("B", other)])
    assert table.names == ["x_fileid_1.wav", "x_fileid_3.wav"]
    assert table.scores["B"]["si_sdr_db"] == [1.5, 3.5]
    assert table.apart == ["A: not in every system: x_fileid_2.wav"]
    named = [report_of([f"deep/{name}"], [both(1, 2)]) for name in ("a.wav", "a.flac")]
    assert combine([system_of("A", named[0]), system_of("B", named[1])]).names == ["deep/a.wav"]


def test_means_and_paired_differences():
    rng = np.random.default_rng(0)
    noisy, a, b = rng.normal(0, 1, 9), rng.normal(3, 1, 9), rng.normal(4, 1, 9)
    names, snrs = [f"{index}.wav" for index in range(9)], [-4.0] * 4 + [1.0] * 5
    systems = [
        system_of(name, report_of(names, [both(*pair) for pair in zip(noisy, own, strict=True)], input_snr_db=snrs))
        for name, own in (("A", a), ("B", b))
    ]
    ahead = system_of("C", report_of(names, [both(x, y + 5) for x, y in zip(noisy, a, strict=True)]))
    table = combine(systems)

    def expected(values):
        mean = mean_with_interval(list(values))
        return pytest.approx([mean.mean, mean.low, mean.high], abs=2e-6)

    assert [line["signal"] for line in means(table)] == ["noisy", "A", "B"]
    assert means(table)[2]["means"]["si_sdr_db"] == expected(b)
    lines = differences(table)
    assert [(line["of"], line["to"]) for line in lines] == [("A", "noisy"), ("B", "noisy"), ("B", "A")]
    assert lines[2]["means"]["si_sdr_db"] == expected(b - a)
    bins = by_input_snr(table)
    assert [(line["label"], line["centre"], line["count"]) for line in bins] == [
        ("-7.5 to -2.5 dB", -5, 4),
        ("-2.5 to 2.5 dB", 0, 5),
    ]
    assert bins[1]["means"]["B"]["si_sdr_db"] == expected((b - noisy)[4:])
    found = {line["metric"]: line for line in verdicts(table)}
    assert found["si_sdr_db"]["difference"] == expected(b - a)
    assert found["pesq_wb"]["verdict"] == "no difference found"  # 2.5 in every file
    (clear,) = [line for line in verdicts(combine([systems[0], ahead])) if line["metric"] == "si_sdr_db"]
    assert (clear["of"], clear["to"], clear["verdict"]) == ("C", "A", "C ahead") and clear["p"] < 0.001
    assert verdicts(combine(systems[:1])) == []


def test_means_are_over_files_with_finite_scores():
    first = system_of("A", report_of(["a.wav", "b.wav", "c.wav"], [both(1, 4), both(None, 6), both(3, None)]))
    other = system_of("B", report_of(["a.wav", "b.wav", "c.wav"], [both(1, 3), both(None, 7), both(3, 9)]))
    table = combine([first, other])
    assert table.notes[-1:] == ["means of SI-SDR dB are over 2 of 3 files; the others are not finite"]
    found = {line["signal"]: line["means"]["si_sdr_db"][0] for line in means(table)}
    assert found == {"noisy": None, "A": 5.0, "B": 5.0}  # the noisy mean is infinite
    gains = {(line["of"], line["to"]): line["means"]["si_sdr_db"][0] for line in differences(table)}
    assert gains == {("A", "noisy"): None, ("B", "noisy"): None, ("B", "A"): 0.0}
    nowhere = combine([system_of("A", report_of(["a.wav"], [both(1, None)]))])
    assert means(nowhere)[1]["means"]["si_sdr_db"] == [None, None, None]


def test_recordings_that_are_gone_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.wav").touch()
    signals = [{"noisy": "here.wav", "enhanced": "gone.wav"}]
    table = combine([system_of("A", report_of(["a.wav"], [both(1, 4)], signals=signals))])
    assert table.notes == [
        "1 of 2 recordings are not where the scores say, gone.wav for example: make the page in the folder in which "
        "they were scored"
    ]


def test_infinite_input_snr_has_a_bin_without_a_centre():
    report = report_of(["a.wav", "b.wav"], [both(1, 4), both(2, 5)], input_snr_db=[10.0, math.inf])
    bins = by_input_snr(combine([system_of("A", report)]))
    assert [(line["label"], line["centre"]) for line in bins] == [("7.5 to 12.5 dB", 10), ("inf dB", None)]


def test_scores_without_noisy_files():
    table = combine(
        [system_of("input", report_of(["a.wav", "b.wav"], [{"input": {"dnsmos_ovrl": v}} for v in (2, 3)]))]
    )
    assert not table.has_noisy and table.snrs is None and by_input_snr(table) == [] and differences(table) == []
    assert list(improvements(table, "input", "dnsmos_ovrl")) == [2, 3]
