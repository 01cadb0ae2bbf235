"""The clocks of two sound devices: how far they drift apart, and how the sound is stretched to make up for it."""

from __future__ import annotations

from collections import deque

import numpy as np

from dtln.errors import require

__all__ = ["DriftControl", "DriftStage", "Timeline"]

PROPORTIONAL = 1 / 15  # 1/s: a delay that is 1 ms off is mended within about 15 s, by 67 ppm at first
INTEGRAL = PROPORTIONAL**2 / 4  # 1/s^2: critical damping
LARGEST_CORRECTION = 5e-3  # 5000 ppm; clocks of real devices are within some hundred
TOLERATED = 3e-3  # s by which the delay may move before samples are touched
JUMP = 0.03  # s between two periods: no clock does that, but a device that stood still
SETTLING = 2  # periods after a start or a jump that are not looked at
REFERENCE = 4  # periods whose mean is the delay to keep
FEWEST_PERIODS = 20  # for an estimate of the drift
SURE = 20e-6  # standard error with which an estimate is told; on a busy machine it takes longer until then
MOST_PERIODS = 180


class Timeline:
    """Where samples of the output lie in the input, both counted from the beginning. One thread writes, others read."""

    def __init__(self, step: float) -> None:
        self._line = (0, 0.0, step)  # a sample, its place, and how far apart samples are

    @property
    def step(self) -> float:
        """Samples of the input for each of the output."""
        return self._line[2]

    def place(self, sample: float) -> float:
        """The place of a sample in the input."""
        first, place, step = self._line
        return place + (sample - first) * step

    def sample(self, place: float) -> int:
        """The sample at a place in the input."""
        first, known, step = self._line
        return first + round((place - known) / step)

    def bend(self, sample: int, step: float) -> None:
        """Lets samples be so far apart from this one on."""
        self._line = (sample, self.place(sample), step)


class DriftControl:
    """Keeps the delay between two devices constant, once it has been seen to move.

    The output callback calls `add` with the delay as it sees it; the worker calls `update` about once a second.

    correction: by how much longer the sound is to be made, as a share: 1e-4 is 100 ppm. engaged: whether it is used; it
    begins when the delay has moved by more than TOLERATED.
    drift: the estimate of how much faster the clock of the output is, as a share; None while there is none.
    """

    def __init__(self) -> None:
        self.engaged = False
        self.correction = 0.0
        self.drift: float | None = None
        self._sum = self._integral = self._stretched = 0.0  # of delays in s; of errors in s^2; of corrections in s
        self._count = 0
        self._seen = (0.0, 0)  # of the sum and the count
        self.restart()

    def restart(self) -> None:
        """Takes the coming delay for the one to keep, after a jump. What is known of the drift stays."""
        self._periods, self._delay = 0, 0.0
        self._reference = 0.0
        self._recent: deque[float] = deque(maxlen=5)
        self._history: deque[tuple[float, float]] = deque(maxlen=MOST_PERIODS)  # (time, delay without corrections), s
        self._time = 0.0

    def add(self, delay: float) -> None:
        """Notes a delay in s."""
        self._sum += delay
        self._count += 1

    def update(self, seconds: float) -> None:
        """Sets the correction after a period of so many seconds."""
        total, count = self._sum, self._count
        if count == self._seen[1]:
            return
        delay = (total - self._seen[0]) / (count - self._seen[1])
        self._seen = (total, count)
        if self._periods and abs(delay - self._delay) > JUMP:
            self.restart()
        self._delay = delay
        self._time += seconds
        self._stretched += self.correction * seconds
        self._periods += 1
        if self._periods <= SETTLING:
            return
        self._history.append((self._time, self._stretched - delay))
        self._estimate()
        if self._periods <= SETTLING + REFERENCE:
            self._reference += delay / REFERENCE
            return
        error = delay - self._reference
        self._recent.append(error)
        if not self.engaged and len(self._recent) == self._recent.maxlen:
            noise = float(np.std(self._recent))
            self.engaged = bool(abs(np.median(self._recent)) > TOLERATED + 3 * noise)
        if self.engaged:
            self._integral += error * seconds
            wanted = -(PROPORTIONAL * error + INTEGRAL * self._integral)
            self.correction = min(max(wanted, -LARGEST_CORRECTION), LARGEST_CORRECTION)

    def _estimate(self) -> None:
        if len(self._history) >= FEWEST_PERIODS:
            times, delays = np.array(self._history).T
            times -= times.mean()
            spread = float(times @ times)
            drift = float(times @ delays / spread)
            rest = delays - delays.mean() - drift * times
            if float(rest @ rest) / (len(rest) - 2) < spread * SURE**2:
                self.drift = drift


class DriftStage:
    """A resampler whose ratio is close to one and may change while it runs. Raises MissingPackageError without soxr.

    Its output is SHIFT samples later than it seems: sample n of the output is about n - SHIFT of the input.
    """

    SHIFT = 2  # measured: 1.74

    MOST = 1.0 + 2 * LARGEST_CORRECTION  # input over output

    def __init__(self) -> None:
        soxr = require("soxr", "devices with clocks of their own")
        self._stream = soxr.ResampleStream(self.MOST, 1.0, 1, dtype="float32", vr=True)
        self._stream.set_io_ratio(1.0, 1.0, 0)
        self.correction = 0.0

    def process(self, samples: np.ndarray, correction: float) -> np.ndarray:
        """Samples (L,) in, about (1 + correction) as many out, (M,)."""
        if correction != self.correction:
            self.correction = correction
            self._stream.set_io_ratio(1.0, 1 + correction, len(samples))
        return self._stream.resample_chunk(samples)
