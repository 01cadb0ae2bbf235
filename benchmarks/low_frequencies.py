"""What weights leave of rumble, and of low voices: measures of mixtures whose speech has nothing below 80 Hz."""

from __future__ import annotations

import math

import numpy as np

from dtln.mixing.segment import Segment
from dtln.mixing.spectra import frequencies_of, shape_spectrum, spectrum_of

EDGE = 80.0  # Hz, between rumble and voices
LOWEST = 10.0  # Hz, of rumble
RUMBLE_DBFS = (-35.0, -15.0)
SPEECH_DBFS = -25.0
WANTED_DB = 15.0  # by which rumble should fall
FUNDAMENTALS = (85.0, 155.0)  # Hz, of low voices
ABOVE = 310.0  # Hz; from the end of FUNDAMENTALS to here lie their second harmonics, and fundamentals of high voices
LOW_SHARE = 0.4  # of the energy above it that FUNDAMENTALS hold in low voices; sets of one woman's voice stay below
FRAME = 512  # samples: 32 ms
ACTIVE_DB = 20.0  # below the loudest frame of the fundamental

TITLES = ("below 80 Hz, dB", "15 dB less, %", "low voices, dB")  # the columns of `rumble_measures`


def part_from_rumble(segment: Segment, rng: np.random.Generator) -> None:
    """Takes all below 80 Hz out of the speech and all but 10 to 80 Hz out of the noise; draws the level of the rumble.

    The rumble has -35 to -15 dBFS, the speech -25.
    """
    level = rng.uniform(*RUMBLE_DBFS)
    segment.speech = shape_spectrum(segment.speech, lambda f: f > EDGE)
    segment.noise = shape_spectrum(segment.noise, lambda f: (f >= LOWEST) & (f <= EDGE))
    segment.snr_db = SPEECH_DBFS - level
    segment.level_dbfs = 10 * math.log10(10 ** (SPEECH_DBFS / 10) + 10 ** (level / 10))


def rumble_measures(noisy: np.ndarray, clean: np.ndarray, denoised: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of mixtures (M, L) that `part_from_rumble` parted, each float64 (M,), by TITLES.

    By how many dB the energy below 80 Hz falls, which is all rumble; 100 where that is at least 15 dB, else 0; the gain
    of the fundamental of low voices in dB, nan for other voices.
    """
    less = np.array([fall_below_edge(n, d) for n, d in zip(noisy, denoised, strict=True)])
    kept = [fundamental_gain(c, d) if is_low(c) else math.nan for c, d in zip(clean, denoised, strict=True)]
    return dict(zip(TITLES, (less, 100.0 * (less >= WANTED_DB), np.array(kept)), strict=True))


def fall_below_edge(noisy: np.ndarray, denoised: np.ndarray) -> float:
    """By how many dB signals (L,) differ in their energy up to 80 Hz."""
    before, after = (max(band_energy(signal, 0.0, EDGE), 1e-12) for signal in (noisy, denoised))
    return 10 * math.log10(before / after)


def is_low(clean: np.ndarray) -> bool:
    """Whether a voice (L,) is low: 85 to 155 Hz hold at least 0.4 times the energy of 155 to 310 Hz."""
    return band_energy(clean, *FUNDAMENTALS) >= LOW_SHARE * band_energy(clean, FUNDAMENTALS[1], ABOVE) > 0


def fundamental_gain(clean: np.ndarray, denoised: np.ndarray) -> float:
    """The gain in dB of what clean speech (L,) holds at 80 to 160 Hz, in its frames within 20 dB of the loudest.

    It is that of the least squares fit, so that noise which is left there cannot make up for speech that is lost.
    """
    low, found = (shape_spectrum(s, lambda f: (f > EDGE) & (f <= 2 * EDGE)).astype(float) for s in (clean, denoised))
    whole = len(low) // FRAME * FRAME
    power = np.mean(np.square(low[:whole].reshape(-1, FRAME)), axis=1)  # (T,)
    active = np.repeat(power >= power.max() * 10 ** (-ACTIVE_DB / 10), FRAME)  # (whole,)
    gain = np.dot(found[:whole][active], low[:whole][active]) / np.sum(np.square(low[:whole][active]))
    return 20 * math.log10(max(gain, 1e-3))


def band_energy(signal: np.ndarray, low: float, high: float) -> float:
    """The energy of a signal (L,) from `low` to `high` Hz, under a Hann window that keeps bands apart."""
    frequencies = frequencies_of(len(signal))
    band = spectrum_of(signal * np.hanning(len(signal)))[(frequencies >= low) & (frequencies <= high)]
    return float(np.sum(np.square(np.abs(band))))
