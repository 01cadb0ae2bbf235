"""The losses of `dtln.choices.LOSSES` in plain PyTorch: (target (B, L), estimate (B, L)) -> (B,), in dB.

They are those of `dtln/training/losses.py`, which says what each is for; tests/gpu/cuda_training.py
compares the two. Shapes in comments: B signals, L samples, T blocks, F frequency bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dtln.facts import EPSILON
from dtln.training.losses import SILENCE_POWER, USUAL_POWER

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
}
