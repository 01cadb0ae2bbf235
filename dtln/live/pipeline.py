"""From the input device to the output device: two audio callbacks, and a worker thread that denoises between them.

    input callback -> ring -> worker: StreamingDenoiser, stretched where the clocks differ -> ring -> output callback

The callbacks run in PortAudio's threads. They copy, count and never wait for the worker. `dtln.live.playout` decides
what the output callback plays: where the worker is late, the input itself. The worker then passes the network by until
it is ahead again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from dtln.facts import BLOCK_SHIFT, SAMPLE_RATE
from dtln.live.clock import DriftControl, DriftStage, Timeline
from dtln.live.controls import Controls
from dtln.live.counters import FLAGS, Counters
from dtln.live.playout import Playout
from dtln.live.ring import Ring
from dtln.streaming.backends import Backend, States
from dtln.streaming.engine import LOUDEST_SAMPLE, StreamingDenoiser

__all__ = ["Pipeline", "Recording"]

PIECE_SECONDS = BLOCK_SHIFT / SAMPLE_RATE  # the worker takes so much at a time
RING_SECONDS = 4.0
WARM_UP_PIECES = 40
MOST_DEVICE_DELAY = 3.0  # s
MOST_UNDERFLOWS = 1000  # callbacks that are passed over before the delay is settled


class Recording(Protocol):
    """What is given the sound that comes in and goes out. It must not wait."""

    def put_input(self, samples: np.ndarray) -> None: ...

    def put_output(self, samples: np.ndarray) -> None: ...


class PassingBackend:
    """A back end that can be told to pass blocks by the network: `passing`. States stay as they are meanwhile."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.passing = False
        self.runtime = backend.runtime
        self.block_length, self.block_shift = backend.block_length, backend.block_shift
        self._scale = np.float32(self.block_shift / self.block_length)  # one over the number of overlapping blocks

    def initial_states(self) -> States:
        """Those of the back end."""
        return self._backend.initial_states()

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (denoised block float32 (N,), new states)."""
        if self.passing:
            return block * self._scale, states  # their overlap-add is the signal again
        return self._backend.run(block, states)


class Pipeline:
    """Denoises what `input_callback` is given, for `output_callback` to play.

    make: makes the StreamingDenoiser of one channel from a back end. input_rate, output_rate: Hz, of the devices.
    channel: of the input, from 0; None takes the mean of all. recording: is given what the network hears and what comes
    of it, (L, 1) each; the second is not stretched, so that both stay aligned. loop_delay: s from the output callback
    to the input callback through the devices, where it was measured. latency: the larger one of the devices, s. now:
    the time in s.

    delay: of the network and the resampling, s; the sizes of the callbacks add to it. error: the exception of the
    worker or the output callback, after which silence is played; None while all is well.
    """

    def __init__(
        self,
        backend: Backend,
        make: Callable[[Backend], StreamingDenoiser],
        input_rate: int,
        output_rate: int,
        controls: Controls,
        counters: Counters,
        *,
        channel: int | None = None,
        recording: Recording | None = None,
        loop_delay: float | None = None,
        latency: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.input_rate, self.output_rate = input_rate, output_rate
        self.controls, self.counters = controls, counters
        counters.input_rate, counters.output_rate = input_rate, output_rate
        self.error: Exception | None = None
        self._channel, self._recording, self._now = channel, recording, now
        self._heard = Ring(math.ceil(RING_SECONDS * input_rate))
        self._ready = Ring(math.ceil(RING_SECONDS * output_rate))
        self._timeline = Timeline(input_rate / output_rate)
        self._drift = DriftControl()
        # of the callbacks
        self._arrived = 0.0  # when the last samples were heard
        self._all_asked = 0  # samples that the output has asked for
        self._underflows = 0  # callbacks that were passed over
        self._loop_delay, self._latency = loop_delay, latency
        self._device_delays: list[float | None] = [None, None] if loop_delay is None else [loop_delay, 0.0]  # s
        # of the worker
        self._backend = PassingBackend(backend)
        self._denoiser = make(self._backend)
        self._stage: DriftStage | None = None
        self._repeated = 0  # samples to come that have been written already
        self._piece = round(PIECE_SECONDS * input_rate)
        self.delay = self._warm_up()
        self._taken = 0  # samples of the input
        self._busy = 0.0  # s
        self._gain = 1.0  # that the last piece ended with
        self._silenced = counters.silenced_blocks
        self._updated = now()
        self._work = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="denoiser", daemon=True)
        self._playout = Playout(self._heard, self._ready, self._timeline, input_rate, output_rate, self.delay, latency)
        self._late_before = counters.late_blocks

    def start(self) -> None:
        """Starts the worker."""
        self._thread.start()

    @property
    def progress(self) -> tuple[int, int]:
        """Samples that the input has delivered and the output has asked for; both grow while the devices run."""
        return self._heard.written, self._all_asked

    def stop(self) -> None:
        """Ends the worker; a block that it is at may go on."""
        self._ended = True
        self._work.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def input_callback(self, indata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        """indata: (frames, channels)."""
        if self._playout.settled:
            self._count_flags(status)
        self._heard.write(indata.mean(axis=1) if self._channel is None else indata[:, self._channel])
        self._arrived = self._now()
        if self._loop_delay is None and time_info is not None:
            age = time_info.currentTime - time_info.inputBufferAdcTime - frames / self.input_rate
            told = time_info.inputBufferAdcTime > 0  # a sound server's own buffers are not in it
            self._device_delays[0] = min(max(age, 0.0), self._latency) if told else None
        self._work.set()

    def output_callback(self, outdata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        """outdata: (frames, channels); all get the same."""
        outdata[:] = 0.0
        self._all_asked += frames
        playout = self._playout
        if playout.settled:
            self._count_flags(status)
        elif status and status.output_underflow and self._underflows < MOST_UNDERFLOWS:
            self._underflows += 1  # some output devices run through seconds of silence at first
            return
        self.counters.played += frames
        if self._loop_delay is None and time_info is not None:
            ahead = time_info.outputBufferDacTime - time_info.currentTime
            self._device_delays[1] = ahead if 0 < ahead < MOST_DEVICE_DELAY else None
        if self.error is not None:
            return
        try:
            if playout.settled or playout.settle(frames):
                idle = self._heard.written - self._taken < self._piece
                outdata[:] = playout.next(frames, self._now(), self._arrived, idle, self._busy)[:, None]
                self._note_delay()
        except Exception as error:
            self.error = error

    def _count_flags(self, status: Any) -> None:
        if status:
            for name in FLAGS:
                self.counters.flags[name] += bool(getattr(status, name))

    def _note_delay(self) -> None:
        counters, delay = self.counters, self._playout.delay
        counters.late_blocks = self._late_before + math.ceil(
            self._playout.late_samples / (PIECE_SECONDS * self.output_rate)
        )
        counters.skips += self._playout.take_skips()
        counters.dropouts += self._playout.take_dropouts()
        if delay is None:
            return
        self._drift.add(delay)
        if None not in self._device_delays:
            whole = delay + sum(self._device_delays)  # type: ignore[arg-type]
            counters.delay = whole if counters.delay is None else counters.delay + 0.05 * (whole - counters.delay)

    # --- worker -------------------------------------------------------------------------------------------------------

    def _warm_up(self) -> float:
        """Lets everything run once. Returns how many s the output is behind the input just before a piece comes."""
        taken = given = 0
        lag = 0.0
        silence = np.zeros(self._piece, np.float32)
        for count in range(WARM_UP_PIECES):
            taken += self._piece
            given += len(self._denoiser.process(silence))
            if count > WARM_UP_PIECES // 2:
                lag = max(lag, taken / self.input_rate - given / self.output_rate)
        self._denoiser.reset()
        return lag + self._piece / self.input_rate

    def _run(self) -> None:
        try:
            while not self._ended:
                self._work.wait(0.2)
                self._work.clear()
                self.work()
        except Exception as error:
            self.error = error

    def work(self) -> None:
        """Denoises all whole pieces that have been heard. The worker calls this; without a worker, its owner does."""
        while self._heard.written - self._taken >= self._piece and not self._ended:
            self._take_piece()
        if (since := self._now() - self._updated) >= 1.0:
            self._updated += since
            self._follow_drift(since)

    def _take_piece(self) -> None:
        heard = self._heard.read(self._taken, self._piece)
        ahead = self._playout.ahead
        if ahead is not None:  # what is late was played as it is already, so it need not be right
            self._backend.passing = ahead < (self._playout.largest if self._backend.passing else 0)
        self._denoiser.bypass, self._denoiser.strength = self.controls.bypass, self.controls.strength
        begun = self._now()
        denoised = self._denoiser.process(heard)
        gain = float(not self.controls.muted)
        if min(gain, self._gain) < 1:
            denoised = denoised * np.linspace(self._gain, gain, len(denoised), dtype=np.float32)
        self._gain = gain
        self._ready.write(self._stretch(denoised))
        seconds = self._now() - begun
        self._taken += self._piece
        self._busy += seconds
        counters = self.counters
        if not self._backend.passing:
            counters.blocks += 1
            counters.times.add(seconds * 1e3)
        counters.silenced_blocks = self._silenced + self._denoiser.silenced_blocks
        counters.heard += self._piece
        if not self._denoiser.silenced_blocks or np.abs(heard).max() <= LOUDEST_SAMPLE:
            counters.input_energy += float(heard @ heard)
        counters.output_energy += float(denoised @ denoised)
        if self._recording:
            self._recording.put_input(heard[:, None])
            self._recording.put_output(denoised[:, None])

    def _stretch(self, denoised: np.ndarray) -> np.ndarray:
        """Denoised samples as the clock of the output device wants them, (L,) -> (M,)."""
        if self._stage is None:
            return denoised
        stretched = self._stage.process(denoised, self._drift.correction)
        known = min(self._repeated, len(stretched))
        self._repeated -= known
        return stretched[known:]

    def _follow_drift(self, seconds: float) -> None:
        """Adapts the stretching after so many seconds, and begins it where it has become necessary."""
        if self._playout.take_jumps():
            self._drift.restart()
        self._drift.update(seconds)
        self.counters.drift_ppm = None if self._drift.drift is None else self._drift.drift * 1e6
        if not self._drift.engaged:
            return
        if self._stage is None:
            self._insert_stage()
        step = self.input_rate / self.output_rate / (1 + self._drift.correction)
        self._timeline.bend(self._ready.written, step)

    def _insert_stage(self) -> None:
        """Sends what comes from now on through a DriftStage, and moves the playout back by the delay of that."""
        self._stage = DriftStage()
        history = round(0.1 * self.output_rate)
        known = self._stage.process(self._ready.read(self._ready.written - history, history), 0.0)
        inside = history - len(known)
        self._repeated = inside + DriftStage.SHIFT
        self._playout.move(-inside)
