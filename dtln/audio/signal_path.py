"""The way of a recording through the network, piece by piece: level, rates, and what comes back of the recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dtln.audio.high_band import HighBand
from dtln.audio.levels import Correction
from dtln.audio.queue import Queue
from dtln.audio.resampling import Resampler
from dtln.facts import SAMPLE_RATE

__all__ = ["SignalPath", "Stream", "chosen_strength", "strength_for_limit"]


class Stream(Protocol):
    """C signals at 16 kHz in pieces: float32 (C, M) in, aligned ones out; in the end as many came out as went in."""

    def process(self, samples: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...


def strength_for_limit(attenuation_limit_db: float) -> float:
    """The strength at which noise that the network removes altogether goes down by so many dB."""
    return 1 - 10 ** (-attenuation_limit_db / 20)


def chosen_strength(strength: float, attenuation_limit_db: float | None) -> float:
    """The one of two settings that was given, as a strength. Raises ValueError for values that there are not."""
    if attenuation_limit_db is None:
        if not 0 <= strength <= 1:
            raise ValueError(f"a strength of {strength} was given. Expected 0 to 1.")
        return strength
    if strength != 1:
        raise ValueError("a strength and an attenuation limit were given. Expected one of them.")
    if not attenuation_limit_db >= 0:
        raise ValueError(f"an attenuation limit of {attenuation_limit_db} dB was given. Expected at least 0.")
    return strength_for_limit(attenuation_limit_db)


class SignalPath:
    """Takes a recording of C channels in pieces and gives it back denoised, aligned, at one of two rates.

    stream: the network. rate: of the recording, Hz. output_rate: the same, or 16000. corrections: of each channel;
    the gains are taken back after the network, the offsets stay away. strength: from 0 to 1, the share of the denoised
    signal in what comes out; the rest is the recording as it is. keep_high_band: adds the band above 8 kHz, attenuated
    as `HighBand` says, where the output has one.
    """

    def __init__(
        self,
        stream: Stream,
        rate: int,
        output_rate: int,
        corrections: Sequence[Correction],
        strength: float = 1.0,
        keep_high_band: bool = False,
    ) -> None:
        channels = len(corrections)
        self.stream, self.rate, self.output_rate = stream, rate, output_rate
        self._offset = np.array([correction.offset for correction in corrections], np.float32)  # (C,)
        self._gain = np.array([correction.gain for correction in corrections], np.float32)  # (C,)
        self._strength = np.float32(strength)
        self._down = Resampler(rate, SAMPLE_RATE, channels)
        self._up = Resampler(SAMPLE_RATE, output_rate, channels)
        self._band = HighBand(rate, channels) if keep_high_band and rate == output_rate > SAMPLE_RATE else None
        self._denoised, self._high, self._recording = (Queue(channels) for _ in range(3))  # at the output's rate
        self._taken = self._given = 0  # samples at each rate

    def process(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes samples (M, C), gives those (M', C) that are complete; with `last`, all the rest."""
        self._taken += len(samples)
        centred = samples - self._offset
        heard = self._down.process(centred, last)  # (M, C) at 16 kHz
        denoised = self.stream.process((heard * self._gain).T)  # (C, M)
        if last and self._taken:
            denoised = np.concatenate([denoised, self.stream.flush()], axis=1)
        denoised = denoised.T / self._gain  # (M, C)
        self._denoised.put(self._up.process(denoised, last))
        ready = len(self._denoised)
        if self._band:
            self._high.put(self._band.process(centred, heard, denoised, last))
            ready = min(ready, len(self._high))
        if self.output_rate == self.rate:  # back from 16 kHz, there may be some samples too many
            ready = min(ready, self._taken - self._given)
        result = self._denoised.take(ready)
        if self._band:
            result = result + self._high.take(ready)
        if self._strength < 1:
            self._recording.put(samples if self.output_rate == self.rate else heard + self._offset)
            result = self._strength * result + (1 - self._strength) * self._recording.take(ready)
        self._given += ready
        return result
