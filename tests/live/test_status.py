"""dtln.live.status and measures: what the line says, what fits, and when it is written."""

from __future__ import annotations

import io
import math

import pytest
from snapshots import beginning, later
from terminals import Terminal, full_pipe

from dtln.live.controls import Controls
from dtln.live.measures import Measures, level_db
from dtln.live.status import ASCII_BARS, BARS, StatusDisplay, bars_for, status_line


def test_levels():
    assert level_db(1.0, 0) is None and level_db(0.0, 7) == -math.inf
    assert level_db(48000 * 0.01, 48000) == pytest.approx(-20)


def test_line_says_what_happened_between_the_snapshots():
    counters, start = beginning()
    before = later(counters, 1, input_db=-3, output_db=-3, milliseconds=7.5)
    counters.drift_ppm, counters.delay = 12.4, 0.087
    counters.flags["input_overflow"] += 2
    now = later(counters, 2)
    assert status_line(before, now, Controls(), bars=ASCII_BARS) == (
        "in ####.. -20 dB  out ###... -32 dB  cut 12 dB  load 25%  block 2.0/2.0 ms  delay 87 ms  drift +12 ppm  "
        "xruns 2  late 0"
    )
    assert "in ███▊·· -22 dB  out" in status_line(now, later(counters, 3, input_db=-22), Controls())
    assert Measures(start, now).troubles["xruns"] == 2 and Measures(start, now).seconds == 2


def test_silence_and_what_is_not_known():
    counters, start = beginning()
    assert status_line(start, start, Controls(), bars="") == (
        "in nothing  out nothing  cut - dB  load -  block -  delay - ms  drift - ppm  xruns 0  late 0"
    )
    line = status_line(start, later(counters, 1, input_db=-math.inf, output_db=-120), Controls())
    assert line.startswith("in ······ silent  out ······ silent  cut - dB")


def test_nothing_cut_is_no_negative_zero():
    counters, start = beginning()
    counters.drift_ppm = -0.3
    line = status_line(start, later(counters, 1, input_db=-20.2, output_db=-20.0), Controls())
    assert "cut 0 dB" in line and "drift +0 ppm" in line


def test_controls_and_rare_troubles_are_shown():
    counters, start = beginning()
    now = later(counters, 1)
    assert status_line(start, now, Controls(bypass=True, strength=0.5)).endswith("late 0  [bypass]")
    assert status_line(start, now, Controls(strength=0.8, muted=True)).endswith("late 0  [strength 0.8]  [muted]")
    counters.dropouts, counters.reconnections, counters.late_blocks = 3, 1, 4
    assert status_line(start, later(counters, 2), Controls()).endswith("late 4  dropouts 3  reconnected 1")


def test_line_fits_any_width_and_drops_the_least_important():
    counters, start = beginning()
    counters.drift_ppm, counters.delay = -123.0, 0.25
    now = later(counters, 1)
    whole = status_line(start, now, Controls())
    for width in range(200):
        line = status_line(start, now, Controls(), width)
        assert len(line) <= width and (line == whole) == (width >= len(whole))
    assert status_line(start, now, Controls(), 79) == (
        "in ████·· -20 dB  out ██▊··· -32 dB  cut 12 dB  load 25%  delay 250 ms  xruns 0"
    )
    assert status_line(start, now, Controls(muted=True), 30) == "in -20 dB  xruns 0  [muted]"
    counters.late_blocks = 1
    assert "late 1" in status_line(start, later(counters, 2), Controls(), 60)


def test_bars_suit_the_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert bars_for(io.TextIOWrapper(io.BytesIO(), "utf-8")) == BARS
    assert bars_for(io.TextIOWrapper(io.BytesIO(), "latin-1")) == ASCII_BARS
    monkeypatch.setenv("TERM", "linux")
    assert bars_for(io.TextIOWrapper(io.BytesIO(), "utf-8")) == ASCII_BARS


def plain_lines(display: StatusDisplay, seconds: int, troubled: range) -> list[str]:
    """What a display writes in a session of so many seconds, in which a block is late in some."""
    counters, start = beginning()
    display.started("running")
    display.tick(start)
    for second in range(1, seconds + 1):
        counters.late_blocks += second in troubled
        display.tick(later(counters, second))
    display.event("the devices are gone")
    display.ended(counters.snapshot())
    return display.stream.getvalue().splitlines()


def test_plain_lines_come_now_and_then_and_at_once_after_trouble():
    lines = plain_lines(StatusDisplay(io.StringIO(), Controls()), 40, range(23, 26))
    assert lines[0] == "running" and lines[-1].endswith("the devices are gone")
    assert [line.split("late ")[1] for line in lines[1:-1]] == ["0", "0", "1", "3"]  # at 10, 20, 23 and 33 s
    assert all("cut 12 dB  load 25%  block 2.0/2.0 ms" in line and line[2] == line[5] == ":" for line in lines[1:-1])


def test_a_journal_does_not_fill_up():
    lines = plain_lines(StatusDisplay(io.StringIO(), Controls(), service=True), 3600, range(1, 3600))
    assert 60 <= len(lines) <= 122
    assert lines[1].startswith("in -20 dB")  # journals know the time
    assert len(plain_lines(StatusDisplay(io.StringIO(), Controls(), service=True), 3600, range(0))) == 62


def test_quiet_says_only_what_matters():
    display = StatusDisplay(io.StringIO(), Controls(), quiet=True)
    assert [line[9:] for line in plain_lines(display, 30, range(30))] == ["the devices are gone"]
    display.started("running again")
    assert display.stream.getvalue().endswith("the devices are gone\nrunning again\n")


def test_stream_that_is_closed_is_left_alone():
    display = StatusDisplay(io.StringIO(), Controls())
    display.stream.close()
    display.started("running")
    display.event("unheard")


SESSION = """
import sys, time
from dtln.live.controls import Controls
from dtln.live.status import StatusDisplay
from snapshots import beginning, later
counters, start = beginning()
display = StatusDisplay(sys.stdout, Controls())
display.started("running")
display.tick(start)
"""


def test_terminal_has_one_line_in_place():
    code = SESSION + (
        "counters.delay = 1.0\nfor second in range(1, 4): display.tick(later(counters, second))\n"
        "display.event('bypass on'); display.started('running again')\n"
        "counters.delay = 0.08\ndisplay.tick(later(counters, 4))\n"
        "sys.stdout.write('|')\nsys.stdout.flush(); input()\ndisplay.ended(start)\nprint('report')\n"
    )
    with Terminal(code, columns=80) as terminal:
        terminal.wait_for("|")
        line = "in ████·· -20 dB  out ██▊··· -32 dB  cut 12 dB  load 25%  delay 80 ms  xruns 0"
        assert terminal.screen() == [
            "running",
            "bypass on",
            "running again",
            f"{line}|",
        ]  # the cursor stands behind the line
        terminal.type("\n")
        assert terminal.end() == 0
        assert "\x1b" not in terminal.output
        shown = terminal.output.partition("|")[0].split("\r")
        assert all(len(text.rstrip("\n\b")) < 80 for text in shown)


def test_terminal_that_becomes_narrow_gets_its_rows_back():
    code = SESSION + (
        "display.tick(later(counters, 1))\nsys.stdin.readline()\ndisplay.tick(later(counters, 2))\n"
        "display.ended(start)\nprint('report')\n"
    )
    with Terminal(code, columns=130) as terminal:
        terminal.wait_for("late 0")
        terminal.resize(50)  # the line of 100 to 130 characters now covers three rows, the cursor in the last
        terminal.type("\n")
        assert terminal.end() == 0
        after = terminal.output.rpartition("late 0")[2]
        assert "\x1b[2A\r\x1b[J\rin -20 dB  out -32 dB  load 25%  xruns 0" in after


def test_nothing_is_drawn_from_the_background():
    code = SESSION + (
        "import os, signal\nsignal.signal(signal.SIGTTOU, signal.SIG_IGN)\nchild = os.fork()\n"
        "if child:\n    os.setpgid(child, child); os.tcsetpgrp(0, child); time.sleep(0.3)\n"
        "    display.tick(later(counters, 1)); os.tcsetpgrp(0, os.getpgrp()); os.kill(child, 9)\n"
        "    print('back'); display.tick(later(counters, 2)); display.ended(start)\nelse:\n    time.sleep(60)\n"
    )
    with Terminal(code) as terminal:
        assert terminal.end() == 0
        assert "dB" not in terminal.output.partition("back")[0] and "dB" in terminal.output.partition("back")[2]


def test_full_pipe_does_not_hold_the_session_up():
    counters, start = beginning()
    reader, writer = full_pipe()
    with open(reader, "rb", buffering=0) as pipe, open(writer, "w") as stream:
        display = StatusDisplay(stream, Controls())
        display.started("running")
        display.tick(start)
        display.event("device lost")
        display.ended(later(counters, 1))
        pipe.read(8192)
        display.event("device found")
        assert b"device found" in pipe.read(1 << 20)
