"""The published batch graph, stated again for Keras 2 (`tf_keras`), as a script.

keras2_graph.py SIGNAL.npy RESULT.npz FIRST.h5 [SECOND.h5 ...]

Loads each weights file with Keras 2's own `load_weights` and saves what the network makes of the signal (B, L) under
the file's stem. A file whose stem begins with `norm` is loaded into the graph with normalised log magnitudes.
Nothing of this toolkit is imported.
"""

import os
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

BLOCK, SHIFT, UNITS, ENCODED = 512, 128, 128, 256


class GainAndBias(layers.Layer):
    """Every frame to zero mean and unit variance over its features, then times a gain plus a bias."""

    def build(self, shape):
        self.gain = self.add_weight(name="gamma", shape=(shape[-1],), initializer="ones")
        self.bias = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-7) * self.gain + self.bias


def mask_of(features, size):
    features = layers.LSTM(UNITS, return_sequences=True)(features)
    features = layers.Dropout(0.25)(features)
    features = layers.LSTM(UNITS, return_sequences=True)(features)
    return layers.Activation("sigmoid")(layers.Dense(size)(features))


def spectrum(signal):
    return tf.signal.rfft(tf.signal.frame(signal, BLOCK, SHIFT))


def frames(magnitude_and_phase):
    magnitude, phase = magnitude_and_phase
    return tf.signal.irfft(tf.cast(magnitude, tf.complex64) * tf.exp(1j * tf.cast(phase, tf.complex64)))


def build(normalise):
    signal = layers.Input(batch_shape=(None, None))
    magnitude = layers.Lambda(lambda x: tf.abs(spectrum(x)))(signal)
    phase = layers.Lambda(lambda x: tf.math.angle(spectrum(x)))(signal)
    features = magnitude
    if normalise:
        features = GainAndBias()(layers.Lambda(lambda x: tf.math.log(x + 1e-7))(magnitude))
    masked = layers.Multiply()([magnitude, mask_of(features, BLOCK // 2 + 1)])
    encoded = layers.Conv1D(ENCODED, 1, use_bias=False)(layers.Lambda(frames)([masked, phase]))
    masked = layers.Multiply()([encoded, mask_of(GainAndBias()(encoded), ENCODED)])
    decoded = layers.Conv1D(BLOCK, 1, padding="causal", use_bias=False)(masked)
    estimate = layers.Lambda(lambda x: tf.signal.overlap_and_add(x, SHIFT))(decoded)
    return tf_keras.Model(signal, estimate)


def main(signal_file, result_file, *weights_files):
    assert tf_keras.__version__.startswith("2."), tf_keras.__version__
    signal = np.load(signal_file)
    results = {}
    for path in map(Path, weights_files):
        model = build(normalise=path.stem.startswith("norm"))
        model.load_weights(str(path))
        results[path.stem] = model.predict(signal, verbose=0)
    np.savez(result_file, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
