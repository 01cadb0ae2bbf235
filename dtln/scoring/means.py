"""Means over files with intervals, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dtln.errors import require
from dtln.scoring.metrics import DNSMOS_METRICS, METRICS

CONFIDENCE = 0.95
DIFFERENCE = "difference"  # enhanced - noisy, in summaries
Scores = Mapping[str, Mapping[str, float]]  # of one file: signal ("noisy", "enhanced", ...) -> metric -> score


@dataclass(frozen=True)
class Mean:
    """A mean over files and half the width of its interval: nan for one file, or for infinite scores."""

    mean: float
    half_width: float
    files: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def mean_with_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Mean:
    """Mean of one score per file, with the interval of Student's t: mean -+ t(n - 1) * standard deviation / sqrt(n).

    Student's t rather than a bootstrap: the bins by SNR hold few files, for which the percentile bootstrap is too
    narrow, and a pocket calculator can check it, without a seed. The interval assumes that the files were drawn
    independently. Raises ValueError where there are no values.
    """
    if len(values) == 0:
        raise ValueError("no scores to average. Expected those of one file at least")
    scores = np.asarray(values, np.float64)  # (n,)
    with np.errstate(invalid="ignore"):  # inf - inf
        mean = float(np.mean(scores))
    if len(scores) < 2 or not math.isfinite(mean):
        return Mean(mean, math.nan, len(scores))
    quantile = float(require("scipy.special", "the interval of a mean").stdtrit(len(scores) - 1, 0.5 + confidence / 2))
    return Mean(mean, quantile * float(np.std(scores, ddof=1)) / math.sqrt(len(scores)), len(scores))


def summarise(files: Sequence[Scores], confidence: float = CONFIDENCE) -> dict[str, dict[str, Mean]]:
    """Mean of each signal and metric: signal -> metric -> Mean; with "noisy" and "enhanced" also their "difference".

    The difference is taken file by file, so that its interval is far narrower than the intervals of the two suggest.
    The first file tells which signals and metrics there are. Raises ValueError where there are no files.
    """
    if not files:
        raise ValueError("no scores to average. Expected those of one file at least")
    columns: dict[str, dict[str, Sequence[float]]] = {
        signal: {key: [file[signal][key] for file in files] for key in scores} for signal, scores in files[0].items()
    }
    if "noisy" in columns and "enhanced" in columns:
        with np.errstate(invalid="ignore"):  # inf - inf
            columns[DIFFERENCE] = {
                key: np.subtract(columns["enhanced"][key], noisy).tolist() for key, noisy in columns["noisy"].items()
            }
    return {
        signal: {key: mean_with_interval(values, confidence) for key, values in scores.items()}
        for signal, scores in columns.items()
    }


def table_lines(summary: Mapping[str, Mapping[str, Mean]]) -> list[str]:
    """A summary as text: a heading and, for each signal, a line of `mean \u00b1half width`; then the same of DNSMOS."""
    lines = []
    width = max([12, *map(len, summary)])
    for metrics in (METRICS, DNSMOS_METRICS):
        keys = [key for key in metrics if any(key in scores for scores in summary.values())]
        if keys:
            rows = [[metrics[key] for key in keys]]
            rows += [[_cell(scores.get(key)) for key in keys] for scores in summary.values()]
            widths = [max(14, *map(len, column)) for column in zip(*rows, strict=True)]
            for name, row in zip(["", *summary], rows, strict=True):
                cells = (f" {cell:>{of_column}}" for cell, of_column in zip(row, widths, strict=True))
                lines.append(f"{name:{width}}" + "".join(cells))
    return lines


def _cell(mean: Mean | None) -> str:
    if mean is None or math.isnan(mean.mean):
        return "-"
    width = "" if math.isnan(mean.half_width) else f" \u00b1{mean.half_width:.3f}"
    return f"{round(mean.mean, 3) + 0.0:.3f}{width}"  # + 0.0 makes 0.000 of -0.000
