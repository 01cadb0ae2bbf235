"""Streams as programs have them: any rate, chunks of any size, several channels, float32 or int16.

samples -> 16 kHz -> shifts -> network -> overlap-add -> output rate -> mix with the aligned dry signal -> samples
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtln.audio.resampling import resampled_length
from dtln.audio.signal_path import chosen_strength
from dtln.audio.stream_resampling import StreamResampler
from dtln.facts import SAMPLE_RATE
from dtln.streaming.backends import Backend, open_backend
from dtln.streaming.block import LOUDEST_SAMPLE, BlockDenoiser, all_usable

__all__ = ["MOST_CHANNELS", "ChannelDenoiser", "Latency", "StreamingDenoiser", "TimedDenoiser"]

MOST_CHANNELS = 64  # more are taken for samples: the axes are the wrong way round
RATES = (1000, 768000)  # Hz, lowest and highest
RAMP_SECONDS = 0.01  # in which a new strength is reached
INT16_SCALE = np.float32(32768)
FLOAT32, INT16 = np.dtype(np.float32), np.dtype(np.int16)


@dataclass(frozen=True)
class Latency:
    """How much later than it was given a sample comes out at most: samples at the output's rate, and seconds."""

    samples: int
    seconds: float


class StreamingDenoiser:
    """Denoises one stream of samples, as it comes.

        denoiser = StreamingDenoiser(sample_rate=48000, channels=2)
        clean = denoiser.process(samples)      # any number of samples in; those out that are complete by now
        rest = denoiser.flush()                # in the end as many samples as went in, aligned with them

    The samples do not depend on how the stream is cut, bit for bit. `process_block` is the other way to feed it, for
    sound cards at 16 kHz: one shift in, one shift out, delayed by `delay` samples. Do not mix the two in one signal.

    backend: from `dtln.load`; `open_backend()` where none is given. Streams may share one, in several threads as well.
    level: "raw", or "auto", which follows the level of the stream: the network hears a stream that is too quiet or too
    loud for it at a level that it knows, without its offset, and what comes out has its own level again.
    sample_rate, output_rate: of what goes in and comes out, Hz; without an output rate both are the same. Between other
    rates than 16000 nothing above 8 kHz comes out of the network. channels: each is denoised by itself.
    strength: from 0 to 1, the share of the denoised signal in what comes out; the rest is the aligned input, resampled
    only where the two rates differ. 0 is the input to the bit. attenuation_limit_db: by how much noise goes down at
    most, instead of a strength.

    `strength`, `attenuation_limit_db` and `bypass` may be set at any time and from any thread. What comes out next goes
    over to the new mix within 10 ms, and the network goes on meanwhile. All else belongs to one thread at a time.

    NaN, Inf and samples beyond 1e6 become zeros before anything remembers them, and the network hears silence in place
    of the whole shift that holds them (`process_block`: so does the dry signal); `silenced_blocks` counts these shifts,
    of all channels, since the denoiser was made. note_time: is called with the ms that each shift took in the network,
    of all channels together, unless it is None.

    Raises ValueError for settings that there are not, else as `open_backend`. Where an error of the back end, or an
    interrupt, comes out of `process` or `flush`, the signal so far is lost, as after `reset`; a new one may begin.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        level: str = "raw",
        *,
        sample_rate: int = SAMPLE_RATE,
        output_rate: int | None = None,
        channels: int = 1,
        strength: float = 1.0,
        attenuation_limit_db: float | None = None,
    ) -> None:
        self.sample_rate = _whole(sample_rate, "a sample rate", "Hz", RATES)
        self.output_rate = _whole(sample_rate if output_rate is None else output_rate, "an output rate", "Hz", RATES)
        self.channels = _whole(channels, "a number of channels", "channels", (1, MOST_CHANNELS))
        self._strength = chosen_strength(strength, attenuation_limit_db), attenuation_limit_db
        self.bypass = False
        self.note_time: Callable[[float], None] | None = None
        self.level = level
        self.backend = backend = open_backend() if backend is None else backend
        self._blocks = [BlockDenoiser(backend, level) for _ in range(self.channels)]
        self.block_length, self.block_shift = backend.block_length, backend.block_shift
        self.delay = self.block_length - self.block_shift
        self._down = self._resampler(self.sample_rate, SAMPLE_RATE, whole=self.block_shift)
        self._up = self._resampler(SAMPLE_RATE, self.output_rate)
        self._dry_path = self._resampler(self.sample_rate, self.output_rate)
        self._ramp_length = round(RAMP_SECONDS * self.output_rate)
        self.latency = self._latency()
        self._closed = False
        for resampler in self._resamplers():  # first calls are slow; that of the back end is behind it
            resampler.process(np.zeros((self.channels, resampler.needed(1)), np.float32))
        self.reset()

    def __enter__(self) -> StreamingDenoiser:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def strength(self) -> float:
        """The share of the denoised signal in what comes out, from 0 to 1. Setting it takes the place of a limit."""
        return self._strength[0]

    @strength.setter
    def strength(self, strength: float) -> None:
        self._strength = chosen_strength(strength, None), None

    @property
    def attenuation_limit_db(self) -> float | None:
        """By how many dB noise goes down at most; None where a strength was set. Sets the strength, too: 1 for None."""
        return self._strength[1]

    @attenuation_limit_db.setter
    def attenuation_limit_db(self, limit_db: float | None) -> None:
        self._strength = chosen_strength(1.0, limit_db), limit_db

    @property
    def silenced_blocks(self) -> int:
        """How many shifts held samples that cannot be used, of all channels, since the denoiser was made."""
        return sum(block.silenced_blocks for block in self._blocks)

    def reset(self) -> None:
        """Forgets the signal so far, so that a new one can begin. Settings and counts stay."""
        self._check_open()
        for block in self._blocks:
            block.reset()
        for resampler in self._resamplers():
            resampler.reset()
        self._pending = np.zeros((self.channels, 0), np.float32)  # at 16 kHz: less than a shift, waiting for more
        self._dry = np.zeros((self.channels, 0), np.float32)  # at the output's rate: what waits for the network
        self._unusable: set[tuple[int, int]] = set()  # channels and shifts to come that are silenced
        self._taken = self._given = self._shifts = 0  # samples given to `process`; aligned ones returned; shifts done
        self._gain: float | None = None  # the share of the denoised signal in the last sample that came out
        self._ramp = (0.0, 0.0, self._ramp_length)  # from a share to a share; samples of the ramp that are over
        self._form = FLOAT32, 1 if self.channels == 1 else 2  # type and axes of what comes out

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Takes samples and returns those that are complete by now, perhaps none, in the same form.

        samples: (L,) of one channel, else (L, channels); any L. float32 with full scale 1, or int16; what comes out has
        the type of what went in, int16 rounded and clipped. Raises ValueError for others.
        """
        return self._formed(self._push(self._columns(self._checked(samples))))

    def flush(self) -> np.ndarray:
        """Returns the rest, in the form of what was given last, and resets.

        In the end `resampled_length(L, sample_rate, output_rate)` samples have come out for L that went in.
        """
        self._check_open()
        length = resampled_length(self._taken, self.sample_rate, self.output_rate)
        missing = length - self._given
        silence = np.zeros((self.channels, max(0, self._needed(length) - self._taken)), np.float32)
        rest = self._formed(self._push(silence)[:, :missing])
        self.reset()
        return rest

    def denoise(self, signal: np.ndarray) -> np.ndarray:
        """Denoises a whole signal, aligned, in the form of `process`; forgets what came before it, and it."""
        self.reset()
        return np.concatenate([self.process(signal), self.flush()])

    def process_block(self, samples: np.ndarray) -> np.ndarray:
        """One shift (S,) in, one shift (S,) out, delayed by `delay` samples. The result is the caller's to keep.

        Raises ValueError for other shapes and types, rates other than 16 kHz, and several channels.
        """
        if (self.sample_rate, self.output_rate, self.channels) != (SAMPLE_RATE, SAMPLE_RATE, 1):
            raise ValueError(
                f"a block was given to a stream of {self.channels} channels from {self.sample_rate} to "
                f"{self.output_rate} Hz. Expected one channel at {SAMPLE_RATE} Hz; use process."
            )
        samples = self._checked(samples)
        if samples.shape != (self.block_shift,):
            raise ValueError(f"a block of shape {samples.shape} was given: expected one shift, ({self.block_shift},)")
        (block,) = self._blocks
        start = time.perf_counter()
        try:
            denoised = block.process_block(samples / INT16_SCALE if samples.dtype == INT16 else samples)
        except BaseException:
            self.reset()
            raise
        if self.note_time is not None:
            self.note_time((time.perf_counter() - start) * 1e3)
        return self._formed(self._mix(denoised[None], block.delayed[None]))

    def close(self) -> None:
        """Ends the stream: it takes no more samples. The back end stays open for other streams."""
        self._closed = True

    # --- the samples and their form -----------------------------------------------------------------------------------

    def _checked(self, samples: np.ndarray) -> np.ndarray:
        """What was given, if it can be taken; notes its form. Raises ValueError."""
        self._check_open()
        samples = np.asarray(samples)
        if samples.dtype not in (FLOAT32, INT16):
            raise ValueError(
                f"samples of type {samples.dtype} were given. Expected float32 with full scale 1, or int16"
                f"{_conversion(samples.dtype)}."
            )
        if not (samples.ndim == 2 and samples.shape[1] == self.channels or samples.ndim == self.channels == 1):
            expected = "one channel, (L,)" if self.channels == 1 else f"(L, {self.channels})"
            raise ValueError(f"samples of shape {samples.shape} were given: expected {expected}")
        self._form = samples.dtype, samples.ndim
        return samples

    def _columns(self, samples: np.ndarray) -> np.ndarray:
        """Samples that were checked as float32 (C, L), without what cannot be used; notes which shifts that was in."""
        columns = samples.reshape(-1, self.channels).T  # (C, L)
        if samples.dtype == INT16:
            return columns / INT16_SCALE
        if all_usable(samples):
            return columns
        bad = ~(np.abs(columns) <= LOUDEST_SAMPLE)
        for channel, row in enumerate(bad):
            positions = (self._taken + np.flatnonzero(row)) * SAMPLE_RATE // self.sample_rate
            self._unusable.update((channel, shift) for shift in np.unique(positions // self.block_shift).tolist())
        return np.where(bad, np.float32(0), columns)

    def _formed(self, columns: np.ndarray) -> np.ndarray:
        """Samples (C, M) in the form of what was given last."""
        dtype, axes = self._form
        if dtype == INT16:
            columns = np.clip(np.rint(columns * INT16_SCALE), -32768, 32767).astype(np.int16)
        return columns[0] if axes == 1 else np.ascontiguousarray(columns.T)

    # --- the signal path ----------------------------------------------------------------------------------------------

    def _push(self, columns: np.ndarray) -> np.ndarray:
        """Takes samples (C, L); returns those (C, M) that are complete."""
        try:
            return self._pass_on(columns)
        except BaseException:  # of the back end, or an interrupt: one part has gone on, another one has not
            self.reset()
            raise

    def _pass_on(self, columns: np.ndarray) -> np.ndarray:
        """What `_push` does, where no error comes."""
        self._taken += columns.shape[1]
        heard = self._whole_shifts(columns) if self._down is None else self._down.process(columns)  # (C, K S) at 16 kHz
        denoised = self._denoise_shifts(heard) if heard.shape[1] else heard
        if self._up is not None and denoised.shape[1]:
            denoised = self._up.process(denoised)
        dry = columns if self._dry_path is None else self._dry_path.process(columns)
        self._dry = np.concatenate((self._dry, dry), axis=1)  # never shorter than `denoised`: it was not in the network
        count = denoised.shape[1]
        dry, self._dry = self._dry[:, :count], self._dry[:, count:]
        return self._mix(denoised, dry) if count else denoised

    def _whole_shifts(self, samples: np.ndarray) -> np.ndarray:
        """Takes samples (C, M); returns those (C, K S) that make whole shifts."""
        samples = np.concatenate((self._pending, samples), axis=1)
        end = samples.shape[1] // self.block_shift * self.block_shift
        self._pending = samples[:, end:].copy()  # not a view, which would keep all of it
        return samples[:, :end]

    def _denoise_shifts(self, heard: np.ndarray) -> np.ndarray:
        """Takes whole shifts (C, K S); returns as many samples, aligned: fewer at the beginning."""
        shift, first = self.block_shift, self._shifts
        denoised = np.empty_like(heard)
        for start in range(0, heard.shape[1], shift):
            here = slice(start, start + shift)
            self._denoise(heard[:, here], denoised[:, here])
        drop = self.delay - first * shift  # of what comes now, that precedes the signal
        return denoised[:, drop:] if drop > 0 else denoised

    def _denoise(self, samples: np.ndarray, result: np.ndarray) -> None:
        """Takes one shift (C, S) and fills another one, delayed."""
        start = time.perf_counter()
        for channel, block in enumerate(self._blocks):
            usable = not self._unusable or (channel, self._shifts) not in self._unusable
            result[channel] = block.process_block(samples[channel], usable)
            if not usable:
                self._unusable.remove((channel, self._shifts))
        self._shifts += 1
        if self.note_time is not None:
            self.note_time((time.perf_counter() - start) * 1e3)

    def _mix(self, denoised: np.ndarray, dry: np.ndarray) -> np.ndarray:
        """Denoised and dry samples (C, M), which come out next, in the shares that are wanted by now."""
        self._given += denoised.shape[1]
        wanted = 0.0 if self.bypass else self._strength[0]
        if self._gain is None:
            self._gain, self._ramp = wanted, (wanted, wanted, self._ramp_length)
        begin, end, over = self._ramp
        if wanted != end:
            begin, end, over = self._gain, wanted, 0
        if over >= self._ramp_length:
            if end == 1:
                return denoised
            if end == 0:
                return dry.copy()
            gain: Any = np.float32(end)
        else:
            left = 1 - np.arange(over + 1, over + denoised.shape[1] + 1) / self._ramp_length
            gain = (end + (begin - end) * np.maximum(left, 0)).astype(np.float32)  # (M,)
            over += denoised.shape[1]
            self._gain, self._ramp = float(gain[-1]), (begin, end, over)
        return denoised * gain + dry * (1 - gain)

    # --- rates and delays ---------------------------------------------------------------------------------------------

    def _resampler(self, rate: int, new_rate: int, whole: int | None = None) -> StreamResampler | None:
        return None if rate == new_rate else StreamResampler(rate, new_rate, self.channels, whole)

    def _resamplers(self) -> list[StreamResampler]:
        return [resampler for resampler in (self._down, self._up, self._dry_path) if resampler is not None]

    def _needed(self, count: int) -> int:
        """How many samples it takes to complete `count` output samples."""
        if not count:
            return 0
        aligned = count if self._up is None else self._up.needed(count)
        heard = -(-(aligned + self.delay) // self.block_shift) * self.block_shift
        return heard if self._down is None else self._down.needed(heard)

    def _latency(self) -> Latency:
        """The largest of `_needed(n + 1)` / sample rate - n / output rate."""
        up = 1 if self._up is None else self._up.reach
        heard = up - 1 + self.delay + self.block_shift - 1  # index of the last sample at 16 kHz, from that of n on
        down = 1.0  # samples, from the one that lies where that one lies
        if self._down is not None:  # it gives whole shifts, so that this sample is the last one of a piece
            down = self._down.reach - (self.block_shift - 1) * self.sample_rate / SAMPLE_RATE
        seconds = heard / SAMPLE_RATE + down / self.sample_rate
        return Latency(math.ceil(seconds * self.output_rate - 1e-6), seconds)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the stream is closed. Make a new StreamingDenoiser.")


def _conversion(dtype: np.dtype) -> str:
    """What to do with samples of a type that is not taken, where it is clear."""
    if dtype.newbyteorder("=") == INT16:
        return "; give samples.astype(np.int16)"
    if dtype.kind == "i":  # as they are, they would be far too loud
        return f"; give (samples / 2**{8 * dtype.itemsize - 1}).astype(np.float32)"
    return "; give samples.astype(np.float32)" if dtype.kind == "f" else ""


def _whole(value: float, name: str, unit: str, bounds: tuple[int, int]) -> int:
    """A number that was given, if it is whole and within bounds. Raises ValueError."""
    lowest, highest = bounds
    whole: int | None
    try:
        whole = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        whole = int(value) if isinstance(value, float) and value.is_integer() else None
    if whole is None or isinstance(value, bool) or not lowest <= whole <= highest:
        raise ValueError(f"{name} of {value!r} was given. Expected a whole number of {unit}, {lowest} to {highest}.")
    return whole


class TimedDenoiser(StreamingDenoiser):
    """A StreamingDenoiser that notes in `milliseconds` how long each block took."""

    def __init__(self, backend: Backend | None = None, level: str = "raw") -> None:
        super().__init__(backend, level)
        self.milliseconds: list[float] = []
        self.note_time = self.milliseconds.append


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
