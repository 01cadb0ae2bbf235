"""Convert weights to the TF-lite pair, with the flags of the published script of this name."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    script = "convert_weights_to_tf_lite.py"
    return run("dtln.commands.convert_published", argv, script, kind="tflite", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
