"""dtln.synthesis: progress on a terminal and in a log."""

from __future__ import annotations

import io

from dtln.synthesis.run import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress() -> None:
    for stream, expected in ((io.StringIO(), 10), (Terminal(), 1)):
        progress = Progress(40, 0, 30.0, stream)
        for _ in range(40):
            progress.step()
        text = stream.getvalue()
        assert text.count("\n") == expected
        assert "40 of 40 pairs, 0.33 h, " in text and text.rstrip(" \n").endswith("times real time, 0.0 min left")
    assert text.startswith("\r1 of 40 pairs")
