"""A live session: from the start of the devices to a signal, a time limit or a failure."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dtln.errors import AudioDeviceError
from dtln.facts import SAMPLE_RATE
from dtln.live.callback import LiveDenoiser

__all__ = ["noted_signals", "play"]

POLL_SECONDS = 0.05  # how often the main thread looks for a reason to end
STALL_SECONDS = 5.0  # without a callback: the device is gone, although PortAudio does not say so


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Gives a list that Ctrl+C and SIGTERM are put into. A second signal ends the program in the usual, hard way.

    The handler only appends. It interrupts the main thread anywhere, so it must neither raise nor wait for a lock.
    """
    noted: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

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


def play(
    sounddevice: Any,
    devices: tuple[int, int],
    live: LiveDenoiser,
    latency: float,
    duration: float | None,
    noted: Sequence[int],
) -> None:
    """Runs the callback on the devices until the duration (s) is over, a signal is noted or the callback has failed.

    Raises AudioDeviceError if the devices cannot be opened or stop by themselves.
    """
    try:
        stream = sounddevice.Stream(
            samplerate=SAMPLE_RATE,
            blocksize=0,  # as the devices please, see LiveDenoiser
            device=devices,
            channels=1,
            dtype="float32",
            latency=latency,
            callback=live,
        )
        with stream:
            start = last_callback = time.monotonic()
            network = live.denoiser.block_length / SAMPLE_RATE
            print(
                f"running: {network * 1e3:.0f} ms of the network, {stream.latency[0] * 1e3:.0f} ms of the input and "
                f"{stream.latency[1] * 1e3:.0f} ms of the output device; Ctrl+C ends it",
                flush=True,
            )
            callbacks = 0
            while not noted and live.error is None and (duration is None or time.monotonic() - start < duration):
                time.sleep(POLL_SECONDS)
                if live.callbacks != callbacks:
                    callbacks, last_callback = live.callbacks, time.monotonic()
                if not stream.active or time.monotonic() - last_callback > STALL_SECONDS + latency:
                    stream.abort()  # stop would wait for a device that is gone
                    raise AudioDeviceError(
                        "the devices stopped delivering sound. Check the connection and the sound server, then start "
                        "again"
                    )
    except sounddevice.PortAudioError as error:
        raise AudioDeviceError(
            f"the devices cannot be used together: {error}. Choose two of the same host API that no other program "
            "holds; --list-devices shows them."
        ) from error
