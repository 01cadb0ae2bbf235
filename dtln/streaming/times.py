"""Times of blocks: mean, percentiles, maximum, and the line that tells them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtln.facts import SAMPLE_RATE

__all__ = ["BlockTimes", "TimeSummary", "describe_times", "time_summary"]

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class TimeSummary:
    """Times in ms per block; zeros where there were no blocks.

    real_time_factor: the mean over the duration of a shift, 8 ms for the published network.
    """

    blocks: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float
    real_time_factor: float


def time_summary(milliseconds: Sequence[float], block_shift: int) -> TimeSummary:
    """The summary of the time that each block took; block_shift in samples."""
    values = np.asarray(milliseconds)
    if not values.size:
        return _summary(0, 0.0, (0.0, 0.0, 0.0), 0.0, block_shift)
    return _summary(values.size, values.mean(), np.percentile(values, PERCENTILES), values.max(), block_shift)


def _summary(
    blocks: int, mean: float, percentiles: Sequence[float] | np.ndarray, maximum: float, block_shift: int
) -> TimeSummary:
    p50, p95, p99 = (float(value) for value in percentiles)
    shift_ms = block_shift / SAMPLE_RATE * 1e3
    return TimeSummary(blocks, float(mean), p50, p95, p99, float(maximum), float(mean) / shift_ms)


def describe_times(summary: TimeSummary) -> str:
    """One line for people."""
    if not summary.blocks:
        return "no blocks"
    times = ", ".join(f"{name} {getattr(summary, name):.3f}" for name in ("mean", "p50", "p95", "p99", "max"))
    return f"ms per block: {times} ({summary.blocks} blocks); real-time factor {summary.real_time_factor:.3f}"


class BlockTimes:
    """Times of any number of blocks in a store of fixed size, because a stream may run for weeks.

    Mean and maximum are exact. Percentiles come from a histogram whose bins are 1 % wide, from 1 us to 400 s.
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

    def copy(self) -> BlockTimes:
        """The times so far, which do not change any more."""
        return self.since(BlockTimes())

    def since(self, earlier: BlockTimes) -> BlockTimes:
        """The times of the blocks that came after an earlier copy; the maximum is within 1 %."""
        times = BlockTimes()
        times.blocks, times._sum = self.blocks - earlier.blocks, self._sum - earlier._sum
        times._counts = [now - before for now, before in zip(self._counts, earlier._counts, strict=True)]
        times._maximum = self._maximum
        if self._maximum == earlier._maximum:
            longest = max((index for index, count in enumerate(times._counts) if count), default=-1)
            times._maximum = min(self.SHORTEST * math.exp((longest + 0.5) * self.WIDTH), self._maximum)
        return times

    def summary(self, block_shift: int) -> TimeSummary:
        """The same as `time_summary`, percentiles within 1 %."""
        if not self.blocks:
            return time_summary([], block_shift)
        percentiles = [self._percentile(percent) for percent in PERCENTILES]
        return _summary(self.blocks, self._sum / self.blocks, percentiles, self._maximum, block_shift)

    def histogram(self) -> dict[str, list[float]]:
        """Bins that hold blocks, ascending: their middle in ms and the number of blocks in each, for JSON."""
        found = [(index, count) for index, count in enumerate(self._counts) if count]
        middles = [float(f"{self.SHORTEST * math.exp((index + 0.5) * self.WIDTH):.4g}") for index, _ in found]
        return {"ms": middles, "blocks": [count for _, count in found]}

    def _percentile(self, percent: int) -> float:
        index = int(np.searchsorted(np.cumsum(self._counts), percent / 100 * self.blocks))
        return min(self.SHORTEST * math.exp((index + 0.5) * self.WIDTH), self._maximum)
