"""Convert weights to a SavedModel, with the flags of the published script of this name."""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    script = "convert_weights_to_saved_model.py"
    return run("dtln.commands.convert_published", argv, script, kind="savedmodel", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
