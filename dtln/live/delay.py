"""Measures the delay of a loop from loudspeaker to microphone: a sound to play, and where it is in what was heard."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

__all__ = ["PROBE_SECONDS", "Loop", "find_probe", "probe"]

PROBE_SECONDS = 1.0
POLL_SECONDS = 0.05
START_SECONDS = 5.0  # in which the devices begin to deliver sound
LOOP_SECONDS = 3.0  # in which the probe is to come back, after it was sent
LOWEST, HIGHEST = 300.0, 6000.0  # Hz: what small loudspeakers play
HIGHEST_SHARE = 0.4  # of the sampling rate, where that is less
PROBE_PEAK = 0.25  # -12 dBFS
CLEAR_SIMILARITY = 0.2  # 1 for the probe itself; the probe in noise 14 dB louder than it, in its band
CLEAR_CONTRAST = 6.0  # the peak over the root mean square of what is elsewhere; noise alone stays below 5
FIRST_SHARE = 0.5  # of the peak: what comes earlier and is as loud is the direct way, before an echo
EARLIEST_SECONDS = 0.1  # that a direct way may be before the peak


def probe(rate: float) -> np.ndarray:
    """A sweep of PROBE_SECONDS that swells and fades, float32 (L,): at any rate the same sound."""
    moments = np.arange(round(PROBE_SECONDS * rate)) / rate  # (L,) s
    slope = (_highest(rate) - LOWEST) / PROBE_SECONDS
    phase = 2 * math.pi * (LOWEST * moments + slope / 2 * moments**2)
    return (PROBE_PEAK * np.sin(math.pi * moments / PROBE_SECONDS) ** 2 * np.sin(phase)).astype(np.float32)


def _highest(rate: float) -> float:
    return min(HIGHEST, HIGHEST_SHARE * rate)


def find_probe(heard: np.ndarray, probe: np.ndarray, rate: float) -> float | None:
    """How many samples after the first of `heard` (L,) the probe begins in it; None where it is not clearly there.

    probe: as `probe(rate)` gives it. The first of several echoes counts. A probe of which a part is missing at either
    end may not be found.
    """
    if len(heard) < len(probe) or not np.all(np.isfinite(heard)):
        return None
    size = 1 << (len(heard) + len(probe) - 1).bit_length()
    spectrum = np.fft.rfft(heard, size)
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    spectrum[(frequencies < LOWEST) | (frequencies > _highest(rate))] = 0  # hum and hiss say nothing about the probe
    inside = np.fft.irfft(spectrum, size)[: len(heard)]
    count = len(heard) - len(probe) + 1  # places at which a whole probe may begin

    product = spectrum * np.conj(np.fft.rfft(probe, size))
    product[1:] *= 2
    product = np.concatenate([product, np.zeros(size - len(product))])
    envelope = np.abs(np.fft.ifft(product))[:count]  # of the correlation
    energy = np.concatenate([[0.0], np.cumsum(inside**2)])
    local = np.sqrt(np.maximum(energy[len(probe) :] - energy[: -len(probe)], 0.0))  # (count,), of the place's samples
    loudest = float(local.max())
    if loudest == 0:
        return None
    similarity = envelope / (np.linalg.norm(probe) * np.maximum(local, 1e-3 * loudest))

    peak = int(np.argmax(envelope))
    near = round(EARLIEST_SECONDS * rate)
    elsewhere = np.concatenate([envelope[: max(peak - near, 0)], envelope[peak + near :]])
    contrast = envelope[peak] / (math.sqrt(np.mean(elsewhere**2)) if elsewhere.any() else 1e-12)
    if similarity[peak] < CLEAR_SIMILARITY or contrast < CLEAR_CONTRAST:
        return None
    begin = max(peak - near, 0)
    first = begin + int(np.argmax(envelope[begin : peak + 1] >= FIRST_SHARE * envelope[peak]))
    while first < peak and envelope[first + 1] > envelope[first]:  # up to the top of its hill
        first += 1
    return float(first)


class Loop:
    """Callbacks that play a probe and look for it in the input. input_rate, output_rate: Hz."""

    def __init__(self, input_rate: int, output_rate: int) -> None:
        self._rate = input_rate
        self._probe, self._output_rate = probe(output_rate), output_rate
        self._start = round(0.5 * output_rate)  # samples of silence before it
        self._played = 0
        self._sent: float | None = None  # when the first sample was handed over
        self._heard: list[np.ndarray] = []
        self._arrivals: list[tuple[int, float]] = []  # samples heard, and when
        self._count = 0

    def input_callback(self, indata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        """Keeps what is heard."""
        self._heard.append(indata.mean(axis=1))
        self._count += frames
        self._arrivals.append((self._count, time.monotonic()))

    def output_callback(self, outdata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        """Plays the probe after some silence."""
        outdata[:] = 0.0
        begin = self._start - self._played
        if self._count == 0 or (status and status.output_underflow and begin > 0):
            return
        if 0 <= begin < frames:
            self._sent = time.monotonic() + begin / self._output_rate
        first = max(begin, 0)
        part = self._probe[max(-begin, 0) :][: max(frames - first, 0)]
        outdata[first : first + len(part)] = part[:, None]
        self._played += frames

    def measured(self) -> float | None:
        """The delay from the output callback to the input callback in s; None where the probe does not come back."""
        deadline = time.monotonic() + START_SECONDS
        while self._sent is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if self._sent is None:
            return None
        time.sleep(LOOP_SECONDS)
        heard = np.concatenate(self._heard)
        at = find_probe(heard, probe(self._rate), self._rate)
        if at is None:
            return None
        count, moment = next((count, moment) for count, moment in [*self._arrivals] if count > at)
        return max(moment - (count - at) / self._rate - self._sent, 0.0)
