"""Resampling without delay, whole or piece by piece, by soxr."""

from __future__ import annotations

import numpy as np

from dtln.errors import require


def resampled_length(length: int, rate: int, new_rate: int) -> int:
    """How many samples a recording of `length` samples has after resampling: ceil(length * new_rate / rate)."""
    return -(-length * new_rate // rate)


def resample(signal: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resamples (L,) or (L, channels) without delay to exactly `resampled_length` samples, float32.

    Raises MissingPackageError where soxr is not installed.
    """
    if rate == new_rate:
        return signal
    columns = signal.reshape(len(signal), -1 if signal.size else int(np.prod(signal.shape[1:])))
    resampled = Resampler(rate, new_rate, columns.shape[1]).process(columns, last=True)
    return resampled.reshape(-1, *signal.shape[1:])


class Resampler:
    """`resample` piece by piece. Rates are in Hz; between equal rates the samples pass through.

    Raises MissingPackageError where soxr is not installed.
    """

    def __init__(self, rate: int, new_rate: int, channels: int) -> None:
        self.rate, self.new_rate, self.channels = rate, new_rate, channels
        self._taken = self._given = 0
        if rate == new_rate:
            return
        soxr = require("soxr", f"resampling from {rate} Hz to {new_rate} Hz")
        self._stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="HQ")

    def process(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes samples (M, channels), gives (M', channels) those that are complete; with `last`, all the rest."""
        if self.rate == self.new_rate:
            return samples
        self._taken += len(samples)
        resampled = np.zeros((0, self.channels), np.float32)
        if self._taken:
            resampled = self._stream.resample_chunk(samples.astype(np.float32, copy=False), last=last)
            resampled = resampled.reshape(-1, self.channels)
        if last:
            length = resampled_length(self._taken, self.rate, self.new_rate) - self._given
            resampled = np.pad(resampled, [(0, max(0, length - len(resampled))), (0, 0)])[:length]
        self._given += len(resampled)
        return resampled
