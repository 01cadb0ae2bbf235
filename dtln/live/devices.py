"""Sound devices: which there are, which one is meant, and with which rate and channels it opens."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import itertools
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from dtln.errors import AudioDeviceError, require
from dtln.facts import SAMPLE_RATE
from dtln.live.native import NativeLines, quiet_native_lines

__all__ = [
    "LONGEST_LATENCY",
    "Device",
    "answered",
    "choose_device",
    "find_device",
    "hanging_seconds",
    "import_sounddevice",
    "latency_of",
    "list_devices",
    "no_answer",
    "parse_latency",
    "rescan",
]

LONGEST_LATENCY = 2.0  # s, of a device's buffer: more is no conversation
RATES = (48000, 44100, 96000, 32000, 24000, 22050, 11025, 8000, 88200, 192000)  # Hz, after 16 kHz and the device's own
LISTED_RATES = (SAMPLE_RATE, 44100, 48000)  # Hz, which a list of the devices tries
LISTING_SECONDS = 3.0  # after which a list leaves the other devices untried
CHECK_SECONDS = 1.0  # after which it leaves one device
ANSWER_SECONDS = 15.0  # after which PortAudio hangs; the start alone takes seconds where there are many cards

BUSY_TRIES = 100  # PortAudio's own
DEVICE_UNAVAILABLE = -9985  # PortAudio's code where ALSA has EBUSY
SETTINGS_REFUSED = (-9998, -9997, -9994)  # channels, rate, sample format; other codes: the device does not open at all
SHARED = "on Linux 'pulse' or 'default', on Windows one of MME or DirectSound"

_hanging: dict[threading.Thread, float] = {}  # calls into PortAudio that did not come back in time, and their begin

Kind = Literal["input", "output"]
T = TypeVar("T")


@dataclass(frozen=True)
class Device:
    """A sound device, the rate (Hz) and the channels to open it with, float32, and its own latencies (s)."""

    index: int
    name: str
    host_api: str
    kind: Kind
    rate: int
    channels: int
    latency_low: float
    latency_high: float

    def __str__(self) -> str:
        return f"{self.index} {self.name}, {self.host_api}"

    @property
    def lasting_name(self) -> str:
        """What finds the device after it was unplugged: the name without the number of the card, which may change."""
        return _without_number(self.name)


def import_sounddevice() -> Any:
    """The module sounddevice. Its import opens PortAudio, which asks every device at once.

    Raises MissingPackageError or AudioDeviceError with the remedy.
    """
    try:
        with quiet_native_lines():
            return answered(lambda: require("sounddevice", "live denoising"), ANSWER_SECONDS)
    except OSError as error:
        raise AudioDeviceError(
            f"the PortAudio library is missing ({error}). Install it, on Debian: apt install libportaudio2"
        ) from error
    except Exception as error:
        if type(error).__name__ != "PortAudioError":  # of the module whose import failed
            raise
        raise AudioDeviceError(f"PortAudio does not start: {error}. Check the sound server and the drivers.") from error


def rescan(sounddevice: Any) -> None:
    """Makes PortAudio look for devices anew; their indices change. All streams must be closed before.

    A server that was killed and is back needs none: its devices keep their indices. Each time costs some 12 KB of
    memory that ALSA does not give back, so wait longer from time to time. Raises AudioDeviceError.
    """

    def start_again() -> None:
        if sounddevice._initialized:  # not so after a start that failed
            sounddevice._terminate()
        sounddevice._initialize()

    try:
        with quiet_native_lines():
            answered(start_again, ANSWER_SECONDS)
    except sounddevice.PortAudioError as error:
        raise AudioDeviceError(f"PortAudio does not start: {error}. Check the sound server and the drivers.") from error


def answered(call: Callable[[], T], seconds: float) -> T:
    """What a call into PortAudio returns or raises. Raises AudioDeviceError if there is no answer in time.

    A sound server that is stopped keeps PortAudio waiting, and Ctrl+C with it: 30 s for each request, or without end.
    Therefore another thread calls, and is left behind: neither close its stream nor rescan, which wait as well or abort
    the program, as PortAudio's end at exit would, which is left out then. Not so on Windows and macOS, whose sound
    systems want to be called by the thread that began.
    """
    if not sys.platform.startswith("linux"):
        return call()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="PortAudio", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        _hanging[thread] = time.monotonic() - seconds
        with contextlib.suppress(KeyError, AttributeError):  # its import hangs
            atexit.unregister(sys.modules["sounddevice"]._exit_handler)
        raise no_answer(seconds)
    return results[0]


def no_answer(seconds: float) -> AudioDeviceError:
    """The error of a call into PortAudio that has not come back for so many s."""
    return AudioDeviceError(
        f"the sound system has not answered for {round(seconds, 1):g} s. Restart the sound server (PipeWire, "
        "PulseAudio or JACK), or unplug a device that hangs."
    )


def hanging_seconds() -> float:
    """For how long a call into PortAudio has not come back; 0 if none hangs."""
    for thread in [*_hanging]:
        if not thread.is_alive():
            del _hanging[thread]
    return max((time.monotonic() - begun for begun in _hanging.values()), default=0.0)


def choose_device(sounddevice: Any, wanted: str | None, kind: str) -> int:
    """Index of the one device of a kind, "input" or "output", that is wanted: by its index or a part of its name.

    None takes the system's default. Names are compared as "name" and as "name, host API", capitals aside; a device
    whose whole name is given goes before those whose name only contains it.
    Raises AudioDeviceError, which names the candidates, if none or several match.
    """
    candidates, matches = _matching(sounddevice, wanted, kind)
    if len(matches) > 1:
        raise _ambiguous(kind, wanted, candidates, matches)
    return matches[0]


def find_device(
    sounddevice: Any,
    wanted: str | None,
    kind: Kind,
    rate: int | None = None,
    channel: int | Literal["mix"] | None = None,
) -> Device:
    """The device of a kind that is wanted, by its index or a part of its name, with settings that it takes.

    wanted: see choose_device. Where several match, those that take no settings are left out, and of one card that is
    there several times, through several host APIs say, the first is taken.
    rate: in Hz, the only one to try; None tries 16 kHz, then the device's own, then the usual ones.
    channel: the number, from 1, of one that is needed; "mix" asks for two where there are two; None prefers mono.
    Raises AudioDeviceError, which says what was tried and what to do.
    """
    candidates, matches = _matching(sounddevice, wanted, kind)
    found: list[Device] = []
    refusals: list[str] = []
    for index in matches:
        try:
            found.append(_with_settings(sounddevice, index, kind, rate, channel))
        except AudioDeviceError as error:
            refusals.append(str(error))
    if not found:
        raise AudioDeviceError("\n".join(refusals))
    if len(found) > 1 and not _one_card(found):
        raise _ambiguous(kind, wanted, candidates, [device.index for device in found])
    return found[0]


def list_devices(sounddevice: Any) -> str:
    """A table of the devices, a line for each direction: which rates it takes, and whether `dtln live` can use it.

    Tries each device, for LISTING_SECONDS in all.
    """
    deadline = time.monotonic() + LISTING_SECONDS
    hosts = sounddevice.query_hostapis()
    kinds: tuple[Kind, ...] = ("input", "output")
    defaults = {kind: _default(sounddevice, kind) for kind in kinds}
    rows = {}
    ways = [
        (device["index"] != defaults[kind], device["index"], kind, device)
        for device, kind in itertools.product(sounddevice.query_devices(), kinds)
        if device[f"max_{kind}_channels"] > 0
    ]
    _set_busy_tries(sounddevice, 5)
    for other, index, kind, device in sorted(ways, key=lambda way: way[:3]):  # the default ones first
        rates, verdict = _tried(sounddevice, device, kind, deadline)
        rows[index, kind] = (
            "" if other else "*",
            str(index),
            kind,
            f"{device['name']}, {hosts[device['hostapi']]['name']}",
            str(device[f"max_{kind}_channels"]),
            f"{device['default_samplerate']:.0f}",
            " ".join(f"{rate / 1000:g}" for rate in rates),
            verdict,
        )
    _set_busy_tries(sounddevice, BUSY_TRIES)
    if not rows:
        return "no sound devices were found. Connect one, or start the sound server."
    table = [("", "index", "kind", "name, host API", "channels", "rate", "takes (kHz)", "dtln live")]
    table += [rows[way] for way in sorted(rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, "* the default. A card that another program holds for itself may be missing."])


def parse_latency(text: str) -> float | Literal["low", "high"]:
    """What --latency gives, for argparse: seconds, "low" or "high"."""
    if text == "low":
        return "low"
    if text == "high":
        return "high"
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds <= LONGEST_LATENCY:
        raise argparse.ArgumentTypeError(
            f"expected seconds above 0 and up to {LONGEST_LATENCY:g}, low or high, found {text!r}"
        )
    return seconds


def latency_of(device: Device, wish: float | Literal["low", "high"]) -> float:
    """The latency (s) to open a device with: the wish, or what the device itself calls low or high, within bounds."""
    if wish == "low" or wish == "high":
        return min(device.latency_low if wish == "low" else device.latency_high, LONGEST_LATENCY)
    return wish


# ---- which device


def _matching(sounddevice: Any, wanted: str | None, kind: str) -> tuple[dict[int, tuple[str, str]], list[int]]:
    """({index: ("name", "name, host API")} of all devices of a kind, the indices that a wish means, at least one)."""
    hosts = sounddevice.query_hostapis()
    candidates = {
        index: (device["name"], f"{device['name']}, {hosts[device['hostapi']]['name']}")
        for index, device in enumerate(sounddevice.query_devices())
        if device[f"max_{kind}_channels"] > 0
    }
    if not candidates:
        raise AudioDeviceError(f"there is no {kind} device. Connect one, or start the sound server.")
    default = _default(sounddevice, kind)
    if wanted is None:
        if default is None:
            found, advice = f"there is no default {kind} device", f"Choose one with --{kind}-device"
            raise AudioDeviceError(f"{found}. {advice}: {_listed(candidates, candidates)}")
        return candidates, [default]
    if wanted.isdecimal():
        matches = [index for index in candidates if index == int(wanted)]
    else:
        text = wanted.casefold()
        named = {index: [name.casefold() for name in names] for index, names in candidates.items()}
        matches = [index for index, names in named.items() if text in names]
        matches = matches or [index for index, names in named.items() if text in names[1]]
        # what PulseAudio offers of a loudspeaker is no microphone, unless that is what is asked for
        matches = [index for index in matches if text in "monitor of" or not named[index][0].startswith("monitor of")]
    if not matches:
        raise AudioDeviceError(
            f"no {kind} device matches {wanted!r}. There are: {_listed(candidates, candidates)}. A card that another "
            "program holds for itself may be missing."
        )
    if default is not None:  # the system's host API goes first
        host = sounddevice.query_devices(default)["hostapi"]
        matches.sort(key=lambda index: sounddevice.query_devices(index)["hostapi"] != host)
    return candidates, matches


def _default(sounddevice: Any, kind: str) -> int | None:
    try:
        return int(sounddevice.query_devices(kind=kind)["index"])
    except sounddevice.PortAudioError:
        return None


def _ambiguous(
    kind: str, wanted: str | None, candidates: dict[int, tuple[str, str]], matches: Sequence[int]
) -> AudioDeviceError:
    return AudioDeviceError(
        f"{len(matches)} {kind} devices match {wanted!r}: {_listed(candidates, sorted(matches))}. Give the index or "
        "more of the name"
    )


def _listed(candidates: dict[int, tuple[str, str]], indices: Sequence[int] | dict) -> str:
    return "; ".join(f"{index} ({candidates[index][1]})" for index in indices)


def _one_card(devices: Sequence[Device]) -> bool:
    """Whether devices whose names match one wish are ways to one card.

    Each host API names a card once, ALSA once for each of its converters: "USB: Audio (hw:1,0)", "USB: #1 (hw:1,1)".
    """
    cards: dict[str, set[str]] = {}
    for device in devices:
        number = re.search(r"\((?:plug)?hw:(\d+),\d+\)$", device.name)
        cards.setdefault(device.host_api, set()).add(number[1] if number else str(device.index))
    return all(len(numbers) == 1 for numbers in cards.values())


def _without_number(name: str) -> str:
    return re.sub(r" \((?:plug)?hw:\d+,\d+\)$", "", name)


# ---- with which settings


def _with_settings(
    sounddevice: Any, index: int, kind: Kind, rate: int | None, channel: int | Literal["mix"] | None
) -> Device:
    """A device with the first settings that it takes. Raises AudioDeviceError."""
    device = sounddevice.query_devices(index)
    name, most = device["name"], device[f"max_{kind}_channels"]
    host_api = sounddevice.query_hostapis()[device["hostapi"]]["name"]
    text = f"{kind} device {index} ({name}, {host_api})"
    if isinstance(channel, int) and channel > most:
        raise AudioDeviceError(f"{text} has {most} channel{'s'[: most > 1]}, not {channel}. Give one of them.")
    counts = _channel_counts(most, channel)
    rates = [rate] if rate else list(dict.fromkeys([SAMPLE_RATE, round(device["default_samplerate"]), *RATES]))
    errors: list[Exception] = []
    with quiet_native_lines() as native:
        for rate_, count in itertools.product(rates, counts):
            error = _refusal(sounddevice, index, kind, rate_, count, ANSWER_SECONDS)
            if error is None:
                low, high = (float(device[f"default_{latency}_{kind}_latency"]) for latency in ("low", "high"))
                return Device(index, name, host_api, kind, rate_, count, low, high)
            errors.append(error)
            if _code(error) == DEVICE_UNAVAILABLE:
                raise AudioDeviceError(
                    f"{text} is busy: {error}. End the program that holds it, or choose a device that programs share, "
                    f"{SHARED}."
                ) from error
        reason = _reason(errors[-1], native)
    if all(_code(error) not in SETTINGS_REFUSED for error in errors):
        raise AudioDeviceError(
            f"{text} cannot be opened: {reason}. Check that it is connected, and that the sound server runs if it "
            "belongs to one."
        ) from errors[-1]
    tried = f"{', '.join(map(str, rates))} Hz with {' or '.join(map(str, counts))} channel{'s'[: counts != [1]]}"
    raise AudioDeviceError(
        f"{text} takes none of {tried}: {reason}. {'Leave out --rate, or choose' if rate else 'Choose'} a device that "
        f"resamples, {SHARED}; --list-devices shows which work."
    ) from errors[-1]


def _channel_counts(most: int, channel: int | Literal["mix"] | None = None) -> list[int]:
    """How many channels to try, the best first."""
    wanted = [2, most, 1] if channel == "mix" else [channel or 1, 2, most]
    least = channel if isinstance(channel, int) else 1
    return list(dict.fromkeys(count for count in wanted if least <= count <= most))


def _refusal(sounddevice: Any, index: int, kind: Kind, rate: int, channels: int, seconds: float) -> Exception | None:
    """PortAudio's error where a device does not take the settings, else None.

    Raises AudioDeviceError if there is no answer within some seconds.
    """
    check = sounddevice.check_input_settings if kind == "input" else sounddevice.check_output_settings
    try:
        answered(lambda: check(device=index, channels=channels, dtype="float32", samplerate=rate), seconds)
    except sounddevice.PortAudioError as error:
        return error
    return None


def _code(error: Exception) -> int | None:
    """PortAudio's number of an error."""
    return error.args[1] if len(error.args) > 1 else None


def _set_busy_tries(sounddevice: Any, tries: int) -> None:
    """How often PortAudio tries to open an ALSA device that is busy, 10 ms apart. Elsewhere nothing is changed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(sounddevice._libname).PaAlsa_SetRetriesBusy(tries)


def _reason(error: Exception, native: NativeLines) -> str:
    """An error in words, with what a library wrote about it."""
    told = native.most_telling()
    return f"{error} ({told})" if told else str(error)


def _tried(sounddevice: Any, device: dict[str, Any], kind: Kind, deadline: float) -> tuple[list[int], str]:
    """(which of the listed rates a device takes, or the first other one; whether `dtln live` can use it).

    deadline: of time.monotonic().
    """
    counts = _channel_counts(device[f"max_{kind}_channels"])
    taken: list[int] = []
    rates = dict.fromkeys([*LISTED_RATES, round(device["default_samplerate"]), *RATES])
    with quiet_native_lines() as native:
        for rate, count in itertools.product(rates, counts):
            if rate in taken:
                continue
            if taken and rate not in LISTED_RATES:
                break
            seconds = min(deadline - time.monotonic(), CHECK_SECONDS)
            if seconds <= 0:
                return taken, "works" if taken else "not tried, the others took too long"
            try:
                error = _refusal(sounddevice, device["index"], kind, rate, count, seconds)
            except AudioDeviceError:
                return [], "does not answer"
            if error is None:
                taken.append(rate)
            elif _code(error) == DEVICE_UNAVAILABLE:
                return [], "busy, another program holds it"
        return taken, "works" if taken or error is None else f"no: {_reason(error, native)}"
