"""Histograms of the time per block, from what dtln benchmark and dtln live write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.errors import SettingsError
from dtln.facts import BLOCK_SHIFT, SAMPLE_RATE
from dtln.plotting.figures import as_text, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIFT_MS = 1e3 * BLOCK_SHIFT / SAMPLE_RATE
BINS_A_DECADE = 40
LONGEST_NAME = 48  # characters of it in the legend
WIDEST_OF_TWO = 50  # characters of a line of the legend that has another one beside it


@dataclass(frozen=True)
class Times:
    """How many blocks took how long: the middle of each bin in ms, and the blocks in it."""

    milliseconds: np.ndarray  # (bins,), ascending
    blocks: np.ndarray  # (bins,)

    def percentile(self, percent: float) -> float:
        """The time in ms that so many percent of the blocks did not exceed."""
        cumulated = np.cumsum(self.blocks)
        return float(self.milliseconds[np.searchsorted(cumulated, percent / 100 * cumulated[-1])])


def read_times(path: Path) -> dict[str, Times]:
    """The times in a file of --json of `dtln benchmark`, by back ends, or of `dtln live`, under the model's name.

    Raises SettingsError for other files, and for reports without histograms, as before version 0.2.0.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
        if "results" in report:
            found = {result["backend"]: result["histogram"] for result in report["results"]}
        else:
            found = {report["settings"]["model"]: report["histogram"]}
        times = {name: _times(histogram) for name, histogram in found.items()}
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{path}: holds no histogram of block times. Expected what --json of `dtln benchmark` or `dtln live` wrote."
        ) from error
    if not any(some.blocks.sum() for some in times.values()):
        raise SettingsError(f"{path}: holds the time of no block. Expected a session with sound.")
    return {name: some for name, some in times.items() if some.blocks.sum()}


def _times(histogram: Mapping[str, Any]) -> Times:
    times = Times(np.array(histogram["ms"], np.float64), np.array(histogram["blocks"], np.int64))
    if times.milliseconds.shape != times.blocks.shape or times.blocks.ndim != 1:
        raise ValueError("bins and blocks do not belong together")
    if not np.all((times.milliseconds > 0) & (times.milliseconds < np.inf) & (times.blocks >= 0)):
        raise ValueError("times are finite and above 0, and blocks are counted")
    return times


def latency_figure(sources: Mapping[str, Times]) -> Figure:
    """Draws the share of blocks by ms, both axes logarithmic, with the 99th percentile and the 8 ms of a shift.

    Raises MissingPackageError.
    """
    labels = [
        f"{as_text(name, LONGEST_NAME)}: median {times.percentile(50):.3g}, 99 % below {times.percentile(99):.3g} ms"
        for name, times in sources.items()
    ]
    columns = 2 if max(map(len, labels)) <= WIDEST_OF_TWO else 1
    rows = len(labels) // columns + 1  # of the legend, which is below: it would cover the histograms
    figure = new_figure(7, 3.1 + 0.2 * rows)
    axis = figure.subplots()
    lowest = min(float(times.milliseconds[0]) for times in sources.values())
    highest = max(SHIFT_MS, *(float(times.milliseconds[-1]) for times in sources.values()))
    first, last = (np.log10(value) * BINS_A_DECADE for value in (lowest, highest))
    edges = 10 ** (np.arange(np.floor(first), np.ceil(last) + 2) / BINS_A_DECADE)
    for index, (label, times) in enumerate(zip(labels, sources.values(), strict=True)):
        shares, _ = np.histogram(times.milliseconds, edges, weights=100 * times.blocks / times.blocks.sum())
        axis.stairs(np.where(shares > 0, shares, np.nan), edges, color=f"C{index % 10}", label=label, baseline=None)
        axis.axvline(times.percentile(99), color=f"C{index % 10}", ls=":", lw=1)
    axis.axvline(SHIFT_MS, color="black", ls="--", lw=1, label=f"{SHIFT_MS:g} ms of sound")
    axis.set(xscale="log", yscale="log", xlabel="ms per block", ylabel="% of the blocks")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter("{x:g}")  # 0.1, not a power of ten
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8)
    return figure
