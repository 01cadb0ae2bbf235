"""Train DTLN on folders of noisy and clean wavs, or on speech and noise mixed on the fly."""

import sys

from dtln.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
