"""The losses, for Keras: (target (B, L), estimate (B, L)) -> (B,). The first is the paper's."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from dtln.facts import EPSILON

__all__ = ["negative_level_free_snr", "negative_si_sdr", "negative_snr", "negative_spectral_snr"]

USUAL_POWER = 10**-2.5  # of a target at -25 dBFS
SILENCE_POWER = 1e-10  # of a target below -100 dBFS, which is not raised
BLOCK, SHIFT = 512, 256  # of the spectra, in samples
COMPRESSION = 0.3  # exponent of the magnitudes
SPECTRAL_WEIGHT = 6.0  # dB


def negative_snr(target: Any, estimate: Any) -> Any:
    """Negative signal-to-noise ratio in dB of signals (B, L): (B,).

    -10 log10(mean(s^2) / (mean((s - s^)^2) + 1e-7)), the paper's cost function. Deviation: a silent target would give
    infinity. Its power is taken as 1e-7, so that the loss is the level of what the network left over (0 dB at -70 dBFS
    and below). Every other target gives the published number.
    """
    power = ops.mean(ops.square(target), axis=-1)
    error = ops.mean(ops.square(target - estimate), axis=-1)
    power = ops.where(power > 0, power, EPSILON)
    return -10.0 / math.log(10.0) * (ops.log(power) - ops.log(error + EPSILON))  # (B,)


def negative_si_sdr(target: Any, estimate: Any) -> Any:
    """Negative scale-invariant signal-to-distortion ratio in dB of signals (B, L): (B,).

    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, equation 4, means removed. The level of the estimate
    does not count. Deviation: powers are floored at 1e-7 as in `negative_snr`, which keeps silent targets finite.
    """
    target = target - ops.mean(target, axis=-1, keepdims=True)
    estimate = estimate - ops.mean(estimate, axis=-1, keepdims=True)
    power = ops.mean(ops.square(target), axis=-1, keepdims=True) + EPSILON  # (B, 1)
    scale = ops.mean(target * estimate, axis=-1, keepdims=True) / power
    wanted = ops.mean(ops.square(scale * target), axis=-1)
    distortion = ops.mean(ops.square(scale * target - estimate), axis=-1)
    return -10.0 / math.log(10.0) * (ops.log(wanted + EPSILON) - ops.log(distortion + EPSILON))  # (B,)


def _at_usual_level(target: Any, estimate: Any) -> tuple[Any, Any]:
    """Both with the gain that brings the target to -25 dBFS; silent targets stay as they are."""
    power = ops.mean(ops.square(target), axis=-1, keepdims=True)  # (B, 1)
    gain = ops.where(power > SILENCE_POWER, ops.sqrt(USUAL_POWER / ops.maximum(power, SILENCE_POWER)), 1.0)
    return target * gain, estimate * gain


def negative_level_free_snr(target: Any, estimate: Any) -> Any:
    """`negative_snr`, the paper's loss in dB, of signals (B, L) brought to -25 dBFS: (B,).

    The constant 1e-7 in the paper's loss hides errors of quiet signals: at -60 dBFS no SNR above 10 dB counts.
    """
    return negative_snr(*_at_usual_level(target, estimate))


def negative_spectral_snr(target: Any, estimate: Any) -> Any:
    """`negative_level_free_snr` plus a distance of compressed spectra of signals (B, L): (B,), in dB.

    The distance is the mean square difference of magnitudes to the power of 0.3, and of complex spectra with these
    magnitudes, half each: Ephrat et al., "Looking to listen at the cocktail party", SIGGRAPH 2018, and Braun and
    Tashev, "Data augmentation and loss normalization for deep noise suppression", 2020. It weighs quiet parts and high
    frequencies more than the SNR does.
    """
    target, estimate = _at_usual_level(target, estimate)
    (real, imaginary, size), (own_real, own_imaginary, own_size) = (_compressed(x) for x in (target, estimate))
    magnitudes = ops.square(size - own_size)  # (B, T, F)
    spectra = ops.square(real - own_real) + ops.square(imaginary - own_imaginary)
    distance = ops.mean(magnitudes + spectra, axis=(1, 2)) / 2
    return negative_snr(target, estimate) + SPECTRAL_WEIGHT * distance


def _compressed(signal: Any) -> tuple[Any, Any, Any]:
    """Real and imaginary parts and magnitudes of a signal's (B, L) compressed spectra, each (B, T, F)."""
    real, imaginary = ops.stft(signal, BLOCK, SHIFT, BLOCK, center=False)
    power = ops.square(real) + ops.square(imaginary) + EPSILON
    gain = ops.power(power, (COMPRESSION - 1.0) / 2)
    return real * gain, imaginary * gain, ops.power(power, COMPRESSION / 2)
