"""DTLN as ONNX graphs with the LSTM operator, straight from `.h5` weights: no TensorFlow, no Keras, no export before.

    network = SequenceNetwork("pretrained_model/model.h5")
    clean = network.denoise(signals)          # (B, L) -> (B, L), aligned, any length in constant memory

The operator takes whole sequences: inputs and kernels of all blocks are multiplied in one matrix product, and only the
recurrent half is left to do block by block. The inverse Fourier transform is part of the encoder's matrix, the forward
one is numpy's. Equations and constants are those of `DTLN_model.py`; a test equates the two.

Shapes in comments: B signals, L samples, T blocks, N block length, S block shift, F = N // 2 + 1 frequency bins,
E encoder size, U LSTM units, K LSTM layers of a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dtln_audio import SHIFT_KEY, complete_file, whole_blocks
from dtln_weights import EPSILON, DTLNConfig, StoredLayer, read_network, spectral_encoder

OPSET = 17  # the first with LayerNormalization
CHUNK_BLOCKS = 512  # blocks denoised at once: 4 s; longer ones only take more memory


@dataclass
class Graph:
    """An ONNX graph while it is built: every method appends nodes and returns the name of their result."""

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
        """Instant layer normalisation over the last axis."""
        gain, bias = (self.constant(weight) for weight in weights)
        return self.node("LayerNormalization", features, gain, bias, axis=-1, epsilon=EPSILON)

    def project(self, features: str, kernel: np.ndarray) -> str:
        """Matrix product with a kernel (C, D) over the last axis."""
        return self.node("MatMul", features, self.constant(kernel))

    def lstm(self, features: str, weights: Sequence[np.ndarray], hidden: str, cell: str, suffix: str) -> str:
        """LSTM of a sequence (T, B, C) from the states `hidden` and `cell` (1, B, U); `hidden_SUFFIX` and `cell_SUFFIX`
        are the states after it. Keras keeps the gates in the order i, f, c, o; ONNX wants i, o, f, c, transposed, and a
        second bias."""
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
        """A core: features (T, B, C) -> mask (T, B, M). States: `h_k`, `c_k` before, `hidden_k`, `cell_k` after; k is
        counted from `first`."""
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
        """The finished model, checked. Inputs and outputs: name -> shape; all are float32."""
        import onnx
        from onnx import TensorProto, helper

        values = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group.items()]
            for group in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "dtln", *values, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model)
        return model.SerializeToString()


def _reordered(weight: np.ndarray) -> np.ndarray:
    """Gates i, f, c, o along the last axis -> i, o, f, c."""
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


@dataclass(frozen=True)
class Parts:
    """The layers of an `.h5` file by their place in the network; see `DTLN_model.DTLNLayers`."""

    norm_magnitude: list[np.ndarray] | None
    core_1: list[StoredLayer]
    encoder: np.ndarray  # (N, E)
    norm_encoded: list[np.ndarray]
    core_2: list[StoredLayer]
    decoder: np.ndarray  # (E, N)

    @classmethod
    def of(cls, config: DTLNConfig, stored: Sequence[StoredLayer]) -> Parts:
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


def _network(graph: Graph, parts: Parts, config: DTLNConfig, spectrum: str, sizes: Sequence[int], result: str) -> None:
    """Spectrum (T, B, F, 2) -> `result` (T, B, N); sizes: (T, B), 0 for a size to take over."""
    squares = graph.node("ReduceSumSquare", spectrum, axes=[3], keepdims=0)
    features = magnitude = graph.node("Sqrt", squares)  # (T, B, F)
    if parts.norm_magnitude is not None:
        positive = graph.node("Add", magnitude, graph.constant(np.array(EPSILON, np.float32)))
        features = graph.normalise(graph.node("Log", positive), parts.norm_magnitude)
    mask = graph.mask(features, parts.core_1)  # (T, B, F)
    column = graph.node("Unsqueeze", mask, graph.constant(np.array([3])))
    masked = graph.node("Mul", spectrum, column)  # (T, B, F, 2)
    flat = graph.node("Reshape", masked, graph.constant(np.array([*sizes, 2 * config.bins])))
    kernel = graph.constant(spectral_encoder(parts.encoder))
    encoded = graph.node("MatMul", flat, kernel)  # (T, B, E)
    mask = graph.mask(graph.normalise(encoded, parts.norm_encoded), parts.core_2, first=config.lstm_layers)
    graph.node("MatMul", graph.node("Mul", encoded, mask), graph.constant(parts.decoder), outputs=[result])


def sequence_model(config: DTLNConfig, stored: Sequence[StoredLayer]) -> bytes:
    """The network on sequences, as a serialised ONNX model.

    (spectrum (T, B, F, 2), h_k and c_k (1, B, U) for each of the 2 K LSTMs) -> (denoised (T, B, N), hidden_k, cell_k).
    """
    graph, kinds = Graph(), range(2 * config.lstm_layers)
    _network(graph, Parts.of(config, stored), config, "spectrum", (0, 0), "denoised")
    states_in = {f"{kind}_{k}": (1, "signals", config.units) for k in kinds for kind in ("h", "c")}
    states_out = {f"{kind}_{k}": (1, "signals", config.units) for k in kinds for kind in ("hidden", "cell")}
    sequence = ("blocks", "signals")
    return graph.model(
        {"spectrum": (*sequence, config.bins, 2), **states_in},
        {"denoised": (*sequence, config.block_length), **states_out},
    )


def streaming_model(config: DTLNConfig, stored: Sequence[StoredLayer]) -> bytes:
    """The whole network on one block as one serialised ONNX model, Fourier transforms inside, states outside.

    (block (1, 1, N), states (4 K, 1, U)) -> (denoised (1, 1, N), new states). The states are h and c of each LSTM, in
    the order of the network; overlap-add is the caller's. A metadata entry notes the block shift.
    """
    graph, count = Graph(), 2 * config.lstm_layers
    graph.node("Split", "states", outputs=[f"{kind}_{k}" for k in range(count) for kind in ("h", "c")], axis=0)
    column = graph.node("Unsqueeze", "block", graph.constant(np.array([3])))  # (1, 1, N, 1): real
    spectrum = graph.node("DFT", column, axis=2, onesided=1)  # (1, 1, F, 2): real, imaginary
    _network(graph, Parts.of(config, stored), config, spectrum, (1, 1), "denoised")
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
    """Writes `streaming_model`; quantise: the LSTMs in 8 bits, one scale a column, by onnxruntime's tools.

    Raises ModuleNotFoundError where onnx, or to quantise onnxruntime, is missing.
    """
    model = streaming_model(config, stored)
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
                extra_options={"DefaultTensorType": TensorProto.FLOAT},
            )
        else:
            Path(partial).write_bytes(model)
    return Path(path)


class SequenceNetwork:
    """The network on ONNX Runtime, for whole signals.

    threads: of the runtime. Raises FileNotFoundError or dtln_weights.WeightsFileError for the weights,
    ModuleNotFoundError with the remedy where onnx or onnxruntime is missing.
    """

    def __init__(self, weights: str | Path, threads: int = 1) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"the fast engine needs {error.name}: pip install onnx onnxruntime") from error
        self.config, stored = read_network(weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        model = sequence_model(self.config, stored)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names_out = [value.name for value in self._session.get_outputs()]
        self._states_in = [value.name for value in self._session.get_inputs()][1:]

    def initial_states(self, signals: int) -> list[np.ndarray]:
        """Zeros, (1, B, U) each, as `run` takes them."""
        return [np.zeros((1, signals, self.config.units), np.float32)] * len(self._states_in)

    def run(self, blocks: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """(blocks (T, B, N), states) -> (denoised blocks (T, B, N), states after the last block)."""
        spectrum = np.fft.rfft(blocks).astype(np.complex64, copy=False)  # (T, B, F)
        inputs = dict(zip(self._states_in, states, strict=True))
        inputs["spectrum"] = spectrum.view(np.float32).reshape(*spectrum.shape, 2)
        denoised, *states = self._session.run(self._names_out, inputs)
        return denoised, states

    def denoise(self, signals: np.ndarray) -> np.ndarray:
        """Denoises whole signals: float32 (B, L) -> (B, L), aligned, the zeros before and after added and taken off."""
        stream = SequenceDenoiser(self, len(signals))
        return np.concatenate([stream.process(signals), stream.flush()], axis=1)


class SequenceDenoiser:
    """Denoises B signals that come in pieces; the one owner of buffers and states.

    Like `dtln_streaming.StreamingDenoiser`, but in chunks of CHUNK_BLOCKS blocks: for recordings, not for sound cards.
    """

    def __init__(self, network: SequenceNetwork, signals: int = 1) -> None:
        self.network, self.signals = network, signals
        self.block_length, self.block_shift = network.config.block_length, network.config.block_shift
        self.delay = self.block_length - self.block_shift
        self.reset()

    def reset(self) -> None:
        """Forgets the signals so far."""
        self._states = self.network.initial_states(self.signals)
        self._input = np.zeros((self.signals, self.delay), np.float32)  # not yet in a block, after the zeros before
        self._output = np.zeros((self.signals, self.delay), np.float32)  # what later blocks still add to
        self._taken, self._given = 0, -self.delay  # aligned samples; negative while the zeros before come out

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Samples (B, L) in, L from 0 on; the aligned samples (B, M) that are complete by now out.

        Raises ValueError for another number of signals.
        """
        if samples.ndim != 2 or len(samples) != self.signals:
            raise ValueError(f"samples of shape {samples.shape} were given: expected ({self.signals}, L)")
        self._taken += samples.shape[1]
        return self._push(samples, CHUNK_BLOCKS)

    def flush(self) -> np.ndarray:
        """The rest of the signals, so that as many samples have come out as went in; then resets."""
        missing = self._taken - max(0, self._given)
        held = self._input.shape[1]
        after = whole_blocks(held + self.delay, self.block_length, self.block_shift) - held
        rest = self._push(np.zeros((self.signals, after), np.float32), 1)[:, :missing]
        self.reset()
        return rest

    def _push(self, samples: np.ndarray, fewest: int) -> np.ndarray:
        """Takes samples and runs the blocks that are complete, unless they are fewer than `fewest`."""
        shift = self.block_shift
        signal = np.concatenate([self._input, samples], axis=1, dtype=np.float32)  # (B, L)
        blocks = max(0, (signal.shape[1] - self.delay) // shift)
        blocks -= blocks % fewest
        finished = []
        for first in range(0, blocks, CHUNK_BLOCKS):
            count = min(CHUNK_BLOCKS, blocks - first)
            part = signal[:, first * shift : (first + count) * shift + self.delay]
            framed = np.lib.stride_tricks.sliding_window_view(part, self.block_length, axis=1)[:, ::shift]  # (B, T, N)
            denoised, self._states = self.network.run(np.swapaxes(framed, 0, 1), self._states)  # (T, B, N)
            summed = overlap_add(np.swapaxes(denoised, 0, 1), shift)  # (B, T * S + delay)
            summed[:, : self.delay] += self._output
            finished.append(summed[:, : count * shift])
            self._output = summed[:, count * shift :]
        self._input = signal[:, blocks * shift :]
        drop = min(max(0, -self._given), blocks * shift)  # what precedes the signals
        self._given += blocks * shift
        return np.concatenate(finished, axis=1)[:, drop:] if finished else np.zeros((self.signals, 0), np.float32)


def overlap_add(blocks: np.ndarray, block_shift: int) -> np.ndarray:
    """Adds blocks (B, T, N) up at their places, `block_shift` samples apart: (B, (T - 1) * S + N), a new array."""
    batch, count, length = blocks.shape
    pieces = -(-length // block_shift)
    result = np.zeros((batch, count + pieces - 1, block_shift), np.float32)
    for index in range(pieces):
        piece = blocks[:, :, index * block_shift : (index + 1) * block_shift]
        result[:, index : index + count, : piece.shape[2]] += piece
    return result.reshape(batch, -1)[:, : (count - 1) * block_shift + length]
