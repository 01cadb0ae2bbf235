"""Denoise the microphone in real time and play the result: microphone -> DTLN -> loudspeaker, until Ctrl+C."""

import sys

from dtln.commands.live import main

if __name__ == "__main__":
    sys.exit(main())
