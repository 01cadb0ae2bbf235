"""Denoise one recording block by block with the TF-lite pair, states outside the models. Needs no TensorFlow.

real_time_processing_tf_lite.py -i noisy.wav -o denoised.wav [-m DIR] [--quantised]

The output is 16 kHz mono, aligned with the input and exactly as long; other rates are resampled with a notice. Prints
the time per block and the real-time factor (time spent over time heard). The models are DIR/model_1.tflite and
DIR/model_2.tflite, or with --quantised DIR/model_quant_1.tflite and DIR/model_quant_2.tflite; they run on
tflite_runtime, ai_edge_litert or tf.lite, whichever is installed, in this order.
"""

import sys

from dtln.commands.denoise_file import denoise_file_script

if __name__ == "__main__":
    sys.exit(denoise_file_script("tflite", __doc__))
