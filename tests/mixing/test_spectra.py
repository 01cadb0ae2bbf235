"""dtln.mixing.spectra: the transforms behind augmentations and rooms."""

from __future__ import annotations

import numpy as np
import pytest

from dtln.mixing import spectra


@pytest.mark.parametrize("length", [100, 5000, 64000])
def test_block_spectra_are_a_perfect_reconstruction(length: int) -> None:
    signal = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    again = spectra.from_block_spectra(spectra.block_spectra(signal), length)
    assert again.dtype == np.float32 and np.max(np.abs(again - signal)) < 1e-5


def test_sizes_of_transforms() -> None:
    for length in (1, 7, 511, 513, 40001, 50559, 489639):
        size = spectra._fast_length(length)
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1 and length <= size <= 1.07 * length + 1
