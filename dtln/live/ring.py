"""A ring of samples between two threads, addressed by the number of each sample since the beginning."""

from __future__ import annotations

import numpy as np

__all__ = ["Ring"]


class Ring:
    """The last `size` samples of one channel. One thread writes, others read.

    written: how many samples have been written so far; the next one has this number.
    """

    def __init__(self, size: int) -> None:
        self._samples = np.zeros(size, np.float32)
        self.written = 0

    def write(self, samples: np.ndarray) -> None:
        """Appends samples (L,)."""
        size, count = len(self._samples), len(samples)
        kept = samples[-size:]
        begin = (self.written + count - len(kept)) % size
        first = min(len(kept), size - begin)
        self._samples[begin : begin + first] = kept[:first]
        self._samples[: len(kept) - first] = kept[first:]
        self.written += count  # last: readers must not see the number before the samples

    def read(self, start: int, count: int) -> np.ndarray:
        """The samples from number `start`, (count,); zeros for those that are not written yet or no longer there."""
        size, written = len(self._samples), self.written
        result = np.zeros(count, np.float32)
        begin, end = max(start, written - size, 0), min(start + count, written)
        if begin < end:
            first = min(end - begin, size - begin % size)
            here = begin - start
            result[here : here + first] = self._samples[begin % size : begin % size + first]
            result[here + first : end - start] = self._samples[: end - begin - first]
        return result
