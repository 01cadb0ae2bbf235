"""Filters, levels, block spectra and random draws, from which augmentations and rooms are made."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.facts import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def mean_power(signal: np.ndarray) -> float:
    """Mean square of a signal (L,), full scale 1; 0.0 for an empty one."""
    return float(np.mean(np.square(signal, dtype=np.float64))) if signal.size else 0.0


def shape_spectrum(signal: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Filters a signal (L,) with a real, zero-phase gain given as a function of the frequencies in Hz."""
    return from_spectrum(spectrum_of(signal) * gain(frequencies_of(len(signal))).astype(np.float32), len(signal))


def spectrum_of(signal: np.ndarray, length: int | None = None) -> np.ndarray:
    """The spectrum of a signal (L,), or of each row of an array: complex64, with the energy of the signal.

    length: pads the signal with zeros first.
    """
    return np.fft.rfft(signal, length, norm="ortho")  # by default NumPy takes float32 through float64


def from_spectrum(spectrum: np.ndarray, length: int) -> np.ndarray:
    """The signal, or the rows, whose `spectrum_of` is given: float32 (length,)."""
    return np.fft.irfft(spectrum, length, norm="ortho").astype(np.float32, copy=False)


@functools.lru_cache(maxsize=64)
def frequencies_of(length: int) -> np.ndarray:
    """The frequencies of the spectrum of a signal of `length` samples in Hz."""
    return np.fft.rfftfreq(length, 1 / SAMPLE_RATE).astype(np.float32)


def scaled_to(signal: np.ndarray, power: float) -> np.ndarray:
    """The signal scaled to a mean square; silence stays silence."""
    own = mean_power(signal)
    return signal * np.float32(np.sqrt(power / own)) if own > 0 else signal


def resampled(signal: np.ndarray, length: int, gain: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """The signal (L,), band-limited and resampled to (length,) by cutting or padding its spectrum.

    gain: a filter for the result, as in `shape_spectrum`.
    """
    spectrum = spectrum_of(signal)[: length // 2 + 1] * np.float32(math.sqrt(length / len(signal)))
    if gain is not None:
        spectrum *= gain(frequencies_of(length)[: len(spectrum)]).astype(np.float32)
    return from_spectrum(spectrum, length)


BAND_BLOCK = 512  # samples of a block of `block_spectra`; the shift is half of it


def block_spectra(signal: np.ndarray) -> np.ndarray:
    """Spectra (T, BAND_BLOCK / 2 + 1) of blocks that overlap by half, under the sine window."""
    shift = BAND_BLOCK // 2
    padded = np.pad(signal, (shift, shift + -len(signal) % shift))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, BAND_BLOCK)[::shift] * sine_window()  # (T, N)
    return spectrum_of(blocks)


def from_block_spectra(spectra: np.ndarray, length: int) -> np.ndarray:
    """The signal (length,) of spectra that `block_spectra` made; unchanged spectra give the same signal."""
    shift = BAND_BLOCK // 2
    blocks = from_spectrum(spectra, BAND_BLOCK) * sine_window()  # (T, N)
    return (blocks[1:, :shift] + blocks[:-1, shift:]).reshape(-1)[:length]


@functools.cache
def sine_window() -> np.ndarray:
    """The sine window, float32 (BAND_BLOCK,). Over blocks that overlap by half, its square adds up to one."""
    return np.sin(np.pi * (np.arange(BAND_BLOCK) + 0.5) / BAND_BLOCK).astype(np.float32)


def convolved(signal: np.ndarray, kernels: Sequence[np.ndarray], delay: int) -> list[np.ndarray]:
    """The signal (L,) convolved with each kernel, `delay` samples earlier and cut to (L,), float32."""
    length = _fast_length(len(signal) + max(len(kernel) for kernel in kernels) - 1)
    spectrum = spectrum_of(signal, length) * np.float32(math.sqrt(length))  # for the kernel's scale
    results = [from_spectrum(spectrum * spectrum_of(kernel, length), length) for kernel in kernels]
    return [result[delay : delay + len(signal)] for result in results]


@functools.cache
def _fast_length(length: int) -> int:
    """The smallest product of twos, threes and fives that is at least `length`: FFTs are fast at such lengths."""
    bound = 1 << (length - 1).bit_length()
    odd = (3**a * 5**b for a in range(bound.bit_length()) for b in range(bound.bit_length()) if 3**a * 5**b <= bound)
    return min(o << max(0, (-(-length // o) - 1).bit_length()) for o in odd)


def tilt(slope: float, lowest: float) -> Callable[[np.ndarray], np.ndarray]:
    """A gain of `slope` dB per octave as a function of the frequencies in Hz: 0 dB at 1 kHz, level below `lowest`."""
    return lambda f: 10 ** (slope * np.log2(np.maximum(f, lowest) / 1000.0) / 20)


def sloping_noise(rng: np.random.Generator, length: int, slope: float) -> np.ndarray:
    """Gaussian noise of `slope` dB per octave above 40 Hz: float32 (length,)."""
    white = rng.standard_normal(length).astype(np.float32)
    return shape_spectrum(white, tilt(slope, 40.0))


def log_uniform(rng: np.random.Generator, low: ArrayLike, high: ArrayLike, size: int | None = None) -> Any:
    """Random numbers whose logarithms are uniform between those of `low` and `high`: a float, or an array of `size`."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))
