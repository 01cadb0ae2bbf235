"""dtln.live.keys: keys from a real terminal, in the foreground and the background, and what they do."""

from __future__ import annotations

import io
import os
import signal
import sys
import termios
from types import SimpleNamespace

import pytest
from terminals import Terminal

from dtln.live import keys as module
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


def test_keys_on_windows(monkeypatch):
    """Arrows and function keys come as two characters there."""
    pressed = [*"b\xe0Hm\x00;+"]
    windows = SimpleNamespace(kbhit=lambda: len(pressed) > 0, getwch=lambda: pressed.pop(0))
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setattr(module, "termios", None)
    with Keys(SimpleNamespace(isatty=lambda: True)) as keys:
        assert [keys.read() for _ in range(4)] == ["b", "m", "+", None]


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


SHELL = """
import os, signal, sys, termios, time
from pathlib import Path
def foreground(group):
    os.tcsetpgrp(0, group)
def state():  # R or S: it goes on; T: it is stopped
    return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if not child:
    os.setpgid(0, 0)
    foreground(os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    exec(sys.argv[-1])
    sys.exit(3)
"""


def shell(*lines: str) -> Terminal:
    """A terminal with a shell that runs the reading program as its job, and then these lines."""
    return Terminal(SHELL + "\n".join(lines), READING)


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again():
    lines = (
        "_, status = os.waitpid(child, os.WUNTRACED); assert os.WSTOPSIG(status) == signal.SIGTSTP, status",
        "foreground(os.getpgrp()); print('stopped', flush=True); sys.stdin.readline()",
        "os.kill(child, signal.SIGCONT); time.sleep(0.3)",
        "assert state() != 'T'; print('goes on', flush=True); sys.stdin.readline()",
        "foreground(child); os.kill(child, signal.SIGCONT); os.waitpid(child, 0); foreground(os.getpgrp())",
    )
    with shell(*lines) as terminal:
        reading(terminal)
        terminal.type("\x1a")  # Ctrl+Z
        terminal.wait_for("stopped")
        assert terminal.attributes()[3] & MODES == MODES
        terminal.type("bg\n")
        terminal.wait_for("goes on")
        terminal.type("mmm\n")  # for the shell
        reading(terminal)
        assert "<" not in terminal.output
        terminal.type("b")
        terminal.wait_for("<b>")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.attributes()[3] & MODES == MODES


def test_end_in_the_background_leaves_the_terminal_to_the_shell():
    lines = (
        "while termios.tcgetattr(0)[3] & termios.ECHO: time.sleep(0.01)",
        "os.kill(child, signal.SIGSTOP)",
        "os.waitpid(child, os.WUNTRACED); foreground(os.getpgrp()); own = termios.tcgetattr(0)",
        "own[3] |= termios.ECHO; termios.tcsetattr(0, termios.TCSANOW, own)",  # echo without lines, as no other has
        "os.kill(child, signal.SIGCONT); os.kill(child, signal.SIGTERM); _, status = os.waitpid(child, os.WUNTRACED)",
        "assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM, status",
    )
    with shell(*lines) as terminal:
        assert terminal.end() == 0, terminal.output
        assert terminal.attributes()[3] & MODES == termios.ECHO


def test_program_that_was_stopped_hard_takes_the_terminal_again():
    with Terminal(READING) as terminal:
        usual = terminal.attributes()
        reading(terminal)
        os.kill(terminal.pid, signal.SIGSTOP)
        os.waitpid(terminal.pid, os.WUNTRACED)
        termios.tcsetattr(terminal.handle, termios.TCSANOW, usual)  # as a shell does
        os.kill(terminal.pid, signal.SIGCONT)
        reading(terminal)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.attributes()[3] & MODES == MODES
