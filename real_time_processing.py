"""Denoise one recording block by block with the SavedModel. Needs TensorFlow.

    real_time_processing.py -i noisy.wav -o denoised.wav [-m DIR]

The model is DIR/dtln_saved_model, or DIR itself where it is a SavedModel of another name.
"""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.denoise_file", argv, "real_time_processing.py", kind="savedmodel", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
