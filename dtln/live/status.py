"""What a live session says while it runs: one line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import time
from typing import TextIO

from dtln.live.controls import Controls
from dtln.live.counters import Snapshot
from dtln.live.measures import SILENCE_DB, TROUBLES, Measures
from dtln.terminal import Line, has_room, in_foreground

__all__ = ["ASCII_BARS", "BARS", "StatusDisplay", "bars_for", "status_line"]

BARS = "·▏▎▍▌▋▊▉█"  # a cell of a level meter, from empty to full
ASCII_BARS = ".#"
BAR_CELLS = 6
BAR_DB = 60.0  # below full scale: where a meter begins
DROPPED_FIRST = ("drift", "block", "late", "bars", "delay", "cut", "load", "output", "xruns", "input")
REPORT_SECONDS = 1.0
LINE_SECONDS, SERVICE_LINE_SECONDS = 10.0, 60.0  # between plain lines; the second where they go to a journal


def status_line(before: Snapshot, now: Snapshot, controls: Controls, width: int | None = None, bars: str = BARS) -> str:
    """What happened between two snapshots, in at most `width` characters; None: in as many as it takes.

    The least important fields go where there is no room for all. Troubles are counted from the start of the session,
    the rest is of the time between the snapshots. bars: the cells of the level meters, from empty to full; "" for none.
    """
    measures = Measures(before, now)
    times = measures.times
    fields = {
        "input": f"in {{}}{_level(measures.input_db)}",
        "output": f"out {{}}{_level(measures.output_db)}",
        "cut": f"cut {_number(measures.reduction_db, '.0f')} dB",
        "load": f"load {measures.load:.0%}" if times.blocks else "load -",
        "block": f"block {times.p50:.1f}/{times.p99:.1f} ms" if times.blocks else "block -",
        "delay": f"delay {_number(None if now.delay is None else now.delay * 1e3, '.0f')} ms",
        "drift": f"drift {_number(now.drift_ppm, '+.0f')} ppm",
    }
    for name, title in TROUBLES.items():
        if getattr(now, name) or title in DROPPED_FIRST:
            fields[title] = f"{title} {getattr(now, name)}"
    if controls.strength != 1 and not controls.bypass:
        fields["strength"] = f"[strength {controls.strength:.2g}]"
    fields |= {name: f"[{name}]" for name, on in (("bypass", controls.bypass), ("muted", controls.muted)) if on}

    meters = [_meter(level, bars) for level in (measures.input_db, measures.output_db)]
    order = [*DROPPED_FIRST]
    if now.late_blocks:  # worth its place
        order.insert(order.index("output"), order.pop(order.index("late")))
    while True:
        line = "  ".join(fields.values()).format(*(meters if "bars" in order and "input" in fields else ["", ""]))
        if width is None or len(line) <= width:
            return line
        if not order:
            return line[:width]
        fields.pop(order.pop(0), None)


def _level(level: float | None) -> str:
    if level is None:
        return "nothing"
    return f"{level:3.0f} dB" if level > SILENCE_DB else "silent"


def _number(value: float | None, layout: str) -> str:
    return "-" if value is None else format(round(value) + 0.0, layout)  # never -0


def _meter(level: float | None, bars: str) -> str:
    """A bar that is full at full scale, and a space after it."""
    if not bars:
        return ""
    share = 0.0 if level is None else min(max(1 + level / BAR_DB, 0.0), 1.0)
    steps = len(bars) - 1
    full, part = divmod(round(share * BAR_CELLS * steps), steps)
    return (full * bars[-1] + bars[part] + BAR_CELLS * bars[0])[:BAR_CELLS] + " "


def bars_for(stream: TextIO) -> str:
    """The cells of level meters that a stream can show."""
    try:
        BARS.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII_BARS
    return ASCII_BARS if os.environ.get("TERM") == "linux" else BARS  # the console's font has no eighths


class StatusDisplay:
    """Tells a person how a live session goes; a session calls its methods from one thread.

    On a terminal one line is rewritten in place at each tick, in the foreground only. Elsewhere there is a line each
    LINE_SECONDS, and one at once when xruns, late blocks or other troubles came, but no more often than that again.
    quiet: only events, and when devices run again. service: the lines go to a journal, which has times of its own and
    must not fill up.
    A stream that cannot be written to any more is left alone, and one that is paused does not hold the session up.
    """

    def __init__(self, stream: TextIO, controls: Controls, quiet: bool = False, service: bool = False) -> None:
        self.stream, self.controls, self.quiet, self.service = stream, controls, quiet, service
        self.terminal = stream.isatty()
        self._bars = bars_for(stream)
        self._line = Line(stream, waits=False)
        self._started = False
        self._before: Snapshot | None = None
        self._line_at = self._trouble_at = -1e9  # s, of the snapshots' clock

    def started(self, text: str) -> None:
        """The devices run, perhaps again: says so."""
        if not self.quiet or self._started:
            self._line.say(text)
        self._started = True

    def event(self, text: str) -> None:
        """Something that a person wants to know at once."""
        stamp = "" if self.terminal or self.service else f"{time.strftime('%H:%M:%S')} "
        self._line.say(f"{stamp}{text}")

    def tick(self, snapshot: Snapshot) -> None:
        """The counters, about once a second."""
        before = self._before
        if self.quiet or before is None:
            self._before, self._line_at = snapshot, snapshot.clock
        elif not self.terminal:
            self._say_now_and_then(before, snapshot)
        elif in_foreground(self.stream):
            self._before = snapshot
            self._line.show(status_line(before, snapshot, self.controls, self._line.width, self._bars))

    def ended(self, snapshot: Snapshot) -> None:
        """Removes the line; what follows is the report's."""
        self._line.clear()

    def report(self, text: str) -> None:
        """What happened, after the end. A stream that takes nothing is given up after REPORT_SECONDS."""
        if not self.quiet and has_room(self.stream, REPORT_SECONDS):
            self._line.say(text)

    def _say_now_and_then(self, before: Snapshot, now: Snapshot) -> None:
        pause = SERVICE_LINE_SECONDS if self.service else LINE_SECONDS
        troubled = any(Measures(before, now).troubles.values())
        if now.clock - self._line_at < pause and not (troubled and now.clock - self._trouble_at >= pause):
            return
        self._before, self._line_at = now, now.clock
        if troubled:
            self._trouble_at = now.clock
        stamp = "" if self.service else f"{time.strftime('%H:%M:%S')} "
        self._line.say(f"{stamp}{status_line(before, now, self.controls, bars='')}")
