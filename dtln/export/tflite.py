"""TF-lite exports: the pair and the single graph, in float and with all weights in 8 bits.

Everything inside runs on matrices of one row (1, C), in operators that XNNPACK takes, so that one delegate runs the
whole graph: slices of states, for one, went through TF-lite's reference kernels and took a fifth of the time.

In 8 bits, each matrix is whole numbers and scales (`dtln.export.eight_bits`), and TF-lite quantises the activations at
run time, row by row ("dynamic range"). The converter's own option does so in every layer, with one scale for a matrix.
Here the errors of encoder and decoder are shaped, and the activations of all but the LSTMs, whose errors are heard
directly, go through in two rows: the rounded ones, and what rounding left.

Shapes in comments: N block length, F = N // 2 + 1 bins, E encoder size, U LSTM units, K LSTM layers of a core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.export.eight_bits import rounded, rounded_decoder, rounded_encoder, rounded_with_gains
from dtln.files import complete_file
from dtln.formats import SHIFT_KEY
from dtln.weights import spectral_encoder

if TYPE_CHECKING:
    from keras import layers

    from DTLN_model import DTLNLayers, DTLNNetwork, SeparationCore

__all__ = ["export_graph", "export_pair"]

# The version of FULLY_CONNECTED with `asymmetric_quantize_inputs`, and the runtime that brought it, from the tables
# tensorflow/lite/tools/versioning/{op_version,runtime_version}.cc. The converter itself applies them, to its own work.
ASYMMETRIC_VERSION, ASYMMETRIC_SINCE = 9, "2.3.0"
ACTIVATION_STEPS = 255.0  # of the 8 bits of an activation


def export_pair(
    network: DTLNNetwork, path_1: str | Path, path_2: str | Path, quantise: bool = False
) -> tuple[Path, Path]:
    """Writes the TF-lite pair; returns its paths. `dtln.export.halves` has its contract.

    quantise: all weights in 8 bits. The block shift is noted in the name of the states' tensor: no other text in a
    TF-lite file survives a conversion that keeps positions and is shown by every runtime.
    """
    import tensorflow as tf

    config, parts = network.config, network.split().dtln_layers
    products_1, products_2 = (_Products(quantise) for _ in range(2))

    def first(magnitude: Any, states: Any) -> tuple[Any, Any]:
        mask, after = parts.first_half(_row(magnitude), partial(products_1.core, parts.core_1, _unpacked(states)))
        return _block(mask), _packed(after)

    def second(block: Any, states: Any) -> tuple[Any, Any]:
        encoded = products_2.encoder(_row(block), parts.encoder)  # (1, E)
        mask, after = products_2.core(parts.core_2, _unpacked(states), parts.norm_encoded(encoded))
        return _block(products_2.decoder(encoded * mask, parts)), _packed(after)

    sizes = (
        (config.bins, "magnitude", first, products_1, path_1),
        (config.block_length, "block", second, products_2, path_2),
    )
    for size, name, step, products, path in sizes:
        specs = [
            tf.TensorSpec((1, 1, size), tf.float32, name=name),
            tf.TensorSpec(config.states_shape, tf.float32, name=_states_name(network)),
        ]
        _write(step, specs, Path(path), products)
    return Path(path_1), Path(path_2)


def export_graph(network: DTLNNetwork, path: str | Path, quantise: bool = False) -> Path:
    """Writes the whole network on one block as one TF-lite model, transforms inside; returns its path.

    (block (1, 1, N), states (4 K, 1, U)) -> (denoised (1, 1, N), new states), the contract of
    `onnx_graph.streaming_model`: h and c of each LSTM, in the order of the network. quantise: as in `export_pair`.

    In float, the inverse transform is part of the encoder's matrix. In 8 bits it is not: rows of that matrix stand for
    frequencies, few of which weigh in a column, so that the steps of 8 bits would be coarse.
    """
    import tensorflow as tf

    config, parts = network.config, network.split().dtln_layers
    half = 2 * config.lstm_layers  # states of one core
    products = _Products(quantise)
    folded = spectral_encoder(parts.encoder.get_weights()[0][0]).reshape(config.bins, 2, config.encoder_size)
    folded = np.concatenate([folded[:, 0], folded[:, 1]])  # (2 F, E): all real parts, then all imaginary ones

    def step(block: Any, states: Any) -> tuple[Any, Any]:
        states = _rows(tf.reshape(states, (2 * half, config.units)))  # (1, U) each
        real, imag = _transform(_row(block))  # (1, F) each
        value = parts.magnitude([real, imag])
        mask, after_1 = parts.first_half(value, partial(products.core, parts.core_1, states[:half]))
        if quantise:
            encoded = products.encoder(_inverse(real, imag, mask, config.block_length), parts.encoder)  # (1, E)
        else:
            encoded = tf.concat([real * mask, imag * mask], axis=-1) @ tf.constant(folded)
        mask, after_2 = products.core(parts.core_2, states[half:], parts.norm_encoded(encoded))
        denoised = _block(products.decoder(encoded * mask, parts))
        return denoised, tf.reshape(_joined(after_1 + after_2), (2 * half, 1, config.units))

    specs = [
        tf.TensorSpec((1, 1, config.block_length), tf.float32, name="block"),
        tf.TensorSpec((2 * half, 1, config.units), tf.float32, name=_states_name(network)),
    ]
    return _write(step, specs, Path(path), products)


class _Products:
    """The layers of a graph that multiply with matrices, in float or in 8 bits.

    In 8 bits, the graph multiplies with whole numbers (C, D) in float. `_with_8_bits` then replaces them in the file:
    `pending` holds them.
    """

    def __init__(self, quantise: bool) -> None:
        self.quantise = quantise
        self.pending: list[np.ndarray] = []

    def core(self, core: SeparationCore, states: Sequence[Any], features: Any) -> tuple[Any, list[Any]]:
        """features (1, C), states h and c (1, U) of each LSTM -> (mask (1, M), new states)."""
        after = []
        for index, lstm in enumerate(core.lstms):
            features, cell = self.lstm(lstm, features, *states[2 * index : 2 * index + 2])
            after += [features, cell]
        kernel, bias = _weights(core.dense)
        if self.quantise:
            return core.activation(self._with_gains(features, *rounded_with_gains(kernel)) + bias), after
        return core.activation(features @ kernel + bias), after

    def lstm(self, lstm: layers.LSTM, features: Any, hidden: Any, cell: Any) -> tuple[Any, Any]:
        """One block through an LSTM: features (1, C), h and c (1, U) -> new h, new c.

        Its two matrices have scales in common, so that the sum of the products is scaled once.
        """
        import tensorflow as tf

        kernel, recurrent, bias = _weights(lstm)
        if self.quantise:
            whole, scales = rounded(np.concatenate([kernel, recurrent]))
            kernel, recurrent = whole[: len(kernel)], whole[len(kernel) :]
            self.pending += [kernel, recurrent]
            gates = (features @ tf.constant(kernel) + hidden @ tf.constant(recurrent)) * scales + bias
        else:
            gates = features @ tf.constant(kernel) + hidden @ tf.constant(recurrent) + bias
        i, f, candidate, o = tf.split(gates, 4, axis=-1)  # Keras's order
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(candidate)
        return tf.sigmoid(o) * tf.tanh(cell), cell

    def encoder(self, block: Any, encoder: layers.Layer) -> Any:
        """(1, N) -> (1, E)."""
        matrix = _weights(encoder)[0][0]
        if not self.quantise:
            return block @ matrix
        whole, scales = rounded_encoder(matrix)
        return self._fine(block, whole) * scales

    def decoder(self, features: Any, parts: DTLNLayers) -> Any:
        """(1, E) -> (1, N)."""
        matrix = _weights(parts.decoder)[0][0]
        if not self.quantise:
            return features @ matrix
        return self._with_gains(features, *rounded_decoder(matrix, _weights(parts.encoder)[0][0]))

    def _with_gains(self, features: Any, gains: np.ndarray, whole: np.ndarray, scales: np.ndarray) -> Any:
        """(1, C) times a matrix (C, D) in 8 bits."""
        return self._fine(features * gains, whole) * scales

    def _fine(self, features: Any, whole: np.ndarray) -> Any:
        """(1, C) times (C, D), with 16 bits of the features: those that 8 bits keep, and as many of the rest.

        The step is that which the runtime takes for the first row, so that the second row is what the first lost.
        """
        import tensorflow as tf

        self.pending.append(whole)
        highest, lowest = (tf.reduce_max(tf.nn.relu(sign * features)) for sign in (1.0, -1.0))
        step = tf.maximum((highest + lowest) / ACTIVATION_STEPS, np.finfo(np.float32).tiny)
        rest = features - tf.round(features / step) * step
        coarse, fine = tf.split(tf.concat([features, rest], axis=0) @ tf.constant(whole), 2, axis=0)  # (1, D) each
        return coarse + fine


def _weights(layer: layers.Layer) -> list[np.ndarray]:
    """The weights of a layer, also while a graph is traced."""
    import tensorflow as tf

    with tf.init_scope():
        return layer.get_weights()


def _states_name(network: DTLNNetwork) -> str:
    return f"states_{SHIFT_KEY}_{network.config.block_shift}"


def _row(tensor: Any) -> Any:
    """(1, 1, C) -> (1, C)."""
    import tensorflow as tf

    return tf.reshape(tensor, (1, tensor.shape[-1]))


def _block(row: Any) -> Any:
    """(1, C) -> (1, 1, C)."""
    import tensorflow as tf

    return tf.reshape(row, (1, 1, row.shape[-1]))


def _unpacked(states: Any) -> list[Any]:
    """States of a core (1, K, U, 2) -> h and c (1, U) of each LSTM, one LSTM after the other."""
    import tensorflow as tf

    _, count, units, _ = states.shape
    return _rows(tf.reshape(tf.transpose(states, (0, 1, 3, 2)), (2 * count, units)))


def _packed(states: Sequence[Any]) -> Any:
    """The inverse of `_unpacked`."""
    import tensorflow as tf

    count, units = len(states) // 2, states[0].shape[-1]
    return tf.transpose(tf.reshape(_joined(states), (1, count, 2, units)), (0, 1, 3, 2))


def _rows(tensor: Any) -> list[Any]:
    """(2 R, U) -> 2 R matrices (1, U), by splits that XNNPACK takes."""
    import tensorflow as tf

    count = tensor.shape[0] // 2
    pairs = tf.split(tensor, count) if count > 1 else [tensor]
    return [row for pair in pairs for row in tf.split(pair, 2)]


def _joined(rows: Sequence[Any], at_once: int = 4) -> Any:
    """The inverse of `_rows`: XNNPACK concatenates few tensors at once."""
    import tensorflow as tf

    while len(rows) > 1:
        rows = [tf.concat(rows[first : first + at_once], axis=0) for first in range(0, len(rows), at_once)]
    return rows[0]


def _factors(length: int) -> tuple[int, int, int]:
    """(A, B, D): N = A B, and D values of d for the bins k = c + A d."""
    rows = max(divisor for divisor in range(1, math.isqrt(length) + 1) if length % divisor == 0)
    return rows, length // rows, -(-(length // 2 + 1) // rows)


def _transform(block: Any) -> tuple[Any, Any]:
    """Real and imaginary part of the spectrum of a block: (1, N) -> (1, F) each.

    TF-lite's own transform computes its sines anew for each block, and takes powers of two alone. With N = A B,
    n = B a + b and k = c + A d (Cooley and Tukey 1965):

        X[c + A d] = sum_b exp(-2 pi i b d / B) exp(-2 pi i b c / N) sum_a exp(-2 pi i a c / A) x[B a + b]
    """
    import tensorflow as tf

    length = block.shape[-1]
    rows, columns, steps = _factors(length)
    inner = np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(rows)) / rows)  # (A, A): a, c
    outer = np.exp(-2j * np.pi * np.outer(np.arange(columns), np.arange(steps)) / columns)  # (B, D)
    table = tf.transpose(tf.reshape(block, (rows, columns)))  # (B, A)
    both = _turned(table @ np.hstack([_from_real(inner), _from_real(1j * inner)]), rows, -1.0)  # (B, 2 A)
    turned = tf.transpose(tf.reshape(both, (columns, 2, rows)), (2, 1, 0))  # (A, 2, B)
    result = tf.reshape(turned, (rows, 2 * columns)) @ _from_complex(outer)  # (A, 2 D)
    bins = tf.reshape(tf.transpose(result), (2, steps * rows))[:, : length // 2 + 1]
    real, imag = tf.split(bins, 2, axis=0)
    return real, imag


def _inverse(real: Any, imag: Any, mask: Any, length: int) -> Any:
    """The block of a masked spectrum: three times (1, F) -> (1, N). The same steps as in `_transform`, backwards."""
    import tensorflow as tf

    rows, columns, steps = _factors(length)
    weights = np.full(length // 2 + 1, 2 / length, np.float32)
    weights[[0, -1]] = 1 / length  # the first and the last bin have no mirror image
    inner = np.exp(2j * np.pi * np.outer(np.arange(steps), np.arange(columns)) / columns)  # (D, B)
    outer = np.exp(2j * np.pi * np.outer(np.arange(rows), np.arange(rows)) / rows)  # (A, A): c, a
    mask = mask * weights
    spectrum = tf.concat([real * mask, imag * mask], axis=0)  # (2, F)
    spectrum = tf.pad(spectrum, [(0, 0), (0, steps * rows - spectrum.shape[-1])])  # (2, D A)
    table = tf.transpose(tf.reshape(spectrum, (2, steps, rows)), (2, 0, 1))  # (A, 2, D)
    both = tf.reshape(table, (rows, 2 * steps)) @ np.hstack([_from_complex(inner), _from_complex(1j * inner)])
    both = _turned(both, columns, 1.0)  # (A, 4 B) -> (A, 2 B)
    turned = tf.transpose(tf.reshape(both, (rows, 2, columns)), (2, 1, 0))  # (B, 2, A)
    block = tf.reshape(turned, (columns, 2 * rows)) @ _from_complex(outer)[:, :rows]  # (B, A)
    return tf.reshape(tf.transpose(block), (1, length))


def _from_real(matrix: np.ndarray) -> np.ndarray:
    """What multiplies real numbers with a complex matrix (R, C): (R, 2 C), real parts before imaginary."""
    return np.hstack([matrix.real, matrix.imag]).astype(np.float32)


def _from_complex(matrix: np.ndarray) -> np.ndarray:
    """The same for complex numbers, real parts before imaginary ones: (2 R, 2 C)."""
    return np.vstack([_from_real(matrix), _from_real(1j * matrix)])


def _turned(both: Any, columns: int, sign: float) -> Any:
    """Z[r, c] exp(sign 2 pi i r c / N) from Z and i Z, N = R C: (R, 4 C) -> (R, 2 C)."""
    import tensorflow as tf

    rows = both.shape[0]
    angles = 2 * np.pi * np.outer(np.arange(rows), np.arange(columns)) / (rows * columns)
    cosine, sine = (np.hstack([part, part]).astype(np.float32) for part in (np.cos(angles), sign * np.sin(angles)))
    value, times_i = tf.split(both, 2, axis=1)
    return value * cosine + times_i * sine


def _write(step: Callable[..., Any], specs: Sequence[Any], path: Path, products: _Products) -> Path:
    """Writes a function of TensorFlow tensors as a TF-lite file, its `products` in 8 bits where they are pending."""
    import tensorflow as tf

    concrete = tf.function(step).get_concrete_function(*specs)
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    if products.pending:
        content = _with_8_bits(content, products.pending)
    with complete_file(path) as partial_path:
        partial_path.write_bytes(content)
    return path


def _with_8_bits(content: bytes, pending: Sequence[np.ndarray]) -> bytes:
    """A float TF-lite model with these matrices (C, D), which hold whole numbers, in 8 bits.

    A dense layer of TF-lite has one scale for all its weights (tflite_runtime 2.14 takes no more): it is 1 here.

    The version of the operator says that inputs are quantised with a zero point: a runtime that does not know it
    refuses the file instead of computing something else.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    (graph,) = model.subgraphs
    left = list(pending)
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.builtinCode != schema.BuiltinOperator.FULLY_CONNECTED:
            continue
        tensor = graph.tensors[operator.inputs[1]]  # (D, C)
        weights = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
        found = next((at for at, whole in enumerate(left) if np.array_equal(weights, whole.T)), None)
        if found is None:
            continue
        left.pop(found)
        model.buffers[tensor.buffer].data = np.frombuffer(weights.astype(np.int8).tobytes(), np.uint8)
        tensor.type, tensor.quantization = schema.TensorType.INT8, schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = np.array([1], np.float32), np.array([0], np.int64)
        operator.builtinOptions.asymmetricQuantizeInputs = True
        code.version = max(code.version, ASYMMETRIC_VERSION)
    assert not left, f"{len(left)} of {len(pending)} matrices are no dense layers of the TF-lite model"
    for entry in model.metadata:
        if entry.name == b"min_runtime_version":
            noted = bytes(model.buffers[entry.buffer].data)
            newest = max(noted.rstrip(b"\0").decode(), ASYMMETRIC_SINCE, key=_numbers)
            model.buffers[entry.buffer].data = np.frombuffer(newest.encode().ljust(len(noted), b"\0"), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]
