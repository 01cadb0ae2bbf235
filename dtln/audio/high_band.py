"""The band above 8 kHz of a recording, which the network does not hear, attenuated like the band below it."""

from __future__ import annotations

import numpy as np

from dtln.audio.queue import Queue
from dtln.audio.resampling import Resampler
from dtln.facts import SAMPLE_RATE

__all__ = ["HighBand"]

FRAME = 256  # samples at 16 kHz: 16 ms
HOP = 128  # 8 ms
LOWEST_BIN = FRAME // 4  # 4 kHz; the last one is 8 kHz
REACH = 4  # frames on either side that powers are averaged over: 32 ms, so that the gain hisses with no consonant
TINY = 1e-20  # in quotients of powers


class HighBand:
    """Takes a recording of C channels, and what the network heard and made of it; gives the band above 8 kHz.

    The gain of the band is that of the network from 4 to 8 kHz: the root of the quotient of the powers of what came out
    and what went in, at most 1, in frames of 16 ms that are averaged over 72 ms and interpolated.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._hops_per_sample = SAMPLE_RATE / (HOP * rate)
        self._back = Resampler(SAMPLE_RATE, rate, channels)
        self._recording, self._low, self._high = (Queue(channels) for _ in range(3))  # at the recording's rate
        self._heard, self._denoised = Queue(channels), Queue(channels)  # at 16 kHz
        self._pair = np.zeros((2, FRAME // 2, channels), np.float32)  # both, not yet in a frame
        self._powers = np.zeros((2, REACH, channels), np.float32)
        self._gains = np.zeros((0, channels), np.float32)  # one a hop
        self._given = 0  # samples
        self._dropped = 0  # gains before those that are kept
        self._window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
        self._weights = np.hanning(2 * REACH + 3)[1:-1].astype(np.float32)

    def process(self, samples: np.ndarray, heard: np.ndarray, denoised: np.ndarray, last: bool = False) -> np.ndarray:
        """Pieces (M, C) of the recording at its rate and of the others at 16 kHz; gives what is complete (M', C)."""
        self._recording.put(samples)
        self._low.put(self._back.process(heard, last))
        ready = min(len(self._recording), len(self._low))
        self._high.put(self._recording.take(ready) - self._low.take(ready))
        self._heard.put(heard)
        self._denoised.put(denoised)
        self._measure(last)
        covered = int((self._dropped + len(self._gains) - 1) / self._hops_per_sample) - self._given
        high = self._high.take(min(max(0, covered), len(self._high)))
        hops = (self._given + np.arange(len(high))) * self._hops_per_sample - self._dropped  # (M',)
        before = hops.astype(int)
        share = (hops - before).astype(np.float32)[:, None]
        gains = self._gains[before] * (1 - share) + self._gains[before + 1] * share  # (M', C)
        self._given += len(high)
        passed = int(self._given * self._hops_per_sample) - self._dropped
        self._gains, self._dropped = self._gains[passed:], self._dropped + passed
        return high * gains

    def _measure(self, last: bool) -> None:
        """Turns what has come of both signals into gains; the gain of hop k is that of the frame around it."""
        ready = min(len(self._heard), len(self._denoised))
        pair = np.concatenate([self._pair, np.stack([self._heard.take(ready), self._denoised.take(ready)])], axis=1)
        if last:
            pair = np.pad(pair, [(0, 0), (0, FRAME // 2 + 2 * HOP), (0, 0)])
        count = max(0, (pair.shape[1] - FRAME) // HOP + 1)
        self._pair = pair[:, count * HOP :]
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(pair, FRAME, axis=1)[:, ::HOP]  # (2, K, C, FRAME)
            spectra = np.fft.rfft(frames * self._window)[..., LOWEST_BIN:]
            self._powers = np.concatenate([self._powers, (np.abs(spectra) ** 2).sum(axis=3)], axis=1)  # (2, K, C)
        if last:
            self._powers = np.pad(self._powers, [(0, 0), (0, REACH), (0, 0)])
        if self._powers.shape[1] > 2 * REACH:
            averaged = np.lib.stride_tricks.sliding_window_view(self._powers, 2 * REACH + 1, axis=1) @ self._weights
            self._powers = self._powers[:, -2 * REACH :]
            gains = np.sqrt(np.minimum(1, averaged[1] / (averaged[0] + TINY)))
            self._gains = np.concatenate([self._gains, gains.astype(np.float32)])
