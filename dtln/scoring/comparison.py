"""Systems compared on the same files: paired differences with intervals, and verdicts that may find no difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dtln.errors import count, require
from dtln.scoring.means import CONFIDENCE, Mean, mean_with_interval
from dtln.scoring.metrics import DNSMOS_METRICS, METRICS

FEW_FILES = 10  # below, Student's t is wide and one odd file decides
POWER = 0.8  # the usual one of studies: Cohen, "Statistical Power Analysis", 1988
NO_DIFFERENCE = "no difference found"
TOO_FEW = "too few files"
SHOWN = 0.0005  # what rounds to 0.000 is no difference: two engines that run the same network differ by less

SystemScores = Mapping[str, Mapping[str, float]]  # of one system: file -> metric -> score


@dataclass(frozen=True)
class Difference:
    """Another system against the first one in one metric; higher is better in all of them.

    mean: of `other - first`, file by file, with its interval, which holds for this difference alone. p: of the paired
    t-test; p_holm: after Holm's correction for all differences of the comparison, nan without an interval. findable:
    the difference that would be found in four of five repetitions with as many files, before the correction. infinite:
    files left out because a score of one of the systems is not finite.
    """

    metric: str  # a key of METRICS or DNSMOS_METRICS
    first: str
    other: str
    mean: Mean
    p: float
    p_holm: float
    findable: float
    infinite: int
    verdict: str  # "NAME ahead", NO_DIFFERENCE or TOO_FEW


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    files: those that all systems have, in the order of the first. missing: system -> files that it lacks and another
    has. means: system -> metric -> mean over the same files as the differences in that metric.
    """

    first: str
    files: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]
    means: Mapping[str, Mapping[str, Mean]]
    differences: tuple[Difference, ...]

    @property
    def few(self) -> bool:
        """Whether there are so few files that only large differences can be found."""
        return len(self.files) < FEW_FILES


def compare(systems: Mapping[str, SystemScores], confidence: float = CONFIDENCE) -> Comparison:
    """Compares systems with the first of them, on the files and in the metrics that all have.

    Two systems are compared file by file (paired t-test), because files differ far more than systems do. The verdicts
    hold together: Holm's correction over all differences keeps the probability that any of them is wrong below
    1 - confidence (Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6, 1979). It
    assumes nothing about how metrics depend on each other. Raises ValueError where there are fewer than two systems, or
    no file or no metric that all have.
    """
    if len(systems) < 2:
        raise ValueError(f"{len(systems)} systems cannot be compared. Expected two at least")
    first, *others = systems
    every = {file: None for scores in systems.values() for file in scores}  # in order
    files = tuple(file for file in every if all(file in scores for scores in systems.values()))
    if not files:
        raise ValueError(f"{', '.join(systems)} have no file in common. Expected scores of the same files")
    present = [set(scores[file]) for scores in systems.values() for file in files]
    metrics = [key for key in (*METRICS, *DNSMOS_METRICS) if all(key in keys for keys in present)]
    if not metrics:
        raise ValueError(f"{', '.join(systems)} have no metric in common. Expected scores in the same metrics")
    values = {}  # metric -> (systems, files), of the files that have a finite score of every system
    for key in metrics:
        table = np.array([[scores[file][key] for file in files] for scores in systems.values()], np.float64)
        values[key] = table[:, np.all(np.isfinite(table), axis=0)]
    pairs = [(key, row, other) for row, other in enumerate(others, 1) for key in metrics]
    tests = [_paired(values[key][row] - values[key][0], confidence) for key, row, _ in pairs]
    corrected = holm([p for _, p, _ in tests])
    differences = []
    for (key, _, other), (mean, p, findable), p_holm in zip(pairs, tests, corrected, strict=True):
        verdict = NO_DIFFERENCE
        if math.isnan(p_holm):
            verdict = TOO_FEW
        elif p_holm < 1 - confidence and abs(mean.mean) >= SHOWN:
            verdict = f"{other if mean.mean > 0 else first} ahead"
        left_out = len(files) - mean.files
        differences.append(Difference(key, first, other, mean, p, p_holm, findable, left_out, verdict))
    return Comparison(
        first,
        files,
        {name: lacks for name, scores in systems.items() if (lacks := tuple(f for f in every if f not in scores))},
        {name: {key: _mean(values[key][row], confidence) for key in metrics} for row, name in enumerate(systems)},
        tuple(differences),
    )


def _mean(values: np.ndarray, confidence: float) -> Mean:
    """The mean of values (files,); nan of none."""
    return mean_with_interval(values.tolist(), confidence) if len(values) else Mean(math.nan, math.nan, 0)


def _paired(differences: np.ndarray, confidence: float) -> tuple[Mean, float, float]:
    """(mean, p of the t-test, findable difference) of differences (files,); nan where there are too few."""
    mean, files = _mean(differences, confidence), len(differences)
    if files < 2:
        return mean, math.nan, math.nan
    special = require("scipy.special", "the comparison of systems")
    error = float(np.std(differences, ddof=1)) / math.sqrt(files)
    if error == 0.0:  # the same difference in all files: none, as a rule
        return mean, float(mean.mean == 0.0), 0.0
    quantiles = float(special.stdtrit(files - 1, 0.5 + confidence / 2) + special.stdtrit(files - 1, POWER))
    return mean, 2.0 * float(special.stdtr(files - 1, -abs(mean.mean) / error)), quantiles * error


def holm(probabilities: Sequence[float]) -> list[float]:
    """p values after Holm's correction, in their order; nan stays nan and does not count."""
    known = sorted((p, index) for index, p in enumerate(probabilities) if not math.isnan(p))
    corrected = [math.nan] * len(probabilities)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[index] = highest
    return corrected


def comparison_lines(comparison: Comparison) -> list[str]:
    """A comparison as text: for each other system a table with a line for each metric."""
    titles = METRICS | DNSMOS_METRICS
    lines = []
    for other in dict.fromkeys(difference.other for difference in comparison.differences):
        lines.append(f"{other} - {comparison.first}, {count(len(comparison.files), 'file')}:")
        lines.append(f"{'':12} {'difference':>10}  {'95 % interval':<18} {'p (Holm)':>8}  {'findable':>8}  verdict")
        for difference in comparison.differences:
            if difference.other == other:
                mean = difference.mean
                lines.append(
                    f"{titles[difference.metric]:12} {_signed(mean.mean):>10}  "
                    f"{f'{_signed(mean.low)} to {_signed(mean.high)}':<18} {_probability(difference.p_holm):>8}  "
                    f"{_unsigned(difference.findable):>8}  {difference.verdict}"
                    + (f" ({count(mean.files, 'file')}: others are not finite)" if difference.infinite else "")
                )
    return lines


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{round(value, 3) + 0.0:+.3f}"


def _unsigned(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _probability(p: float) -> str:
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
