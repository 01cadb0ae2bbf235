"""Convert weights to a SavedModel, TF-lite pairs (float, 8-bit) and ONNX graphs, and check what was written."""

import sys

from dtln.commands.convert import main

if __name__ == "__main__":
    sys.exit(main())
