"""Denoise the microphone in real time and play the result: microphone -> DTLN -> loudspeaker, until Ctrl+C."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.live", argv, "real_time_dtln_audio.py")


if __name__ == "__main__":
    sys.exit(main())
