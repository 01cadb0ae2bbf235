"""Two sound devices in simulated time, with clocks of their own, on the callbacks of a Pipeline."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from dtln.live.controls import Controls
from dtln.live.counters import Counters
from dtln.live.pipeline import Pipeline
from dtln.streaming.engine import StreamingDenoiser


class PassingNetwork:
    """A back end that returns each block, scaled so that their overlap-add is the signal again."""

    runtime = "none"
    block_length, block_shift = 512, 128

    def initial_states(self) -> tuple:
        return ()

    def run(self, block: np.ndarray, states: tuple) -> tuple[np.ndarray, tuple]:
        return block / np.float32(4), states


class Devices:
    """A microphone that hears `sound` (t) -> sample, and a loudspeaker whose samples are kept in `played`.

    ppm: by how much the loudspeaker's clock is faster. sizes: of the callbacks, samples. jitter: s by which callbacks
    come late at random. held: (device, from, to): the callbacks of "input" or "output" that do not come in that time.
    lost: whether their samples are lost, or come all at once afterwards.
    """

    def __init__(
        self,
        sound: Callable[[np.ndarray], np.ndarray],
        *,
        rates: tuple[int, int] = (16000, 16000),
        sizes: tuple[int, int] = (160, 160),
        ppm: float = 0.0,
        jitter: float = 0.0,
        held: tuple[tuple[str, float, float], ...] = (),
        lost: bool = False,
        backend: object = None,
        make: Callable[..., StreamingDenoiser] = StreamingDenoiser,
        **options: object,
    ) -> None:
        self.time = 0.0
        self.controls, self.counters = Controls(), Counters()
        self.pipeline = Pipeline(
            backend or PassingNetwork(), make, *rates, self.controls, self.counters, now=lambda: self.time, **options
        )
        self.sound, self.rates, self.sizes, self.jitter, self.held = sound, rates, sizes, jitter, held
        self._lost, self._pauses = lost, [0.0, 0.0]
        self._paces = (rates[0], rates[1] * (1 + ppm * 1e-6))  # true samples per s
        self._done = [0, 0]
        self._random = np.random.default_rng(1)
        self._events: list[tuple[float, int]] = []
        for device in (0, 1):
            self._plan(device)
        self.worker_free = 0.0
        self.cost = lambda time: 0.0  # s that the worker takes for what has been heard at a time
        self.played: list[np.ndarray] = []
        self.delays: list[float] = []

    def _plan(self, device: int) -> None:
        due = self._pauses[device] + (self._done[device] + self.sizes[device]) / self._paces[device]
        due += self._random.uniform(0, self.jitter)
        for name, begin, end in self.held:
            if name == ("input", "output")[device] and begin <= due < end:
                self._pauses[device] += self._lost * (end - due)
                due = end
        heapq.heappush(self._events, (due, device))

    def run(self, until: float) -> np.ndarray:
        """Lets time pass up to `until`, s; returns all that was played so far, (L,)."""
        while self._events[0][0] < until:
            self.time, device = heapq.heappop(self._events)
            count = self.sizes[device]
            if device == 0:
                moments = self._pauses[0] + (self._done[0] + np.arange(count)) / self._paces[0]
                self.pipeline.input_callback(self.sound(moments).astype(np.float32)[:, None], count, None, None)
                if self.time >= self.worker_free:
                    self.worker_free = self.time + self.cost(self.time)
                    if self.worker_free == self.time:
                        self.pipeline.work()
            else:
                if self.cost(self.time) and self.time >= self.worker_free:
                    self.pipeline.work()
                out = np.full((count, 2), np.nan, np.float32)
                self.pipeline.output_callback(out, count, None, None)
                assert np.isfinite(out).all() and np.array_equal(out[:, 0], out[:, 1])
                self.played.append(out[:, 0])
            self._done[device] += count
            self._plan(device)
        return np.concatenate(self.played)


def flags(**raised: bool) -> SimpleNamespace:
    """A status as sounddevice gives it."""
    names = ("input_overflow", "input_underflow", "output_overflow", "output_underflow")
    return SimpleNamespace(**dict.fromkeys(names, False) | raised)
