"""dtln.live.delay: the probe is found where it is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from dtln.live.delay import PROBE_SECONDS, find_probe, probe

RATES = (8000, 16000, 44100, 48000)


def placed(rate: int, begin: int, gain: float = 1.0, seconds: float = 3.0) -> np.ndarray:
    """Silence with the probe in it."""
    heard = np.zeros(round(seconds * rate), np.float32)
    sound = gain * probe(rate)
    heard[begin : begin + len(sound)] += sound
    return heard


def hiss(rate: int, snr_db: float, gain: float = 1.0, seconds: float = 3.0) -> np.ndarray:
    """Noise, in proportion to a probe of this gain."""
    level = gain * np.sqrt(np.mean(probe(rate) ** 2)) * 10 ** (-snr_db / 20)
    return np.random.default_rng(rate).normal(0, level, round(seconds * rate))


@pytest.mark.parametrize("rate", RATES)
def test_probe_is_moderate_and_found_to_the_sample(rate):
    assert len(probe(rate)) == PROBE_SECONDS * rate and probe(rate).dtype == np.float32
    assert 0.24 < np.abs(probe(rate)).max() <= 0.25
    last = 2 * rate
    for begin in (0, 1, rate // 8 + 3, last):
        assert find_probe(placed(rate, begin), probe(rate), rate) == begin


@pytest.mark.parametrize("rate", RATES)
def test_probe_is_found_in_noise_and_echoes(rate):
    begin = rate // 7
    for snr_db, gain in ((0, 1.0), (-10, 1.0), (10, 0.01)):  # the last is 40 dB quieter
        heard = placed(rate, begin, gain) + hiss(rate, snr_db, gain)
        assert find_probe(heard, probe(rate), rate) == pytest.approx(begin, abs=1)
    echoes = placed(rate, begin) + placed(rate, begin + rate // 300, 1.2) + placed(rate, begin + rate // 50, 0.8)
    assert find_probe(echoes, probe(rate), rate) == pytest.approx(begin, abs=1)
    hum = np.sin(2 * np.pi * 50 * np.arange(3 * rate) / rate)
    assert find_probe(0.1 * placed(rate, begin) + hum, probe(rate), rate) == begin
    assert find_probe(np.clip(20 * placed(rate, begin), -1, 1), probe(rate), rate) == begin
    assert find_probe(-placed(rate, begin), probe(rate), rate) == begin


@pytest.mark.parametrize(("played", "heard"), [(44100, 48000), (48000, 44100), (48000, 16000), (48000, 48015)])
def test_probe_is_found_at_another_rate(played, heard):
    """The last: clocks that are 300 ppm apart."""
    sound = soxr.resample(placed(played, 5000), played, heard)
    rate = round(heard, -2)
    assert find_probe(sound, probe(rate), rate) / rate == pytest.approx(5000 / played, abs=5e-4)


def test_what_is_no_probe_is_not_taken_for_one(noise):
    rate = 16000
    time = np.arange(3 * rate) / rate
    others = {
        "noise": hiss(rate, 0),
        "coloured noise": noise(3 * rate),
        "probe 30 dB below the noise": placed(rate, 9000) + hiss(rate, -30),
        "half of a probe": placed(rate, 2 * rate)[: round(2.45 * rate)],
        "tone": np.sin(2 * np.pi * 1000 * time),
        "click": 1.0 * (time == 1.0),
        "slower sweep": np.sin(2 * np.pi * (300 * time + 475 * time**2)),
        "sweep of another rate": placed(22050, 9000)[: 3 * rate],
        "silence": 0 * time,
        "constant": 0 * time + 0.1,
        "nothing": time[:0],
        "less than a probe": probe(rate)[:-1],
        "not a number": placed(rate, 9000) * np.where(time == 1.0, np.nan, 1.0),
    }
    assert {name: find_probe(heard, probe(rate), rate) for name, heard in others.items()} == dict.fromkeys(others)
