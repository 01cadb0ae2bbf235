"""Denoise a recording or a folder of them, and score the result where clean recordings are given."""

import sys

from dtln.commands.enhance import main

if __name__ == "__main__":
    sys.exit(main())
