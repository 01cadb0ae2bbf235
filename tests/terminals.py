"""A terminal for tests: a program at work in a pseudo-terminal of its own, and what it would show."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def full_pipe() -> tuple[int, int]:
    """A reader and a writer, between which nothing fits any more: who writes waits."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return reader, writer


class Terminal:
    """Runs Python code as the foreground process of a pseudo-terminal; `output` is all that it has written."""

    def __init__(
        self, code: str, *arguments: str, columns: int = 80, environment: Mapping[str, str] = os.environ
    ) -> None:
        import pty

        command = [sys.executable, "-c", code, *arguments]
        paths = f"{ROOT}:{ROOT / 'tests'}"
        environment = {**environment, "PYTHONPATH": paths, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)  # a job in the background inherits SIG_IGN
            os.execve(sys.executable, command, environment)
        self.output, self.status = "", None
        self.resize(columns)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.handle)

    def resize(self, columns: int) -> None:
        """Gives the terminal so many columns and 24 rows."""
        import fcntl
        import termios

        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self.handle, keys.encode())

    def attributes(self) -> list:
        """The terminal's attributes, of termios."""
        import termios

        return termios.tcgetattr(self.handle)

    def wait_for(self, condition: str | Callable[[], object], seconds: float = 20) -> None:
        """Reads on until a text was written, or a condition holds."""
        text, deadline = condition, time.monotonic() + seconds
        done = (lambda: text in self.output) if isinstance(text, str) else text
        while not done():
            assert time.monotonic() < deadline, f"waited in vain for {text!r}: {self.output!r}"
            if not self._read() and self.status is None and self._has_ended():
                self._read()
                assert done(), f"ended with {self.status}, without {text!r}: {self.output!r}"

    def end(self, seconds: float = 20) -> int:
        """Waits until the program has ended; returns its status, negative for a signal."""
        self.wait_for(lambda: self.status is not None or self._has_ended(), seconds)
        while self._read():
            pass
        assert self.status is not None
        return self.status

    def _has_ended(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)
        return pid != 0

    def _read(self) -> bool:
        if not select.select([self.handle], [], [], 0.02)[0]:
            return False
        try:
            more = os.read(self.handle, 1 << 16)
        except OSError:  # the program has closed its end
            return False
        self.output += more.decode("utf-8", "replace")
        return bool(more)

    def screen(self) -> list[str]:
        """The lines that stand on the terminal."""
        return screen(self.output)


def screen(output: str) -> list[str]:
    """The lines that stand on a terminal after some output without escape sequences, if none was so wide as to wrap."""
    lines, column = [""], 0
    for character in output:
        if character == "\r":
            column = 0
        elif character == "\b":
            column -= 1
        elif character == "\n":
            lines.append("")
        else:
            lines[-1] = lines[-1][:column].ljust(column) + character + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
