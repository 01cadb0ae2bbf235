"""Times of blocks: percentiles, and the line that tells them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dtln.facts import SAMPLE_RATE


def time_summary(milliseconds: Sequence[float], block_shift: int) -> dict[str, float]:
    """Mean, percentiles and maximum in ms per block, and `real_time_factor`: time per block over its 8 ms."""
    values = np.asarray(milliseconds)
    if not values.size:
        return {"blocks": 0}
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "blocks": int(values.size),
        "mean": float(values.mean()),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "max": float(values.max()),
        "real_time_factor": float(values.mean() / (block_shift / SAMPLE_RATE * 1e3)),
    }


def describe_times(summary: dict[str, float]) -> str:
    """One line of `time_summary` for people."""
    if not summary["blocks"]:
        return "no blocks"
    times = ", ".join(f"{name} {summary[name]:.3f}" for name in ("mean", "p50", "p95", "p99", "max"))
    return f"ms per block: {times} ({summary['blocks']} blocks); real-time factor {summary['real_time_factor']:.3f}"


class BlockTimes:
    """Times of any number of blocks in a store of fixed size, because a stream may run for weeks.

    Mean and maximum are exact; percentiles come from a histogram whose bins are 1 % wide, from 1 us to 400 s.
    """

    SHORTEST = 1e-3  # ms
    WIDTH = math.log(1.01)
    BINS = 2000

    def __init__(self) -> None:
        self.blocks = 0
        self._sum = self._maximum = 0.0  # ms
        self._counts = [0] * self.BINS

    def add(self, milliseconds: float) -> None:
        """Counts one block."""
        self.blocks += 1
        self._sum += milliseconds
        self._maximum = max(self._maximum, milliseconds)
        position = math.log(max(milliseconds, self.SHORTEST) / self.SHORTEST) / self.WIDTH
        self._counts[min(int(position), self.BINS - 1)] += 1

    def summary(self, block_shift: int) -> dict[str, float]:
        """The same as `time_summary`, percentiles within 1 %."""
        if not self.blocks:
            return {"blocks": 0}
        mean = self._sum / self.blocks
        return {
            "blocks": self.blocks,
            "mean": mean,
            **{f"p{percent}": self._percentile(percent) for percent in (50, 95, 99)},
            "max": self._maximum,
            "real_time_factor": mean / (block_shift / SAMPLE_RATE * 1e3),
        }

    def _percentile(self, percent: int) -> float:
        index = int(np.searchsorted(np.cumsum(self._counts), percent / 100 * self.blocks))
        return min(self.SHORTEST * math.exp((index + 0.5) * self.WIDTH), self._maximum)
