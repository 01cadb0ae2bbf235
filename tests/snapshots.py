"""Invented sessions: snapshots of counters that went on by so many seconds."""

from __future__ import annotations

from dataclasses import replace

from dtln.live.counters import Counters, Snapshot

BLOCKS_PER_SECOND = 125


def beginning(input_rate: int = 48000, output_rate: int = 44100) -> tuple[Counters, Snapshot]:
    """Counters of a session that has just begun, and their snapshot at clock 0."""
    counters = Counters(input_rate=input_rate, output_rate=output_rate)
    return counters, replace(counters.snapshot(), clock=0.0)


def later(
    counters: Counters,
    clock: float,
    seconds: float = 1.0,
    input_db: float = -20.0,
    output_db: float = -32.0,
    milliseconds: float = 2.0,
) -> Snapshot:
    """The snapshot at `clock`, after so many more seconds of sound at levels in dB of full scale."""
    heard, played = round(seconds * counters.input_rate), round(seconds * counters.output_rate)
    counters.heard += heard
    counters.played += played
    counters.input_energy += heard * 10 ** (input_db / 10)
    counters.output_energy += played * 10 ** (output_db / 10)
    for _ in range(round(seconds * BLOCKS_PER_SECOND)):
        counters.blocks += 1
        counters.times.add(milliseconds)
    return replace(counters.snapshot(), clock=clock)
