"""Samples that wait for others."""

from __future__ import annotations

import numpy as np

__all__ = ["Queue"]


class Queue:
    """Samples (M, C) that wait for others that belong to them."""

    def __init__(self, channels: int) -> None:
        self._samples = np.zeros((0, channels), np.float32)

    def __len__(self) -> int:
        return len(self._samples)

    def put(self, samples: np.ndarray) -> None:
        """Adds samples (M, C) at the end."""
        self._samples = np.concatenate([self._samples, samples])

    def take(self, count: int) -> np.ndarray:
        """Removes the first `count` samples and returns them, (count, C)."""
        taken, self._samples = self._samples[:count], self._samples[count:]
        return taken
