"""What happened between two snapshots of a live session: levels, times, troubles."""

from __future__ import annotations

import math

from dtln.facts import BLOCK_SHIFT
from dtln.live.counters import Snapshot
from dtln.streaming.times import TimeSummary

__all__ = ["SILENCE_DB", "TROUBLES", "Measures", "level_db"]

SILENCE_DB = -90.0  # dBFS: below it lies only the noise of 16-bit converters
TROUBLES = {  # fields of a Snapshot that stay 0 while all is well: what they are called
    "xruns": "xruns",
    "late_blocks": "late",
    "skips": "skips",
    "dropouts": "dropouts",
    "silenced_blocks": "silenced",
    "reconnections": "reconnected",
}


def level_db(energy: float, samples: int) -> float | None:
    """The level of samples in dB of full scale, from the sum of their squares; None where there are none."""
    if samples <= 0:
        return None
    return 10 * math.log10(energy / samples) if energy > 0 else -math.inf


class Measures:
    """What two snapshots say together.

    seconds: between them. input_db, output_db: levels in dB of full scale, RMS; -inf for digital zero, None where no
    samples came. reduction_db: by how much the output is quieter than the input; None where one of them is silent.
    times: ms per block. load: the share of a block's 8 ms in which the network is at work. troubles: the new ones, by
    the names of TROUBLES.
    """

    def __init__(self, before: Snapshot, now: Snapshot) -> None:
        self.seconds = now.clock - before.clock
        self.input_db = level_db(now.input_energy - before.input_energy, now.heard - before.heard)
        self.output_db = level_db(now.output_energy - before.output_energy, now.played - before.played)
        self.reduction_db: float | None = None
        if self.input_db is not None and self.output_db is not None and min(self.input_db, self.output_db) > SILENCE_DB:
            self.reduction_db = self.input_db - self.output_db
        self.times: TimeSummary = now.times.since(before.times).summary(BLOCK_SHIFT)
        self.load = self.times.real_time_factor
        self.troubles = {name: getattr(now, name) - getattr(before, name) for name in TROUBLES}
