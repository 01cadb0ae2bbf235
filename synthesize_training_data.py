"""Make noisy and clean wav pairs to train on from folders of clean speech and of noise, as the DNS-Challenge does."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.synthesize", argv, "synthesize_training_data.py")


if __name__ == "__main__":
    sys.exit(main())
