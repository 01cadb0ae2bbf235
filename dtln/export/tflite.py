"""TF-lite exports: the pair and the single graph, in float and with 8-bit LSTMs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import layers, ops

from dtln.export.halves import halves_of
from dtln.facts import EPSILON
from dtln.files import complete_file
from dtln.formats import SHIFT_KEY
from dtln.weights import spectral_encoder

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork, SeparationCore

__all__ = ["export_graph", "export_pair"]

# The version of FULLY_CONNECTED with `asymmetric_quantize_inputs`, and the runtime that brought it, from the tables
# tensorflow/lite/tools/versioning/{op_version,runtime_version}.cc. The converter itself applies them, to its own work.
ASYMMETRIC_VERSION, ASYMMETRIC_SINCE = 9, "2.3.0"


def export_pair(
    network: DTLNNetwork, path_1: str | Path, path_2: str | Path, quantise: bool = False
) -> tuple[Path, Path]:
    """Writes the TF-lite pair; returns its paths.

    quantise: the LSTMs in 8 bits, the rest in float. The block shift is noted in the name of the states' tensor: no
    other text in a TF-lite file survives a conversion that keeps positions and is shown by every runtime.
    """
    paths = (Path(path_1), Path(path_2))
    halves = halves_of(network, _states_name(network), _scaled_step if quantise else None)
    for half, path in zip(halves, paths, strict=True):
        _write(half.step, half.specs, path, [half.core] if quantise else [])
    return paths


def export_graph(network: DTLNNetwork, path: str | Path, quantise: bool = False) -> Path:
    """Writes the whole network on one block as one TF-lite model, transforms inside; returns its path.

    (block (1, 1, N), states (4 K, 1, U)) -> (denoised (1, 1, N), new states), the contract of
    `onnx_graph.streaming_model`: h and c of each LSTM, in the order of the network. The inverse transform is part of
    the encoder's matrix. quantise: as in `export_pair`.
    """
    import tensorflow as tf

    config, parts = network.config, network.split().dtln_layers
    half = 2 * config.lstm_layers  # states of one core
    encoder = spectral_encoder(parts.encoder.get_weights()[0][0]).reshape(config.bins, 2, config.encoder_size)
    encoder = np.concatenate([encoder[:, 0], encoder[:, 1]])  # (2 F, E): all real parts, then all imaginary ones

    def run(core: SeparationCore, states: Sequence[Any]) -> Any:
        return partial(_scaled_step, core, states=states) if quantise else partial(core.step, states=states)

    def step(block: Any, states: Any) -> tuple[Any, Any]:
        states = [state[0] for state in tf.split(states, 2 * half)]  # (1, U) each
        real, imag = _transform(block)
        value = parts.magnitude([real, imag])  # (1, 1, F)
        mask, after_1 = parts.first_half(value, run(parts.core_1, states[:half]))
        spectrum = tf.concat([real * mask, imag * mask], axis=-1)  # (1, 1, 2 F)
        encoded = tf.matmul(spectrum, tf.constant(encoder))  # (1, 1, E)
        denoised, after_2 = parts.second_half(encoded, run(parts.core_2, states[half:]))
        return denoised, tf.stack(after_1 + after_2)

    specs = [
        tf.TensorSpec((1, 1, config.block_length), tf.float32, name="block"),
        tf.TensorSpec((2 * half, 1, config.units), tf.float32, name=_states_name(network)),
    ]
    return _write(step, specs, Path(path), [parts.core_1, parts.core_2] if quantise else [])


def _states_name(network: DTLNNetwork) -> str:
    return f"states_{SHIFT_KEY}_{network.config.block_shift}"


def _transform(block: Any) -> tuple[Any, Any]:
    """Real and imaginary part of the spectrum of a block: (1, 1, N) -> (1, 1, F) each."""
    import tensorflow as tf

    length = block.shape[-1]
    if length & (length - 1) == 0:  # TF-lite's own transform takes powers of two alone
        spectrum = tf.signal.rfft(block)
        return tf.math.real(spectrum), tf.math.imag(spectrum)
    matrix = np.fft.rfft(np.eye(length))  # (N, F)
    return tf.matmul(block, matrix.real.astype(np.float32)), tf.matmul(block, matrix.imag.astype(np.float32))


def _scaled_step(core: SeparationCore, features: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
    """`SeparationCore.step`, written for 8 bits, with matrices (1, C) instead of sequences inside."""
    mask, after = core.step(features[0], states, _scaled_lstm_step)
    return mask[None], after


def _scaled_lstm_step(lstm: layers.LSTM, features: Any, hidden: Any, cell: Any) -> tuple[Any, Any, Any]:
    """One block through an LSTM: features (1, C), h and c (1, U) -> features (1, U), new h, new c.

    A dense layer of TF-lite has one scale for all its weights (tflite_runtime 2.14 takes no more), so the columns of
    the LSTM's two matrices are divided by their sizes here, and the sum of the products is multiplied by them.
    """
    kernel, recurrent, bias = lstm.weights
    sizes = _column_sizes(kernel, recurrent)  # (4 U,)
    gates = (features @ (kernel / sizes) + hidden @ (recurrent / sizes)) * sizes + bias
    i, f, candidate, o = ops.split(gates, 4, axis=-1)  # Keras's order
    cell = ops.sigmoid(f) * cell + ops.sigmoid(i) * ops.tanh(candidate)
    hidden = ops.sigmoid(o) * ops.tanh(cell)
    return hidden, hidden, cell


def _column_sizes(kernel: Any, recurrent: Any) -> Any:
    """The Euclidean norm of each column of an LSTM's two matrices taken as one: (4 U,)."""
    return ops.sqrt(ops.sum(ops.square(kernel), axis=0) + ops.sum(ops.square(recurrent), axis=0)) + EPSILON


def _scale_of_8_bits(weights: np.ndarray) -> float:
    """The size of one of the 8-bit steps, with the least mean square error, even if it clips a few weights."""
    largest = float(np.abs(weights).max()) / 127
    scales = [largest * share for share in np.linspace(0.5, 1.0, 11)]
    return min(scales, key=lambda scale: float(np.mean(np.square(_in_8_bits(weights, scale) * scale - weights))))


def _in_8_bits(weights: np.ndarray, scale: float) -> np.ndarray:
    return np.rint(weights / scale).clip(-127, 127)


def _write(step: Any, specs: Sequence[Any], path: Path, quantised: Sequence[SeparationCore]) -> Path:
    """Writes a function of TensorFlow tensors as a TF-lite file, the LSTMs of the cores `quantised` in 8 bits."""
    import tensorflow as tf

    concrete = tf.function(step).get_concrete_function(*specs)
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    if quantised:
        content = _with_8_bit_lstms(content, quantised)
    with complete_file(path) as partial_path:
        partial_path.write_bytes(content)
    return path


def _with_8_bit_lstms(content: bytes, cores: Sequence[SeparationCore]) -> bytes:
    """A float TF-lite model of `_scaled_step`, with the matrices of these cores' LSTMs in 8 bits, one scale each.

    TF-lite then quantises what they are multiplied with at run time ("dynamic range"). The converter's own option would
    do so in every layer: also in encoder and decoder, whose errors are heard directly, and in the dense layers, a few
    of whose weights are large.

    The version of the operator says that inputs are quantised with a zero point: a runtime that does not know it
    refuses the file instead of computing something else.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    wanted = []
    for core in cores:
        for lstm in core.lstms:
            kernel, recurrent, _ = lstm.weights
            wanted += [matrix / _column_sizes(kernel, recurrent) for matrix in (kernel, recurrent)]
    wanted = [ops.convert_to_numpy(matrix).T for matrix in wanted]
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    (graph,) = model.subgraphs
    found = 0
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode != schema.BuiltinOperator.FULLY_CONNECTED:
            continue
        tensor = graph.tensors[operator.inputs[1]]  # (outputs, inputs)
        buffer = model.buffers[tensor.buffer]
        weights = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape)
        if not any(weights.shape == matrix.shape and np.allclose(weights, matrix, atol=1e-6) for matrix in wanted):
            continue
        found += 1
        scale = _scale_of_8_bits(weights)
        buffer.data = np.frombuffer(_in_8_bits(weights, scale).astype(np.int8).tobytes(), np.uint8)
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = (
            np.array([scale], np.float32),
            np.array([0], np.int64),
        )
        operator.builtinOptions.asymmetricQuantizeInputs = True
        code = model.operatorCodes[operator.opcodeIndex]
        code.version = max(code.version, ASYMMETRIC_VERSION)
    assert found == len(wanted), f"{found} of {len(wanted)} matrices are dense layers of the TF-lite model"
    for entry in model.metadata:
        if entry.name == b"min_runtime_version":
            noted = bytes(model.buffers[entry.buffer].data)
            newest = max(noted.rstrip(b"\0").decode(), ASYMMETRIC_SINCE, key=_numbers)
            model.buffers[entry.buffer].data = np.frombuffer(newest.encode().ljust(len(noted), b"\0"), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]
