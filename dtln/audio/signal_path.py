"""The way of a recording through the network, piece by piece: level, rates, and what comes back of the recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dtln.audio.levels import Correction
from dtln.audio.resampling import Resampler
from dtln.facts import SAMPLE_RATE

__all__ = ["Queue", "SignalPath", "Stream", "strength_for_limit"]


class Stream(Protocol):
    """C signals at 16 kHz in pieces: float32 (C, M) in, aligned ones out; in the end as many came out as went in."""

    def process(self, samples: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...


class Queue:
    """Samples (M, C) that wait for others that belong to them."""

    def __init__(self, channels: int) -> None:
        self._samples = np.zeros((0, channels), np.float32)

    def __len__(self) -> int:
        return len(self._samples)

    def put(self, samples: np.ndarray) -> None:
        """Adds samples (M, C) at the end."""
        self._samples = np.concatenate([self._samples, samples])

    def take(self, count: int) -> np.ndarray:
        """Removes the first `count` samples and returns them, (count, C)."""
        taken, self._samples = self._samples[:count], self._samples[count:]
        return taken


def strength_for_limit(attenuation_limit_db: float) -> float:
    """The strength at which noise that the network removes altogether goes down by so many dB."""
    return 1 - 10 ** (-attenuation_limit_db / 20)


class SignalPath:
    """Takes a recording of C channels in pieces and gives it back denoised, aligned, at one of two rates.

    stream: the network. rate: of the recording, Hz. output_rate: the same, or 16000. corrections: of each channel;
    the gains are taken back after the network, the offsets stay away. strength: from 0 to 1, the share of the denoised
    signal in what comes out; the rest is the recording as it is.
    """

    def __init__(
        self,
        stream: Stream,
        rate: int,
        output_rate: int,
        corrections: Sequence[Correction],
        strength: float = 1.0,
    ) -> None:
        channels = len(corrections)
        self.stream, self.rate, self.output_rate = stream, rate, output_rate
        self._offset = np.array([correction.offset for correction in corrections], np.float32)  # (C,)
        self._gain = np.array([correction.gain for correction in corrections], np.float32)  # (C,)
        self._strength = np.float32(strength)
        self._down = Resampler(rate, SAMPLE_RATE, channels)
        self._up = Resampler(SAMPLE_RATE, output_rate, channels)
        self._recording = Queue(channels)  # at the rate of the output
        self._taken = self._given = 0  # samples at each rate

    def process(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes samples (M, C), gives those (M', C) that are complete; with `last`, all the rest."""
        self._taken += len(samples)
        heard = self._down.process(samples - self._offset, last)  # (M, C) at 16 kHz
        denoised = self.stream.process((heard * self._gain).T)  # (C, M)
        if last and self._taken:
            denoised = np.concatenate([denoised, self.stream.flush()], axis=1)
        result = self._up.process(denoised.T / self._gain, last)
        if self.output_rate == self.rate:  # back from 16 kHz, there may be some samples too many
            result = result[: self._taken - self._given]
        if self._strength < 1:
            self._recording.put(samples if self.output_rate == self.rate else heard + self._offset)
            recording = self._recording.take(len(result))
            result = self._strength * result + (1 - self._strength) * recording
        self._given += len(result)
        return result
