"""How signals are cut into overlapping blocks and put together again."""

from __future__ import annotations

import numpy as np

from dtln.facts import BLOCK_LENGTH, BLOCK_SHIFT


def whole_blocks(length: int, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT) -> int:
    """Length in samples after zeros are added at the end: one block at least, then whole shifts beyond it."""
    shifts = max(0, -(-(length - block_length) // block_shift))
    return block_length + shifts * block_shift


def pad_for_overlap(signal: np.ndarray, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT) -> np.ndarray:
    """Adds block_length - block_shift zeros before and after a signal (..., L), so that every sample of it is covered
    by the full number of blocks; `crop_overlap` takes them off the network's output again."""
    delay = block_length - block_shift
    return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(delay, delay)])


def crop_overlap(
    signal: np.ndarray, length: int, block_length: int = BLOCK_LENGTH, block_shift: int = BLOCK_SHIFT
) -> np.ndarray:
    """The `length` samples of a signal (..., L) that `pad_for_overlap` had put zeros before and after."""
    delay = block_length - block_shift
    return signal[..., delay : delay + length]


def overlap_add(blocks: np.ndarray, block_shift: int) -> np.ndarray:
    """Adds blocks (B, T, N) up at their places, `block_shift` samples apart: (B, (T - 1) * S + N), a new array."""
    batch, count, length = blocks.shape
    pieces = -(-length // block_shift)
    result = np.zeros((batch, count + pieces - 1, block_shift), np.float32)
    for index in range(pieces):
        piece = blocks[:, :, index * block_shift : (index + 1) * block_shift]
        result[:, index : index + count, : piece.shape[2]] += piece
    return result.reshape(batch, -1)[:, : (count - 1) * block_shift + length]
