"""TF-lite exports: the pair and the single graph, in float and with 8-bit LSTMs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from dtln.export.split import _split_exports, split_networks_of
from dtln.facts import EPSILON
from dtln.files import complete_file
from dtln.formats import SHIFT_KEY
from dtln.weights import spectral_encoder

if TYPE_CHECKING:
    from DTLN_model import DTLNLayers, DTLNNetwork, SeparationCore


def export_pair(
    network: DTLNNetwork, path_1: str | Path, path_2: str | Path, quantise: bool = False
) -> tuple[Path, Path]:
    """Writes the TF-lite pair; returns its paths.

    quantise: the LSTMs in 8 bits (see `_core_step` and `_with_8_bit_lstms`), the rest in float. The block shift is
    noted in the name of the states' tensor, the only text in a TF-lite file that every runtime shows and that
    converting from a function (which keeps positions) keeps.
    """
    import tensorflow as tf

    paths = (Path(path_1), Path(path_2))
    exports = _split_exports(network, f"states_{SHIFT_KEY}_{network.config.block_shift}")
    steps: list[Callable[..., Any]] = [export.step for export in exports]
    if quantise:
        steps = _steps_of_cores(split_networks_of(network)[2])
    cores = (network.dtln_layers.core_1, network.dtln_layers.core_2)
    for export, step, core, path in zip(exports, steps, cores, paths, strict=True):
        concrete = tf.function(step).get_concrete_function(*export.specs)
        _write_tflite(concrete, path, [core] if quantise else [])
    return paths


def _steps_of_cores(parts: DTLNLayers) -> list[Callable[..., Any]]:
    """What the two split models compute, by `_core_step`: functions of (signal, states), see `build_split_networks`."""

    def stepped(core: SeparationCore, features: Any, states: Any) -> tuple[Any, Any]:
        apart = [states[:, index, :, place] for index in range(len(core.lstms)) for place in (0, 1)]  # (1, U) each
        mask, after = _core_step(core, features, apart)
        pairs = [ops.stack(after[2 * index : 2 * index + 2], axis=-1) for index in range(len(core.lstms))]
        return mask, ops.stack(pairs, axis=1)  # (1, K, U, 2)

    def first(values: Any, states: Any) -> tuple[Any, Any]:
        features = values
        if parts.norm_magnitude is not None:
            features = parts.norm_magnitude(ops.log(values + EPSILON))
        return stepped(parts.core_1, features, states)

    def second(block: Any, states: Any) -> tuple[Any, Any]:
        encoded = ops.matmul(block, parts.encoder.kernel[0])  # (1, 1, E)
        mask, states = stepped(parts.core_2, parts.norm_encoded(encoded), states)
        return ops.matmul(parts.mask_encoded([encoded, mask]), parts.decoder.kernel[0]), states

    return [first, second]


def export_graph(network: DTLNNetwork, path: str | Path, quantise: bool = False) -> Path:
    """Writes the whole network on one block as one TF-lite model, transforms inside; returns its path.

    (block (1, 1, N), states (4 K, 1, U)) -> (denoised (1, 1, N), new states), the contract of
    `onnx_graph.streaming_model`: h and c of each LSTM, in the order of the network. The inverse transform is part of
    the encoder's matrix. quantise: as in `export_pair`.
    """
    import tensorflow as tf

    config = network.config
    parts = split_networks_of(network)[2]
    places = 4 * config.lstm_layers
    powers_of_two = config.block_length & (config.block_length - 1) == 0  # what TF-lite's transform takes
    encoder = spectral_encoder(parts.encoder.get_weights()[0][0]).reshape(config.bins, 2, config.encoder_size)
    encoder = np.concatenate([encoder[:, 0], encoder[:, 1]])  # (2 F, E): all real parts, then all imaginary ones

    def transform(block: Any) -> tuple[Any, Any]:
        if powers_of_two:
            spectrum = tf.signal.rfft(block)  # (1, 1, F)
            return tf.math.real(spectrum), tf.math.imag(spectrum)
        matrix = np.fft.rfft(np.eye(config.block_length))  # (N, F)
        return tf.matmul(block, matrix.real.astype(np.float32)), tf.matmul(block, matrix.imag.astype(np.float32))

    def core(layers_of: SeparationCore, features: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        if quantise:
            return _core_step(layers_of, features, states)
        after = []
        for index, lstm in enumerate(layers_of.lstms):
            features, hidden, cell = lstm(features, initial_state=list(states[2 * index : 2 * index + 2]))
            after += [hidden, cell]
        return layers_of.activation(layers_of.dense(features)), after

    def step(block: Any, states: Any) -> tuple[Any, Any]:
        states = [state[0] for state in tf.split(states, places)]  # (1, U) each
        real, imag = transform(block)
        mask, after_1 = core(parts.core_1, parts.features_1((real, imag)), states[: places // 2])
        spectrum = tf.concat([real * mask, imag * mask], axis=-1)  # (1, 1, 2 F)
        encoded = tf.matmul(spectrum, tf.constant(encoder))  # (1, 1, E)
        mask, after_2 = core(parts.core_2, parts.norm_encoded(encoded), states[places // 2 :])
        return parts.decoder(parts.mask_encoded([encoded, mask])), tf.stack(after_1 + after_2)

    specs = [
        tf.TensorSpec((1, 1, config.block_length), tf.float32, name="block"),
        tf.TensorSpec((places, 1, config.units), tf.float32, name=f"states_{SHIFT_KEY}_{config.block_shift}"),
    ]
    cores = [parts.core_1, parts.core_2] if quantise else []
    return _write_tflite(tf.function(step).get_concrete_function(*specs), Path(path), cores)


def _core_step(core: SeparationCore, features: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
    """One block through a core: features (1, 1, C), h and c of each LSTM (1, U) -> mask (1, 1, mask_size), new states.

    Written for 8 bits: a dense layer of TF-lite has one scale for all its weights (tflite_runtime 2.14 takes no more),
    so the columns of an LSTM's two matrices are divided by their sizes here, and the sum of the products multiplied by
    them.
    """
    after = []
    features = features[0]  # (1, C)
    for index, lstm in enumerate(core.lstms):
        kernel, recurrent, bias = lstm.weights
        sizes = _column_sizes(kernel, recurrent)  # (4 U,)
        gates = (features @ (kernel / sizes) + states[2 * index] @ (recurrent / sizes)) * sizes + bias
        i, f, candidate, o = ops.split(gates, 4, axis=-1)  # Keras's order
        cell = ops.sigmoid(f) * states[2 * index + 1] + ops.sigmoid(i) * ops.tanh(candidate)
        features = ops.sigmoid(o) * ops.tanh(cell)  # (1, U)
        after += [features, cell]
    kernel, bias = core.dense.weights
    return core.activation(features @ kernel + bias)[None], after


def _column_sizes(kernel: Any, recurrent: Any) -> Any:
    """The Euclidean norm of each column of an LSTM's two matrices taken as one: (4 U,)."""
    return ops.sqrt(ops.sum(ops.square(kernel), axis=0) + ops.sum(ops.square(recurrent), axis=0)) + EPSILON


def _scale_of_8_bits(weights: np.ndarray) -> float:
    """What one step of 8 bits stands for, with the least mean square error: fine, even where that clips a few."""
    largest = float(np.abs(weights).max()) / 127
    scales = [largest * share for share in np.linspace(0.5, 1.0, 11)]
    return min(scales, key=lambda scale: float(np.mean(np.square(_in_8_bits(weights, scale) * scale - weights))))


def _in_8_bits(weights: np.ndarray, scale: float) -> np.ndarray:
    return np.rint(weights / scale).clip(-127, 127)


def _write_tflite(concrete: Any, path: Path, quantised: Sequence[SeparationCore]) -> Path:
    import tensorflow as tf

    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    if quantised:
        content = _with_8_bit_lstms(content, quantised)
    with complete_file(path) as partial:
        partial.write_bytes(content)
    return path


def _with_8_bit_lstms(content: bytes, cores: Sequence[SeparationCore]) -> bytes:
    """A float TF-lite model of `_core_step`s with the matrices of these cores' LSTMs in 8 bits, one scale each.

    TF-lite then brings what they are multiplied with to 8 bits as it comes ("dynamic range"). The converter's own
    option would do so to every layer: to encoder and decoder, whose errors are heard as they are, and to the dense
    layers, of whose weights a few are large.
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
        tensor.quantization.scale, tensor.quantization.zeroPoint = np.float32([scale]), np.int64([0])
        operator.builtinOptions.asymmetricQuantizeInputs = True
    assert found == len(wanted), f"{found} of {len(wanted)} matrices are dense layers of the TF-lite model"
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
