"""Make noisy and clean wav pairs to train on from folders of clean speech and of noise, as the DNS-Challenge does."""

import sys

from dtln.commands.synthesize import main

if __name__ == "__main__":
    sys.exit(main())
