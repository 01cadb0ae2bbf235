"""dtln.audio.signal_path: pieces and rates, with a stream that gives everything back late."""

from __future__ import annotations

import numpy as np
import pytest

from dtln.audio.levels import Correction
from dtln.audio.resampling import resample
from dtln.audio.signal_path import SignalPath, strength_for_limit


class Late:
    """A network that changes nothing, and gives samples once 1000 more have come."""

    def __init__(self, channels: int, factor: float = 1.0) -> None:
        self.held, self.factor = np.zeros((channels, 0), np.float32), np.float32(factor)

    def process(self, samples: np.ndarray) -> np.ndarray:
        self.held = np.concatenate([self.held, samples * self.factor], axis=1)
        ready = max(0, self.held.shape[1] - 1000)
        given, self.held = self.held[:, :ready], self.held[:, ready:]
        return given

    def flush(self) -> np.ndarray:
        return self.held


RATES = [(16000, 16000), (8000, 8000), (48000, 48000), (44100, 16000), (11025, 11025)]
CORRECTIONS = [Correction(0.1, 4.0), Correction()]
OFFSETS = np.array([0.1, 0.0], np.float32)


@pytest.mark.parametrize(("rate", "output_rate"), RATES)
@pytest.mark.parametrize("length", [0, 1, 999, 30001])
def test_pieces_give_what_the_whole_gives(noise, rate, output_rate, length):
    signal = noise(length, 2)
    whole = SignalPath(Late(2), rate, output_rate, CORRECTIONS).process(signal, last=True)
    assert whole.shape == (-(-length * output_rate // rate), 2)
    path = SignalPath(Late(2), rate, output_rate, CORRECTIONS)
    pieces = [path.process(piece) for piece in np.split(signal, [0, 1, 130, 20000])]
    pieces.append(path.process(signal[:0], last=True))
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-6)
    if rate == output_rate == 16000:
        np.testing.assert_allclose(whole, signal - [0.1, 0], rtol=0, atol=1e-6)


def through(signal: np.ndarray, rate: int, output_rate: int, factor: float = 0.1, **options: float) -> np.ndarray:
    """What comes out of a network that does nothing but multiply, in pieces."""
    path = SignalPath(Late(2, factor), rate, output_rate, CORRECTIONS, **options)
    pieces = [path.process(piece) for piece in np.split(signal, [130, 20000])]
    return np.concatenate([*pieces, path.process(signal[:0], last=True)])


@pytest.mark.parametrize(("rate", "output_rate"), RATES)
def test_strength_mixes_the_recording_in(noise, rate, output_rate):
    signal = noise(30001, 2) + np.float32(0.1)
    denoised, half, none = (through(signal, rate, output_rate, strength=strength) for strength in (1, 0.5, 0))
    np.testing.assert_allclose(half, 0.5 * denoised + 0.5 * none, rtol=0, atol=1e-7)
    if output_rate == rate:
        np.testing.assert_array_equal(none, signal)
    else:
        middle = slice(1000, -1000)  # the resampler takes what is beyond the ends for silence, which an offset is not
        np.testing.assert_allclose(none[middle], resample(signal, rate, output_rate)[middle], rtol=0, atol=1e-5)


def test_attenuation_limit_is_how_far_noise_goes_down():
    for limit_db in (0, 6, 20):
        assert 1 - strength_for_limit(limit_db) == pytest.approx(10 ** (-limit_db / 20))
    assert strength_for_limit(np.inf) == 1


def white(length: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((length, 2)).astype(np.float32)


def power_above_8_khz(signal: np.ndarray, rate: int) -> float:
    spectrum = np.fft.rfft(signal, axis=0)
    return float(np.sum(np.abs(spectrum[np.fft.rfftfreq(len(signal), 1 / rate) > 8500]) ** 2))


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
def test_high_band_goes_down_with_the_band_below(rate):
    signal = white(30001)
    for factor, expected in ((1.0, 1.0), (0.1, 0.1), (0.0, 0.0)):
        result = through(signal, rate, rate, factor, keep_high_band=True)
        np.testing.assert_allclose(result[500:-500], expected * signal[500:-500] - (expected * OFFSETS), atol=2e-3)
    without, whole = (power_above_8_khz(samples, rate) for samples in (through(signal, rate, rate, 1.0), signal))
    assert without < 1e-3 * whole
    louder = through(signal, rate, rate, 3.0, keep_high_band=True)
    assert power_above_8_khz(louder, rate) == pytest.approx(whole, rel=0.05)  # the gain is at most 1


@pytest.mark.parametrize("rate", [8000, 16000])
def test_rates_without_a_high_band_stay_as_they_are(rate):
    signal = white(9000)
    np.testing.assert_array_equal(through(signal, rate, rate, keep_high_band=True), through(signal, rate, rate))


@pytest.mark.parametrize("length", [0, 1, 300, 50001])
def test_high_band_in_pieces_is_that_of_the_whole(length):
    signal = white(length)
    whole = SignalPath(Late(2, 0.1), 44100, 44100, CORRECTIONS, 0.8, True).process(signal, last=True)
    assert whole.shape == signal.shape
    path = SignalPath(Late(2, 0.1), 44100, 44100, CORRECTIONS, 0.8, True)
    pieces = [path.process(piece) for piece in np.split(signal, [1, 400, 401, 20000, 20400])]
    pieces.append(path.process(signal[:0], last=True))
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-6)


def test_high_band_follows_the_network_in_time():
    """A network that lets the second second pass alone: so does the band above."""

    class Gate(Late):
        def process(self, samples: np.ndarray) -> np.ndarray:
            self.held = np.concatenate([self.held, samples], axis=1)
            return samples[:, :0]

        def flush(self) -> np.ndarray:
            self.held[:, :16000] = self.held[:, 32000:] = 0
            return self.held

    signal = white(144000)
    path = SignalPath(Gate(2), 48000, 48000, [Correction()] * 2, keep_high_band=True)
    result = path.process(signal, last=True)
    np.testing.assert_allclose(result[52000:92000], signal[52000:92000], atol=2e-3)
    assert np.abs(result[:44000]).max() < 1e-3 and np.abs(result[100000:]).max() < 1e-3
