"""Turns that the workers of a test run take: most tests beside others, those that hear or play in real time alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where no test wants to be alone
    fcntl = None  # type: ignore[assignment]


class Turns:
    """Of all processes that name the same folder."""

    def __init__(self, folder: Path) -> None:
        self._queue = open(folder / "queue", "w")  # noqa: SIM115 - both stay open until the process ends
        self._turn = open(folder / "turn", "w")  # noqa: SIM115
        self._kept = False

    @contextlib.contextmanager
    def take(self, alone: bool, keep: bool = False) -> Iterator[None]:
        """Waits for a turn: one that others share, or one in which nobody else has any.

        keep: whether it goes on until the next one of this process ends; both have to be of the same kind. Who waits to
        be alone holds the queue, so that nobody goes before him meanwhile.
        """
        if fcntl is None:
            yield
            return
        if not self._kept:
            fcntl.flock(self._queue, fcntl.LOCK_EX)
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            finally:
                fcntl.flock(self._queue, fcntl.LOCK_UN)
        self._kept = keep
        try:
            yield
        finally:
            if not keep:
                fcntl.flock(self._turn, fcntl.LOCK_UN)
