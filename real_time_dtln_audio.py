"""Denoise the microphone in real time and play the result: microphone -> DTLN -> loudspeaker, until Ctrl+C.

    real_time_dtln_audio.py --list-devices
    real_time_dtln_audio.py -i "USB" -o 5 --latency 0.1
    real_time_dtln_audio.py --backend onnx -m my_export --duration 60

Wear headphones: a loudspeaker near the microphone feeds back. The network itself adds 32 ms; the rest of what you hear
is the --latency of the devices. The report at the end counts overflows and underflows and gives the time per block.
Needs numpy, sounddevice and the runtime of the chosen model, nothing else.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dtln_audio import SAMPLE_RATE
from dtln_streaming import (
    BACKEND_FILES,
    DEFAULT_MODEL_DIR,
    Backend,
    ModelError,
    States,
    StreamingDenoiser,
    describe_times,
    fastest_backend,
    open_backend,
)

FLAGS = ("input_overflow", "input_underflow", "output_overflow", "output_underflow")  # of sounddevice.CallbackFlags
POLL_SECONDS = 0.05  # how often the main thread looks for a reason to end
STALL_SECONDS = 5.0  # without a callback: the device is gone, although PortAudio does not say so


class AudioDeviceError(RuntimeError):
    """A sound device that cannot be used; the message says which, why and what to do."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list-devices", action="store_true", help="show the sound devices and exit")
    parser.add_argument("-i", "--input-device", metavar="DEVICE", help="microphone: index or part of its name")
    parser.add_argument("-o", "--output-device", metavar="DEVICE", help="loudspeaker: index or part of its name")
    parser.add_argument(
        "--latency", type=positive(float), default=0.2, metavar="SECONDS",
        help="buffer of each device; raise it if the report counts underflows (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-m", "--model-dir", type=Path, default=DEFAULT_MODEL_DIR, metavar="DIR",
        help="folder with the exported model (default: pretrained_model beside the script)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", choices=tuple(BACKEND_FILES), help="kind of model (default: tflite-stream, or tflite without it)"
    )
    parser.add_argument(
        "--threads", type=positive(int), default=1, help="threads of the runtime (default: %(default)s)"
    )
    parser.add_argument(
        "--duration", type=positive(float), metavar="SECONDS", help="end after this time (default: at Ctrl+C)"
    )
    parser.add_argument(
        "--bypass", action="store_true", help="play the microphone itself with the model's delay, for comparison"
    )
    return parser.parse_args(argv)


def positive(number: type) -> Callable[[str], float]:
    """A converter for argparse that takes finite numbers above zero."""

    def convert(text: str) -> float:
        value = number(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text}: expected a finite number above 0")
        return value

    convert.__name__ = number.__name__  # argparse names it where the text is no number at all
    return convert


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        sounddevice = import_sounddevice()
        if args.list_devices:
            print(sounddevice.query_devices() or "no sound devices were found")
            return 0
        with noted_signals() as noted:
            devices = open_devices(sounddevice, args.input_device, args.output_device)
            kind = args.backend or fastest_backend("tflite", args.model_dir)
            backend = open_backend(kind, args.model_dir, args.threads)
            live = LiveDenoiser(PassThrough(backend) if args.bypass else backend)
            print(f"{backend.runtime}, {kind}{', bypassed' if args.bypass else ''}")
            try:
                play(sounddevice, devices, live, args.latency, args.duration, noted)
            finally:
                print(live.report(), flush=True)
    except (AudioDeviceError, ModelError, ImportError, OSError) as error:
        print(f"real_time_dtln_audio.py: {error}", file=sys.stderr)
        return 1
    if live.error is not None:
        traceback.print_exception(live.error)
        print("real_time_dtln_audio.py: a block could not be denoised, see above", file=sys.stderr)
        return 1
    return 0


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Ctrl+C and SIGTERM are put into the list it gives; a second one ends the program in the usual, hard way.

    The handler only appends: it interrupts the main thread anywhere, so it must neither raise nor wait for a lock.
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


# ----------------------------------------------------------------------------------------------------------------------
# Devices
# ----------------------------------------------------------------------------------------------------------------------


def import_sounddevice() -> Any:
    """The module sounddevice, imported late: it opens PortAudio, which asks every device at once.

    Raises ImportError or AudioDeviceError with the remedy.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise ImportError("the sound devices need the package sounddevice: pip install sounddevice") from error
    except OSError as error:
        raise AudioDeviceError(
            f"the PortAudio library is missing ({error}). Install it, on Debian: apt install libportaudio2"
        ) from error
    return sounddevice


def open_devices(sounddevice: Any, wanted_input: str | None, wanted_output: str | None) -> tuple[int, int]:
    """Indices of microphone and loudspeaker; both take 16 kHz mono. Raises AudioDeviceError."""
    devices = []
    for kind, wanted in (("input", wanted_input), ("output", wanted_output)):
        index = choose_device(sounddevice, wanted, kind)
        name = sounddevice.query_devices(index)["name"]
        check = sounddevice.check_input_settings if kind == "input" else sounddevice.check_output_settings
        try:
            check(device=index, channels=1, dtype="float32", samplerate=SAMPLE_RATE)
        except sounddevice.PortAudioError as error:
            raise AudioDeviceError(
                f"{kind} device {index} ({name}) refuses {SAMPLE_RATE} Hz mono: {error}. Choose a device that "
                "resamples, on Linux 'pulse' or 'default', on Windows one of MME or DirectSound; --list-devices shows "
                "them all."
            ) from error
        print(f"{kind}: {index} {name}")
        devices.append(index)
    return devices[0], devices[1]


def choose_device(sounddevice: Any, wanted: str | None, kind: str) -> int:
    """Index of the one device of a kind, "input" or "output", that has this index or this in its name.

    None is the system's default. A full name goes before a part of a longer one; "name, host API" is the fullest.
    Raises AudioDeviceError, which names the candidates, if none or several match.
    """
    hosts = sounddevice.query_hostapis()
    candidates = {
        index: (device["name"], f"{device['name']}, {hosts[device['hostapi']]['name']}")
        for index, device in enumerate(sounddevice.query_devices())
        if device[f"max_{kind}_channels"] > 0
    }
    if not candidates:
        raise AudioDeviceError(f"there is no {kind} device. Connect one, or start the sound server.")
    if wanted is None:
        try:
            return int(sounddevice.query_devices(kind=kind)["index"])
        except sounddevice.PortAudioError as error:
            found, advice = f"there is no default {kind} device", f"Choose one with --{kind}-device"
            raise AudioDeviceError(f"{found}. {advice}: {_listed(candidates, candidates)}") from error
    if wanted.isdecimal():
        matches = [index for index in candidates if index == int(wanted)]
    else:
        text = wanted.casefold()
        named = {index: [name.casefold() for name in names] for index, names in candidates.items()}
        matches = [index for index, names in named.items() if text in names]
        matches = matches or [index for index, names in named.items() if text in names[1]]
    if not matches:
        raise AudioDeviceError(f"no {kind} device matches {wanted!r}. There are: {_listed(candidates, candidates)}")
    if len(matches) > 1:
        raise AudioDeviceError(
            f"{len(matches)} {kind} devices match {wanted!r}: {_listed(candidates, matches)}. Give the index or "
            "more of the name"
        )
    return matches[0]


def _listed(candidates: dict[int, tuple[str, str]], indices: Sequence[int] | dict) -> str:
    return "; ".join(f"{index} ({candidates[index][1]})" for index in indices)


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


# ----------------------------------------------------------------------------------------------------------------------
# The callback
# ----------------------------------------------------------------------------------------------------------------------


class PassThrough:
    """A back end that gives each block back, scaled so that the overlap-add of all blocks is the signal again."""

    def __init__(self, backend: Backend) -> None:
        self.runtime = "bypass"
        self.block_length, self.block_shift = backend.block_length, backend.block_shift
        self._scale = np.float32(self.block_shift / self.block_length)  # one over the number of overlapping blocks

    def initial_states(self) -> States:
        """None."""
        return ()

    def run(self, block: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """(block float32 (N,), states) -> (scaled block float32 (N,), states)."""
        return block * self._scale, states


class LiveDenoiser:
    """The audio callback: denoises whatever the devices deliver, and counts what the main thread reports.

    It collects whole shifts itself, which delays by one shift beside the network's overlap: PortAudio's own adaption
    to a wanted block size plays stale samples again, without a flag, when PulseAudio's ALSA plugin delivers varying
    numbers of samples (seen with PortAudio 19.6 on a busy machine: 1 to 26 samples, up to four times in 12 s).

    `error` is the exception after which only silence is played; None while all is well. `silent_callbacks` came before
    the microphone delivered anything: PortAudio fills the output buffer with them and flags each as input underflow,
    but nothing is lost, and the network starts with the first sound.
    """

    def __init__(self, backend: Backend) -> None:
        self.denoiser = StreamingDenoiser(backend)
        self.times = BlockTimes()
        self.flags = dict.fromkeys(FLAGS, 0)
        self.error: Exception | None = None
        self.callbacks = self.silent_callbacks = 0
        self._heard = np.zeros(backend.block_shift, np.float32)  # the shift that is being collected ...
        self._denoised = np.zeros(backend.block_shift, np.float32)  # ... while this one is played
        self._position = 0  # in both

    def __call__(self, indata: np.ndarray, outdata: np.ndarray, frames: int, time_info: Any, status: Any) -> None:
        """indata, outdata: (frames, 1). Runs in PortAudio's thread: no files, no printing, nothing that grows."""
        self.callbacks += 1
        if self.silent_callbacks == self.callbacks - 1 and status and status.input_underflow:
            self.silent_callbacks += 1
            outdata[:] = 0.0
            return
        if status:
            for name in FLAGS:
                self.flags[name] += getattr(status, name)
        if self.error is not None:
            outdata[:] = 0.0
            return
        try:
            self._exchange(indata[:, 0], outdata[:, 0])
        except Exception as error:
            outdata[:] = 0.0
            self.error = error

    def _exchange(self, heard: np.ndarray, played: np.ndarray) -> None:
        """(L,) in, (L,) out, for any L."""
        done = 0
        while done < len(heard):
            count = min(len(heard) - done, len(self._heard) - self._position)
            here, there = slice(done, done + count), slice(self._position, self._position + count)
            played[here] = self._denoised[there]
            self._heard[there] = heard[here]
            self._position += count
            done += count
            if self._position == len(self._heard):
                start = time.perf_counter()
                self._denoised = self.denoiser.process_block(self._heard)
                self.times.add((time.perf_counter() - start) * 1e3)
                self._position = 0

    def report(self) -> str:
        """What happened, in lines for people."""
        summary = self.times.summary(self.denoiser.block_shift)
        seconds = summary["blocks"] * self.denoiser.block_shift / SAMPLE_RATE
        return "\n".join(
            [
                f"{summary['blocks']} blocks, {seconds:.1f} s of sound",
                ", ".join(f"{name.replace('_', ' ')}s: {number}" for name, number in self.flags.items()),
                f"callbacks before the first input: {self.silent_callbacks}",
                f"silenced blocks (NaN, Inf or far beyond full scale): {self.denoiser.silenced_blocks}",
                describe_times(summary),
            ]
        )


class BlockTimes:
    """Times of any number of blocks in a store of fixed size, because a stream may run for weeks.

    Mean and maximum are exact; percentiles come from a histogram whose bins are 1 % wide, from 1 us to 400 s.
    """

    SHORTEST = 1e-3  # ms
    WIDTH = math.log(1.01)
    BINS = 2000

    def __init__(self) -> None:
        self.blocks = 0
        self._sum = self._maximum = 0.0  # ms
        self._counts = [0] * self.BINS

    def add(self, milliseconds: float) -> None:
        """Counts one block."""
        self.blocks += 1
        self._sum += milliseconds
        self._maximum = max(self._maximum, milliseconds)
        position = math.log(max(milliseconds, self.SHORTEST) / self.SHORTEST) / self.WIDTH
        self._counts[min(int(position), self.BINS - 1)] += 1

    def summary(self, block_shift: int) -> dict[str, float]:
        """The same as dtln_streaming.time_summary, percentiles within 1 %."""
        if not self.blocks:
            return {"blocks": 0}
        mean = self._sum / self.blocks
        return {
            "blocks": self.blocks,
            "mean": mean,
            **{f"p{percent}": self._percentile(percent) for percent in (50, 95, 99)},
            "max": self._maximum,
            "real_time_factor": mean / (block_shift / SAMPLE_RATE * 1e3),
        }

    def _percentile(self, percent: int) -> float:
        index = int(np.searchsorted(np.cumsum(self._counts), percent / 100 * self.blocks))
        return min(self.SHORTEST * math.exp((index + 0.5) * self.WIDTH), self._maximum)


if __name__ == "__main__":
    sys.exit(main())
