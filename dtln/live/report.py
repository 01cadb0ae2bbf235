"""What a live session says at its end: a text for people, and a JSON file with its course over time."""

from __future__ import annotations

import json
import math
import platform
from pathlib import Path
from typing import Any

from dtln import __version__
from dtln.facts import BLOCK_SHIFT, SAMPLE_RATE
from dtln.files import complete_file
from dtln.live.counters import FLAGS, Snapshot
from dtln.live.measures import SILENCE_DB, Measures
from dtln.machine import installed_versions, memory_use, processor_name, usable_cores
from dtln.streaming.times import describe_times

__all__ = ["Series", "report_json", "report_text", "write_report"]

PACKAGES = ("numpy", "sounddevice", "soxr", "ai_edge_litert", "tflite_runtime", "tensorflow", "onnxruntime")
MOST_ROWS = 600  # of a course; a snapshot holds 16 KB
MEGABYTE = 1e6


class Series:
    """The snapshots of a session, one for each tick; when there are too many, every other one goes.

    So a course over hours needs no more memory than one over minutes, and its rows stand for longer times.
    """

    def __init__(self, first: Snapshot, most: int = MOST_ROWS) -> None:
        self._entries: list[tuple[Snapshot, int | None]] = [(first, memory_use()[0])]
        self._most, self._stride, self._ticks = most, 1, 0

    def add(self, snapshot: Snapshot) -> None:
        """One tick."""
        self._ticks += 1
        if self._ticks % self._stride == 0:
            self._entries.append((snapshot, memory_use()[0]))
        if len(self._entries) > self._most:
            self._entries = self._entries[::2]
            self._stride *= 2

    def columns(self) -> dict[str, list[float | None]]:
        """The course: lists of one number for each time between two snapshots, as `report_json` describes them."""
        start = self._entries[0][0].clock
        rows = []
        for (before, _), (now, memory) in zip(self._entries, self._entries[1:], strict=False):
            measures = Measures(before, now)
            times = measures.times
            rows.append(
                {
                    "seconds": now.clock - start,
                    "input_db": _audible(measures.input_db),
                    "output_db": _audible(measures.output_db),
                    "reduction_db": measures.reduction_db,
                    **{f"{name}_ms": getattr(times, name) if times.blocks else None for name in ("p50", "p99", "max")},
                    "load": measures.load if times.blocks else None,
                    **measures.troubles,
                    "drift_ppm": now.drift_ppm,
                    "delay_ms": None if now.delay is None else now.delay * 1e3,
                    "memory_mb": None if memory is None else memory / MEGABYTE,
                }
            )
        return {name: [_rounded(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def report_text(first: Snapshot, last: Snapshot, round_trip: float | None = None) -> str:
    """What happened between the beginning and the end of a session, in lines for people.

    round_trip: s from loudspeaker to microphone, where it was measured.
    """
    measures = Measures(first, last)
    flags = {name: last.flags[name] - first.flags[name] for name in FLAGS}
    troubles = measures.troubles
    blocks = last.blocks - first.blocks
    levels = [f"{name} {_level(db)}" for name, db in (("input", measures.input_db), ("output", measures.output_db))]
    if measures.reduction_db is not None:
        levels.append(f"reduction {measures.reduction_db:.1f} dB")
    delay = "not known" if last.delay is None else f"{last.delay * 1e3:.0f} ms from microphone to loudspeaker"
    if round_trip is not None:
        delay += f"; {round_trip * 1e3:.1f} ms from loudspeaker to microphone, measured"
    drift = "not known" if last.drift_ppm is None else f"{last.drift_ppm:+.0f} ppm, output against input"
    now, peak = (f"{size / MEGABYTE:.0f} MB" if size else "not known" for size in memory_use())
    return "\n".join(
        [
            f"{blocks} blocks, {blocks * BLOCK_SHIFT / SAMPLE_RATE:.1f} s of sound",
            ", ".join(f"{name.replace('_', ' ')}s: {number}" for name, number in flags.items()),
            f"late blocks, played dry: {troubles['late_blocks']}, skips: {troubles['skips']}, "
            f"dropouts: {troubles['dropouts']}, reconnections: {troubles['reconnections']}",
            f"silenced blocks (NaN, Inf or far beyond full scale): {troubles['silenced_blocks']}",
            describe_times(measures.times),
            ", ".join(levels),
            f"delay: {delay}",
            f"drift of the clocks: {drift}",
            f"memory: {now} at the end, {peak} at most",
        ]
    )


def report_json(
    first: Snapshot, last: Snapshot, series: Series, round_trip: float | None = None, **settings: Any
) -> dict[str, Any]:
    """The report as values for JSON: the session as a whole, its course, versions and machine.

    series: lists with one number for each second or, in sessions of more than MOST_ROWS seconds, for longer times.
    seconds is since the beginning, before the devices were opened. Levels are in dB of full scale, null for silence.
    p50, p99 and max are in ms per block; load is the share of a block's 8 ms. The troubles (xruns, late_blocks, ...)
    are those of the row alone. histogram: of ms per block, see `BlockTimes.histogram`.
    settings: of the session, as the caller likes.
    """
    measures = Measures(first, last)
    now, peak = (None if size is None else _rounded(size / MEGABYTE) for size in memory_use())
    return {
        "settings": settings,
        "input_rate": last.input_rate,
        "output_rate": last.output_rate,
        "seconds": _rounded(measures.seconds),
        "blocks": last.blocks - first.blocks,
        "ms_per_block": {
            name: _rounded(getattr(measures.times, name)) for name in ("mean", "p50", "p95", "p99", "max")
        },
        "histogram": last.times.since(first.times).histogram(),
        "load": _rounded(measures.load),
        "input_db": _rounded(_audible(measures.input_db)),
        "output_db": _rounded(_audible(measures.output_db)),
        "reduction_db": _rounded(measures.reduction_db),
        **measures.troubles,
        "xruns_by_kind": {name: last.flags[name] - first.flags[name] for name in FLAGS},
        "drift_ppm": _rounded(last.drift_ppm),
        "delay_ms": _rounded(None if last.delay is None else last.delay * 1e3),
        "round_trip_ms": _rounded(None if round_trip is None else round_trip * 1e3),
        "memory_mb": now,
        "peak_memory_mb": peak,
        "series": series.columns(),
        "machine": {
            "processor": processor_name(),
            "cores_usable": usable_cores(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {"dtln": __version__, **installed_versions(PACKAGES)},
    }


def write_report(path: str | Path, report: dict[str, Any]) -> None:
    """Writes a report of `report_json`. Raises OSError where the file cannot be written."""
    with complete_file(path) as partial:
        partial.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")


def _audible(level: float | None) -> float | None:
    return None if level is None or level == -math.inf else level


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _level(level: float | None) -> str:
    if level is None:
        return "without samples"
    return f"{level:.1f} dBFS" if level > SILENCE_DB else "silent"
