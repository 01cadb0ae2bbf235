"""From the input device to the output device: two audio callbacks, and a worker thread that denoises between them.

    input callback -> ring -> worker: StreamingDenoiser, stretched where the clocks differ -> ring -> output callback

The callbacks run in PortAudio's threads. They copy, count and never wait for the worker. The output callback plays
sample after sample of the second ring. Where the worker is late, it plays the input itself, as it is, in the same place
of time; the worker then passes the network by until it is ahead again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from dtln.facts import BLOCK_SHIFT, SAMPLE_RATE
from dtln.live.clock import DriftControl, DriftStage
from dtln.live.controls import Controls
from dtln.live.counters import FLAGS, Counters
from dtln.live.ring import Ring
from dtln.streaming.backends import Backend, States
from dtln.streaming.engine import LOUDEST_SAMPLE, StreamingDenoiser

__all__ = ["Pipeline", "Recording"]

PIECE_SECONDS = BLOCK_SHIFT / SAMPLE_RATE  # the worker takes so much at a time
RING_SECONDS = 4.0
WARM_UP = 0.4  # s of silence in which the sizes of the callbacks are learnt
LEAST_MARGIN = 0.004  # s
WINDOW, LONG_WINDOW = 2.0, 10.0  # s after which the delay may become longer, and shorter
EXCESS, LARGE_EXCESS = 0.05, 0.2  # s by which the delay may be longer than it has to be
STANDSTILL = 0.5  # s; an input that is silent for longer has stopped, a shorter time is jitter
LARGEST_STEP = 0.05  # s by which the delay grows at once
FADE = 0.003  # s in which a step in the output is spread
MOST_DELAY = 3.0  # s
OVERLOAD = 0.8  # share of the time; a worker that is busier is too slow, and no delay would help
WARM_UP_PIECES = 40
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
    of it, (L, 1) each. loop_delay: s from the output callback to the input callback through the devices, where it was
    measured. latency: the larger one of the devices, s. now: the time in s.

    error: the exception of the worker or the output callback, after which silence is played; None while all is well.
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
        # of the worker
        self._backend = PassingBackend(backend)
        self._denoiser = make(self._backend)
        self._drift = DriftControl()
        self._stage: DriftStage | None = None
        self._repeated = 0  # samples to come that have been written already
        self._piece = round(PIECE_SECONDS * input_rate)
        self._lag = self._warm_up()  # s
        self._taken = 0  # samples of the input
        self._busy = 0.0  # s
        self._gain = 1.0  # that the last piece ended with
        self._silenced = counters.silenced_blocks
        self._updated = now()
        self._work = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="denoiser", daemon=True)
        # Where a sample of the output lies in the input: sample [0] at [1], and [2] samples of the input for each more.
        self._map = (0, 0.0, input_rate / output_rate)
        # of the output callback
        self._position: int | None = None  # number of the next sample to play; None until the delay is settled
        self._arrival = (0, 0.0)  # samples heard, and when
        self._underflows = 0  # callbacks before the warm-up
        self._asked = self._all_asked = 0  # samples, in the warm-up and in all
        self._shortest = math.inf  # delay in the warm-up, s
        self._largest = 0  # samples asked for at once
        self._jump = 0  # samples by which the worker wants the position moved
        self._jumps = 0
        self._last = 0.0  # sample played
        self._source = "silence"  # of the last sample
        self._usual: float | None = None  # delay in s
        self._silent_since = 0.0
        self._late_at = 0  # samples heard when the delay became longer for the last time
        self._late_until = 0
        self._late_samples, self._late_before = 0, counters.late_blocks
        self._device_delays: list[float | None] = [None, None] if loop_delay is None else [loop_delay, 0.0]  # s
        self._loop_delay, self._latency = loop_delay, latency
        self._margin = max(latency / 4, LEAST_MARGIN)  # s by which the worker is ahead; a callback of PulseAudio's
        self._begin_window()

    def start(self) -> None:
        """Starts the worker."""
        self._thread.start()

    @property
    def delay(self) -> float:
        """Of the network and the resampling, s; the sizes of the callbacks add to it."""
        return self._lag

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
        if self._position is not None:
            self._count_flags(status)
        self._heard.write(indata.mean(axis=1) if self._channel is None else indata[:, self._channel])
        self._arrival = (self._heard.written, self._now())
        if self._loop_delay is None and time_info is not None:
            age = time_info.currentTime - time_info.inputBufferAdcTime - frames / self.input_rate
            told = time_info.inputBufferAdcTime > 0  # a sound server's own buffers are not in it
            self._device_delays[0] = min(max(age, 0.0), self._latency) if told else None
        self._work.set()

    def output_callback(self, outdata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        """outdata: (frames, channels); all get the same."""
        self._all_asked += frames
        if self._position is not None:
            self._count_flags(status)
        elif status and status.output_underflow and self._underflows < MOST_UNDERFLOWS:
            self._underflows += 1  # some output devices run through seconds of silence at first
            outdata[:] = 0.0
            return
        self.counters.played += frames
        self._largest = max(self._largest, frames)
        if self._loop_delay is None and time_info is not None:
            ahead = time_info.outputBufferDacTime - time_info.currentTime
            self._device_delays[1] = ahead if 0 < ahead < MOST_DELAY else None
        outdata[:] = 0.0
        try:
            if self.error is None and (self._position is not None or self._settled(frames)):
                outdata[:] = self._next(frames)[:, None]
        except Exception as error:
            self.error = error

    def _count_flags(self, status: Any) -> None:
        if status:
            for name in FLAGS:
                self.counters.flags[name] += bool(getattr(status, name))

    def _settled(self, frames: int) -> bool:
        """Watches the callbacks for a while, then decides on the delay. Returns whether it has."""
        heard, _ = self._arrival
        if not heard:
            return False
        self._shortest = min(self._shortest, heard / self.input_rate - self._asked / self.output_rate)
        if self._asked < max(WARM_UP * self.output_rate, 5 * self._largest):
            self._asked += frames
            return False
        spare = self._shortest - self._lag - self._largest / self.output_rate - self._margin  # s
        self._position = self._asked + self._samples(spare)
        self._begin_window()
        return True

    def _next(self, frames: int) -> np.ndarray:
        """The samples to play, (frames,)."""
        assert self._position is not None
        jump, self._jump = self._jump, 0
        heard, arrived = self._arrival
        begin = self._position + jump
        if self._source == "silence" and self._usual is not None and heard > self._place(begin):
            gap = self._now() - self._silent_since  # a short one may come again: be later, so that it will not be heard
            usual = self._usual + (min(gap, LARGEST_STEP) if gap < STANDSTILL else 0.0)
            begin = self._sample(heard - usual * self.input_rate)
            self._begin_window()
        if (spare := self._ready.written - begin - frames) > (RING_SECONDS - 1) * self.output_rate:
            jump = spare - self._largest  # the output stood still for long
            begin += jump
        missing = begin + frames - self._ready.written
        if missing > 0 and self._usual is not None and self._input_is_late(heard):
            jump = -min(missing + self._samples(self._margin), self._samples(LARGEST_STEP))  # and be later from now on
            begin += jump
            self._late_samples += missing
            self._late_at = heard
            self._begin_window()
        self._jumps += jump != 0
        ready = min(max(self._ready.written - begin, 0), frames)
        dry = math.floor((heard - self._place(begin)) / self._map[2])  # samples that are there to be played as they are
        playable = max(ready, min(dry, frames))
        samples = np.zeros(frames, np.float32)
        samples[:ready] = self._ready.read(begin, ready)
        if jump and ready:
            self._join(samples, 0, "jump")
        self._join(samples[:ready], 0, "worker")
        if ready < playable:
            samples[ready:playable] = self._dry(begin + ready, playable - ready)
            self._join(samples[:playable], ready, "input")
            late = begin + playable - max(begin + ready, self._late_until)
            self._late_until = max(self._late_until, begin + playable)
            self._late_samples += max(late, 0)
        late_blocks = math.ceil(self._late_samples / (PIECE_SECONDS * self.output_rate))
        self.counters.late_blocks = self._late_before + late_blocks
        if playable < frames:
            if self._source != "silence":
                self.counters.dropouts += 1
                self._silent_since = self._now()
            self._join(samples, playable, "silence")
        self._last = float(samples[-1])
        self._position = begin + playable  # where there is nothing to play, its time stands still
        since = self._now() - arrived
        if since < WINDOW:
            self._watch(frames, begin, since + (heard - self._place(begin)) / self.input_rate)
        return samples

    def _input_is_late(self, heard: int) -> bool:
        """Whether the worker has taken all that was heard, so that the delay is too short for the input's callbacks.

        Not again before more was heard: an input that stands still would be played in a loop.
        """
        return heard > self._late_at and heard - self._taken < self._piece and (self._usual or 0.0) < MOST_DELAY

    def _samples(self, seconds: float) -> int:
        """As samples of the output."""
        return round(seconds * self.output_rate)

    def _place(self, sample: float) -> float:
        """Where a sample of the output lies in the input."""
        first, place, step = self._map
        return place + (sample - first) * step

    def _sample(self, place: float) -> int:
        """The sample of the output that lies at a place of the input."""
        first, known, step = self._map
        return first + round((place - known) / step)

    def _dry(self, start: int, count: int) -> np.ndarray:
        """The input in the place of samples of the output, (count,)."""
        first, step = self._place(start), self._map[2]
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
            count = min(len(samples) - at, round(FADE * self.output_rate))
            samples[at : at + count] += np.linspace(before - float(samples[at]), 0, count, dtype=np.float32)
            self._source = source

    # --- the delay ----------------------------------------------------------------------------------------------------

    def _begin_window(self) -> None:
        self._window = (self._now(), self._busy, self._late_samples)
        self._least_spare = math.inf  # s that the worker was ahead

    def _watch(self, frames: int, begin: int, delay: float) -> None:
        """Takes the delay (s) of the sample `begin`; moves the position where that has been wrong for a while."""
        self._drift.add(delay)
        if self._source == "worker":
            self._usual = delay
        if None not in self._device_delays:
            whole = delay + sum(self._device_delays)  # type: ignore[arg-type]
            known = self.counters.delay
            self.counters.delay = whole if known is None else known + 0.05 * (whole - known)
        self._least_spare = min(self._least_spare, (self._ready.written - begin - frames) / self.output_rate)
        since, busy, late = self._window
        seconds = self._now() - since
        if seconds < WINDOW:
            return
        if self._late_samples > late and self._busy - busy < OVERLOAD * seconds and delay < MOST_DELAY:
            self._jump += self._samples(max(self._least_spare - self._margin, -LARGEST_STEP))
        elif seconds < LONG_WINDOW and self._least_spare < LARGE_EXCESS + self._margin:
            return
        elif self._least_spare > EXCESS + self._margin:
            self._jump += self._samples(self._least_spare - self._margin)
        self._begin_window()

    # --- worker -------------------------------------------------------------------------------------------------------

    def _warm_up(self) -> float:
        """Lets everything run once. Returns how many s the output is behind the input just before a piece comes."""
        taken = given = 0
        lag = 0.0
        silence = np.zeros(self._piece, np.float32)
        for count in range(WARM_UP_PIECES):
            taken += self._piece
            given += len(self._denoise(silence))
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
        position = self._position
        if position is not None:  # what is late was played dry already, so it need not be right
            ahead = self._ready.written - position
            self._backend.passing = ahead < (self._largest if self._backend.passing else 0)
        self._denoiser.bypass, self._denoiser.strength = self.controls.bypass, self.controls.strength
        begun = self._now()
        denoised = self._denoise(heard)
        seconds = self._now() - begun
        gain = float(not self.controls.muted)
        if min(gain, self._gain) < 1:
            denoised = denoised * np.linspace(self._gain, gain, len(denoised), dtype=np.float32)
        self._gain = gain
        self._ready.write(denoised)
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

    def _denoise(self, heard: np.ndarray) -> np.ndarray:
        """A piece as it was heard in, samples for the output device out, (L,) -> (M,)."""
        denoised = self._denoiser.process(heard)
        if self._stage:
            denoised = self._stage.process(denoised, self._drift.correction)
        known = min(self._repeated, len(denoised))
        self._repeated -= known
        return denoised[known:]

    def _follow_drift(self, seconds: float) -> None:
        """Adapts the stretching after so many seconds, and begins it where it has become necessary."""
        if self._jumps:
            self._jumps = 0
            self._drift.restart()
        self._drift.update(seconds)
        self.counters.drift_ppm = None if self._drift.drift is None else self._drift.drift * 1e6
        if not self._drift.engaged:
            return
        if self._stage is None:
            self._insert_stage()
        written = self._ready.written
        self._map = (written, self._place(written), self.input_rate / self.output_rate / (1 + self._drift.correction))

    def _insert_stage(self) -> None:
        """Sends what comes from now on through a DriftStage, and moves the position back by the delay of that."""
        self._stage = DriftStage()
        history = round(0.1 * self.output_rate)
        known = self._stage.process(self._ready.read(self._ready.written - history, history), 0.0)
        inside = history - len(known)
        self._repeated = inside + DriftStage.SHIFT
        self._jump -= inside
