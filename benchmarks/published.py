"""The published system's processing, stated again in its plainest form: what speed.py measures this toolkit against.

    python benchmarks/published.py -i NOISY_DIR -o DENOISED_DIR -m model.h5

denoises the wavs of a folder as the published evaluation does: one file at a time through `predict_on_batch` of a
TensorFlow graph that takes magnitude and phase apart. The classes are the published block-by-block loops. Written from
the description of the signal path; nothing of this toolkit is imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

SAMPLE_RATE, BLOCK, SHIFT = 16000, 512, 128
UNITS, ENCODED = 128, 256
STATES = (1, 2, UNITS, 2)

# ----------------------------------------------------------------------------------------------------------------------
# Block by block
# ----------------------------------------------------------------------------------------------------------------------


class Loop:
    """The shift buffers around the network: one shift of samples in, one out, 384 samples late."""

    def __init__(self) -> None:
        self.input = np.zeros(BLOCK, np.float32)
        self.output = np.zeros(BLOCK, np.float32)

    def process_block(self, samples: np.ndarray) -> np.ndarray:
        """(S,) in, (S,) out."""
        self.input[:-SHIFT] = self.input[SHIFT:]
        self.input[-SHIFT:] = samples
        denoised = self.denoise(self.input)
        self.output[:-SHIFT] = self.output[SHIFT:]
        self.output[-SHIFT:] = np.zeros(SHIFT)
        self.output += np.squeeze(denoised)
        return self.output[:SHIFT].copy()

    def denoise(self, block: np.ndarray) -> np.ndarray:
        """A noisy block (N,) -> a denoised block of N values in any shape."""
        raise NotImplementedError


class SplitLoop(Loop):
    """The transforms between the two halves of the network."""

    def denoise(self, block: np.ndarray) -> np.ndarray:
        """(N,) -> (1, 1, N)."""
        spectrum = np.fft.rfft(block)  # (F,)
        magnitude, phase = np.abs(spectrum), np.angle(spectrum)
        magnitude = np.reshape(magnitude, (1, 1, -1)).astype("float32")  # (1, 1, F)
        mask = self.half(0, magnitude)
        masked = np.fft.irfft(magnitude * mask * np.exp(1j * phase))  # (1, 1, N)
        return self.half(1, np.reshape(masked, (1, 1, -1)).astype("float32"))

    def half(self, which: int, signal: np.ndarray) -> np.ndarray:
        """Runs one half of the network and keeps its states: signal (1, 1, C) -> (1, 1, C)."""
        raise NotImplementedError


class TFLiteLoop(SplitLoop):
    """The TF-lite pair: tensors by position, signal first, looked up in the details at every call.

    interpreter_class: of the TF-lite runtime.
    """

    def __init__(self, models: Sequence[str | Path], interpreter_class: Any, threads: int = 1) -> None:
        super().__init__()
        self.interpreters = [interpreter_class(model_path=str(path), num_threads=threads) for path in models]
        for interpreter in self.interpreters:
            interpreter.allocate_tensors()
        self.inputs = [interpreter.get_input_details() for interpreter in self.interpreters]
        self.outputs = [interpreter.get_output_details() for interpreter in self.interpreters]
        self.states = [np.zeros(details[1]["shape"]).astype("float32") for details in self.inputs]

    def half(self, which: int, signal: np.ndarray) -> np.ndarray:
        """(1, 1, C) -> (1, 1, C)."""
        interpreter, inputs, outputs = self.interpreters[which], self.inputs[which], self.outputs[which]
        interpreter.set_tensor(inputs[1]["index"], self.states[which])
        interpreter.set_tensor(inputs[0]["index"], signal)
        interpreter.invoke()
        result = interpreter.get_tensor(outputs[0]["index"])
        self.states[which] = interpreter.get_tensor(outputs[1]["index"])
        return result


class ONNXLoop(SplitLoop):
    """The ONNX pair: sessions fed from a dict by input name, all outputs asked for."""

    def __init__(self, models: Sequence[str | Path], threads: int = 1) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.sessions = [
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]) for path in models
        ]
        self.names = [[value.name for value in session.get_inputs()] for session in self.sessions]
        self.inputs: list[dict[str, Any]] = [dict.fromkeys(names) for names in self.names]
        for inputs, names in zip(self.inputs, self.names, strict=True):
            inputs[names[1]] = np.zeros(STATES, "float32")

    def half(self, which: int, signal: np.ndarray) -> np.ndarray:
        """(1, 1, C) -> (1, 1, C)."""
        inputs, names = self.inputs[which], self.names[which]
        inputs[names[0]] = signal
        result = self.sessions[which].run(None, inputs)
        inputs[names[1]] = result[1]
        return result[0]


class SavedModelLoop(Loop):
    """The SavedModel with the states inside, one block (1, N) at a time through `serving_default`."""

    def __init__(self, folder: str | Path) -> None:
        import tensorflow as tf

        super().__init__()
        self.tf = tf
        self.model = tf.saved_model.load(str(folder))  # the signature alone would let the variables go
        self.infer = self.model.signatures["serving_default"]
        (self.name,) = self.infer.structured_outputs

    def denoise(self, block: np.ndarray) -> np.ndarray:
        """(N,) -> (1, 1, N)."""
        batch = np.expand_dims(block, axis=0).astype("float32")  # (1, N)
        return self.infer(self.tf.constant(batch))[self.name].numpy()


# ----------------------------------------------------------------------------------------------------------------------
# The graph, for whole signals and for training
# ----------------------------------------------------------------------------------------------------------------------


def build_graph(keras: ModuleType, normalise: bool = False) -> Any:
    """The batch graph, signal (B, L) -> (B, L): Lambda layers for everything but the learned layers.

    keras: the module, Keras 3 on TensorFlow or Keras 2 (`tf_keras`). normalise: the variant with normalised log
    magnitudes. Weights in layer order are those of `model.h5`.
    """
    import tensorflow as tf

    layers: Any = keras.layers

    class GainAndBias(layers.Layer):
        """Every block to zero mean and unit variance over its features, then times a gain plus a bias."""

        def build(self, shape: Sequence[int | None]) -> None:
            self.gain = self.add_weight(name="gamma", shape=(shape[-1],), initializer="ones")
            self.bias = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")

        def call(self, x: Any) -> Any:
            mean = tf.reduce_mean(x, axis=-1, keepdims=True)
            variance = tf.reduce_mean(tf.square(x - mean), axis=-1, keepdims=True)
            return (x - mean) / tf.sqrt(variance + 1e-7) * self.gain + self.bias

    def mask(features: Any, size: int) -> Any:
        features = layers.LSTM(UNITS, return_sequences=True)(features)
        features = layers.Dropout(0.25)(features)
        features = layers.LSTM(UNITS, return_sequences=True)(features)
        return layers.Activation("sigmoid")(layers.Dense(size)(features))

    def analysis(signal: Any) -> list[Any]:
        spectrum = tf.signal.rfft(tf.signal.frame(signal, BLOCK, SHIFT))  # (B, T, F)
        return [tf.abs(spectrum), tf.math.angle(spectrum)]

    def synthesis(magnitude_and_phase: Sequence[Any]) -> Any:
        magnitude, phase = (tf.cast(x, tf.complex64) for x in magnitude_and_phase)
        return tf.signal.irfft(magnitude * tf.exp(1j * phase))  # (B, T, N)

    signal = layers.Input(batch_shape=(None, None))  # (B, L)
    magnitude, phase = layers.Lambda(analysis)(signal)
    features = magnitude
    if normalise:
        features = GainAndBias()(layers.Lambda(lambda x: tf.math.log(x + 1e-7))(magnitude))
    masked = layers.Multiply()([magnitude, mask(features, BLOCK // 2 + 1)])
    blocks = layers.Lambda(synthesis)([masked, phase])  # (B, T, N)
    encoded = layers.Conv1D(ENCODED, 1, strides=1, use_bias=False)(blocks)  # (B, T, E)
    masked = layers.Multiply()([encoded, mask(GainAndBias()(encoded), ENCODED)])
    decoded = layers.Conv1D(BLOCK, 1, padding="causal", use_bias=False)(masked)  # (B, T, N)
    estimate = layers.Lambda(lambda x: tf.signal.overlap_and_add(x, SHIFT))(decoded)  # (B, L)
    return keras.Model(signal, estimate)


def compile_graph(keras: ModuleType, model: Any) -> None:
    """The published training: negative SNR, Adam at 1e-3, gradient norm clipped at 3."""
    import tensorflow as tf

    def negative_snr(target: Any, estimate: Any) -> Any:
        power = tf.reduce_mean(tf.math.square(target), axis=-1, keepdims=True)
        error = tf.reduce_mean(tf.math.square(target - estimate), axis=-1, keepdims=True)
        snr = power / (error + 1e-7)
        return -10.0 * tf.math.log(snr) / tf.math.log(tf.constant(10.0, snr.dtype))

    model.compile(loss=negative_snr, optimizer=keras.optimizers.Adam(learning_rate=1e-3, clipnorm=3.0))


def keras_module(keras2: bool) -> ModuleType:
    """Keras 3 on TensorFlow, or Keras 2, which the system was published with: package `tf_keras`."""
    if keras2:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tf_keras

        return tf_keras
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    return keras


# ----------------------------------------------------------------------------------------------------------------------
# A folder of recordings
# ----------------------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Denoises the wavs of a folder, 16 kHz mono, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="IN")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("-m", "--weights", type=Path, required=True, metavar="H5")
    parser.add_argument("--norm-stft", action="store_true", help="the weights want normalised log magnitudes")
    parser.add_argument("--keras2", action="store_true", help="run on Keras 2 (tf_keras)")
    args = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = keras_module(args.keras2)
    import soundfile

    model = build_graph(keras, args.norm_stft)
    model.load_weights(str(args.weights))
    delay = BLOCK - SHIFT
    for source in sorted(args.input.rglob("*.wav")):
        signal, sample_rate = soundfile.read(source)
        if sample_rate != SAMPLE_RATE:
            raise ValueError(f"{source}: has {sample_rate} Hz. Expected {SAMPLE_RATE} Hz; resample it first.")
        padded = np.concatenate([np.zeros(delay), signal, np.zeros(delay)])
        denoised = model.predict_on_batch(np.expand_dims(padded, axis=0).astype(np.float32))
        target = args.output / source.relative_to(args.input)
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, np.squeeze(denoised)[delay : delay + len(signal)], sample_rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
