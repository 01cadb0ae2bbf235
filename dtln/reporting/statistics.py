"""Means of a table with intervals: of signals, of paired differences, and by input SNR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dtln.reporting.table import Table
from dtln.reporting.written import NOISY
from dtln.scoring.comparison import compare
from dtln.scoring.input_snr import BIN_WIDTH, bins_by_snr
from dtln.scoring.means import mean_with_interval

__all__ = ["by_input_snr", "differences", "improvements", "means", "verdicts"]

Interval = list[float | None]  # mean, low, high; None where it is not finite


def means(table: Table) -> list[dict[str, Any]]:
    """For each signal of a table its name and, by metric, its mean with an interval."""
    return [
        {"signal": signal, "means": {key: _interval(table, key, values) for key, values in columns.items()}}
        for signal, columns in table.scores.items()
    ]


def differences(table: Table) -> list[dict[str, Any]]:
    """Paired differences, file by file: each system against the noisy files, then the others against the first."""
    pairs = [(system, NOISY) for system in table.systems if table.has_noisy]
    pairs += [(system, table.systems[0]) for system in table.systems[1:]]
    return [
        {
            "of": one,
            "to": other,
            "means": {key: _interval(table, key, difference(table, one, other, key)) for key in table.metrics},
        }
        for one, other in pairs
    ]


def verdicts(table: Table) -> list[dict[str, Any]]:
    """For each other system and metric what `dtln.scoring.comparison.compare` finds against the first; [] for one."""
    if len(table.systems) < 2:
        return []
    scores = {
        system: {
            name: {key: table.scores[system][key][row] for key in table.metrics} for row, name in enumerate(table.names)
        }
        for system in table.systems
    }
    return [
        {
            "of": found.other,
            "to": found.first,
            "metric": found.metric,
            "difference": [_finite(value) for value in (found.mean.mean, found.mean.low, found.mean.high)],
            "p": _finite(found.p_holm),
            "findable": _finite(found.findable),
            "verdict": found.verdict,
        }
        for found in compare(scores).differences
    ]


def by_input_snr(table: Table) -> list[dict[str, Any]]:
    """For each bin of input SNR its label, centre in dB, number of files, and each system's improvement by metric."""
    if table.snrs is None or not table.has_noisy:
        return []
    bins = []
    for label, indices in bins_by_snr(table.snrs).items():
        start = float(label.split()[0])
        centre = start + BIN_WIDTH / 2 if math.isfinite(start) else None
        gains = {
            system: {key: _interval(table, key, improvements(table, system, key), indices) for key in table.metrics}
            for system in table.systems
        }
        bins.append({"label": label, "centre": centre, "count": len(indices), "means": gains})
    return bins


def improvements(table: Table, system: str, metric: str) -> np.ndarray:
    """What ranks the files of a system (N,): its scores less those of the noisy files, or its scores alone."""
    if table.has_noisy:
        return difference(table, system, NOISY, metric)
    return np.array(table.scores[system][metric])


def difference(table: Table, one: str, other: str, metric: str) -> np.ndarray:
    """Scores of one signal less those of another, file by file (N,)."""
    return np.subtract(table.scores[one][metric], table.scores[other][metric])


def _interval(
    table: Table, metric: str, values: Sequence[float] | np.ndarray, rows: Sequence[int] | slice = slice(None)
) -> Interval:
    """The mean of values (N,) over those rows in which all systems have finite scores, as verdicts take them."""
    counted = np.all([np.isfinite(table.scores[system][metric]) for system in table.systems], axis=0)
    kept = np.asarray(values)[rows][counted[rows]]
    if not len(kept):
        return [None, None, None]
    mean = mean_with_interval(kept.tolist())
    return [_finite(value) for value in (mean.mean, mean.low, mean.high)]


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
