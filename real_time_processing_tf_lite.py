"""Denoise one recording block by block with the TF-lite models. Needs no TensorFlow.

    real_time_processing_tf_lite.py -i noisy.wav -o denoised.wav [-m DIR] [--quantised]

The models are DIR/model_1.tflite and DIR/model_2.tflite, or DIR/model_stream.tflite, which is faster. They run on
tflite_runtime, ai_edge_litert or tf.lite: the first that is installed.
"""

import sys
from collections.abc import Sequence

from dtln.commands.run import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status."""
    return run(
        "dtln.commands.denoise_file", argv, "real_time_processing_tf_lite.py", kind="tflite", description=__doc__
    )


if __name__ == "__main__":
    sys.exit(main())
