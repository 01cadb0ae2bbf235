"""What the output device plays next: denoised sound where it is ready, else the input itself in its place."""

from __future__ import annotations

import math

import numpy as np

from dtln.live.clock import Timeline
from dtln.live.ring import Ring
from dtln.streaming.engine import LOUDEST_SAMPLE

__all__ = ["Playout"]

WARM_UP = 0.4  # s of silence in which the sizes of the callbacks are learnt
LEAST_MARGIN = 0.004  # s
WINDOW, LONG_WINDOW = 2.0, 10.0  # s after which the delay may become longer, and shorter
EXCESS, LARGE_EXCESS = 0.05, 0.2  # s by which the delay may be longer than it has to be
LARGEST_STEP = 0.05  # s by which the delay grows at once
MOST_DELAY = 3.0  # s
MOST_AHEAD = 3.0  # s that the worker may be ahead; its ring holds some more
STANDSTILL = 0.5  # s; an input that is silent for longer has stopped, a shorter time is jitter
OVERLOAD = 0.8  # share of the time; a worker that is busier is too slow, and no delay would help
FADE = 0.003  # s in which a step in the output is spread


class Playout:
    """Plays the ring `ready` sample by sample, `heard` where that is late, and silence where nothing is there.

    It settles on a delay after some callbacks. The delay grows at once when the input comes too late for it, and after
    WINDOW when the worker does without being overloaded. It shrinks when it was longer than needed for LONG_WINDOW. All
    steps between sources are spread over a few ms.

    lag: s that the worker's output is behind its input. latency: of the devices, s. settled: whether `next` may be
    called. delay: of the sample that was played last, s since it was heard; None while the input stands still.
    late_samples: that were not ready in time. largest: samples asked for at once.
    """

    def __init__(
        self,
        heard: Ring,
        ready: Ring,
        timeline: Timeline,
        input_rate: int,
        output_rate: int,
        lag: float,
        latency: float = 0.0,
    ) -> None:
        self._heard, self._ready, self._timeline = heard, ready, timeline
        self._input_rate, self._output_rate, self._lag = input_rate, output_rate, lag
        self._margin = max(latency / 4, LEAST_MARGIN)  # s by which the worker is ahead; a callback of PulseAudio's
        self._position: int | None = None  # number of the next sample
        self._asked = 0  # samples in the warm-up
        self._shortest = math.inf  # delay in the warm-up, s
        self.largest = self.late_samples = 0
        self.delay: float | None = None
        self._usual: float | None = None  # delay of what the worker had ready in time
        self._move = self._jumps = self._skips = self._dropouts = 0
        self._source, self._last = "silence", 0.0  # of the last sample, and its value
        self._silent_since = 0.0
        self._grown_at = 0  # samples heard when the delay grew for the last time
        self._late_until = 0
        self._window: tuple[float, float, int] | None = None  # time, the worker's busy seconds and late samples
        self._least_spare = math.inf  # s that the worker was ahead since then

    @property
    def settled(self) -> bool:
        return self._position is not None

    @property
    def ahead(self) -> int | None:
        """By how many samples the worker is ahead of what is played; None while that is not settled."""
        return None if self._position is None else self._ready.written - self._position

    def move(self, samples: int) -> None:
        """Moves what is played next, from another thread."""
        self._move += samples

    def take_jumps(self) -> int:
        """How often the delay was changed since the last call."""
        jumps, self._jumps = self._jumps, 0
        return jumps

    def take_skips(self) -> int:
        """How often sound was left out since the last call, because the delay was longer than it had to be."""
        skips, self._skips = self._skips, 0
        return skips

    def take_dropouts(self) -> int:
        """How often there was nothing to play since the last call."""
        dropouts, self._dropouts = self._dropouts, 0
        return dropouts

    def settle(self, frames: int) -> bool:
        """Watches the callbacks for a while, then decides on the delay. Returns whether it has."""
        self.largest = max(self.largest, frames)
        if not self._heard.written:
            return False
        delay = self._heard.written / self._input_rate - self._asked / self._output_rate
        self._shortest = min(self._shortest, delay)
        if self._asked < max(WARM_UP * self._output_rate, 5 * self.largest):
            self._asked += frames
            return False
        spare = self._shortest - self._lag - self.largest / self._output_rate - self._margin  # s
        self._position = self._asked + self._samples(spare)
        return True

    def next(self, frames: int, now: float, arrived: float, idle: bool, busy: float) -> np.ndarray:
        """The samples to play, (frames,).

        now, arrived: the time, and that when the input came last, s. idle: whether the worker has nothing to do. busy:
        how many s it has worked so far.
        """
        self.largest = max(self.largest, frames)
        heard = self._heard.written
        begin, jumped = self._begin(frames, now, heard, idle)
        ready = min(max(self._ready.written - begin, 0), frames)
        there = math.floor((heard - self._timeline.place(begin)) / self._timeline.step)  # samples, as they were heard
        playable = max(ready, min(there, frames))
        samples = np.zeros(frames, np.float32)
        samples[:ready] = self._ready.read(begin, ready)
        if jumped and ready:
            self._join(samples, 0, "jump")
        self._join(samples[:ready], 0, "worker")
        if ready < playable:
            samples[ready:playable] = self._dry(begin + ready, playable - ready)
            self._join(samples[:playable], ready, "input")
            self.late_samples += max(begin + playable - max(begin + ready, self._late_until), 0)
            self._late_until = max(self._late_until, begin + playable)
        if playable < frames:
            if self._source != "silence":
                self._dropouts += 1
                self._silent_since = now
            self._join(samples, playable, "silence")
        self._last = float(samples[-1])
        self._position = begin + playable  # where there is nothing to play, its time stands still
        self.delay = None
        if now - arrived < WINDOW:
            self.delay = now - arrived + (heard - self._timeline.place(begin)) / self._input_rate
            if self._source == "worker":
                self._usual = self.delay
            self._watch((self._ready.written - begin - frames) / self._output_rate, now, busy)
        return samples

    def _begin(self, frames: int, now: float, heard: int, idle: bool) -> tuple[int, bool]:
        """The first sample to play, and whether it does not follow the last one that was."""
        assert self._position is not None
        move, self._move = self._move, 0
        begin = self._position + move
        if self._source == "silence" and self._usual is not None and heard > self._timeline.place(begin):
            gap = now - self._silent_since  # a short one may come again: be later, so that it will not be heard
            usual = self._usual + (min(gap, LARGEST_STEP) if gap < STANDSTILL else 0.0)
            begin = self._timeline.sample(heard - usual * self._input_rate)
            self._window = None
        spare = self._ready.written - begin - frames
        if spare > MOST_AHEAD * self._output_rate:  # the output stood still for long
            begin, move = begin + spare - self.largest, 1
        elif spare < 0 and idle and self._may_grow(heard):
            move = -min(-spare + self._samples(self._margin), self._samples(LARGEST_STEP))
            begin += move
            self.late_samples -= spare
            self._grown_at, self._window = heard, None
        self._jumps += move != 0
        self._skips += move > 0
        return begin, move != 0

    def _may_grow(self, heard: int) -> bool:
        """Whether the delay may grow, because the input comes too late for it.

        Not again before more was heard: an input that stands still would be played in a loop.
        """
        return self._usual is not None and self._usual < MOST_DELAY and heard > self._grown_at

    def _dry(self, start: int, count: int) -> np.ndarray:
        """The input in the place of samples of the output, (count,)."""
        first, step = self._timeline.place(start), self._timeline.step
        begin = math.floor(first)
        heard = self._heard.read(begin, math.ceil(count * step) + 2)
        heard[~(np.abs(heard) <= LOUDEST_SAMPLE)] = 0.0  # NaN, too
        if step == 1 and first == begin:
            return heard[:count]
        return np.interp(np.arange(count) * step + (first - begin), np.arange(len(heard)), heard).astype(np.float32)

    def _join(self, samples: np.ndarray, at: int, source: str) -> None:
        """Spreads the step before samples[at] over the next few where another source begins there."""
        if at < len(samples) and source != self._source:
            before = float(samples[at - 1]) if at else self._last
            count = min(len(samples) - at, self._samples(FADE))
            samples[at : at + count] += np.linspace(before - float(samples[at]), 0, count, dtype=np.float32)
            self._source = source

    def _watch(self, spare: float, now: float, busy: float) -> None:
        """Takes by how many s the worker was ahead; moves what is played next where that has been wrong for a while."""
        if self._window is None:
            self._window, self._least_spare = (now, busy, self.late_samples), math.inf
        self._least_spare = min(self._least_spare, spare)
        begun, busy_before, late_before = self._window
        seconds = now - begun
        if seconds < WINDOW:
            return
        is_late = self.late_samples > late_before and busy - busy_before < OVERLOAD * seconds
        if is_late and (self._usual or 0.0) < MOST_DELAY:
            self._move += self._samples(max(self._least_spare - self._margin, -LARGEST_STEP))
        elif seconds < LONG_WINDOW and self._least_spare < LARGE_EXCESS + self._margin:
            return
        elif self._least_spare > EXCESS + self._margin:
            self._move += self._samples(self._least_spare - self._margin)
        self._window = None

    def _samples(self, seconds: float) -> int:
        """As samples of the output."""
        return round(seconds * self._output_rate)
