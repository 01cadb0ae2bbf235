"""Train DTLN on folders of noisy and clean wavs, or on speech and noise mixed on the fly."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.train", argv, "run_training.py")


if __name__ == "__main__":
    sys.exit(main())
