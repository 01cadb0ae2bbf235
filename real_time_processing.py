"""Denoise one recording block by block with the SavedModel (TensorFlow), states outside the model.

real_time_processing.py -i noisy.wav -o denoised.wav [-m DIR]

The output is 16 kHz mono, aligned with the input and exactly as long; other rates are resampled with a notice. Prints
the time per block and the real-time factor (time spent over time heard). The model is DIR/dtln_saved_model.
"""

import sys

from dtln.commands.denoise_file import denoise_file_script

if __name__ == "__main__":
    sys.exit(denoise_file_script("savedmodel", __doc__))
