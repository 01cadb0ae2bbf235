"""The engine: cuts a stream of samples into blocks, and owns the buffers and the LSTM states."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from dtln.choices import LEVELS
from dtln.streaming.backends import Backend, open_backend
from dtln.streaming.level import LevelTracker

__all__ = ["LOUDEST_SAMPLE", "ChannelDenoiser", "StreamingDenoiser", "TimedDenoiser"]

LOUDEST_SAMPLE = 1e6  # 120 dB above full scale: beyond it float32 arithmetic inside the network may overflow


class StreamingDenoiser:
    """Denoises one stream of samples at 16 kHz.

    There are two ways to feed it. Do not mix them within one signal:

    * `process_block`, for sound cards: exactly one shift in, one shift out, delayed by `delay` samples (block length
      minus shift);
    * `process` and `flush`: any number of samples in, aligned samples out, in the end as many as went in.

    A shift that holds NaN, Inf or samples beyond LOUDEST_SAMPLE becomes silence, and `silenced_blocks` counts it: it
    never reaches the states.

    backend: `open_backend()` where none is given. level: "raw", or "auto", which follows the level of the stream: the
    network hears a stream that is too quiet or too loud for it at a level that it knows, without its offset, and what
    comes out has its own level again. This adds no delay. Raises ValueError for another level, else as `open_backend`.
    """

    def __init__(self, backend: Backend | None = None, level: str = "raw") -> None:
        if level not in LEVELS:
            raise ValueError(f"the level {level!r} was given. Expected one of {', '.join(map(repr, LEVELS))}.")
        backend = open_backend() if backend is None else backend
        self.level = level
        self.backend = backend
        self.block_length, self.block_shift = backend.block_length, backend.block_shift
        self.delay = self.block_length - self.block_shift
        self.reset()

    def reset(self) -> None:
        """Forgets the signal so far, so that a new one can begin."""
        self.silenced_blocks = 0
        self._tracker = LevelTracker(self.block_shift) if self.level == "auto" else None
        self._states = self.backend.initial_states()
        self._input = np.zeros(self.block_length, np.float32)
        self._overlap = np.zeros(self.delay, np.float32)  # what blocks so far add to the coming ones
        self._pending = np.zeros(0, np.float32)  # less than a shift, waiting for more
        self._taken = 0  # samples given to `process`
        self._given = -self.delay  # aligned samples returned; negative while the delay passes

    def process_block(self, samples: np.ndarray) -> np.ndarray:
        """One shift (S,) in, one shift (S,) out, delayed by `delay` samples. The result is the caller's to keep.

        Raises ValueError for another shape.
        """
        shift = self.block_shift
        if samples.shape != (shift,):
            raise ValueError(f"a block of shape {samples.shape} was given: expected one shift, ({shift},)")
        usable = np.abs(samples).max() <= LOUDEST_SAMPLE  # False for NaN
        self.silenced_blocks += not usable
        self._input = np.concatenate((self._input[shift:], samples if usable else np.zeros(shift)), dtype=np.float32)
        offset, gain = self._tracker.follow(self._input[-shift:]) if self._tracker else (0.0, 1.0)
        heard = self._input if (offset, gain) == (0.0, 1.0) else (self._input - np.float32(offset)) * np.float32(gain)
        denoised, self._states = self.backend.run(heard, self._states)
        if gain != 1:  # blocks that overlap may have different ones
            denoised /= np.float32(gain)
        denoised[: self.delay] += self._overlap
        self._overlap = denoised[shift:]
        return denoised[:shift]

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Takes any number of samples (L,); returns the aligned samples (M,) that are complete by now, perhaps none.

        Raises ValueError for more than one channel.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise ValueError(f"samples of shape {samples.shape} were given: expected one channel, (L,)")
        self._taken += len(samples)
        return self._push(samples)

    def flush(self) -> np.ndarray:
        """Returns the rest of the signal, so that as many samples have come out as went in, and resets."""
        missing = self._taken - max(self._given, 0)
        end = -(-(self._taken + self.delay) // self.block_shift) * self.block_shift
        rest = self._push(np.zeros(end - self._taken, np.float32))[:missing] if missing else np.zeros(0, np.float32)
        self.reset()
        return rest

    def denoise(self, signal: np.ndarray) -> np.ndarray:
        """Denoises a whole signal, (L,) -> (L,), aligned; forgets what came before it, and it."""
        self.reset()
        return np.concatenate([self.process(signal), self.flush()])

    def _push(self, samples: np.ndarray) -> np.ndarray:
        shift = self.block_shift
        samples = np.concatenate([self._pending, samples])
        count = len(samples) // shift
        self._pending = samples[count * shift :]
        blocks = [self.process_block(samples[i * shift : (i + 1) * shift]) for i in range(count)]
        drop = min(max(0, -self._given), count * shift)  # what precedes the signal
        self._given += count * shift
        return np.concatenate(blocks)[drop:] if blocks else np.zeros(0, np.float32)


class TimedDenoiser(StreamingDenoiser):
    """A StreamingDenoiser that notes in `milliseconds` how long each block took."""

    def __init__(self, backend: Backend | None = None, level: str = "raw") -> None:
        super().__init__(backend, level)
        self.milliseconds: list[float] = []

    def process_block(self, samples: np.ndarray) -> np.ndarray:
        """As in StreamingDenoiser."""
        start = time.perf_counter()
        result = super().process_block(samples)
        self.milliseconds.append((time.perf_counter() - start) * 1e3)
        return result


class ChannelDenoiser:
    """C signals in pieces (C, M), each through a StreamingDenoiser of its own: a `dtln.audio.signal_path.Stream`."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._denoisers = [StreamingDenoiser(backend) for backend in backends]

    def process(self, samples: np.ndarray) -> np.ndarray:
        """(C, M) in, the aligned samples (C, M') that are complete by now out."""
        return np.stack([denoiser.process(signal) for denoiser, signal in zip(self._denoisers, samples, strict=True)])

    def flush(self) -> np.ndarray:
        """The rest of the signals."""
        return np.stack([denoiser.flush() for denoiser in self._denoisers])
