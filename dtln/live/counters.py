"""What a live session counts: its threads add to numbers, the main thread reads them once a second."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from dtln.streaming.times import BlockTimes

__all__ = ["FLAGS", "Counters", "Snapshot"]

FLAGS = ("input_overflow", "input_underflow", "output_overflow", "output_underflow")  # of sounddevice.CallbackFlags


@dataclass(frozen=True)
class Snapshot:
    """The counters at one moment. All but `clock`, `drift_ppm` and `delay` only grow, so two tell what was between.

    clock: s, of time.monotonic. heard: samples of the input that the worker has taken. played: samples that the output
    device has taken. input_rate, output_rate: of the devices, Hz. input_energy, output_energy: sums of the squares of
    the samples of input and output, of one channel, with full scale 1. blocks: that the network has denoised.
    late_blocks: that were not ready in time, so that the input was played in their place, or the delay grew. skips:
    times that sound was left out, because the delay was longer than it had to be. silenced_blocks: with NaN, Inf or
    samples far beyond full scale. dropouts: times that there was nothing to play, not even the input. flags: how often
    PortAudio raised each of FLAGS. reconnections: how often the devices were opened again. times: ms per block, a
    histogram. drift_ppm: by how much the clock of the output is faster than that of the input, in parts per million;
    None while it is not known. delay: s from microphone to loudspeaker, with the buffers of the devices as far as they
    tell; None while it is not known.
    """

    clock: float
    heard: int
    played: int
    input_rate: int
    output_rate: int
    input_energy: float
    output_energy: float
    blocks: int
    late_blocks: int
    skips: int
    silenced_blocks: int
    dropouts: int
    flags: dict[str, int]
    reconnections: int
    times: BlockTimes
    drift_ppm: float | None
    delay: float | None

    @property
    def xruns(self) -> int:
        """How often PortAudio said that samples were lost or missing."""
        return sum(self.flags.values())


@dataclass
class Counters:
    """The fields of `Snapshot`, as they change. Each has one thread that writes it, so there is no lock."""

    heard: int = 0
    played: int = 0
    input_rate: int = 0
    output_rate: int = 0
    input_energy: float = 0.0
    output_energy: float = 0.0
    blocks: int = 0
    late_blocks: int = 0
    skips: int = 0
    silenced_blocks: int = 0
    dropouts: int = 0
    flags: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FLAGS, 0))
    reconnections: int = 0
    times: BlockTimes = field(default_factory=BlockTimes)
    drift_ppm: float | None = None
    delay: float | None = None

    def snapshot(self) -> Snapshot:
        """The numbers now; what it returns does not change any more."""
        values = dict(vars(self), flags=dict(self.flags), times=self.times.copy())
        return Snapshot(clock=time.monotonic(), **values)
