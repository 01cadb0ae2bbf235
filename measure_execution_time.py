"""Measure how long one block takes: mean and percentiles in ms, against the 8 ms between two blocks."""

import sys

from dtln.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
