"""The losses of `dtln.choices.LOSSES` in plain PyTorch: (target (B, L), estimate (B, L)) -> (B,), in dB.

They are those of `dtln/training/losses.py`, which says what each is for; tests/gpu/cuda_training.py
compares the two. Shapes in comments: B signals, L samples, T blocks, F frequency bins.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dtln.facts import EPSILON
from dtln.training.losses import BLOCK, COMPRESSION, SHIFT, SILENCE_POWER, SPECTRAL_WEIGHT, USUAL_POWER

Loss = Callable[[Tensor, Tensor], Tensor]


def negative_snr(target: Tensor, estimate: Tensor) -> Tensor:
    """`dtln.training.losses.negative_snr`, the paper's loss."""
    power = target.square().mean(dim=-1)
    error = (target - estimate).square().mean(dim=-1)
    power = torch.where(power > 0, power, EPSILON)
    return -_decibels(power, error + EPSILON)


def negative_si_sdr(target: Tensor, estimate: Tensor) -> Tensor:
    """`dtln.training.losses.negative_si_sdr`."""
    target, estimate = (signal - signal.mean(dim=-1, keepdim=True) for signal in (target, estimate))
    power = target.square().mean(dim=-1, keepdim=True) + EPSILON  # (B, 1)
    scaled = target * ((target * estimate).mean(dim=-1, keepdim=True) / power)
    return -_decibels(scaled.square().mean(dim=-1) + EPSILON, (scaled - estimate).square().mean(dim=-1) + EPSILON)


def negative_level_free_snr(target: Tensor, estimate: Tensor) -> Tensor:
    """`dtln.training.losses.negative_level_free_snr`."""
    gain = _usual_gain(target)
    return negative_snr(target * gain, estimate * gain)


def negative_spectral_snr(target: Tensor, estimate: Tensor) -> Tensor:
    """`dtln.training.losses.negative_spectral_snr`."""
    return _spectral(negative_level_free_snr, _usual_gain, _spectral_distance, target, estimate)


def _spectral(
    snr: Loss, usual_gain: Callable[[Tensor], Tensor], distance: Loss, target: Tensor, estimate: Tensor
) -> Tensor:
    gain = usual_gain(target)  # (B, 1)
    spectra = (torch.view_as_real(_spectra(signal * gain)) for signal in (target, estimate))  # (B, T, F, 2)
    return snr(target, estimate) + distance(*spectra)


def _spectra(signal: Tensor) -> Tensor:
    """Windowed spectra (B, T, F), complex, of signals (B, L), as `keras.ops.stft` makes them."""
    window = torch.hann_window(BLOCK, device=signal.device)
    return torch.fft.rfft(signal.unfold(-1, BLOCK, SHIFT) * window)


def _spectral_distance(target: Tensor, estimate: Tensor) -> Tensor:
    """The weighted distance in dB of the compressed spectra: (B, T, F, 2) each -> (B,)."""
    powers = [spectra.square().sum(dim=-1) + EPSILON for spectra in (target, estimate)]  # (B, T, F)
    own, other = (
        spectra * (power ** ((COMPRESSION - 1.0) / 2))[..., None]
        for spectra, power in zip((target, estimate), powers, strict=True)
    )
    magnitudes = (powers[0] ** (COMPRESSION / 2) - powers[1] ** (COMPRESSION / 2)).square()
    return SPECTRAL_WEIGHT * (magnitudes + (own - other).square().sum(dim=-1)).mean(dim=(1, 2)) / 2


def _usual_gain(target: Tensor) -> Tensor:
    """What brings targets (B, L) to -25 dBFS, 1 for silent ones: (B, 1)."""
    power = target.square().mean(dim=-1, keepdim=True)
    return torch.where(power > SILENCE_POWER, torch.sqrt(USUAL_POWER / power.clamp(min=SILENCE_POWER)), 1.0)


def _decibels(power: Tensor, reference: Tensor) -> Tensor:
    return 10.0 / math.log(10.0) * (torch.log(power) - torch.log(reference))


LOSSES: dict[str, Loss] = {
    "snr": negative_snr,
    "si_sdr": negative_si_sdr,
    "level_free_snr": negative_level_free_snr,
    "spectral_snr": negative_spectral_snr,
}


def compiled_loss(name: str, compiled: Callable[[Any], Any]) -> Loss:
    """A loss of LOSSES as `compiled` makes it, but for the Fourier transform, which stays PyTorch's."""
    if name != "spectral_snr":
        return compiled(LOSSES[name])
    return functools.partial(_spectral, *map(compiled, (negative_level_free_snr, _usual_gain, _spectral_distance)))
