"""Sound devices: which there are, and which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dtln.errors import AudioDeviceError, require
from dtln.facts import SAMPLE_RATE

__all__ = ["choose_device", "import_sounddevice", "open_devices"]


def import_sounddevice() -> Any:
    """The module sounddevice. Its import opens PortAudio, which asks every device at once.

    Raises MissingPackageError or AudioDeviceError with the remedy.
    """
    try:
        return require("sounddevice", "live denoising")
    except OSError as error:
        raise AudioDeviceError(
            f"the PortAudio library is missing ({error}). Install it, on Debian: apt install libportaudio2"
        ) from error


def open_devices(sounddevice: Any, wanted_input: str | None, wanted_output: str | None) -> tuple[int, int]:
    """Indices of microphone and loudspeaker. Raises AudioDeviceError where one of them does not take 16 kHz mono."""
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
    """Index of the one device of a kind, "input" or "output", that is wanted: by its index or a part of its name.

    None takes the system's default. Names are compared as "name" and as "name, host API", capitals aside; a device
    whose whole name is given goes before those whose name only contains it.
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
