"""dtln.audio.stream_resampling: the filter, and that only the samples count, not how they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from signals import snr_db

from dtln.audio.resampling import resample
from dtln.audio.stream_resampling import StreamResampler

PAIRS = [(48000, 16000), (16000, 48000), (44100, 16000), (16000, 44100), (8000, 16000), (11025, 16000), (44100, 48000)]
PAIRS += [(96000, 16000), (16000, 8000), (16000, 16001), (47952, 16000)]  # the last two interpolate


def resampled(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """(L,) in, (L',) out: without the end, which waits for more."""
    return StreamResampler(rate, new_rate, 1).process(samples[None])[0]


@pytest.mark.parametrize(("rate", "new_rate"), PAIRS)
def test_samples_do_not_depend_on_the_cuts_or_on_other_channels(rate, new_rate):
    samples = np.random.default_rng(0).standard_normal((2, rate // 4)).astype(np.float32)
    stream = StreamResampler(rate, new_rate, 2)
    whole = stream.process(samples)
    assert abs(whole.shape[1] - new_rate // 4) < 0.02 * new_rate
    for size in (1, 7, rate // 100, 1000):
        stream.reset()
        pieces = [stream.process(samples[:, start : start + size]) for start in range(0, rate // 4, size)]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    np.testing.assert_array_equal(resampled(samples[1], rate, new_rate), whole[1])


@pytest.mark.parametrize(("rate", "new_rate"), PAIRS)
def test_output_is_the_same_signal_at_another_rate(rate, new_rate):
    """A second of periodic noise below 0.9 times half the lower rate, whose spectrum says what is right; and soxr."""
    spectrum = np.zeros(rate // 2 + 1, complex)
    highest = int(0.45 * min(rate, new_rate))
    spectrum[:highest] = np.fft.rfft(np.random.default_rng(1).standard_normal(rate))[:highest]
    samples = np.fft.irfft(spectrum, rate).astype(np.float32)
    expected = np.fft.irfft(spectrum[:highest], new_rate) * new_rate / rate
    found = resampled(samples, rate, new_rate)
    middle = slice(new_rate // 10, new_rate * 9 // 10)
    assert snr_db(expected[middle], found[middle]) > 95
    assert snr_db(resample(samples, rate, new_rate)[middle], found[middle]) > 70


@pytest.mark.parametrize(("rate", "new_rate"), [(48000, 16000), (16000, 48000), (44100, 16000), (16000, 44100)])
def test_filter_is_flat_up_to_its_transition_and_85_db_down_beyond_it(rate, new_rate):
    time = np.arange(rate) / rate
    for frequency, lowest, highest in ((50, -0.01, 0.01), (7600, -0.01, 0.01), (8410, -150, -84), (12000, -150, -84)):
        if frequency < rate / 2:
            found = resampled(np.sin(2 * np.pi * frequency * time).astype(np.float32), rate, new_rate)
            power = np.mean(found[new_rate // 10 : new_rate * 9 // 10] ** 2)
            assert lowest < 10 * np.log10(2 * power) < highest, frequency
    found = resampled(np.sin(2 * np.pi * 7000 * time).astype(np.float32), rate, new_rate)
    middle = found[new_rate // 10 : new_rate * 9 // 10]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    images = np.fft.rfftfreq(len(middle), 1 / new_rate) > 8400
    assert not images.any() or 20 * np.log10(spectrum[images].max() / spectrum.max()) < -84
    constant = resampled(np.full(rate, 0.3, np.float32), rate, new_rate)[new_rate // 10 :]
    np.testing.assert_allclose(constant, 0.3, rtol=1e-6)


@pytest.mark.parametrize(("rate", "new_rate"), PAIRS)
def test_needed_says_when_samples_are_complete(rate, new_rate):
    stream = StreamResampler(rate, new_rate, 1)
    taken = given = 0
    for size in (1, 500, 3, 77, 1000, 1, 1, 5000):
        taken += size
        given += stream.process(np.zeros((1, size), np.float32)).shape[1]
        assert stream.needed(given) <= taken < stream.needed(given + 1)
        assert stream.needed(given + 1) <= given * rate / new_rate + stream.reach + 1e-9
