"""The last line of a terminal, written anew in place again and again."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TextIO

__all__ = ["Line", "has_room", "in_foreground"]

USUAL_COLUMNS = 80  # where the terminal does not tell


def in_foreground(stream: TextIO) -> bool:
    """Whether this process may use the terminal of a stream: it is not a job in a shell's background."""
    if not hasattr(os, "tcgetpgrp"):  # Windows
        return True
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # no terminal, not ours, or closed
        return False


def has_room(stream: TextIO, seconds: float = 0.0) -> bool:
    """Whether a stream takes a few lines at once, or does within some time.

    A terminal that was paused with Ctrl+S does not, and a pipe whose reader is behind: they make writers wait.
    """
    if os.name != "posix":
        return True
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError, AttributeError):  # closed, or not of the system
        return True
    return bool(poll.poll(seconds * 1e3))


class Line:
    """A line at the end of what a terminal shows. A stream that cannot be written to any more is left alone.

    waits: whether to wait for a stream that takes nothing for now; else what is for it is dropped.
    """

    def __init__(self, stream: TextIO, waits: bool = True) -> None:
        self.stream, self.waits = stream, waits
        self._shown, self._columns = "", 0  # the text that stands there, and the terminal's columns then

    @property
    def width(self) -> int:
        """Characters that it takes; one column stays free, or the terminal would wrap."""
        return self._columns_now() - 1

    def show(self, text: str) -> None:
        """Puts a text in the place of that before it, cut to the width. The cursor stands behind it."""
        self._take_back_rows()
        text = text[: self.width]
        rest = max(0, len(self._shown) - len(text))
        self._shown, self._columns = text, self._columns_now()
        self._print(f"\r{text}{' ' * rest}{chr(8) * rest}")

    def say(self, text: str) -> None:
        """Prints a text, of one or more lines, above it."""
        line = self._shown
        self.clear()
        self._print(f"{text}\n")
        if line:
            self.show(line)

    def clear(self) -> None:
        """Removes it."""
        self._take_back_rows()
        if self._shown:
            self._print(f"\r{' ' * len(self._shown)}\r")
            self._shown = ""

    def end(self) -> None:
        """Leaves it where it is; what comes next begins below."""
        if self._shown:
            self._print("\n")
            self._shown = ""

    def _columns_now(self) -> int:
        with suppress(OSError, ValueError, AttributeError):
            return os.get_terminal_size(self.stream.fileno()).columns or USUAL_COLUMNS
        return USUAL_COLUMNS

    def _take_back_rows(self) -> None:
        """Terminals lay lines out anew when they become narrower: ours then covers several rows, which are removed."""
        columns = self._columns_now()
        if self._shown and columns < self._columns and len(self._shown) > columns:
            self._print(f"\x1b[{(len(self._shown) - 1) // columns}A\r\x1b[J")
            self._shown = ""

    def _print(self, text: str) -> None:
        if self.waits or has_room(self.stream):
            with suppress(OSError, ValueError):
                print(text, end="", file=self.stream, flush=True)
