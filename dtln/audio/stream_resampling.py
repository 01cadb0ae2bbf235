"""Resampling of a stream: a linear-phase filter of 3.4 ms, in numpy alone.

soxr, which resamples recordings, is as good as it gets, and late: 36 ms each way with its usual filter, 12 to 15 ms
with variable rates, where the output also lies up to 0.1 ms beside the input, so that a mix of both would have a hole
in its spectrum. Here the band ends less steeply, the delay is short, and output and input lie exactly together.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = ["StreamResampler"]

ATTENUATION = 85.0  # dB, of what lies beyond the transition
TRANSITION = 0.1  # width of the transition, as a share of the frequency in its middle: half the lower rate
# Kaiser's formulas: length and shape of a window for an attenuation and the width of a transition.
BETA = 0.1102 * (ATTENUATION - 8.7)
HALF_LENGTH = (ATTENUATION - 7.95) / (14.36 * 2)  # times the rate over the width of the transition: samples
FRAME_SECONDS = (0.5e-3, 1.5e-3)  # of output that are computed at once, where nothing else is asked for
MOST_FILTERS = 1024  # that are kept; usual pairs of rates need one to 40


class StreamResampler:
    """Resamples C channels that come in pieces, (C, M) in and (C, M') out, float32. Rates are whole numbers of Hz.

    Output sample n lies where input sample n * rate / new_rate lies; before the first one there was silence. Output is
    computed in frames of `frame` samples, each by one matrix product of always the same size: so the samples are the
    same, bit for bit, however the input is cut, and those of a channel do not depend on other channels.

    The filter is flat up to 0.95 times half the lower rate (7.6 kHz for 16 kHz), 6 dB down at half of it, and 85 dB
    down from 1.05 times that. reach: `needed(n + 1)` is at most n * rate / new_rate + reach.
    """

    def __init__(self, rate: int, new_rate: int, channels: int, frame: int | None = None) -> None:
        common = math.gcd(rate, new_rate)
        self._up, self._down = new_rate // common, rate // common  # output sample n is at input n * down / up
        self._cutoff = min(rate, new_rate) / 2 / rate  # cycles per input sample
        self._half = math.ceil(HALF_LENGTH / (TRANSITION * self._cutoff))  # input samples before and after
        self.frame = frame or _frame(self._up, new_rate)
        self._width = 2 * self._half + (self.frame - 1) * self._down // self._up + 1  # input samples of a frame
        self._turn = self._up // math.gcd(self._up, self.frame)  # frames after which the filters come again
        self.reach = self._width - self._half + 1
        self.channels = channels
        self.reset()
        for index in range(min(self._turn, MOST_FILTERS)):
            self._filters(index)

    def reset(self) -> None:
        """Forgets the signal so far."""
        self._taken = self._done = 0  # input samples, output frames
        self._recent = np.zeros((self.channels, self._half - 1), np.float32)  # input from `_start(_done)` on

    def needed(self, count: int) -> int:
        """How many input samples it takes to complete `count` output samples."""
        return max(0, self._start(-(-count // self.frame) - 1) + self._width) if count else 0

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Takes samples (C, M) and gives those (C, M') that are complete by now."""
        self._taken += samples.shape[1]
        recent = np.concatenate((self._recent, samples), axis=1)  # contiguous, as the views below want it
        beyond = self._taken - self._width + self._half  # a frame is complete if its first sample lies before this
        complete = max(0, -(-beyond * self._up // (self.frame * self._down)))
        frames, origin = complete - self._done, self._start(self._done)
        if frames <= 0:
            self._recent = recent
            return np.zeros((self.channels, 0), np.float32)
        result = np.empty((self.channels, frames, 1, self.frame), np.float32)
        row, size = recent.strides
        turn_samples = self._turn * self.frame * self._down // self._up  # input samples of a turn: a whole number
        for index in range(min(self._turn, frames)):
            first = self._done + index
            windows = np.ndarray(
                (self.channels, -(-(frames - index) // self._turn), 1, self._width), np.float32, recent,
                (self._start(first) - origin) * size, (row, turn_samples * size, self._width * size, size),
            )  # fmt: skip
            np.matmul(windows, self._filters(first % self._turn), out=result[:, index :: self._turn])
        self._done = complete
        self._recent = recent[:, self._start(complete) - origin :].copy()  # not a view, which would keep all of it
        return result.reshape(self.channels, -1)

    def _start(self, frame: int) -> int:
        """The first input sample that a frame of the output is made of."""
        return frame * self.frame * self._down // self._up - self._half + 1

    def _filters(self, index: int) -> np.ndarray:
        return _filters(self._up, self._down, self._half, self._cutoff, self.frame, self._width, index)


@lru_cache(maxsize=MOST_FILTERS)
def _filters(up: int, down: int, half: int, cutoff: float, frame: int, width: int, index: int) -> np.ndarray:
    """The matrix (width, frame) that makes frame `index` from its input samples: a windowed sinc in each column."""
    outputs = index * frame + np.arange(frame)
    inputs = index * frame * down // up - half + 1 + np.arange(width)
    distance = (inputs[:, None] * up - outputs * down) / up  # (width, frame), input samples
    window = np.i0(BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, None))) * (np.abs(distance) < half)
    filters = np.sinc(2 * cutoff * distance) * window
    return np.ascontiguousarray(filters / filters.sum(axis=0), np.float32)  # a constant stays what it is


def _frame(up: int, new_rate: int) -> int:
    """About a millisecond of output, so that the filters come again after few frames."""
    shortest, longest = (max(1, round(seconds * new_rate)) for seconds in FRAME_SECONDS)
    middle = (shortest + longest) / 2
    return min(range(shortest, longest + 1), key=lambda frame: (up // math.gcd(up, frame), abs(frame - middle)))
