"""Train DTLN on a CUDA GPU, several networks at once, on speech and noise mixed on the fly: 400 hours in a minute."""

import sys

from dtln.commands.train_cuda import main

if __name__ == "__main__":
    sys.exit(main())
