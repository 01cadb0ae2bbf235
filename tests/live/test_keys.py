"""dtln.live.keys: keys from a real terminal, in the foreground and the background, and what they do."""

from __future__ import annotations

import io
import os
import signal
import termios

import pytest
from terminals import Terminal

from dtln.live.controls import Controls
from dtln.live.keys import HELP, Keys, apply_key

READING = """
import os, signal, sys, time
from dtln.live.keys import Keys
with Keys() as keys:
    print('ready', flush=True)
    while (key := keys.read()) != 'q':
        if key: print(f'<{key}>', flush=True)
        time.sleep(0.01)
"""
MODES = termios.ICANON | termios.ECHO


def test_keys_change_the_controls():
    controls = Controls()
    assert [apply_key(key, controls) for key in "bBmm"] == ["bypass on", "bypass off", "muted", "no longer muted"]
    assert [apply_key(key, controls) for key in "+--="] == [f"strength {s}" for s in ("1", "0.9", "0.8", "0.9")]
    for _ in range(20):
        apply_key("-", controls)
    assert controls.strength == 0.0
    for _ in range(7):
        apply_key("+", controls)
    assert controls.strength == 0.7
    assert apply_key("?", controls) == apply_key("h", controls) == HELP
    assert apply_key("x", controls) is None and not controls.quit
    assert apply_key("q", controls) == "quit" and controls.quit


def test_stream_that_is_no_terminal_gives_nothing():
    with Keys(io.StringIO("bbb")) as keys:
        assert keys.read() is None


def reading(terminal: Terminal) -> None:
    """Returns when the program takes single keys."""
    terminal.wait_for("ready")
    terminal.wait_for(lambda: not terminal.attributes()[3] & MODES)


def test_keys_come_one_by_one_without_echo_and_without_escape_sequences():
    with Terminal(READING) as terminal:
        reading(terminal)
        terminal.type("b+\x1b[A\x1bOb\x1b[1;5Dm\u00e9-")
        terminal.wait_for("<->")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.output.split() == ["ready", "<b>", "<+>", "<m>", "<->"]
        assert terminal.attributes()[3] & MODES == MODES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_as_before_after_a_signal(number):
    with Terminal(READING) as terminal:
        reading(terminal)
        os.kill(terminal.pid, number)
        assert terminal.end() == -number
        assert terminal.attributes()[3] & MODES == MODES


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again():
    stopping = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        "if child := os.fork():\n"
        "    def foreground(group): os.tcsetpgrp(0, group)\n"
        "    os.setpgid(child, child); foreground(child)\n"
        "    for step in ('stopped', 'in the background'):\n"
        "        os.waitpid(child, os.WUNTRACED); foreground(os.getpgrp()); print(step, flush=True)\n"
        "        if step == 'stopped':\n"  # the shell's bg: it must go on, without touching the terminal
        "            sys.stdin.readline(); os.kill(child, signal.SIGCONT)\n"
        "            sys.stdin.readline(); foreground(child); os.kill(child, signal.SIGCONT)\n"
        "else:\n"
        "    signal.signal(signal.SIGTTOU, signal.SIG_DFL)\n"
        + "".join(f"    {line}\n" for line in READING.strip().splitlines())
        + "    print('left', flush=True)\n"
    )
    with Terminal(stopping) as terminal:
        reading(terminal)
        terminal.type("\x1a")  # Ctrl+Z
        terminal.wait_for("stopped")
        assert terminal.attributes()[3] & MODES == MODES
        terminal.type("bg\n")
        terminal.wait_for("bg")
        terminal.type("mmm\n")  # the shell's; were it read, it would show as <m>
        reading(terminal)
        assert "<" not in terminal.output
        terminal.type("b")
        terminal.wait_for("<b>")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.output.split()[-1] == "background" and "left" in terminal.output
        assert terminal.attributes()[3] & MODES == MODES
