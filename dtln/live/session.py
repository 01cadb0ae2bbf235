"""A live session: opens the devices, watches them, finds them again when they are lost, and ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from dtln.errors import AudioDeviceError
from dtln.live.controls import Controls
from dtln.live.counters import Counters, Snapshot
from dtln.live.delay import Loop
from dtln.live.devices import Device, answered, find_device, hanging_seconds, latency_of, no_answer, rescan
from dtln.live.pipeline import Pipeline

__all__ = ["BrokenBlock", "Session", "Wishes", "noted_signals"]

POLL_SECONDS = 0.05  # how often the main thread looks around
STALL_SECONDS = 5.0  # without a callback: the device is gone, although PortAudio does not say so
STOPPED_SECONDS = 1.0  # without a look around: the program itself was stopped, by Ctrl+Z say, and its devices with it
ANSWER_SECONDS = 10.0  # in which PortAudio opens devices, if the sound server is alive
CLOSE_SECONDS = 2.0  # in which it closes them
LONGEST_HANG = 45.0  # s; libpulse gives up after 30, what hangs for longer only ends with the program
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 10.0  # a search leaves some KB of memory behind
EARLY_SECONDS, EARLY_STARTS = 5.0, 5  # streams that fail sooner are started again, so many times
RUNAWAY = 1.5  # times the rate of the output device: a start that goes wrong
# ALSA's plugin for PulseAudio runs away in most starts where the server has to resample, so its rate is tried first.
SERVER_DEVICES = ("default", "pipewire", "pulse")
SERVER_RATES = (48000, 44100)  # Hz
RAN_AWAY = "The output device runs faster than its rate."


class BrokenBlock(RuntimeError):
    """A block could not be denoised; the cause says why."""


@dataclass(frozen=True)
class Wishes:
    """What a user wants of the devices.

    channel: of the input, from 1; "mix" for the mean of all; None for that or mono. rate: Hz, None for the first that
    the device takes. latency: s, "low" or "high". duration: s, None for no end. reconnect: whether to wait for devices
    that are lost, or not there yet. measure_loop: whether to look for a way from the output back into the input first.
    """

    input_device: str | None = None
    output_device: str | None = None
    channel: int | Literal["mix"] | None = None
    rate: int | None = None
    latency: Any = 0.2
    duration: float | None = None
    reconnect: bool = False
    measure_loop: bool = False


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Gives a list that Ctrl+C, SIGTERM and, unless it is ignored, the SIGHUP of a closed terminal are put into.

    A second signal ends the program in the usual, hard way. The handler only appends. It interrupts the main thread
    anywhere, so it must neither raise nor wait for a lock.
    """
    noted: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if hasattr(signal, "SIGHUP") and (handler := signal.getsignal(signal.SIGHUP)) is not signal.SIG_IGN:
        previous[signal.SIGHUP] = handler

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()


class Session:
    """Runs a Pipeline between two devices.

    make_pipeline: called whenever the devices are opened, with the rates of input and output (Hz), the larger latency
    of the two (s) and the delay of the loop (s or None). The main thread calls started (with what was opened), tick
    (once a second), event (with what a person should know), poll (often) and before_opening.

    loop_delay: s from the output back into the input, where it was measured. devices: the input and the output that
    were opened last.
    """

    def __init__(
        self,
        sounddevice: Any,
        wishes: Wishes,
        make_pipeline: Callable[[int, int, float, float | None], Pipeline],
        controls: Controls,
        counters: Counters,
        *,
        started: Callable[[str], None],
        tick: Callable[[Snapshot], None],
        event: Callable[[str], None],
        poll: Callable[[], None] = lambda: None,
        before_opening: Callable[[], object] = lambda: None,
    ) -> None:
        self._sounddevice, self._wishes, self._make_pipeline = sounddevice, wishes, make_pipeline
        self._controls, self._counters = controls, counters
        self._started, self._tick, self._event = started, tick, event
        self._poll, self._before_opening = poll, before_opening
        self.devices: tuple[Device, Device] | None = None
        self._runaways = 0  # starts at which the output ran away
        self._begun: float | None = None  # when the first sound was expected
        self._ticked = time.monotonic()
        self.loop_delay: float | None = None

    def run(self, noted: Sequence[int]) -> None:
        """Until the duration is over, a signal is noted or a key ends it.

        Raises AudioDeviceError if the devices cannot be opened or stop by themselves, unless they are to be waited for,
        and BrokenBlock.
        """
        waiting, pause, early = False, RETRY_SECONDS, 0
        anew = False  # whether PortAudio, which knows the devices of its start alone, has to look for them again
        lost_before = False  # and a person was told so
        while not self._over(noted):
            try:
                if hangs := hanging_seconds():  # nothing else may be asked
                    raise no_answer(hangs)
                if anew:
                    rescan(self._sounddevice)
                connection = self._open()
            except AudioDeviceError as error:
                if not self._wishes.reconnect or hanging_seconds() > LONGEST_HANG:
                    raise
                if not waiting:
                    self._event(f"{error} Waiting for the devices.")
                waiting = anew = True
                lost_before = self.devices is not None
                self._rest(noted, pause)
                pause = min(pause * 1.2, LONGEST_RETRY_SECONDS)
                continue
            self._counters.reconnections += lost_before
            waiting, pause, anew, lost_before = False, RETRY_SECONDS, False, False
            begun = time.monotonic()
            try:
                lost = self._watch(connection, noted)
            finally:
                connection.close()
            early = early + 1 if time.monotonic() - begun < EARLY_SECONDS else 0
            if lost and 0 < early <= EARLY_STARTS:
                continue
            resumed = lost == RAN_AWAY and not early  # after Ctrl+Z and fg, say, it plays what it missed
            if lost and not resumed and not self._wishes.reconnect:
                raise AudioDeviceError(
                    f"{lost} Check the connection and the sound server, then start again; --reconnect waits for them."
                )
            if lost:
                self._event(f"{lost} Trying to open the devices again.")
                lost_before = True
                self._rest(noted, RETRY_SECONDS)

    def _over(self, noted: Sequence[int]) -> bool:
        duration = self._wishes.duration
        late = duration is not None and self._begun is not None and time.monotonic() - self._begun >= duration
        return bool(noted) or self._controls.quit or late

    def _rest(self, noted: Sequence[int], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._over(noted):
            self._look_around()

    def _look_around(self) -> None:
        time.sleep(POLL_SECONDS)
        self._poll()
        if time.monotonic() - self._ticked >= 1.0:
            self._ticked = time.monotonic()
            self._tick(self._counters.snapshot())

    def _open(self) -> _Connection:
        """The devices, running. Raises AudioDeviceError."""
        self._before_opening()
        sounddevice, wishes = self._sounddevice, self._wishes
        wanted: list[str | None] = [wishes.input_device, wishes.output_device]
        if self.devices:  # an index may mean another device by now
            for number, device in enumerate(self.devices):
                if (wanted[number] or "").isdecimal():
                    wanted[number] = device.lasting_name
        source = find_device(sounddevice, wanted[0], "input", wishes.rate, wishes.channel)
        target = self._output(wanted[1])
        latencies = [latency_of(device, wishes.latency) for device in (source, target)]
        if wishes.measure_loop and self.devices is None:
            loop = Loop(source.rate, target.rate)
            connection = _Connection(sounddevice, (source, target), latencies, loop)
            try:
                self.loop_delay = loop.measured()
            finally:
                connection.close()
            if self.loop_delay is None:
                self._event("no way from the output back into the input was found, so the delay is as the devices tell")
        pipeline = self._make_pipeline(source.rate, target.rate, max(latencies), self.loop_delay)
        connection = _Connection(sounddevice, (source, target), latencies, pipeline)
        pipeline.start()
        self.devices = (source, target)
        self._begun = self._begun or time.monotonic()
        buffers = " and ".join(
            f"{latency * 1e3:.0f} ms of the {name} device"
            for name, latency in zip(("input", "output"), connection.latencies, strict=True)
        )
        self._started(
            f"input: {source}, {source.rate} Hz, {_channels(source)}\n"
            f"output: {target}, {target.rate} Hz, {_channels(target)}\n"
            f"running: {pipeline.delay * 1e3:.0f} ms of the network, {buffers}"
        )
        return connection

    def _output(self, wanted: str | None) -> Device:
        """The output device, at the rate that is to be tried. Raises AudioDeviceError."""
        target = find_device(self._sounddevice, wanted, "output", self._wishes.rate)
        rates: list[int | None] = [*SERVER_RATES, None]
        if self._wishes.rate or target.name not in SERVER_DEVICES:
            rates = [self._wishes.rate]
        if rate := rates[self._runaways % len(rates)]:
            with suppress(AudioDeviceError):  # the device does not take it, after all
                return find_device(self._sounddevice, wanted, "output", rate)
        return target

    def _watch(self, connection: _Connection, noted: Sequence[int]) -> str | None:
        """Waits for the end; returns why the devices are lost, or None where the session is over."""
        pipeline = connection.callbacks
        looked = time.monotonic()
        moved = [looked] * 2
        known = pipeline.progress
        mark: tuple[float, int] | None = None  # a moment and the samples played until then
        period = 1.0 + 2 * max(connection.latencies)  # s; what fills the buffers is not counted
        while not self._over(noted):
            self._look_around()
            if pipeline.error is not None:
                raise BrokenBlock from pipeline.error
            now, progress = time.monotonic(), pipeline.progress
            if now - looked > STOPPED_SECONDS:
                moved, mark = [now] * 2, None
            looked = now
            moved = [now if new != old else then for new, old, then in zip(progress, known, moved, strict=True)]
            known = progress
            if not connection.active:
                return "The devices stopped delivering sound."
            if mark is None:
                mark = (now, progress[1]) if progress[1] else None
            elif now - mark[0] > period:
                if progress[1] - mark[1] > RUNAWAY * pipeline.output_rate * (now - mark[0]):
                    self._runaways += 1
                    return RAN_AWAY
                mark = (now, progress[1])
            for name, then in zip(("input", "output"), moved, strict=True):
                if now - then > STALL_SECONDS:
                    return f"The {name} device has not moved for {STALL_SECONDS:.0f} s."
        return None


def _channels(device: Device) -> str:
    return {1: "mono", 2: "stereo"}.get(device.channels, f"{device.channels} channels")


class _Connection:
    """Both devices, open and running with the callbacks of an object. Raises AudioDeviceError. latencies: in s."""

    def __init__(
        self, sounddevice: Any, devices: tuple[Device, Device], latencies: Sequence[float], callbacks: Any
    ) -> None:
        self.callbacks = callbacks
        self._kinds = (sounddevice.InputStream, sounddevice.OutputStream)
        self._streams: list[Any] = []
        self._state = "opening"
        try:
            answered(lambda: self._open(devices, latencies), ANSWER_SECONDS)
        except sounddevice.PortAudioError as error:
            self.close()
            raise AudioDeviceError(
                f"the devices cannot be opened: {error}. Does another program hold them? --list-devices shows them."
            ) from error
        except AudioDeviceError:  # no answer; to close now would end the program
            self._state = "given up"
            raise
        self.latencies = [float(stream.latency) for stream in self._streams]

    def _open(self, devices: tuple[Device, Device], latencies: Sequence[float]) -> None:
        functions = (self.callbacks.input_callback, self.callbacks.output_callback)
        for kind, device, latency, function in zip(self._kinds, devices, latencies, functions, strict=True):
            self._streams.append(
                kind(
                    samplerate=device.rate,
                    blocksize=0,  # as the devices please
                    device=device.index,
                    channels=device.channels,
                    dtype="float32",
                    latency=latency,
                    callback=function,
                )
            )
        for stream in self._streams:
            stream.start()
        if self._state == "given up":
            self._close()

    def _close(self) -> None:
        for stream in self._streams:
            stream.abort()
            stream.close()

    @property
    def active(self) -> bool:
        """Whether both run."""
        return all(stream.active for stream in self._streams)

    def close(self) -> None:
        """Ends both at once; leaves them alone where that is not answered."""
        with suppress(Exception):  # what is lost cannot be closed, and need not be
            answered(self._close, CLOSE_SECONDS)
        if isinstance(self.callbacks, Pipeline):
            self.callbacks.stop()
