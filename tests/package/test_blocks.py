"""dtln.blocks: whole blocks and the overlap around a signal."""

from __future__ import annotations

import numpy as np
import pytest

from dtln.blocks import crop_overlap, pad_for_overlap, whole_blocks


@pytest.mark.parametrize(("length", "padded"), [(0, 512), (1, 512), (512, 512), (513, 640), (640, 640), (641, 768)])
def test_whole_blocks(length, padded):
    assert whole_blocks(length) == padded


def test_crop_takes_off_what_pad_put_on(noise):
    signal = noise(1000, 2).T
    padded = pad_for_overlap(signal)
    assert padded.shape == (2, 384 + 1000 + 384)
    assert not padded[:, :384].any() and not padded[:, -384:].any()
    np.testing.assert_array_equal(crop_overlap(padded, 1000), signal)
