"""The network on ONNX Runtime for whole recordings: all blocks of a chunk in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dtln.blocks import overlap_add, whole_blocks
from dtln.errors import require

CHUNK_BLOCKS = 512  # blocks denoised at once: 4 s; longer ones only take more memory


class SequenceNetwork:
    """The network on ONNX Runtime, for whole signals.

    weights: an `.h5` file. threads: how many the runtime uses. Raises FileNotFoundError, WeightsFileError or
    MissingPackageError.
    """

    def __init__(self, weights: str | Path, threads: int = 1) -> None:
        for package in ("h5py", "onnx", "onnxruntime"):
            require(package, "the engine fast")
        import onnxruntime

        from dtln.export.onnx_graph import sequence_model
        from dtln.weights import read_network

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
        denoised, *new_states = self._session.run(self._names_out, inputs)
        return denoised, new_states

    def denoise(self, signals: np.ndarray) -> np.ndarray:
        """Denoises whole signals: float32 (B, L) -> (B, L), aligned, the zeros before and after added and taken off."""
        stream = SequenceDenoiser(self, len(signals))
        return np.concatenate([stream.process(signals), stream.flush()], axis=1)


class SequenceDenoiser:
    """Denoises B signals that come in pieces; the one owner of buffers and states.

    Like `dtln.streaming.StreamingDenoiser`, but in chunks of CHUNK_BLOCKS blocks: for recordings, not for sound cards.
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
