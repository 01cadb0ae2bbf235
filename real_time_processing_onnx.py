"""Denoise one recording block by block with the ONNX pair, states outside the models. Needs no TensorFlow.

real_time_processing_onnx.py -i noisy.wav -o denoised.wav [-m DIR]

The output is 16 kHz mono, aligned with the input and exactly as long; other rates are resampled with a notice. Prints
the time per block and the real-time factor (time spent over time heard). The models are DIR/model_1.onnx and
DIR/model_2.onnx.
"""

import sys

from dtln.commands.denoise_file import denoise_file_script

if __name__ == "__main__":
    sys.exit(denoise_file_script("onnx", __doc__))
