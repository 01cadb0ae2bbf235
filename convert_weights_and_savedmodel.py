"""Convert weights to a SavedModel, TF-lite and ONNX, in float and in 8 bits, and check what was written."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.convert", argv, "convert_weights_and_savedmodel.py")


if __name__ == "__main__":
    sys.exit(main())
