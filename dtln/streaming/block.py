"""The engine's core: one shift of one signal at 16 kHz in, one shift out."""

from __future__ import annotations

import numpy as np

from dtln.choices import LEVELS
from dtln.streaming.backends import Backend
from dtln.streaming.level import LevelTracker

__all__ = ["LOUDEST_SAMPLE", "BlockDenoiser", "all_usable"]

LOUDEST_SAMPLE = 1e6  # 120 dB above full scale: beyond it float32 arithmetic inside the network may overflow


def all_usable(samples: np.ndarray) -> bool:
    """Whether samples, of any shape, are finite and none is beyond LOUDEST_SAMPLE."""
    if np.vdot(samples, samples) <= LOUDEST_SAMPLE**2:  # enough for nearly all samples, and fast; False for NaN
        return True
    return bool(np.abs(samples).max(initial=0) <= LOUDEST_SAMPLE)


class BlockDenoiser:
    """Denoises one signal at 16 kHz, shift by shift, delayed by `delay` samples (block length minus shift).

    It owns the buffers, the states and, with level "auto", the tracker. A shift that holds NaN, Inf or samples beyond
    LOUDEST_SAMPLE becomes silence and never reaches the states; `silenced_blocks` counts it.

    Raises ValueError for another level than those of LEVELS.
    """

    def __init__(self, backend: Backend, level: str = "raw") -> None:
        if level not in LEVELS:
            raise ValueError(f"the level {level!r} was given. Expected one of {', '.join(map(repr, LEVELS))}.")
        self.backend, self.level = backend, level
        self.block_length, self.block_shift = backend.block_length, backend.block_shift
        self.delay = self.block_length - self.block_shift
        self.silenced_blocks = 0
        self.reset()

    def reset(self) -> None:
        """Forgets the signal so far, so that a new one can begin; `silenced_blocks` goes on."""
        self._tracker = LevelTracker(self.block_shift) if self.level == "auto" else None
        self._states = self.backend.initial_states()
        self._input = np.zeros(self.block_length, np.float32)
        self._overlap = np.zeros(self.delay, np.float32)  # what blocks so far add to the coming ones

    @property
    def delayed(self) -> np.ndarray:
        """The shift (S,) of the input that belongs to what `process_block` returned last; a view."""
        return self._input[: self.block_shift]

    def process_block(self, samples: np.ndarray, usable: bool | None = None) -> np.ndarray:
        """One shift (S,) in, one shift (S,) out, delayed by `delay` samples. The result is the caller's to keep.

        usable: False makes it silence, True takes it unseen. Raises ValueError for another shape.
        """
        shift = self.block_shift
        if samples.shape != (shift,):
            raise ValueError(f"a block of shape {samples.shape} was given: expected one shift, ({shift},)")
        if usable is None:
            usable = all_usable(samples)
        if not usable:
            self.silenced_blocks += 1
            samples = np.zeros(shift, np.float32)
        self._input = np.concatenate((self._input[shift:], samples), dtype=np.float32)
        heard, gain = self._input, 1.0
        if self._tracker:
            offset, gain = self._tracker.follow(self._input[-shift:])
            if (offset, gain) != (0.0, 1.0):
                heard = (self._input - np.float32(offset)) * np.float32(gain)
        denoised, self._states = self.backend.run(heard, self._states)
        if gain != 1:  # blocks that overlap may have different ones
            denoised /= np.float32(gain)
        beginning = denoised[: self.delay]
        beginning += self._overlap
        self._overlap = denoised[shift:]
        return denoised[:shift]
