"""Single keys from a terminal while a program runs, and what they do to a live session."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, TextIO

from dtln.live.controls import Controls
from dtln.terminal import in_foreground

try:
    import select
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

__all__ = ["HELP", "Keys", "apply_key"]

HELP = "keys: b bypass, + and - strength, m mute, q quit, h this line"
STRENGTH_STEP = 0.1
ESCAPE_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*.?|O?.?)", re.DOTALL)  # arrows and function keys
ENDING_SIGNALS = ("SIGTERM", "SIGHUP", "SIGQUIT")


def apply_key(key: str, controls: Controls) -> str | None:
    """Does what a key stands for; returns what to tell the person, None where it stands for nothing."""
    key = key.lower()
    if key == "b":
        controls.bypass = not controls.bypass
        return f"bypass {'on' if controls.bypass else 'off'}"
    if key == "m":
        controls.muted = not controls.muted
        return "muted" if controls.muted else "no longer muted"
    if key in ("+", "=", "-", "_"):  # on many keyboards = and + are one key
        step = STRENGTH_STEP if key in "+=" else -STRENGTH_STEP
        controls.strength = round(min(max(controls.strength + step, 0.0), 1.0), 3)
        return f"strength {controls.strength:g}"
    if key == "q":
        controls.quit = True
        return "quit"
    return HELP if key in ("h", "?") else None


class Keys:
    """Within the block, `read` gives the keys that are pressed on the terminal, without Enter and without an echo.

    It does nothing where the stream, stdin if None, is no terminal, and while the process is in the background. The
    terminal gets its own way back at the end, before Ctrl+Z stops the process, and before a signal ends it whose
    handler is the system's when the block is entered: enter it before blocks that handle signals themselves.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdin if stream is None else stream
        self._waiting = ""  # keys that `read` has not given yet
        self._usual: list[Any] | None = None  # the terminal's attributes while ours are set
        self._handlers: dict[int, Any] = {}  # the handlers before ours
        self._stale = False  # a shell may have set the terminal meanwhile

    def __enter__(self) -> Keys:
        self._terminal = self._stream is not None and self._stream.isatty()
        if self._terminal and termios is not None and threading.current_thread() is threading.main_thread():
            handlers = {"SIGTSTP": self._stop, "SIGCONT": self._note, **dict.fromkeys(ENDING_SIGNALS, self._end)}
            for name, handler in handlers.items():
                number = getattr(signal, name)
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def read(self) -> str | None:
        """A key that was pressed and not given yet; None if there is none. Never waits."""
        if not self._terminal:
            return None
        if not self._waiting:
            self._waiting = self._pressed() if termios is not None else _pressed_on_windows()
        key, self._waiting = self._waiting[:1], self._waiting[1:]
        return key or None

    def _pressed(self) -> str:
        if not in_foreground(self._stream):
            return ""
        try:
            self._set()
            number = self._stream.fileno()
            if not select.select([number], [], [], 0)[0]:
                return ""
            pressed = os.read(number, 256)
        except (OSError, ValueError, termios.error):  # the terminal is gone
            pressed = b""
        self._terminal = bool(pressed)
        return ESCAPE_SEQUENCE.sub(b"", pressed).decode("ascii", "ignore")

    def _set(self) -> None:
        """Lets the terminal give each key at once and not show it."""
        if self._usual is not None and not self._stale:
            return
        self._stale = False
        number = self._stream.fileno()
        usual = termios.tcgetattr(number) if self._usual is None else self._usual
        ours = termios.tcgetattr(number)
        ours[3] &= ~(termios.ICANON | termios.ECHO)
        ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
        self._usual = usual  # before and after, because a signal may come in between, and end or stop the process
        termios.tcsetattr(number, termios.TCSANOW, ours)
        self._usual = usual

    def _restore(self) -> None:
        usual, self._usual = self._usual, None
        if usual is not None and in_foreground(self._stream):  # in the background it is the shell's
            with suppress(OSError, ValueError, termios.error):  # the terminal may be gone
                termios.tcsetattr(self._stream.fileno(), termios.TCSANOW, usual)

    def _stop(self, number: int, frame: Any) -> None:
        """Ctrl+Z: stops as programs do; returns when the process goes on."""
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)

    def _note(self, number: int, frame: Any) -> None:
        self._stale = True

    def _end(self, number: int, frame: Any) -> None:
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _pressed_on_windows() -> str:
    import msvcrt

    keys = ""
    while msvcrt.kbhit():  # type: ignore[attr-defined, unused-ignore]
        key = msvcrt.getwch()  # type: ignore[attr-defined, unused-ignore]
        if key in ("\x00", "\xe0"):  # the first half of an arrow or function key
            msvcrt.getwch()  # type: ignore[attr-defined, unused-ignore]
        else:
            keys += key
    return keys
