"""dtln.scoring.comparison: against scipy and worked examples, and how often its verdicts are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dtln.scoring.comparison import NO_DIFFERENCE, TOO_FEW, compare, comparison_lines, holm

stats = pytest.importorskip("scipy.stats")


def system(metrics: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Scores by file of metrics (files,)."""
    count = len(next(iter(metrics.values())))
    return {f"{index:03}": {key: float(values[index]) for key, values in metrics.items()} for index in range(count)}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_differences_are_those_of_the_paired_t_test(rng):
    first = rng.normal(10, 5, 30)
    other = first + rng.normal(0.3, 0.4, 30)
    comparison = compare({"a": system({"si_sdr_db": first}), "b": system({"si_sdr_db": other})})
    (difference,) = comparison.differences
    expected = stats.ttest_rel(other, first)
    interval = expected.confidence_interval(0.95)
    assert difference.mean.mean == pytest.approx(np.mean(other - first))
    assert (difference.mean.low, difference.mean.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert difference.p == difference.p_holm == pytest.approx(expected.pvalue)
    assert (difference.verdict, difference.infinite, difference.mean.files) == ("b ahead", 0, 30)
    assert comparison.means["a"]["si_sdr_db"].mean == pytest.approx(np.mean(first))
    assert comparison.means["b"]["si_sdr_db"].mean == pytest.approx(np.mean(other))
    assert stats.ttest_ind(other, first).pvalue > 0.5  # unpaired, nothing would be found


def test_verdicts_name_the_higher_score(rng):
    scores = rng.normal(2, 0.5, 20)
    noise = rng.normal(0, 0.1, 20)
    better = system({"pesq_wb": scores, "stoi_percent": scores, "snr_db": scores})
    worse = system({"pesq_wb": scores - 0.2 + noise, "stoi_percent": scores + 0.2 + noise, "snr_db": scores + noise})
    verdicts = [difference.verdict for difference in compare({"ours": better, "theirs": worse}).differences]
    assert verdicts == ["ours ahead", "theirs ahead", NO_DIFFERENCE]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert holm([0.6, 0.001, 0.7]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([]) == []


def test_verdicts_are_seldom_wrong_together(rng):
    """Of equal systems in several metrics one in twenty comparisons may name a winner, not one in three."""
    wrong = alone = 0
    for _ in range(400):
        tables = [{key: rng.normal(0, 1, 12) for key in ("pesq_wb", "stoi_percent", "snr_db")} for _ in range(4)]
        found = compare({str(index): system(table) for index, table in enumerate(tables)}).differences
        assert len(found) == 9
        wrong += any(difference.verdict != NO_DIFFERENCE for difference in found)
        alone += any(difference.p < 0.05 for difference in found)
    assert wrong / 400 < 0.08
    assert alone / 400 > 0.2


def test_findable_difference_is_found_in_four_of_five(rng):
    findable = []
    found = 0
    for _ in range(1000):
        (difference,) = compare(
            {"a": system({"snr_db": np.zeros(20)}), "b": system({"snr_db": rng.normal(0.67, 1, 20)})}
        ).differences
        findable.append(difference.findable)
        found += difference.verdict == "b ahead"
    assert np.mean(findable) == pytest.approx(0.67, abs=0.03)
    assert found / 1000 == pytest.approx(0.8, abs=0.05)


def test_equal_scores_and_one_file():
    same = system({"snr_db": np.arange(5.0)})
    (difference,) = compare({"a": same, "b": same}).differences
    assert (difference.mean.mean, difference.p_holm, difference.verdict) == (0.0, 1.0, NO_DIFFERENCE)
    (difference,) = compare({"a": system({"snr_db": np.zeros(3)}), "b": system({"snr_db": np.ones(3)})}).differences
    assert (difference.p_holm, difference.verdict) == (0.0, "b ahead")
    one = {"x.wav": {"snr_db": 1.0}}
    (difference,) = compare({"a": one, "b": one}).differences
    assert difference.verdict == TOO_FEW and math.isnan(difference.p_holm)


def test_files_that_one_lacks_and_scores_that_are_infinite():
    first = system({"snr_db": np.array([1.0, 2.0, 3.0, math.inf]), "pesq_wb": np.ones(4)})
    other = system({"snr_db": np.array([2.0, 2.5, 4.0, 1.0, 9.0]), "stoi_percent": np.ones(5)})
    for scores in other.values():
        scores["pesq_wb"] = 2.0
    del other["000"]
    comparison = compare({"a": first, "b": other})
    assert comparison.files == ("001", "002", "003") and comparison.few
    assert comparison.missing == {"a": ("004",), "b": ("000",)}
    by_metric = {difference.metric: difference for difference in comparison.differences}
    assert list(by_metric) == ["pesq_wb", "snr_db"]  # STOI is of one alone
    assert (by_metric["snr_db"].mean.mean, by_metric["snr_db"].mean.files, by_metric["snr_db"].infinite) == (0.75, 2, 1)
    assert comparison.means["b"]["snr_db"].mean == 3.25  # over the two files that the difference is about
    lines = "\n".join(comparison_lines(comparison))
    assert "b - a, 3 files:" in lines and "(2 files: others are not finite)" in lines


def test_nothing_but_infinite_scores():
    copies = system({"snr_db": np.full(3, math.inf)})
    (difference,) = compare({"a": copies, "b": copies}).differences
    assert (difference.verdict, difference.infinite, difference.mean.files) == (TOO_FEW, 3, 0)


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ({"a": {}}, "1 systems cannot be compared. Expected two at least"),
        ({"a": {"x": {"snr_db": 1.0}}, "b": {"y": {"snr_db": 1.0}}}, "a, b have no file in common"),
        ({"a": {"x": {"snr_db": 1.0}}, "b": {"x": {"pesq_wb": 1.0}}}, "a, b have no metric in common"),
    ],
)
def test_what_cannot_be_compared(systems, message):
    with pytest.raises(ValueError, match=message):
        compare(systems)


def test_text(rng):
    scores = rng.normal(2, 0.5, 12)
    lines = comparison_lines(
        compare(
            {
                "a": system({"pesq_wb": scores, "snr_db": scores}),
                "b": system({"pesq_wb": scores + 1 + rng.normal(0, 0.01, 12), "snr_db": scores + 2e-4}),
                "c": system({"pesq_wb": scores, "snr_db": scores}),
            }
        )
    )
    assert [line for line in lines if line.endswith(":")] == ["b - a, 12 files:", "c - a, 12 files:"]
    assert lines[2].split()[:2] == ["PESQ", "WB"] and lines[2].endswith("b ahead") and "< 0.001" in lines[2]
    assert lines[3].split()[2:6] == ["+0.000", "+0.000", "to", "+0.000"] and lines[3].endswith(NO_DIFFERENCE)
    assert max(map(len, lines)) < 100
