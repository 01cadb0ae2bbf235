"""DTLN as ONNX graphs with the LSTM operator, made from `.h5` weights without TensorFlow or Keras.

`sequence_model` takes whole sequences: the operator multiplies the inputs of all blocks with its kernel in one matrix
product, and only the recurrent half is left to do block by block. `dtln/evaluation/sequences.py` runs it.
`streaming_model` takes one block at a time: it is the export `onnx-stream`. In both, the inverse Fourier transform is
part of the encoder's matrix.

This is a second implementation of the network beside `DTLN_model.py`; tests/export holds the two together.

Shapes in comments: B signals, L samples, T blocks, N block length, S block shift, F = N // 2 + 1 frequency bins,
E encoder size, U LSTM units, K LSTM layers of a core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dtln.export.eight_bits import rounded_decoder, rounded_encoder, rounded_with_gains
from dtln.facts import EPSILON
from dtln.files import complete_file
from dtln.formats import SHIFT_KEY
from dtln.weights import DTLNConfig, StoredLayer, spectral_encoder

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork

__all__ = ["OPSET", "Graph", "NetworkWeights", "export_graph", "export_streaming", "sequence_model", "streaming_model"]

OPSET = 13  # of every ONNX export: ONNX Runtime knows it since 1.6; the pair of an older one fails in tract


@dataclass
class Graph:
    """An ONNX graph being built: every method appends nodes and returns the name of their result.

    quantised: kernels are stored in 8 bits, and the graph makes float ones of them. Runtimes do that once, as they load
    it, because nothing but constants goes in ("constant folding").
    """

    quantised: bool = False
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: np.ndarray) -> str:
        """A constant tensor."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, operator: str, *inputs: str, outputs: Sequence[str] | None = None, **attributes: Any) -> str:
        """One operator; the first of its outputs."""
        from onnx import helper

        outputs = outputs or [f"{operator.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, list(inputs), list(outputs), name=outputs[0], **attributes))
        return outputs[0]

    def normalise(self, features: str, weights: Sequence[np.ndarray]) -> str:
        """Instant layer normalisation over the last axis.

        In the very operators in which ONNX Runtime recognises LayerNormalization, which opset 13 lacks, and fuses them.
        """
        gain, bias = (self.constant(weight) for weight in weights)
        two, epsilon = (self.constant(np.array(value, np.float32)) for value in (2, EPSILON))
        centred = self.node("Sub", features, self.node("ReduceMean", features, axes=[-1]))
        variance = self.node("ReduceMean", self.node("Pow", centred, two), axes=[-1])
        deviation = self.node("Sqrt", self.node("Add", variance, epsilon))
        return self.node("Add", self.node("Mul", self.node("Div", centred, deviation), gain), bias)

    def reshape(self, tensor: str, *shape: int) -> str:
        """A tensor in another shape."""
        return self.node("Reshape", tensor, self.constant(np.array(shape)))

    def transform(self, block: str, length: int) -> str:
        """The spectrum of a real block (1, 1, N): (1, 1, F, 2), real and imaginary part.

        By products with matrices, because few runtimes have the operator DFT. N = A B, n = B a + b, k = c + A d:

            X[c + A d] = sum_b exp(-2 pi i b (c + A d) / N) sum_a exp(-2 pi i a c / A) x[B a + b]

        which is the first step of Cooley and Tukey's transform: a matrix for all b, then one for each c. One matrix
        for all would have seven times as many numbers at N = 512, and take longer.
        """
        bins = length // 2 + 1
        rows = max(divisor for divisor in range(1, math.isqrt(length) + 1) if length % divisor == 0)  # A
        columns, steps = length // rows, -(-bins // rows)  # B, and D values of d
        a, b, d = np.arange(rows), np.arange(columns), np.arange(steps)
        first = np.exp(-2j * np.pi * np.outer(a, a) / rows)  # (A, A): c, a
        first = np.stack([first.real, first.imag], 1).reshape(2 * rows, rows)  # (2 A, A)
        second = np.exp(-2j * np.pi * b[:, None] * (a[:, None, None] + rows * d) / length)  # (A, B, D): c, b, d
        from_real = np.stack([second.real, second.imag], -1)  # (A, B, D, 2)
        from_imag = np.stack([-second.imag, second.real], -1)
        both = np.concatenate([from_real, from_imag], 1).reshape(rows, 2 * columns, 2 * steps)
        inner = self.node(
            "MatMul", self.constant(first.astype(np.float32)), self.reshape(block, rows, columns)
        )  # (2 A, B)
        table = self.reshape(inner, rows, 1, 2 * columns)
        outer = self.node("MatMul", table, self.constant(both.astype(np.float32)))  # (A, 1, 2 D)
        ordered = self.node("Transpose", self.reshape(outer, rows, steps, 2), perm=[1, 0, 2])  # (D, A, 2)
        start, end, axis = (self.constant(np.array([value])) for value in (0, bins, 2))
        return self.node("Slice", self.reshape(ordered, 1, 1, steps * rows, 2), start, end, axis)

    def project(self, features: str, kernel: np.ndarray) -> str:
        """Matrix product with a kernel (C, D) over the last axis."""
        return self.node("MatMul", features, self.kernel(kernel))

    def kernel(self, matrix: np.ndarray) -> str:
        """A matrix of weights (C, D)."""
        return self.with_gains(*rounded_with_gains(matrix)) if self.quantised else self.constant(matrix)

    def scaled(self, whole: np.ndarray, scales: np.ndarray) -> str:
        """whole * scales, the whole numbers stored in 8 bits."""
        from onnx import TensorProto

        values = self.node("Cast", self.constant(whole.astype(np.int8)), to=TensorProto.FLOAT)
        return self.node("Mul", values, self.constant(scales))

    def encoder(self, encoder: np.ndarray) -> str:
        """`spectral_encoder` of the encoder (N, E): (2 F, E).

        In 8 bits the graph computes it of the encoder as it is loaded. Its own columns in 8 bits would lose much: few
        of the frequencies weigh in a column, so that the steps would be coarse.
        """
        if not self.quantised:
            return self.constant(spectral_encoder(encoder))
        length = len(encoder)
        weights = np.full((length // 2 + 1, 2), 2 / length, np.float32)
        weights[[0, -1]] = 1 / length  # the first and the last bin have no mirror image
        turns = self.node(
            "Mul",
            self.constant(np.repeat(np.arange(length // 2 + 1, dtype=np.float32), 2)[:, None]),
            self.constant(np.arange(length, dtype=np.float32)),
        )  # (2 F, N): k n
        turns = self.node("Mod", turns, self.constant(np.array(length, np.float32)), fmod=1)
        angles = self.node("Mul", turns, self.constant(np.array(2 * np.pi / length, np.float32)))
        quarter = np.tile(np.array([[0.0], [np.pi / 2]], np.float32), (length // 2 + 1, 1))  # (2 F, 1): cos, -sin
        waves = self.node("Cos", self.node("Add", angles, self.constant(quarter)))
        inverse = self.node("Mul", waves, self.constant(weights.reshape(-1, 1)))
        return self.node("MatMul", inverse, self.scaled(*rounded_encoder(encoder)))

    def decoder(self, decoder: np.ndarray, encoder: np.ndarray) -> str:
        """The decoder (E, N)."""
        return self.with_gains(*rounded_decoder(decoder, encoder)) if self.quantised else self.constant(decoder)

    def with_gains(self, gains: np.ndarray, whole: np.ndarray, scales: np.ndarray) -> str:
        """gains[:, None] * whole * scales, the whole numbers stored in 8 bits."""
        return self.node("Mul", self.scaled(whole, scales), self.constant(gains[:, None]))

    def lstm(self, features: str, weights: Sequence[np.ndarray], hidden: str, cell: str, suffix: str) -> str:
        """LSTM of a sequence (T, B, C) from the states `hidden` and `cell` (1, B, U): (T, B, U).

        `hidden_SUFFIX` and `cell_SUFFIX` are the states after it. Keras keeps the gates in the order i, f, c, o; ONNX
        wants i, o, f, c, transposed matrices, and a second bias.
        """
        kernel, recurrent, bias = (_reordered(weight) for weight in weights)
        sequence = self.node(
            "LSTM",
            features,
            self.constant(kernel.T[None]),  # (1, 4 U, C)
            self.constant(recurrent.T[None]),  # (1, 4 U, U)
            self.constant(np.concatenate([bias, np.zeros_like(bias)])[None]),  # (1, 8 U)
            "",
            hidden,
            cell,
            outputs=[f"sequence_{suffix}", f"hidden_{suffix}", f"cell_{suffix}"],
            hidden_size=len(bias) // 4,
        )  # (T, 1, B, U)
        return self.node("Squeeze", sequence, self.constant(np.array([1])))  # (T, B, U)

    def mask(self, features: str, core: Sequence[StoredLayer], first: int = 0) -> str:
        """A core: features (T, B, C) -> mask (T, B, M).

        Its states are `h_k` and `c_k` before, `hidden_k` and `cell_k` after; k counts from `first`.
        """
        for index, (_, weights) in enumerate(core[:-1], first):
            features = self.lstm(features, weights, f"h_{index}", f"c_{index}", str(index))
        kernel, bias = core[-1][1]
        return self.node("Sigmoid", self.node("Add", self.project(features, kernel), self.constant(bias)))

    def model(
        self,
        inputs: dict[str, Sequence[int | str]],
        outputs: dict[str, Sequence[int | str]],
        metadata: dict[str, str] | None = None,
    ) -> bytes:
        """The finished model, checked and serialised. Inputs and outputs: name -> shape; all are float32."""
        import onnx
        from onnx import TensorProto, helper

        values_in, values_out = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group.items()]
            for group in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, "dtln", values_in, values_out, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model)
        return model.SerializeToString()


def _reordered(weight: np.ndarray) -> np.ndarray:
    """Gates i, f, c, o along the last axis -> i, o, f, c."""
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


@dataclass(frozen=True)
class NetworkWeights:
    """The layers of an `.h5` file by their place in the network; see `DTLN_model.DTLNLayers`."""

    norm_magnitude: list[np.ndarray] | None
    core_1: list[StoredLayer]
    encoder: np.ndarray  # (N, E)
    norm_encoded: list[np.ndarray]
    core_2: list[StoredLayer]
    decoder: np.ndarray  # (E, N)

    @classmethod
    def of(cls, config: DTLNConfig, stored: Sequence[StoredLayer]) -> NetworkWeights:
        first = int(config.norm_stft)
        middle = first + config.lstm_layers + 1
        return cls(
            stored[0][1] if config.norm_stft else None,
            list(stored[first:middle]),
            stored[middle][1][0][0],
            stored[middle + 1][1],
            list(stored[middle + 2 : -1]),
            stored[-1][1][0][0],
        )


def _network(
    graph: Graph, weights: NetworkWeights, config: DTLNConfig, spectrum: str, sizes: Sequence[int], result: str
) -> None:
    """Spectrum (T, B, F, 2) -> `result` (T, B, N). sizes: (T, B); 0 takes over the size of the spectrum."""
    squares = graph.node("ReduceSumSquare", spectrum, axes=[3], keepdims=0)
    features = magnitude = graph.node("Sqrt", squares)  # (T, B, F)
    if weights.norm_magnitude is not None:
        positive = graph.node("Add", magnitude, graph.constant(np.array(EPSILON, np.float32)))
        features = graph.normalise(graph.node("Log", positive), weights.norm_magnitude)
    mask = graph.mask(features, weights.core_1)  # (T, B, F)
    column = graph.node("Unsqueeze", mask, graph.constant(np.array([3])))
    masked = graph.node("Mul", spectrum, column)  # (T, B, F, 2)
    flat = graph.reshape(masked, *sizes, 2 * config.bins)
    encoded = graph.node("MatMul", flat, graph.encoder(weights.encoder))  # (T, B, E)
    mask = graph.mask(graph.normalise(encoded, weights.norm_encoded), weights.core_2, first=config.lstm_layers)
    decoder = graph.decoder(weights.decoder, weights.encoder)
    graph.node("MatMul", graph.node("Mul", encoded, mask), decoder, outputs=[result])


def sequence_model(config: DTLNConfig, stored: Sequence[StoredLayer]) -> bytes:
    """The network on sequences, as a serialised ONNX model.

    (spectrum (T, B, F, 2), h_k and c_k (1, B, U) for each of the 2 K LSTMs) -> (denoised (T, B, N), hidden_k, cell_k).
    """
    graph, kinds = Graph(), range(2 * config.lstm_layers)
    _network(graph, NetworkWeights.of(config, stored), config, "spectrum", (0, 0), "denoised")
    states_in = {f"{kind}_{k}": (1, "signals", config.units) for k in kinds for kind in ("h", "c")}
    states_out = {f"{kind}_{k}": (1, "signals", config.units) for k in kinds for kind in ("hidden", "cell")}
    sequence = ("blocks", "signals")
    return graph.model(
        {"spectrum": (*sequence, config.bins, 2), **states_in},
        {"denoised": (*sequence, config.block_length), **states_out},
    )


def streaming_model(config: DTLNConfig, stored: Sequence[StoredLayer], quantised: bool = False) -> bytes:
    """The whole network on one block as one serialised ONNX model, Fourier transforms inside, states outside.

    (block (1, 1, N), states (4 K, 1, U)) -> (denoised (1, 1, N), new states). The states are h and c of each LSTM, in
    the order of the network. Overlap-add is the caller's. A metadata entry notes the block shift.

    quantised: all weights but those of the LSTMs are stored in 8 bits; see `Graph`.
    """
    graph, count = Graph(quantised=quantised), 2 * config.lstm_layers
    graph.node("Split", "states", outputs=[f"{kind}_{k}" for k in range(count) for kind in ("h", "c")], axis=0)
    spectrum = graph.transform("block", config.block_length)  # (1, 1, F, 2)
    _network(graph, NetworkWeights.of(config, stored), config, spectrum, (1, 1), "denoised")
    after = [f"{kind}_{k}" for k in range(count) for kind in ("hidden", "cell")]
    graph.node("Concat", *after, outputs=["states_out"], axis=0)
    shape, states = (1, 1, config.block_length), (2 * count, 1, config.units)
    return graph.model(
        {"block": shape, "states": states},
        {"denoised": shape, "states_out": states},
        {SHIFT_KEY: str(config.block_shift)},
    )


def export_streaming(
    config: DTLNConfig, stored: Sequence[StoredLayer], path: str | Path, quantise: bool = False
) -> Path:
    """Writes `streaming_model`; returns its path.

    quantise: all weights in 8 bits. Those of the LSTMs, with one scale a column, by onnxruntime's tools, keep to the
    range from -64 to 64. With the full range, pairs of products overflow 16 bits on x86 processors without VNNI, where
    ONNX Runtime multiplies with `vpmaddubsw`: measured 27 and 19 dB against the float network, LSTMs alone. In this
    range it is 43 dB, on any processor. The other layers compute in float.
    """
    model = streaming_model(config, stored, quantise)
    with complete_file(path) as partial:
        if quantise:
            from onnx import TensorProto, load_from_string
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(
                load_from_string(model),
                partial,
                op_types_to_quantize=["LSTM"],
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                extra_options={"DefaultTensorType": TensorProto.FLOAT},
            )
        else:
            Path(partial).write_bytes(model)
    return Path(path)


def export_graph(network: DTLNNetwork, path: str | Path, quantise: bool = False) -> Path:
    """`export_streaming` of a Keras network."""
    return export_streaming(network.config, network.stored_layers(), path, quantise)
