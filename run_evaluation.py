"""Denoise a recording or a folder of them, and score the result where clean recordings are given."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.enhance", argv, "run_evaluation.py")


if __name__ == "__main__":
    sys.exit(main())
