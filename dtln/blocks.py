"""How a signal is cut into overlapping blocks, and how blocks are added up to a signal again.

Shapes in comments: B signals, L samples, T blocks, N block length, S block shift.
"""

from __future__ import annotations

import numpy as np

from dtln.errors import SettingsError
from dtln.facts import BLOCK_LENGTH, BLOCK_SHIFT, SAMPLE_RATE

__all__ = ["crop_overlap", "overlap_add", "pad_for_overlap", "segment_length", "whole_blocks"]


def whole_blocks(length: int, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT) -> int:
    """The length in samples after zeros are added at the end: at least one block, then whole shifts beyond it."""
    shifts = max(0, -(-(length - block_length) // block_shift))
    return block_length + shifts * block_shift


def segment_length(seconds: float, block_shift: int = BLOCK_SHIFT, sample_rate: int = SAMPLE_RATE) -> int:
    """Samples of a training segment: the given seconds, rounded down to whole shifts as published.

    Raises SettingsError for less than one shift.
    """
    length = int(sample_rate * seconds / block_shift) * block_shift
    if length < 1:
        raise SettingsError(
            f"segments of {seconds} s are shorter than one shift of {block_shift} samples: choose longer ones"
        )
    return length


def pad_for_overlap(signal: np.ndarray, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT) -> np.ndarray:
    """A signal (..., L) with block_length - block_shift zeros before and after it: (..., L + 2 (N - S)).

    They let the full number of blocks cover every sample. `crop_overlap` removes them from the network's output.
    """
    delay = block_length - block_shift
    return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(delay, delay)])


def crop_overlap(
    signal: np.ndarray, length: int, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT
) -> np.ndarray:
    """The `length` samples (..., length) between the zeros that `pad_for_overlap` added."""
    delay = block_length - block_shift
    return signal[..., delay : delay + length]


def overlap_add(blocks: np.ndarray, block_shift: int) -> np.ndarray:
    """The sum of blocks (B, T, N), each `block_shift` samples after the last: (B, (T - 1) * S + N), a new array."""
    batch, count, length = blocks.shape
    pieces = -(-length // block_shift)
    result = np.zeros((batch, count + pieces - 1, block_shift), np.float32)
    for index in range(pieces):
        piece = blocks[:, :, index * block_shift : (index + 1) * block_shift]
        result[:, index : index + count, : piece.shape[2]] += piece
    return result.reshape(batch, -1)[:, : (count - 1) * block_shift + length]
