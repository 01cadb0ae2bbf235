"""Lines that C libraries write past Python, straight to the standard error: kept apart, and quoted where they help.

ALSA, JACK, PulseAudio and PortAudio report there what an error code does not tell ("ALSA lib pulse.c:242: ...
Connection refused"), and much that tells nothing ("Expression 'err' failed in ..."), in the middle of a status line.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import TextIO

__all__ = ["NativeLines", "quiet_native_lines"]

LINES_KEPT = 20
LINE_BYTES = 1000  # of a line that does not end
ALSA_LINE = re.compile(r"ALSA lib \S+?:\d+:\(\w+\) *(.+)")  # file:line:(function) message
TELLS_NOTHING = re.compile(r"Expression '.*' failed in |.*\[error\.\w+\]|Cannot connect to server|.*JackShm")


class NativeLines:
    """The last lines that C libraries wrote, oldest first.

    stays: whether they are to be kept from the standard error also after the block, because they go on.
    """

    def __init__(self) -> None:
        self.stays = False
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._rest = b""
        self._lock = threading.Lock()
        self._source: int | None = None

    def lines(self) -> list[str]:
        """All that were written until now, LINES_KEPT at most."""
        with self._lock:
            self._drain()
            return [*self._lines, *([self._rest.decode(errors="replace")] if self._rest else [])]

    def most_telling(self) -> str:
        """The last line of ALSA, without the place in its source; else the last that is not noise; else nothing."""
        lines = self.lines()
        told = [match[1].strip() for match in map(ALSA_LINE.match, lines) if match]
        told = told or [line.strip() for line in lines if line.strip() and not TELLS_NOTHING.match(line)]
        return told[-1] if told else ""

    def _drain(self) -> None:
        """Takes what lies in the pipe. Call it with the lock."""
        while self._source is not None:
            try:
                chunk = os.read(self._source, 1 << 16)
            except BlockingIOError:
                return
            if not chunk:
                return
            *complete, rest = (self._rest + chunk).split(b"\n")
            self._lines.extend(line.decode(errors="replace") for line in complete[-LINES_KEPT:] if line.strip())
            self._rest = rest[-LINE_BYTES:]

    def _follow(self, ended: threading.Event) -> None:
        """Keeps the pipe empty until the end, and closes it."""
        assert self._source is not None
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        while not ended.is_set():
            poll.poll()
            with self._lock:
                self._drain()
        with self._lock:
            self._drain()
            os.close(self._source)
            self._source = None


@contextlib.contextmanager
def quiet_native_lines() -> Iterator[NativeLines]:
    """Keeps C libraries from writing to the standard error, and gives what they wrote.

    File descriptor 2 becomes a pipe; sys.stderr and faulthandler go on writing to where it led. Writing to the pipe
    never waits, because an audio thread may do it. Where there is no descriptor 2, and on Windows, whose libraries are
    silent, nothing is changed.
    """
    native = NativeLines()
    try:
        real = os.dup(2) if os.name == "posix" else None
    except OSError:
        real = None
    if real is None:
        yield native
        return
    native._source, sink = os.pipe()
    os.set_blocking(native._source, False)
    os.set_blocking(sink, False)
    ended = threading.Event()
    follower = threading.Thread(target=native._follow, args=(ended,), name="native lines", daemon=True)
    follower.start()
    previous, stream = sys.stderr, None
    if _descriptor(previous) == 2:
        previous.flush()
        stream = open(real, "w", buffering=1, encoding=previous.encoding, errors=previous.errors)  # noqa: SIM115
        sys.stderr = stream
    follows_crashes = stream is not None and faulthandler.is_enabled()
    if follows_crashes:
        faulthandler.enable(real)
    os.dup2(sink, 2)
    try:
        yield native
    finally:
        if not native.stays:
            os.dup2(real, 2)
            if follows_crashes:
                faulthandler.enable(2)
            if sys.stderr is stream:
                sys.stderr = previous
            if stream is None:
                os.close(real)
            else:
                with contextlib.suppress(OSError):  # a terminal that is gone
                    stream.close()
            ended.set()
            with contextlib.suppress(OSError):  # full: the thread is awake
                os.write(sink, b"\n")
            os.close(sink)
            follower.join()


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):  # captured by a test, or closed
        return None
