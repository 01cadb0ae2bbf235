"""The level at which weights hear a recording: brought into the range that they know, and back after the network.

Measured on the 5 audio samples and 24 other pairs, the first 10 s of each: SI-SDR in dB of networks trained on
mixtures of -35 to -15 dBFS (model.h5 has heard -60 to 0 since), by the level of what sounds (`active_power`):

    level in dBFS    -60   -50   -45   -40   -37   -35   -30   -25   -15   -13   -10     0
    8431 h, 24      -4.4   1.9  10.3  12.4  13.2  13.7  13.6  13.5  13.0  12.7  12.5  11.7
    8431 h, 5        1.2   5.6   9.3   9.9  10.0  10.1  10.1  10.1  10.1  10.1  10.0   9.9
    norm_7246h, 24  12.5  13.2  13.1  13.1  13.1  13.1  13.1  13.1  13.1  13.1  13.1  13.1

A constant offset of the samples costs 0.03 dB where its power lies 30 dB below the level, 0.1 to 0.6 at 20 dB below,
1 to 2.5 at equal power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtln.audio.channels import MonoMix
from dtln.audio.measuring import SILENT_POWER, Measurement, active_power

__all__ = ["Correction", "corrections", "findings_of", "level_gain_db", "to_db"]

LOWEST_LEVEL = -37.0  # dBFS; for weights trained at -35 to -15 by the mean of all frames, which is within 2 dB
HIGHEST_LEVEL = -13.0  # dBFS
BEST_LEVEL = -30.0  # dBFS, where levels outside are brought to
LARGEST_GAIN = 40.0  # dB
OFFSET_RATIO = 1e-3  # 30 dB below the level
CHANCE_RATIO = 25.0  # five standard deviations of the mean
MOST_CHANNELS_NAMED = 4
FEWEST_FRAMES = 5  # that tell an offset from low sounds


def to_db(power: float) -> float:
    """A power in dBFS, minus infinity for silence."""
    return 10 * math.log10(power) if power > 0 else -math.inf


def level_gain_db(level: float) -> float:
    """The gain in dB that brings a level (dBFS) into the range that weights know: 0 inside it and for silence."""
    if LOWEST_LEVEL <= level <= HIGHEST_LEVEL or level == -math.inf:
        return 0.0
    return min(BEST_LEVEL - level, LARGEST_GAIN)


@dataclass(frozen=True)
class Correction:
    """What is done to a channel before the network: the offset is subtracted, then the gain multiplied."""

    offset: float = 0.0
    gain: float = 1.0
    level: float = -math.inf  # dBFS, as measured


def corrections(measurement: Measurement, mix: MonoMix | None = None) -> list[Correction]:
    """The corrections of the channels of a recording, or of their mix."""
    if mix is None:
        return [_correction(*of_channel) for of_channel in zip(measurement.means.T, measurement.powers.T, strict=True)]
    channels = list(mix.channels)
    if len(channels) == 1:
        return [_correction(measurement.means[:, channels[0]], measurement.powers[:, channels[0]])]
    powers = measurement.average_powers * (mix.of / len(channels)) ** 2  # dead channels hold next to nothing
    return [_correction(measurement.means[:, channels].mean(axis=1), powers)]


def _correction(means: np.ndarray, powers: np.ndarray) -> Correction:
    """The correction of a signal with these means and powers of its frames, (F,) each."""
    power, mean = active_power(powers), float(means.mean()) if len(means) else 0.0
    by_chance = means.var() / len(means) if len(means) >= FEWEST_FRAMES else math.inf  # of low sounds, around 0
    is_offset = mean**2 > max(OFFSET_RATIO * power, SILENT_POWER, CHANCE_RATIO * by_chance)
    level = to_db(power)
    return Correction(mean if is_offset else 0.0, 10 ** (level_gain_db(level) / 20), level)


def findings_of(found: Sequence[Correction]) -> list[tuple[str, str]]:
    """What was corrected, for people: (title, words) of what was done to the levels and to the offsets of channels."""
    levels, offsets = [], []
    for channel, one in enumerate(found, 1):
        name = f"channel {channel}: " if len(found) > 1 else ""
        if one.gain != 1:
            change = f"{abs(to_db(one.gain**2)):.1f} dB {'louder' if one.gain > 1 else 'softer'}"
            levels.append(f"{name}{one.level:.1f} dBFS, heard {change}")
        if one.offset:
            offsets.append(f"{name}{one.offset:.4f}")
    titled = (("brought into the level range of the weights and back", levels), ("freed of a DC offset", offsets))
    return [(title, _joined(words)) for title, words in titled if words]


def _joined(words: Sequence[str]) -> str:
    """The first of them in one line, and how many more there are."""
    more = len(words) - MOST_CHANNELS_NAMED
    return "; ".join([*words[:MOST_CHANNELS_NAMED], *([f"and {more} more channels"] if more > 0 else [])])
