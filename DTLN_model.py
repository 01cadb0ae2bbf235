"""DTLN, the Dual-signal Transformation LSTM Network: network, weights, data generator, training loop and facade.

Westhausen & Meyer, "Dual-Signal Transformation LSTM Network for Real-Time Noise Suppression", Interspeech 2020,
doi:10.21437/Interspeech.2020-2631 ("the paper" below). The signal path:

    signal (B, L)
      -> blocks of 512 samples every 128 -> rFFT -> magnitude [-> log -> instant layer normalisation] -> core 1 -> mask
      -> mask * complex spectrum -> irFFT
      -> encoder (Conv1D, kernel 1) -> instant layer normalisation -> core 2 -> mask
      -> mask * encoded block -> decoder (Conv1D, kernel 1) -> overlap-add
    signal (B, L)

`DTLNLayers` creates the layers and has this path, once: the batch graph, the stateful graph, the split graph and the
exports (`dtln/export/`) go through it and differ only in what runs the two cores and in the transforms around them. The
network runs on every back end of Keras 3; TensorFlow is imported only where a function needs it.

Shapes in comments: B signals, L samples, T blocks, N block length, S block shift, F = N // 2 + 1 frequency bins,
E encoder size, U LSTM units, K LSTM layers of a core, C input features of a layer, M size of a mask (F or E).
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notices are not ours to print

import itertools
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers, ops

from dtln.audio.folders import find_audio_files, pair_files
from dtln.audio.headers import audio_info
from dtln.audio.reading import read_audio
from dtln.blocks import crop_overlap, pad_for_overlap, segment_length, whole_blocks
from dtln.choices import LOSSES, OPTIMIZERS, SCHEDULES, resolve
from dtln.errors import AudioFileError, SettingsError, WeightsFileError, require
from dtln.facts import BLOCK_LENGTH, BLOCK_SHIFT, EPSILON, SAMPLE_RATE
from dtln.files import complete_file
from dtln.training.losses import negative_si_sdr, negative_snr
from dtln.weights import (
    DTLNConfig,
    StoredLayer,
    describe_layers,
    layer_kind,
    read_config,
    read_legacy_weights,
    read_network,
)

__all__ = [
    "DTLN_model",
    "DTLNConfig",
    "DTLNLayers",
    "DTLNNetwork",
    "InstantLayerNormalization",
    "MixedSegments",
    "PairedFolders",
    "SegmentSource",
    "SeparationCore",
    "TrainingSettings",
    "ValidationBatches",
    "WeightsFileError",
    "audio_generator",
    "batch_of",
    "build_network",
    "build_split_network",
    "build_stateful_network",
    "compile_network",
    "initialise_mdct",
    "keep_random_start",
    "load_legacy_weights",
    "load_mean_network",
    "load_network",
    "mdct_basis",
    "negative_si_sdr",
    "negative_snr",
    "overlap_add",
    "read_config",
    "save_legacy_weights",
    "segment_length",
    "steps_per_epoch",
    "train",
    "training_batches",
    "warm_start",
    "weighted_layers",
]

# ----------------------------------------------------------------------------------------------------------------------
# Signal layers: no weights, always float32 (an FFT in half precision would cost more than it saves)
# ----------------------------------------------------------------------------------------------------------------------


def magnitude(real: Any, imag: Any) -> Any:
    """Magnitude of a complex spectrum given as two real tensors, any shape."""
    return ops.sqrt(ops.square(real) + ops.square(imag))


def overlap_add(blocks: Any, block_shift: int) -> Any:
    """The sum of blocks (B, T, N), each at its place, `block_shift` samples after the one before: (B, (T - 1) S + N).

    Each block is cut into ceil(N / S) pieces of one shift; pieces that fall on the same shift are added.
    """
    block_length = blocks.shape[-1]
    pieces = -(-block_length // block_shift)
    excess = pieces * block_shift - block_length
    batch, count = ops.shape(blocks)[0], ops.shape(blocks)[1]
    if excess:
        blocks = ops.pad(blocks, [[0, 0], [0, 0], [0, excess]])  # (B, T, pieces * S)
    blocks = ops.reshape(blocks, (batch, count, pieces, block_shift))  # (B, T, pieces, S)
    total = 0
    for index in range(pieces):
        total = total + ops.pad(blocks[:, :, index], [[0, 0], [index, pieces - 1 - index], [0, 0]])
    signal = ops.reshape(total, (batch, (count + pieces - 1) * block_shift))  # (B, (T + pieces - 1) * S)
    return signal[:, : (count + pieces - 1) * block_shift - excess] if excess else signal  # (B, (T - 1) * S + N)


class SignalLayer(layers.Layer):
    """Base of the layers that only rearrange or transform signals: float32 under every policy."""

    def __init__(self, block_length: int, block_shift: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.block_length = block_length
        self.block_shift = block_shift

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype")
        return {**config, "block_length": self.block_length, "block_shift": self.block_shift}


@keras.saving.register_keras_serializable("DTLN")
class Framing(SignalLayer):
    """(B, L) -> overlapping blocks (B, T, N), after zeros at the end fill up whole shifts and at least one block."""

    def call(self, signal: Any) -> Any:
        length = ops.shape(signal)[1]
        if isinstance(length, int):
            padded = whole_blocks(length, self.block_length, self.block_shift)
        else:  # a TensorFlow graph knows the length only when it runs
            beyond = ops.maximum(length - self.block_length, 0)
            padded = self.block_length + (beyond + self.block_shift - 1) // self.block_shift * self.block_shift
        signal = ops.pad(signal, [[0, 0], [0, padded - length]])
        return ops.extract_sequences(signal, self.block_length, self.block_shift)  # (B, T, N)

    def compute_output_spec(self, signal: Any) -> keras.KerasTensor:
        length = signal.shape[1]
        count = None
        if length is not None:
            padded = whole_blocks(length, self.block_length, self.block_shift)
            count = (padded - self.block_length) // self.block_shift + 1
        return keras.KerasTensor((signal.shape[0], count, self.block_length), dtype="float32")


@keras.saving.register_keras_serializable("DTLN")
class Spectrum(SignalLayer):
    """(B, T, N) -> real and imaginary part, each (B, T, F). No window, as published."""

    def call(self, blocks: Any) -> tuple[Any, Any]:
        return ops.rfft(blocks, fft_length=self.block_length)

    def compute_output_spec(self, blocks: Any) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        shape = (*blocks.shape[:-1], self.block_length // 2 + 1)
        return keras.KerasTensor(shape, dtype="float32"), keras.KerasTensor(shape, dtype="float32")


@keras.saving.register_keras_serializable("DTLN")
class MaskedBlocks(SignalLayer):
    """(real, imaginary, mask), each (B, T, F) -> (B, T, N).

    The published code separates magnitude and phase and multiplies mask * magnitude * exp(j * phase). Mask times the
    complex spectrum is the same number, and needs neither arc tangent nor exponential.
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        real, imag, mask = inputs
        return ops.irfft((real * mask, imag * mask), fft_length=self.block_length)  # (B, T, N)

    def compute_output_spec(self, inputs: Sequence[Any]) -> keras.KerasTensor:
        return keras.KerasTensor((*inputs[0].shape[:-1], self.block_length), dtype="float32")


@keras.saving.register_keras_serializable("DTLN")
class OverlapAdd(SignalLayer):
    """(blocks (B, T, N), signal (B, L)) -> (B, L): overlap-add, cropped to the length of the signal."""

    def call(self, inputs: Sequence[Any]) -> Any:
        blocks, signal = inputs
        return overlap_add(blocks, self.block_shift)[:, : ops.shape(signal)[1]]  # (B, L)

    def compute_output_spec(self, inputs: Sequence[Any]) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[1].shape, dtype="float32")


@keras.saving.register_keras_serializable("DTLN")
class Magnitude(layers.Layer):
    """(real, imaginary), each (B, T, F) -> magnitude (B, T, F)."""

    def call(self, inputs: Sequence[Any]) -> Any:
        return magnitude(*inputs)

    def compute_output_spec(self, inputs: Sequence[Any]) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[0].shape, dtype=self.compute_dtype)


# ----------------------------------------------------------------------------------------------------------------------
# Loss
# ----------------------------------------------------------------------------------------------------------------------


# ----------------------------------------------------------------------------------------------------------------------
# Normalisation
# ----------------------------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("DTLN")
class InstantLayerNormalization(layers.Layer):
    """Layer normalisation over the features of each block, with gain and bias: (B, T, C) -> (B, T, C).

    The paper's instant layer normalisation (section 2.1), after Luo & Mesgarani's channel-wise one:
    (x - mean) / sqrt(var + 1e-7) * gamma + beta. It looks at no other block, so streams and batches agree.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})  # sums over features lose too much in half precision
        self.epsilon = EPSILON

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", trainable=True, name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", trainable=True, name="beta")

    def call(self, inputs: Any) -> Any:
        mean = ops.mean(inputs, axis=-1, keepdims=True)  # (B, T, 1)
        centred = inputs - mean
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)  # (B, T, 1)
        return centred / ops.sqrt(variance + self.epsilon) * self.gamma + self.beta  # (B, T, C)


# ----------------------------------------------------------------------------------------------------------------------
# Keras's convolution and LSTM, faster where Keras is slow
# ----------------------------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("DTLN")
class PointwiseConv1D(layers.Conv1D):
    """`keras.layers.Conv1D` with a kernel of one block and no bias: (B, T, C) -> (B, T, filters), in float32.

    It carries the signal, which half precision would bury in noise, so it is float32 under every policy. On PyTorch it
    is the matrix product that it amounts to, several times faster there than the convolution.
    """

    def __init__(self, filters: int, kernel_size: int = 1, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **{**kwargs, "use_bias": False, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, self.kernel[0]) if keras.backend.backend() == "torch" else super().call(inputs)


@keras.saving.register_keras_serializable("DTLN")
class SequenceLSTM(layers.LSTM):
    """`keras.layers.LSTM` that uses PyTorch's LSTM operator on a CPU, too: sequences (B, T, C) -> (B, T, U).

    Keras 3 calls that operator on CUDA only; on a CPU it loops over the blocks in Python, and a training step takes
    several times longer. Equations and weights are the same. Other back ends, masks and unrolled layers go to Keras.
    """

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        if keras.backend.backend() != "torch" or mask is not None or self.unroll or sequences.device.type != "cpu":
            return super().inner_loop(sequences, initial_state, mask, training=training)
        from dtln.training.torch_lstm import torch_lstm

        variables = (self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias)
        weights = [ops.convert_to_tensor(variable) for variable in variables]
        inputs = (value.to(weights[0].dtype) for value in (sequences, *initial_state))
        outputs, hidden, cell = torch_lstm(*inputs, *weights)
        return outputs[:, -1], outputs, [hidden, cell]


# ----------------------------------------------------------------------------------------------------------------------
# Cores, and all layers with weights
# ----------------------------------------------------------------------------------------------------------------------


Run = Callable[[Any], tuple[Any, Any]]  # runs a core: features (B, T, C) -> (mask (B, T, M), states after it)


def lstm_step(lstm: layers.LSTM, features: Any, hidden: Any, cell: Any) -> tuple[Any, Any, Any]:
    """One block through an LSTM: (features (1, 1, C), h and c (1, U)) -> (features (1, 1, U), new h, new c)."""
    return lstm(features, initial_state=[hidden, cell])


class SeparationCore:
    """LSTM - dropout - ... - LSTM - dense - activation: features (B, T, C) -> mask (B, T, M).

    stateful: the LSTMs keep their states between calls (one signal, one block after the other).
    external_states: `step` takes and returns the states; the LSTMs are unrolled, as exports want them.
    """

    def __init__(
        self,
        config: DTLNConfig,
        mask_size: int,
        *,
        stateful: bool = False,
        external_states: bool = False,
        seed: int | None = None,
        names: Callable[[str], str | None] = lambda kind: None,
    ) -> None:
        self.lstms, self.dropouts = [], []
        for index in range(config.lstm_layers):
            self.lstms.append(
                SequenceLSTM(
                    config.units,
                    return_sequences=True,
                    stateful=stateful,
                    return_state=external_states,
                    unroll=external_states,
                    name=names("lstm"),
                )
            )
            if index < config.lstm_layers - 1:
                dropout_seed = None if seed is None else seed + index
                self.dropouts.append(layers.Dropout(config.dropout, seed=dropout_seed, name=names("dropout")))
        self.dense = layers.Dense(mask_size, name=names("dense"))
        self.activation = layers.Activation(config.activation, name=names("activation"))

    def __call__(self, features: Any) -> tuple[Any, None]:
        """features (B, T, C) -> (mask (B, T, M), None): the states stay inside, or begin at zero in each signal."""
        for index, lstm in enumerate(self.lstms):
            features = lstm(features)  # (B, T, U)
            if index < len(self.dropouts):
                features = self.dropouts[index](features)
        return self.activation(self.dense(features)), None

    def step(self, features: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        """One block, the states outside: (features (1, 1, C), states) -> (mask (1, 1, M), new states).

        states: h and c (1, U) of each LSTM, one LSTM after the other.
        """
        after = []
        for index, lstm in enumerate(self.lstms):
            features, hidden, cell = lstm_step(lstm, features, *states[2 * index : 2 * index + 2])
            after += [hidden, cell]
            if index < len(self.dropouts):
                features = self.dropouts[index](features)
        return self.activation(self.dense(features)), after

    def packed_step(self, features: Any, states: Any) -> tuple[Any, Any]:
        """`step` with all states in one tensor (1, K, U, 2), whose last axis is (h, c)."""
        apart = [states[:, index, :, place] for index in range(len(self.lstms)) for place in (0, 1)]  # (1, U) each
        mask, after = self.step(features, apart)
        return mask, ops.stack([ops.stack(after[0::2], axis=1), ops.stack(after[1::2], axis=1)], axis=-1)


class DTLNLayers:
    """Every layer of the network, created once, and the signal path through them.

    Layers with weights are created in the order in which `.h5` files store them: [norm of the log magnitude], core 1,
    encoder, norm of the encoded blocks, core 2, decoder. The path comes in two halves, around the two masks; what runs
    a core is handed in, so that whole signals, streams and exports go one way.
    """

    def __init__(
        self,
        config: DTLNConfig,
        *,
        stateful: bool = False,
        external_states: bool = False,
        seed: int | None = None,
    ) -> None:
        counts: dict[str, int] = {}

        def names(kind: str) -> str:  # lstm, lstm_1, ...: the names of published files, in every model alike
            counts[kind] = counts.get(kind, -1) + 1
            return kind if counts[kind] == 0 else f"{kind}_{counts[kind]}"

        sizes = (config.block_length, config.block_shift)
        core = partial(SeparationCore, config, stateful=stateful, external_states=external_states, names=names)
        self.config = config
        self.norm_magnitude = (
            InstantLayerNormalization(name=names("instant_layer_normalization")) if config.norm_stft else None
        )
        self.core_1 = core(config.bins, seed=seed)
        self.encoder = PointwiseConv1D(config.encoder_size, name=names("conv1d"))
        self.norm_encoded = InstantLayerNormalization(name=names("instant_layer_normalization"))
        self.core_2 = core(config.encoder_size, seed=None if seed is None else seed + config.lstm_layers)
        self.decoder = PointwiseConv1D(config.block_length, name=names("conv1d"))
        self.spectrum = Spectrum(*sizes, name="spectrum")
        self.magnitude = Magnitude(name="magnitude")
        self.masked_blocks = MaskedBlocks(*sizes, name="masked_blocks")
        self.mask_encoded = layers.Multiply(dtype="float32", name="mask_encoded")

    @property
    def after_core_1(self) -> list[layers.Layer]:
        """The layers with weights that follow core 1. Their shapes are the same in both variants."""
        return [self.encoder, self.norm_encoded, *self.core_2.lstms, self.core_2.dense, self.decoder]

    @property
    def weighted(self) -> list[layers.Layer]:
        """The layers with weights in file order."""
        first = [] if self.norm_magnitude is None else [self.norm_magnitude]
        return [*first, *self.core_1.lstms, self.core_1.dense, *self.after_core_1]

    def first_half(self, value: Any, run: Run) -> tuple[Any, Any]:
        """Magnitude of the noisy spectrum (B, T, F) -> (its mask (B, T, F), states of core 1). `run` runs core 1."""
        if self.norm_magnitude is not None:
            value = self.norm_magnitude(ops.log(value + EPSILON))
        return run(value)

    def second_half(self, encoded: Any, run: Run) -> tuple[Any, Any]:
        """Encoded blocks (B, T, E) -> (denoised blocks (B, T, N), states of core 2). `run` runs core 2."""
        mask, states = run(self.norm_encoded(encoded))  # (B, T, E)
        return self.decoder(self.mask_encoded([encoded, mask])), states

    def denoise(self, blocks: Any, run_1: Run | None = None, run_2: Run | None = None) -> tuple[Any, Any, Any]:
        """Noisy blocks (B, T, N) -> (denoised blocks (B, T, N), states of core 1, states of core 2).

        run_1 and run_2 run the cores; unless given, the cores themselves do, whose states stay inside. Overlap-add is
        the caller's.
        """
        real, imag = self.spectrum(blocks)  # (B, T, F) each
        mask, states_1 = self.first_half(self.magnitude([real, imag]), run_1 or self.core_1)  # (B, T, F)
        encoded = self.encoder(self.masked_blocks([real, imag, mask]))  # (B, T, E)
        denoised, states_2 = self.second_half(encoded, run_2 or self.core_2)
        return denoised, states_1, states_2


# ----------------------------------------------------------------------------------------------------------------------
# The graphs
# ----------------------------------------------------------------------------------------------------------------------


class DTLNNetwork(keras.Model):
    """A Keras model whose `.h5` weights are those of the published code, in both directions.

    `load_weights` reads published files and ours by layer order and says what does not fit; `save_weights` to a name
    ending in `.h5` writes the legacy layout that Keras 2 and the published code load. Every other name is Keras's own.
    """

    config: DTLNConfig
    dtln_layers: DTLNLayers

    def attach(self, dtln_layers: DTLNLayers) -> DTLNNetwork:
        """Keeps the layers behind the graph and their configuration; returns the network."""
        self.dtln_layers, self.config = dtln_layers, dtln_layers.config
        return self

    def reset_states(self) -> None:
        """Sets the states of stateful LSTMs to zero: a new signal begins. A method of Keras 2 models."""
        for layer in self.layers:
            if getattr(layer, "stateful", False):
                layer.reset_states()

    def denoise(self, signals: np.ndarray) -> np.ndarray:
        """Denoised whole signals, float32 (B, L) -> (B, L), aligned: adds the zeros that they need, and crops them."""
        if not hasattr(self, "_compiled_call"):
            self._compiled_call: Any = partial(self.__call__, training=False)
            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                # one trace for all lengths: `predict` traces every length anew, and a plain call runs every step of
                # every LSTM in Python
                spec = tf.TensorSpec((None, None), tf.float32)
                self._compiled_call = tf.function(self._compiled_call, input_signature=[spec])
        sizes = (self.config.block_length, self.config.block_shift)
        padded = pad_for_overlap(signals.astype(np.float32, copy=False), *sizes)  # (B, L + 2 * delay)
        return crop_overlap(ops.convert_to_numpy(self._compiled_call(padded)), signals.shape[-1], *sizes)

    def split(self) -> DTLNNetwork:
        """The same network for one block at a time, its states outside; see `build_split_network`."""
        network = build_split_network(self.config)
        for target, source in zip(network.dtln_layers.weighted, self.dtln_layers.weighted, strict=True):
            target.set_weights(source.get_weights())
        return network

    def stored_layers(self) -> list[StoredLayer]:
        """Names and weights of the layers that have any, in file order, as `dtln.weights.read_network` gives them."""
        return [(layer.name, layer.get_weights()) for layer in self.dtln_layers.weighted]

    def load_weights(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
        if str(filepath).endswith((".weights.h5", ".keras")):
            super().load_weights(filepath, *args, **kwargs)
        else:
            load_legacy_weights(weighted_layers(self), filepath)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        if str(filepath).endswith(".weights.h5"):
            super().save_weights(filepath, overwrite=overwrite)
        elif overwrite or not Path(filepath).exists():
            save_legacy_weights(weighted_layers(self), filepath, self.config.block_shift)
        else:
            raise FileExistsError(f"{filepath}: exists, and overwrite=False was given. Choose another name.")


def build_network(config: DTLNConfig, seed: int | None = None) -> DTLNNetwork:
    """The batch graph: whole signals of any length (B, L) -> (B, L).

    It adds zeros only at the end, up to whole shifts and at least one block, and crops them from the result. The zeros
    around a signal are the caller's, as in `DTLNNetwork.denoise`. seed: of the dropout masks.
    """
    dtln_layers = DTLNLayers(config, seed=seed)
    sizes = (config.block_length, config.block_shift)
    signal = keras.Input((None,), name="noisy")  # (B, L)
    blocks = Framing(*sizes, name="framing")(signal)  # (B, T, N)
    denoised, *_ = dtln_layers.denoise(blocks)  # (B, T, N)
    estimate = OverlapAdd(*sizes, name="overlap_add")([denoised, signal])  # (B, L)
    return DTLNNetwork(signal, estimate, name="dtln").attach(dtln_layers)


def build_stateful_network(config: DTLNConfig) -> DTLNNetwork:
    """The stateful graph: one block (1, N) in, one block (1, 1, N) out, the LSTM states inside.

    Overlap-add is the caller's. `reset_states` starts a new signal.
    """
    dtln_layers = DTLNLayers(config, stateful=True)
    block = keras.Input(batch_shape=(1, config.block_length), name="block")  # (1, N)
    blocks = layers.Reshape((1, config.block_length), name="one_block")(block)  # (1, 1, N)
    denoised, *_ = dtln_layers.denoise(blocks)  # (1, 1, N)
    return DTLNNetwork(block, denoised, name="dtln_stateful").attach(dtln_layers)


def build_split_network(config: DTLNConfig) -> DTLNNetwork:
    """The graph that exports are made of: one block and the states of both cores in, the same out.

    (block (1, 1, N), states_1 and states_2 (1, K, U, 2)) -> (denoised (1, 1, N), states_1, states_2). Exports to
    runtimes without Fourier transform take the two halves of its `dtln_layers` instead.
    """
    dtln_layers = DTLNLayers(config, external_states=True)
    block = keras.Input(batch_shape=(1, 1, config.block_length), name="block")
    states = [keras.Input(batch_shape=config.states_shape, name=f"states_{index}") for index in (1, 2)]
    cores = (dtln_layers.core_1, dtln_layers.core_2)
    runs = [partial(core.packed_step, states=value) for core, value in zip(cores, states, strict=True)]
    return DTLNNetwork([block, *states], dtln_layers.denoise(block, *runs), name="dtln_split").attach(dtln_layers)


# ----------------------------------------------------------------------------------------------------------------------
# Starts of encoder and decoder (`dtln.choices.STARTS`)
# ----------------------------------------------------------------------------------------------------------------------


def keep_random_start(dtln_layers: DTLNLayers) -> None:
    """Leaves encoder and decoder as they were created: random, as in the paper."""


def mdct_basis(block_length: int, phase: float = 0.0) -> np.ndarray:
    """MDCT with sine window as a matrix (N, N // 2), so scaled that basis @ basis.T, overlap-added with a hop of N / 2,
    is the identity. With a phase of pi / 2 it has sines instead of cosines (MDST).

    Princen, Johnson & Bradley, "Subband/transform coding using filter bank designs based on time domain aliasing
    cancellation", ICASSP 1987.
    """
    half = block_length // 2
    n = np.arange(block_length)[:, None]  # (N, 1)
    k = np.arange(half)[None]  # (1, N // 2)
    window = np.sin(np.pi * (n + 0.5) / block_length)
    return window * np.sqrt(2.0 / half) * np.cos(np.pi / half * (n + 0.5 + half / 2) * (k + 0.5) - phase)


def initialise_mdct(dtln_layers: DTLNLayers) -> None:
    """Starts encoder and decoder from the MDCT, so that the untrained network passes the signal through.

    Both masks start near sigmoid(0) = 0.5, so the decoder has to give back a factor of 4. The blocks overlap N / (2 S)
    times as often as those of an MDCT, so it is the transposed encoder times 4 * 2 S / N. Not in the paper. Raises
    SettingsError if encoder size or block shift do not allow it.
    """
    config = dtln_layers.config
    size, length, shift = config.encoder_size, config.block_length, config.block_shift
    if size != length // 2 or length % (2 * shift):
        raise SettingsError(
            "the MDCT basis needs an encoder of half a block and a shift that divides half a block; found encoder "
            f"{size}, block {length}, shift {shift}. Choose the random start"
        )
    basis = mdct_basis(length)
    dtln_layers.encoder.set_weights([basis[None].astype(np.float32)])  # (1, N, E)
    dtln_layers.decoder.set_weights([(8.0 * shift / length * basis.T)[None].astype(np.float32)])  # (1, E, N)


# ----------------------------------------------------------------------------------------------------------------------
# Weights: the legacy HDF5 layout of Keras 2, which the published code reads and writes
# ----------------------------------------------------------------------------------------------------------------------


def weighted_layers(model: keras.Model) -> list[layers.Layer]:
    """The layers of a model that have weights, in the order in which Keras stores them.

    Of a model that is part of a network, all layers of the network.
    """
    parts = getattr(model, "dtln_layers", None)
    return [layer for layer in model.layers if layer.weights] if parts is None else parts.weighted


def load_legacy_weights(targets: Sequence[layers.Layer], path: str | Path) -> None:
    """Loads an `.h5` file into layers, by order. Raises WeightsFileError, and changes nothing, if it does not fit."""
    _set_stored_layers(targets, read_legacy_weights(path), path)


def _set_stored_layers(targets: Sequence[layers.Layer], stored: Sequence[StoredLayer], path: str | Path) -> None:
    expected = [(layer.name, list(layer.weights)) for layer in targets]
    shapes = [[tuple(w.shape) for w in weights] for _, weights in stored]
    if shapes != [[tuple(w.shape) for w in weights] for _, weights in expected]:
        hint = ""
        if bool(stored) and (layer_kind(stored[0][1]) == "n") != (len(expected[0][1]) == 2):
            hint = " One normalises the log magnitude (norm_stft), the other does not."
        raise WeightsFileError(
            f"{path}: does not fit this network.{hint} Expected {describe_layers(expected)}; "
            f"found {describe_layers(stored) or 'no weights'}."
        )
    for layer, (_, weights) in zip(targets, stored, strict=True):
        layer.set_weights(weights)


def save_legacy_weights(sources: Sequence[layers.Layer], path: str | Path, block_shift: int | None = None) -> None:
    """Writes the weights of layers as an `.h5` file that `load_weights` of Keras 2 takes; complete or not at all.

    The file also notes block_shift (samples), which no weight shows.
    """
    with complete_file(path) as partial, h5py.File(partial, "w", locking=False) as file:  # complete_file locks it
        file.attrs["layer_names"] = np.array([layer.name.encode() for layer in sources])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.15.0"  # of the layout, not ours: without it Keras 2 converts from Keras 1
        if block_shift is not None:
            file.attrs["dtln_block_shift"] = block_shift
        for layer in sources:
            group = file.create_group(layer.name)
            cell = f"{layer.name}/lstm_cell" if isinstance(layer, layers.LSTM) else layer.name
            names = [f"{cell}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, weight in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=weight)


def load_network(path: str | Path, seed: int | None = None) -> DTLNNetwork:
    """The batch network (B, L) -> (B, L) with the weights of an `.h5` file, or of a SavedModel's folder if it is ours.

    The file determines variant and sizes. seed: of the dropout masks. Raises FileNotFoundError or WeightsFileError.
    """
    if Path(path).is_dir():
        from dtln.export.saved_model import read_saved_model

        config, stored = read_saved_model(path)
    else:
        config, stored = read_network(path)
    network = build_network(config, seed=seed)
    _set_stored_layers(weighted_layers(network), stored, path)
    return network


def load_mean_network(paths: Sequence[str | Path]) -> DTLNNetwork:
    """The batch network whose weights are the means of those of several `.h5` files.

    If the files come from one training, each from the end of a cosine, the mean is often better than any of them:
    Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.
    Raises as `load_network`, and WeightsFileError for files of different variants or sizes.
    """
    networks = [load_network(path) for path in paths]
    for path, network in zip(paths, networks, strict=True):
        if network.config != networks[0].config:
            raise WeightsFileError(
                f"{path}: {network.config}, but {paths[0]}: {networks[0].config}. Only weights of one variant and size "
                "have a mean; name files of one training."
            )
    columns = zip(*(network.get_weights() for network in networks), strict=True)
    networks[0].set_weights([np.mean(column, axis=0) for column in columns])
    return networks[0]


def warm_start(network: DTLNNetwork, path: str | Path) -> str:
    """Starts a network from an `.h5` file of either variant; returns, in words, what was taken.

    A file of the same variant is loaded whole. Of the other variant, the layers after core 1 are, because core 1 sees
    other features there (magnitude or normalised log magnitude). Raises as `load_network`.
    """
    other, stored = read_network(path, default_block_shift=network.config.block_shift)
    if other.norm_stft == network.config.norm_stft:
        _set_stored_layers(weighted_layers(network), stored, path)
        return "all layers"
    targets = network.dtln_layers.after_core_1
    _set_stored_layers(targets, stored[-len(targets) :], path)
    return "the layers after core 1 (the file is of the other variant, whose core 1 sees other features)"


# ----------------------------------------------------------------------------------------------------------------------
# Training data: sources of (noisy, clean) segments
# ----------------------------------------------------------------------------------------------------------------------


class PairedFolders:
    """Segments from a folder of noisy wavs and one of clean wavs, with their sub-folders.

    Equal names or the same `fileid_N` make a pair (see `pair_files`). All pairs are checked before the first segment is
    read, by their headers (wavinfo) where that is enough. A recording longer than a segment gives
    ceil(length / segment_length) segments, the last of which ends with the recording; a shorter one gives one segment
    with zeros at its end. Nothing is dropped, unless `remainders` is False: then only whole segments count, as in the
    published code.

    `segments` lists (noisy name, first sample), `clean_names` maps a noisy name to its partner, `summary` says what was
    found. Raises AudioFileError, which names the file.
    """

    def __init__(
        self,
        noisy_dir: str | Path,
        clean_dir: str | Path,
        segment_length: int,
        sample_rate: int = SAMPLE_RATE,
        remainders: bool = True,
    ) -> None:
        self.noisy_dir, self.clean_dir = Path(noisy_dir), Path(clean_dir)
        self.segment_length, self.sample_rate = segment_length, sample_rate
        names = pair_files(
            _wav_names(self.noisy_dir), _wav_names(self.clean_dir), self.noisy_dir, self.clean_dir, all_clean=True
        )
        self.clean_names = dict(names)
        self.lengths: dict[str, int] = {}
        for noisy_name, clean_name in names:
            noisy_length = wav_length(self.noisy_dir / noisy_name, sample_rate)
            clean_length = wav_length(self.clean_dir / clean_name, sample_rate)
            if noisy_length != clean_length:
                raise AudioFileError(
                    f"{self.noisy_dir / noisy_name}: has {noisy_length} samples, its clean partner {clean_length}. "
                    "Expected equal lengths; cut or make the pair again."
                )
            self.lengths[noisy_name] = noisy_length
        self.segments = [
            (name, max(0, min(start, length - segment_length)))
            for name, length in self.lengths.items()
            for start in range(0, length if remainders else length - segment_length + 1, segment_length)
        ]

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def summary(self) -> str:
        """Pairs, hours and segments, and how many recordings are shorter than a segment."""
        hours = sum(self.lengths.values()) / self.sample_rate / 3600
        padded = sum(length < self.segment_length for length in self.lengths.values())
        seconds = self.segment_length / self.sample_rate
        return (
            f"{len(self.lengths)} pairs, {hours:.2f} h, {len(self)} segments of {seconds:g} s"
            f"{f', {padded} shorter ones padded' if padded else ''}"
        )

    def segment(self, index: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Segment `index`: (noisy, clean), each float32 (segment_length,). `rng` is not used."""
        name, start = self.segments[index]
        return self._read(self.noisy_dir / name, start), self._read(self.clean_dir / self.clean_names[name], start)

    def _read(self, path: Path, start: int) -> np.ndarray:
        import soundfile

        try:
            samples, _ = soundfile.read(path, frames=self.segment_length, start=start, dtype="float32")
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioFileError(f"{path}: cannot be read ({error}). Expected a wav file; convert it again.") from error
        if not np.all(np.isfinite(samples)):
            raise AudioFileError(
                f"{path}: holds NaN or Inf from sample {start} on. Expected finite samples; repair it."
            )
        return np.pad(samples, (0, self.segment_length - len(samples)))


def _wav_names(folder: Path) -> list[str]:
    """Relative names of all wavs below a folder, sorted; AudioFileError if there are none."""
    names = [p.relative_to(folder).as_posix() for p in find_audio_files(folder) if p.suffix.lower() == ".wav"]
    if not names:
        raise AudioFileError(f"{folder}: holds no wav files. Expected noisy or clean wavs for training.")
    return names


PLAIN_WAV_CODINGS = {1, 6, 7}  # PCM, A-law, mu-law: one sample a block, never NaN


def wav_length(path: Path, sample_rate: int) -> int:
    """The length of a mono wav in samples, from its header if that is plain and complete.

    Other files are decoded once. Floats may be NaN, which must be known before the first step. And wavinfo fails on
    streams, odd chunks and empty files that are otherwise fine, counts blocks where a coding packs many samples into
    one, and does not see truncation.
    Raises AudioFileError if it is no wav, truncated, empty, of another rate, not mono, or holds NaN or Inf.
    """
    WavInfoReader = require("wavinfo", "training on wavs").WavInfoReader

    try:
        info = WavInfoReader(str(path))
        data = next(chunk for chunk in info.main_list if getattr(chunk, "ident", None) == b"data")
        complete = 0 < data.length <= os.path.getsize(path) - data.start
        plain = complete and info.fmt.audio_format in PLAIN_WAV_CODINGS
        rate, channels, length = info.fmt.sample_rate, info.fmt.channel_count, info.data.frame_count
    except Exception:  # wavinfo raises whatever its parser fails with
        plain = False
    if not plain:
        container = audio_info(path).sample_format.container
        if container not in ("WAV", "WAVEX", "RF64"):
            raise AudioFileError(f"{path}: is {container} inside. Expected a RIFF wav file; convert it.")
        samples, rate = read_audio(path)  # (L, channels)
        length, channels = samples.shape
    if rate != sample_rate:
        raise AudioFileError(f"{path}: has a rate of {rate} Hz. Expected {sample_rate} Hz; resample it.")
    if channels != 1:
        raise AudioFileError(f"{path}: has {channels} channels. Expected mono; down-mix it.")
    if length == 0:
        raise AudioFileError(f"{path}: holds no samples. Expected speech; remove the pair.")
    return length


@dataclass
class MixedSegments:
    """Segments mixed on the fly (`dtln.mixing.Mixer`); `count` of them make an epoch."""

    mixer: Any
    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def segment_length(self) -> int:
        """Samples of one segment."""
        return self.mixer.segment_length

    @property
    def summary(self) -> str:
        """What the mixer draws from, and how much of it makes an epoch."""
        hours = self.count * self.segment_length / SAMPLE_RATE / 3600
        seconds = self.segment_length / SAMPLE_RATE
        return f"{self.mixer.summary}: {self.count} segments of {seconds:g} s, {hours:.2f} h"

    def segment(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A segment drawn with `rng`: (noisy, clean), each float32 (segment_length,). `index` is not used."""
        return self.mixer.draw(rng)


SegmentSource = PairedFolders | MixedSegments


def batch_of(source: SegmentSource, indices: Iterable[int], key: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The segments `indices` as (noisy, clean), each float32 (B, L). The seed of each is [*key, index]."""
    segments = [source.segment(int(i), np.random.default_rng([*key, int(i)])) for i in indices]
    return np.stack([noisy for noisy, _ in segments]), np.stack([clean for _, clean in segments])


def training_batches(
    source: SegmentSource,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    workers: int = 1,
    process: int = 0,
    processes: int = 1,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches (noisy (B, L), clean (B, L)), in a new order each epoch.

    An epoch has whole batches only; the segments left over differ from epoch to epoch. An epoch depends on (seed,
    epoch) alone, so a run can be resumed. workers: threads that make batches ahead, each up to two; the batches do not
    depend on their number. (Threads are enough: decoding, FFTs and sums release the interpreter's lock.) process,
    processes: makes this process's share of each batch.
    """
    share = slice(process * batch_size // processes, (process + 1) * batch_size // processes)
    pool = ThreadPoolExecutor(workers)
    pending: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
    try:
        for epoch in itertools.count(first_epoch):
            order = np.random.default_rng([seed, epoch]).permutation(len(source))
            for start in range(0, len(source) - batch_size + 1, batch_size):
                indices = order[start : start + batch_size][share]
                pending.append(pool.submit(batch_of, source, indices, [seed, epoch]))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


VALIDATION_SEED = 0  # not the run's, so that runs with different seeds are compared on the same mixtures


class ValidationBatches(keras.utils.PyDataset):
    """All segments of a source, always the same: batches (noisy (B, L), clean (B, L)), the last one smaller.

    process, processes: makes this process's share of each batch. Shares are equal if `processes` divides batch size and
    number of segments.
    """

    def __init__(self, source: SegmentSource, batch_size: int, process: int = 0, processes: int = 1) -> None:
        super().__init__()
        self.source, self.batch_size = source, batch_size
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * self.batch_size
        batch = range(start, min(start + self.batch_size, len(self.source)))
        share = batch[self.process * len(batch) // self.processes : (self.process + 1) * len(batch) // self.processes]
        return batch_of(self.source, share, [VALIDATION_SEED])


# ----------------------------------------------------------------------------------------------------------------------
# Training loop
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the loop. The defaults are the paper's.

    loss, optimizer, schedule: names from `dtln.choices`. "muon" (https://arxiv.org/abs/2502.16982) takes orthogonalised
    steps with the matrices of LSTMs and dense layers, and Adam's steps, at `adam_share` of the rate, with all else.
    "plateau" halves the rate after `plateau_patience` epochs without a lower validation loss; "cosine" is a linear
    warm-up over `warmup_steps`, then half a cosine down to zero at `max_epochs`.
    ema: above 0, the share of a moving average of the weights that each step keeps; the average is what is validated
    and written. workers: threads that make batches. process, processes: the number of this process and of all; each
    makes its share of every batch, and the first one writes.
    Raises SettingsError for settings that cannot train.
    """

    batch_size: int = 32
    learning_rate: float = 1e-3
    clip_norm: float = 3.0
    max_epochs: int = 200
    schedule: str = "plateau"
    warmup_steps: int = 0
    plateau_patience: int = 3
    stop_patience: int = 10
    seed: int = 42
    loss: str = "snr"
    optimizer: str = "adam"
    adam_share: float = 1.0
    ema: float = 0.0
    workers: int = 1
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise SettingsError(f"unknown loss {self.loss!r}: expected one of {', '.join(LOSSES)}")
        if self.optimizer not in OPTIMIZERS:
            raise SettingsError(f"unknown optimizer {self.optimizer!r}: expected one of {', '.join(OPTIMIZERS)}")
        if self.optimizer == "muon" and tuple(map(int, keras.__version__.split(".")[:2])) < (3, 13):
            raise SettingsError(
                "the optimizer muon needs Keras 3.13, which scales its steps to Adam's, and Python 3.11; this is "
                f"Keras {keras.__version__}. Update it, or choose adam"
            )
        if not 0.0 <= self.ema < 1.0 or self.clip_norm <= 0:
            raise SettingsError(
                f"moving average {self.ema} and clipping norm {self.clip_norm}: expected 0 <= average < 1, norm > 0"
            )
        if not 0.0 < self.adam_share <= 1.0 or (self.adam_share != 1.0 and self.optimizer != "muon"):
            raise SettingsError(
                f"Adam's share {self.adam_share:g} of the rate of {self.optimizer}: expected more than 0 and at most "
                "1, and 1 with every optimizer but muon"
            )
        if self.schedule not in SCHEDULES:
            raise SettingsError(f"unknown schedule {self.schedule!r}: expected one of {', '.join(SCHEDULES)}")
        if min(self.batch_size, self.max_epochs, self.workers) < 1 or self.learning_rate <= 0:
            raise SettingsError(
                f"batch size {self.batch_size}, {self.max_epochs} epochs, {self.workers} workers and learning rate "
                f"{self.learning_rate} train nothing: expected at least 1 segment, epoch and worker, and a rate above 0"
            )
        if self.schedule == "plateau" and self.warmup_steps:
            raise SettingsError("warm-up steps belong to the cosine schedule: choose it, or leave them at 0")


def steps_per_epoch(source: SegmentSource, batch_size: int) -> int:
    """The number of whole batches in a source. Raises SettingsError if there is none."""
    if len(source) < batch_size:
        raise SettingsError(
            f"a batch of {batch_size} segments is larger than the data: {source.summary}. Choose a smaller batch, "
            "shorter segments or more data"
        )
    return len(source) // batch_size


def compile_network(model: keras.Model, settings: TrainingSettings, steps: int) -> None:
    """Compiles a model with loss, schedule and optimiser. steps: in an epoch, for the schedule."""
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        decay_steps = max(1, settings.max_epochs * steps - settings.warmup_steps)
        if settings.warmup_steps:
            warm_up = {"warmup_target": settings.learning_rate, "warmup_steps": settings.warmup_steps}
            rate = keras.optimizers.schedules.CosineDecay(0.0, decay_steps, **warm_up)
        else:
            rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, decay_steps)
    options: dict[str, Any] = {"clipnorm": settings.clip_norm}
    if settings.optimizer == "muon":
        options |= {"adam_lr_ratio": settings.adam_share, "weight_decay": None, "adam_weight_decay": None}
    if settings.ema:
        options |= {"use_ema": True, "ema_momentum": settings.ema}
    optimizer = resolve(OPTIMIZERS, settings.optimizer)(rate, **options)
    model.compile(loss=resolve(LOSSES, settings.loss), optimizer=optimizer)
    optimizer.build(model.trainable_variables)  # left to the first step, TensorFlow would trace that step twice


class Checkpoints(keras.callbacks.Callback):
    """Writes `.h5` weights after every validation: to `last`, and to `best` if the loss is the lowest so far.

    It writes when the validation ends, not the epoch, because the validated weights are still in place then: the moving
    average, if there is one.
    """

    def __init__(self, best: Path, last: Path) -> None:
        super().__init__()
        self.best_path, self.last_path, self.best, self.writes = best, last, math.inf, True

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {})["loss"]
        paths = [self.last_path, self.best_path] if loss < self.best else [self.last_path]
        self.best = min(loss, self.best)
        block_shift = getattr(getattr(self.model, "config", None), "block_shift", None)
        for path in paths if self.writes else []:
            save_legacy_weights(weighted_layers(self.model), path, block_shift)


class LearningRateLog(keras.callbacks.Callback):
    """Adds the learning rate at the end of an epoch to its figures, for the callbacks after this one."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))


class TrainingLog(keras.callbacks.CSVLogger):
    """Writes the figures of each epoch to a CSV file, the learning rate in a column of the name `rate_name`."""

    def __init__(self, path: Path, append: bool, rate_name: str) -> None:
        super().__init__(str(path), append=append)
        self.rate_name = rate_name

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        names = {"learning_rate": self.rate_name}
        super().on_epoch_end(epoch, {names.get(name, name): value for name, value in (logs or {}).items()})


class ResumeState(keras.callbacks.Callback):
    """Writes after every epoch all that the next one depends on, and restores it when training goes on.

    That is every variable of model and optimiser, with the learning rate and the generators of dropout, the number of
    the epoch, and the counters of the other callbacks.
    """

    COUNTERS = ("best", "wait", "cooldown_counter", "best_epoch", "stopped_epoch")

    def __init__(self, path: Path, others: Sequence[keras.callbacks.Callback]) -> None:
        super().__init__()
        self.path, self.others = path, others
        self.restored: tuple[list[np.ndarray], list[dict[str, float]]] | None = None
        self.next_epoch, self.stopped, self.writes = 0, False, True

    def variables(self) -> list[Any]:
        """Variables of the model, of its optimiser, and of the network's layers that are not in the model."""
        trained = {id(variable) for variable in self.model.variables}
        rest = [v for layer in weighted_layers(self.model) for v in layer.weights if id(v) not in trained]
        return [*self.model.variables, *self.model.optimizer.variables, *rest]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if not self.writes:
            return
        counters = [{k: float(v) for k in self.COUNTERS if (v := vars(c).get(k)) is not None} for c in self.others]
        about = {"next_epoch": epoch + 1, "counters": counters, "stopped": bool(self.model.stop_training)}
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self.variables())}
        with complete_file(self.path) as partial, open(partial, "wb") as stream:
            np.savez(stream, about=json.dumps(about), **arrays)

    def load(self) -> None:
        """Reads the file; `next_epoch` and `stopped` are known from then on. Raises FileNotFoundError."""
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no state to resume from. Start the run without --resume first.")
        with np.load(self.path) as stored:
            about = json.loads(str(stored["about"]))
            self.restored = ([stored[f"v{i}"] for i in range(len(stored.files) - 1)], about["counters"])
        self.next_epoch, self.stopped = about["next_epoch"], about["stopped"]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self.restored is None:
            return
        self.model.optimizer.build(self.model.trainable_variables)
        arrays, counters = self.restored
        variables = self.variables()
        if [tuple(v.shape) for v in variables] != [a.shape for a in arrays]:
            raise SettingsError(
                f"{self.path}: holds {len(arrays)} variables that do not fit the {len(variables)} of this run. "
                "Resume with the settings the run was started with."
            )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        for callback, values in zip(self.others, counters, strict=True):
            for name, value in values.items():
                setattr(callback, name, type(getattr(callback, name) or 0.0)(value))


def train(
    model: keras.Model,
    training: SegmentSource,
    validation: SegmentSource,
    run_name: str,
    settings: TrainingSettings,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    rate_name: str = "learning_rate",
) -> keras.callbacks.History:
    """Trains a compiled model; returns the Keras history.

    It leaves in `run_dir` (default `models_RUN`, as published) the best weights RUN.h5 and the last RUN_last.h5, the
    log training_RUN.log (CSV: epoch, learning rate, losses in dB) and RUN_state.npz to resume from. `callbacks` see the
    validated weights in `on_test_end`. rate_name: of the learning rate's column in the log. Raises SettingsError for a
    batch larger than the data, and FileNotFoundError if there is nothing to resume.
    """
    from dtln.training.distribution import SharedSteps, check_shares

    steps = steps_per_epoch(training, settings.batch_size)
    check_shares(settings, validation)
    run_dir = Path(run_dir) if run_dir is not None else Path(f"models_{run_name}")

    checkpoints = Checkpoints(run_dir / f"{run_name}.h5", run_dir / f"{run_name}_last.h5")
    early = keras.callbacks.EarlyStopping(monitor="val_loss", patience=settings.stop_patience)
    counting: list[keras.callbacks.Callback] = [checkpoints, early]
    if settings.schedule == "plateau":
        counting.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_loss", factor=0.5, patience=settings.plateau_patience, min_lr=1e-10, cooldown=1
            )
        )
    shared: list[keras.callbacks.Callback] = []
    if settings.processes > 1 and keras.backend.backend() == "torch":
        shared.append(SharedSteps(settings.process, settings.processes))
    state = ResumeState(run_dir / f"{run_name}_state.npz", counting)
    if resume:
        state.load()
    run_dir.mkdir(parents=True, exist_ok=True)
    print(f"training: {training.summary}\nvalidation: {validation.summary}", flush=True)
    if state.stopped or state.next_epoch >= settings.max_epochs:
        print(f"{run_name} has already ended after {state.next_epoch} epochs")
    # swaps the average in when validation begins and out when it ends: it has to be the last to see that end
    average = [keras.callbacks.SwapEMAWeights()] if settings.ema else []
    log = TrainingLog(run_dir / f"training_{run_name}.log", resume, rate_name)
    writing = [log, state]
    if settings.process > 0:
        checkpoints.writes = state.writes = False
        writing = [state]
    share = {"process": settings.process, "processes": settings.processes}
    return model.fit(
        training_batches(training, settings.batch_size, settings.seed, state.next_epoch, settings.workers, **share),
        steps_per_epoch=steps,
        validation_data=ValidationBatches(validation, settings.batch_size, **share),
        initial_epoch=settings.max_epochs if state.stopped else state.next_epoch,
        epochs=settings.max_epochs,
        callbacks=[
            *shared,
            LearningRateLog(),
            *counting,
            keras.callbacks.TerminateOnNaN(),
            *callbacks,
            *average,
            *writing,
        ],
        shuffle=False,  # the generator does it
        verbose=1 if sys.stdout.isatty() else 2,
    )


# ----------------------------------------------------------------------------------------------------------------------
# Facade: the names of the published code
# ----------------------------------------------------------------------------------------------------------------------


class audio_generator:
    """The published `tf.data` source, over `PairedFolders`.

    len_of_samples: segment length in samples. fs: rate in Hz. train_flag: a new order in every pass. `tf_data_set`
    yields (noisy, clean), each float32 (len_of_samples,); `total_samples` is the number of segments in a pass. As
    published, what a file holds beyond whole segments is left out. Raises AudioFileError for unusable files or pairs,
    before the first segment.
    """

    def __init__(
        self, path_to_input: str, path_to_s1: str, len_of_samples: int, fs: int, train_flag: bool = False
    ) -> None:
        self.path_to_input, self.path_to_s1 = path_to_input, path_to_s1
        self.len_of_samples, self.fs, self.train_flag = len_of_samples, fs, train_flag
        self.count_samples()
        self.create_tf_data_obj()

    def count_samples(self) -> None:
        """Lists the folders: makes `file_names`, `source` and `total_samples`."""
        self.source = PairedFolders(self.path_to_input, self.path_to_s1, self.len_of_samples, self.fs, remainders=False)
        self.file_names = list(self.source.lengths)
        self.total_samples = len(self.source)

    def create_generator(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """A pass over the segments, with train_flag in an order drawn with numpy's global generator."""
        count = self.total_samples
        for index in np.random.permutation(count) if self.train_flag else range(count):
            yield self.source.segment(int(index))

    def create_tf_data_obj(self) -> None:
        """Makes `tf_data_set`."""
        import tensorflow as tf

        spec = tf.TensorSpec((self.len_of_samples,), tf.float32)
        self.tf_data_set = tf.data.Dataset.from_generator(self.create_generator, output_signature=(spec, spec))


class DTLN_model:
    """The class of the published code: attributes to set, `build_*`, `compile_model`, `train_model`, `create_*`.

    Set attributes before building. Unlike the published constructor, this one neither seeds global generators nor
    touches devices.
    """

    def __init__(self) -> None:
        self.cost_function = self.snr_cost
        self.model: Any = []
        self.fs = SAMPLE_RATE  # Hz
        self.batchsize = 32
        self.len_samples = 15  # s
        self.activation = "sigmoid"
        self.numUnits = 128
        self.numLayer = 2
        self.blockLen = BLOCK_LENGTH
        self.block_shift = BLOCK_SHIFT
        self.dropout = 0.25
        self.lr = 1e-3
        self.max_epochs = 200
        self.encoder_size = 256
        self.eps = EPSILON

    def _config(self, **changes: Any) -> DTLNConfig:
        config = DTLNConfig(
            block_length=self.blockLen,
            block_shift=self.block_shift,
            units=self.numUnits,
            lstm_layers=self.numLayer,
            encoder_size=self.encoder_size,
            dropout=self.dropout,
            activation=self.activation,
        )
        return replace(config, **changes)

    @staticmethod
    def snr_cost(s_estimate: Any, s_true: Any) -> Any:
        """Negative SNR in dB of (estimate, target), each (B, L): (B, 1). See `negative_snr` for silent targets."""
        return ops.expand_dims(negative_snr(s_true, s_estimate), axis=-1)

    def lossWrapper(self) -> Callable[[Any, Any], Any]:
        """Keras loss (target, estimate) -> scalar around `cost_function` (estimate, target)."""

        def lossFunction(y_true: Any, y_pred: Any) -> Any:
            return ops.mean(self.cost_function(y_pred, y_true))

        return lossFunction

    def stftLayer(self, x: Any) -> list[Any]:
        """(B, L) -> magnitude and phase of the blocks, each (B, T, F). For Lambda layers. It adds no zeros."""
        return self._magnitude_and_phase(ops.extract_sequences(x, self.blockLen, self.block_shift))

    def fftLayer(self, x: Any) -> list[Any]:
        """One block (B, N) -> magnitude and phase, each (B, 1, F)."""
        return self._magnitude_and_phase(ops.expand_dims(x, axis=1))

    def _magnitude_and_phase(self, blocks: Any) -> list[Any]:
        real, imag = ops.rfft(blocks, fft_length=self.blockLen)
        return [magnitude(real, imag), ops.arctan2(imag, real)]

    def ifftLayer(self, x: Sequence[Any]) -> Any:
        """[magnitude, phase], each (B, T, F) -> blocks (B, T, N)."""
        value, phase = x
        return ops.irfft((value * ops.cos(phase), value * ops.sin(phase)), fft_length=self.blockLen)

    def overlapAddLayer(self, x: Any) -> Any:
        """Blocks (B, T, N) -> (B, (T - 1) * S + N)."""
        return overlap_add(x, self.block_shift)

    def seperation_kernel(self, num_layer: int, mask_size: int, x: Any, stateful: bool = False) -> Any:
        """A core of `num_layer` LSTMs: features (B, T, C) -> mask (B, T, mask_size)."""
        mask, _ = SeparationCore(self._config(lstm_layers=num_layer), mask_size, stateful=stateful)(x)
        return mask

    def seperation_kernel_with_states(self, num_layer: int, mask_size: int, x: Any, in_states: Any) -> tuple[Any, Any]:
        """(features (1, 1, C), states (1, K, U, 2)) -> (mask (1, 1, mask_size), states (1, K, U, 2))."""
        core = SeparationCore(self._config(lstm_layers=num_layer), mask_size, external_states=True)
        return core.packed_step(x, in_states)

    def build_DTLN_model(self, norm_stft: bool = False) -> None:
        """Makes `model`: whole signals (B, L) -> (B, L)."""
        self.model = build_network(self._config(norm_stft=norm_stft))

    def build_DTLN_model_stateful(self, norm_stft: bool = False) -> None:
        """Makes `model`: one block (1, N) -> one block (1, 1, N), states inside."""
        self.model = build_stateful_network(self._config(norm_stft=norm_stft))

    def compile_model(self) -> None:
        """Compiles `model` with `lossWrapper()` and Adam at `lr` with gradient norm clipping at 3."""
        self.model.compile(
            loss=self.lossWrapper(), optimizer=keras.optimizers.Adam(learning_rate=self.lr, clipnorm=3.0)
        )

    def _network_of(self, weights_file: str) -> DTLNNetwork:
        config = read_config(weights_file, default_block_shift=self.block_shift)
        network = build_network(replace(config, activation=self.activation))
        network.load_weights(weights_file)
        return network

    def create_saved_model(self, weights_file: str, target_name: str) -> None:
        """Writes the SavedModel `target_name` from an `.h5` file, which determines the variant."""
        from dtln.export.saved_model import export_saved_model

        export_saved_model(self._network_of(weights_file), target_name)

    def create_tf_lite_model(self, weights_file: str, target_name: str, use_dynamic_range_quant: bool = False) -> None:
        """Writes `target_name`_1.tflite and `target_name`_2.tflite from an `.h5` file."""
        from dtln.export.tflite import export_pair

        paths = (f"{target_name}_1.tflite", f"{target_name}_2.tflite")
        export_pair(self._network_of(weights_file), *paths, quantise=use_dynamic_range_quant)

    def train_model(
        self,
        runName: str,
        path_to_train_mix: str,
        path_to_train_speech: str,
        path_to_val_mix: str,
        path_to_val_speech: str,
    ) -> None:
        """Trains the compiled `model` as the paper does; see `train` for the files that it leaves in models_RUN.

        As published, the log calls the learning rate `lr`, and a run of the same name is replaced.
        """
        length = segment_length(self.len_samples, self.block_shift, self.fs)
        if os.path.exists(f"models_{runName}/{runName}.h5"):
            print(f"models_{runName}: the weights and the log of an earlier run are replaced", flush=True)
        train(
            self.model,
            PairedFolders(path_to_train_mix, path_to_train_speech, length, self.fs, remainders=False),
            PairedFolders(path_to_val_mix, path_to_val_speech, length, self.fs, remainders=False),
            runName,
            TrainingSettings(batch_size=self.batchsize, learning_rate=self.lr, max_epochs=self.max_epochs),
            rate_name="lr",
        )
