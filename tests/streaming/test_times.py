"""dtln.streaming.times: exact summaries, and the histogram of block times."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from dtln.streaming.times import BlockTimes, describe_times, time_summary


def test_block_times_agree_with_the_exact_summary():
    times, milliseconds = BlockTimes(), np.random.default_rng(5).lognormal(-1.0, 1.0, 20000)
    assert times.summary(128) == time_summary([], 128)
    for value in milliseconds:
        times.add(value)
    assert asdict(times.summary(128)) == pytest.approx(asdict(time_summary(milliseconds, 128)), rel=0.01)
    times.add(0.0)
    times.add(1e9)  # beyond both ends of the histogram
    assert times.summary(128).max == 1e9 and times.summary(128).blocks == 20002


def test_times_of_a_while_are_the_difference_of_two_copies():
    times = BlockTimes()
    for value in [5.0] * 100:
        times.add(value)
    earlier = times.copy()
    for value in [1.0] * 50:
        times.add(value)
    later = times.since(earlier).summary(128)
    assert (later.blocks, later.mean) == (50, pytest.approx(1.0)) and later.p99 == pytest.approx(1.0, rel=0.01)
    assert later.max == pytest.approx(1.0, rel=0.01)
    assert earlier.summary(128).p50 == pytest.approx(5.0, rel=0.01) and earlier.summary(128).max == 5.0
    times.add(7.0)
    assert times.since(earlier).summary(128).max == 7.0


def test_time_summary():
    summary = time_summary([1.0] * 98 + [2.0, 9.0], 128)
    assert summary.blocks == 100 and summary.max == 9.0 and summary.p50 == 1.0
    assert summary.real_time_factor == pytest.approx(1.09 / 8)
    assert describe_times(time_summary([], 128)) == "no blocks"
