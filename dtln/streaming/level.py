"""Level and offset of a stream, followed block by block, so that the network hears it at a level that it knows.

Gains that move fast confuse the network for long: it takes speech for noise that comes after louder speech. Steps of 7
to 17 dB cost up to 18 dB SI-SDR on single recordings, 10 dB per second up to 15, 3 dB per second hardly anything.
"""

from __future__ import annotations

import math

import numpy as np

from dtln.audio.levels import CHANCE_RATIO, OFFSET_RATIO, level_gain_db, to_db
from dtln.audio.measuring import SILENT_POWER
from dtln.facts import SAMPLE_RATE

__all__ = ["LevelTracker"]

LEVEL_WARM_UP = 0.5  # s of sound that get no gain, because little is known yet
OFFSET_WARM_UP = 0.25  # s that keep their offset
RISE = 0.1  # s, time constant with which the level, in dB, follows louder blocks: a click moves it by little
FALL = 2.0  # dB per s by which it falls towards softer blocks: pauses between words do not count
SLEW = 3.0  # dB per s by which the gain moves, but for its first value
OFFSET_TIME = 2.0  # s, time constant of the offset; until then it is the mean of all


class LevelTracker:
    """Follows one stream that comes in blocks of `block_shift` samples at 16 kHz; adds no delay.

    The level is that of the loud blocks. The gain is 1 until the level leaves the range that weights know. Then the
    gain moves towards that of `level_gain_db`, until what is heard is in the range. The offset is 0 unless it matters.
    """

    def __init__(self, block_shift: int) -> None:
        self._seconds = block_shift / SAMPLE_RATE  # of a block
        self._rise = 1 - math.exp(-self._seconds / RISE)
        self._blocks = self._sounding = 0
        self._level = -math.inf  # dBFS
        self._gain = self._wanted = 0.0  # dB
        self._mean = self._variance = 0.0  # of the means of blocks

    def follow(self, samples: np.ndarray) -> tuple[float, float]:
        """Takes the next block (S,); returns the offset to subtract and the gain to multiply by, from this block on."""
        mean = float(samples.mean())
        power = float(np.dot(samples, samples)) / len(samples) - mean**2
        self._blocks += 1
        if power > SILENT_POWER:
            self._follow_level(to_db(power))
        return self._offset(mean), 10 ** (self._gain / 20)

    def _follow_level(self, level: float) -> None:
        """Takes the level of the next block that sounds, dBFS."""
        self._sounding += 1
        if self._sounding == 1:
            self._level = level
        elif level > self._level:
            self._level += self._rise * (level - self._level)
        else:
            self._level = max(level, self._level - FALL * self._seconds)
        warm = round(LEVEL_WARM_UP / self._seconds)
        if self._sounding < warm:
            return
        if level_gain_db(self._level + self._gain):  # what is heard is outside
            self._wanted = level_gain_db(self._level)
        step = SLEW * self._seconds if self._sounding > warm else math.inf
        self._gain += min(max(self._wanted - self._gain, -step), step)

    def _offset(self, mean: float) -> float:
        """Takes the mean of the next block; returns the offset of the stream."""
        share = max(1 / self._blocks, self._seconds / OFFSET_TIME)
        deviation = mean - self._mean
        self._mean += share * deviation
        self._variance = (1 - share) * (self._variance + share * deviation**2)
        power, by_chance = 10 ** (self._level / 10), share * self._variance
        matters = self._mean**2 > max(OFFSET_RATIO * power, SILENT_POWER, CHANCE_RATIO * by_chance)
        return self._mean if matters and self._blocks * self._seconds >= OFFSET_WARM_UP else 0.0
