"""dtln.streaming.times: the histogram of block times."""

from __future__ import annotations

import numpy as np
import pytest

from dtln.streaming.times import BlockTimes, time_summary


def test_block_times_agree_with_the_exact_summary():
    times, milliseconds = BlockTimes(), np.random.default_rng(5).lognormal(-1.0, 1.0, 20000)
    assert times.summary(128) == {"blocks": 0}
    for value in milliseconds:
        times.add(value)
    assert times.summary(128) == pytest.approx(time_summary(milliseconds, 128), rel=0.01)
    times.add(0.0)
    times.add(1e9)  # beyond both ends of the histogram
    assert times.summary(128)["max"] == 1e9 and times.summary(128)["blocks"] == 20002
