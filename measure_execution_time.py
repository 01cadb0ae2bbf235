"""Measure how long one block takes: mean and percentiles in ms, against the 8 ms between two blocks."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.benchmark", argv, "measure_execution_time.py", kind="savedmodel")


if __name__ == "__main__":
    sys.exit(main())
