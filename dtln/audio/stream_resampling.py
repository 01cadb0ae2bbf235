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
HALF_LENGTH = (ATTENUATION - 7.95) / (14.36 * TRANSITION)  # samples of the lower rate: 53.7
STEPS = 1024  # for each of them the filter is computed; in between it is interpolated, 1e-6 beside the truth
FRAME = 0.75e-3  # s of output that are computed at once, or up to twice that: none is given before the last is complete
# Weights in a matrix: from here on OpenBLAS takes several threads, which costs more than it saves.
LARGEST_FILTERS = 9216
LONGEST_TABLE = 64  # matrices; usual pairs of rates need one to 20, and others interpolate


class StreamResampler:
    """Resamples C channels that come in pieces, (C, M) in and (C, M') out, float32. Rates are whole numbers of Hz.

    Output sample n lies where input sample n * rate / new_rate lies; before the first one there was silence. Output is
    computed in frames of `frame` samples, each by one matrix product of always the same size: so the samples are the
    same, bit for bit, however the input is cut, and those of a channel do not depend on other channels.

    The filter is flat up to 0.95 times half the lower rate (7.6 kHz for 16 kHz), 6 dB down at half of it, and 85 dB
    down from 1.05 times that. whole: of how many output samples the pieces that come out are multiples; None takes one
    frame. reach: `needed(n + 1)` is at most n * rate / new_rate + reach.
    """

    def __init__(self, rate: int, new_rate: int, channels: int, whole: int | None = None) -> None:
        common = math.gcd(rate, new_rate)
        self._up, self._down = new_rate // common, rate // common  # output sample n is at input n * down / up
        self._half = math.ceil(HALF_LENGTH * max(1, rate / new_rate))  # input samples before and after
        self.frame = self._best_frame(new_rate, whole)
        self.whole = whole or self.frame
        self._width = self._width_of(self.frame)
        self._hop = self.frame * self._down  # between frames, in input samples times `up`
        turn = self._turn_of(self.frame)
        self._between = turn > LONGEST_TABLE  # a filter for each output sample, interpolated between two places
        self._at_once = min(turn, LONGEST_TABLE)  # frames whose windows are copied together
        self.reach = self._width - self._half + 1 + (self.whole - self.frame) * self._down / self._up
        self.channels = channels
        if self._between:
            self._matrices = _places(self._up, self._down, self._half)
        else:
            self._matrices = _table(self._up, self._down, self._half, self.frame, self._width, turn)
        self.reset()

    def reset(self) -> None:
        """Forgets the signal so far."""
        self._taken = self._done = 0  # input samples, output frames
        self._recent = np.zeros((self.channels, self._half - 1), np.float32)  # input that the next frames begin with

    def needed(self, count: int) -> int:
        """How many input samples it takes to complete `count` output samples."""
        if not count:
            return 0
        last = -(-count // self.whole) * self.whole // self.frame - 1
        return max(0, last * self._hop // self._up - self._half + 1 + self._width)

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Takes samples (C, M) and gives those (C, M') that are complete by now."""
        self._taken += samples.shape[1]
        recent = np.concatenate((self._recent, samples), axis=1)  # contiguous, as the view below wants it
        beyond = self._taken - self._width + self._half  # a frame is complete if its first sample lies before this
        complete = max(self._done, -(-beyond * self._up // self._hop))
        complete -= complete % (self.whole // self.frame)
        first, self._done = self._done, complete
        origin, end = first * self._hop // self._up, complete * self._hop // self._up
        result = np.empty((self.channels, complete - first, 1, self.frame), np.float32)
        row, size = recent.strides
        windows = np.ndarray(  # the input of a frame, wherever it may begin; a view
            (self.channels, max(0, recent.shape[1] - self._width + 1), 1, self._width), np.float32, recent,
            0, (row, size, self._width * size, size),
        )  # fmt: skip
        if self._at_once == 1 and complete > first:  # frames at equal distances: no window is copied
            np.matmul(windows[:, : end - origin : self._hop // self._up], self._matrices, out=result)
        else:
            begin = first
            while begin < complete:
                frames = range(begin, min(complete, begin + self._at_once - begin % self._at_once))
                chosen = windows[:, [frame * self._hop // self._up - origin for frame in frames]]
                result[:, begin - first : frames.stop - first] = self._frames(chosen, frames)
                begin = frames.stop
        self._recent = recent[:, end - origin :].copy()  # not a view, which would keep all of it
        return result.reshape(self.channels, -1)

    def _frames(self, windows: np.ndarray, numbers: range) -> np.ndarray:
        """Output frames (C, N, 1, frame) from their windows (C, N, 1, width)."""
        if not self._between:
            begin = numbers.start % self._at_once
            return np.matmul(windows, self._matrices[begin : begin + len(numbers)])
        after = np.arange(numbers.start, numbers.stop) * self._down % self._up  # an input sample, times `up`
        place, rest = np.divmod(after * len(self._matrices), self._up)
        sums = np.matmul(windows, self._matrices[place])  # (C, N, 1, 2)
        return sums[..., :1] + (rest / self._up).astype(np.float32)[:, None, None] * sums[..., 1:]

    def _width_of(self, frame: int) -> int:
        """How many input samples a frame of so many output samples is made of."""
        return 2 * self._half + (frame - 1) * self._down // self._up + 1

    def _turn_of(self, frame: int) -> int:
        """After how many frames of so many output samples the filters come again."""
        return self._up // math.gcd(self._up, frame)

    def _best_frame(self, new_rate: int, whole: int | None) -> int:
        """The number of samples whose filters come again soonest; of several, the one nearest to FRAME.

        It is 1 where the filters are too many for a table.
        """
        if whole:
            frames = [frame for frame in range(1, whole + 1) if whole % frame == 0]
        else:
            frames = [*range(1, max(1, round(2 * FRAME * new_rate)) + 1)]
        small = [frame for frame in frames if frame * self._width_of(frame) < LARGEST_FILTERS]
        nearest = FRAME * new_rate
        best = min(small or [1], key=lambda frame: (self._turn_of(frame), abs(frame - nearest)))
        return best if self._turn_of(best) <= LONGEST_TABLE else 1


@lru_cache(maxsize=16)  # streams with the same rates share it
def _table(up: int, down: int, half: int, frame: int, width: int, turn: int) -> np.ndarray:
    """The matrices (turn, width, frame) that make frames from their input samples."""
    table = np.empty((turn, frame, width), np.float32)  # each filter in one piece: faster
    for index in range(turn):
        outputs = index * frame + np.arange(frame)
        inputs = index * frame * down // up - half + 1 + np.arange(width)
        table[index] = _filters((inputs * up - outputs[:, None] * down) / max(up, down))
    return table.transpose(0, 2, 1)


@lru_cache(maxsize=16)
def _places(up: int, down: int, half: int) -> np.ndarray:
    """Matrices (P, width, 2) for an output sample that lies p / P after an input sample.

    The columns are the filter of place p, and that of the next place minus it.
    """
    scale = min(1, up / down)  # from input samples to those of the lower rate
    count = math.ceil(STEPS * scale)
    places = np.arange(count + 1) / count
    filters = _filters((np.arange(2 * half + 1) - half + 1 - places[:, None]) * scale)  # (P + 1, width)
    return np.stack((filters[:-1], np.diff(filters, axis=0)), axis=1).transpose(0, 2, 1)


def _filters(distance: np.ndarray) -> np.ndarray:
    """Filters (..., width) for distances from their middle, in samples of the lower rate."""
    prototype = _prototype()
    steps = np.minimum(np.abs(distance) * STEPS, len(prototype) - 2)
    below = steps.astype(int)
    filters = prototype[below]
    filters += (steps - below) * (prototype[below + 1] - filters)
    return (filters / filters.sum(axis=-1, keepdims=True)).astype(np.float32)  # a constant stays what it is


@lru_cache(maxsize=1)
def _prototype() -> np.ndarray:
    """The filter at distances of 0, 1 / STEPS, ... samples of the lower rate: a windowed sinc, and zeros at its end."""
    distance = np.arange(math.ceil(HALF_LENGTH * STEPS) + 2) / STEPS
    window = np.i0(BETA * np.sqrt(np.clip(1 - (distance / HALF_LENGTH) ** 2, 0, None))) * (distance < HALF_LENGTH)
    return np.sinc(distance) * window
