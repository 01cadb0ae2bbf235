"""Denoise one recording block by block with the ONNX models. Needs no TensorFlow.

    real_time_processing_onnx.py -i noisy.wav -o denoised.wav [-m DIR] [--quantised]

The models are DIR/model_1.onnx and DIR/model_2.onnx, or DIR/model_stream.onnx, which is faster.
"""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run("dtln.commands.denoise_file", argv, "real_time_processing_onnx.py", kind="onnx", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
