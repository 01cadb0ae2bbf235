"""The losses, for Keras: (target (B, L), estimate (B, L)) -> (B,). The first is the paper's."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from dtln.facts import EPSILON

__all__ = ["negative_level_free_snr", "negative_si_sdr", "negative_snr"]

USUAL_POWER = 10**-2.5  # of a target at -25 dBFS
SILENCE_POWER = 1e-10  # of a target below -100 dBFS, which is not raised


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


def negative_level_free_snr(target: Any, estimate: Any) -> Any:
    """`negative_snr`, the paper's loss in dB, of signals (B, L) with the gain that brings targets to -25 dBFS: (B,).

    The constant 1e-7 in the paper's loss hides errors of quiet signals: at -60 dBFS no SNR above 10 dB counts. Silent
    targets stay as they are.
    """
    power = ops.mean(ops.square(target), axis=-1, keepdims=True)  # (B, 1)
    gain = ops.where(power > SILENCE_POWER, ops.sqrt(USUAL_POWER / ops.maximum(power, SILENCE_POWER)), 1.0)
    return negative_snr(target * gain, estimate * gain)
