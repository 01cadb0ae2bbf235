"""A virtual microphone on PulseAudio and PipeWire: call programs take it for a microphone, it gives what we play.

Two modules of the sound server make it: a sink that nobody hears, and a source that gives what is played into the sink.
They outlive the program that loads them, so each carries the name of its program, and what a killed one left is removed
by the next one.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from dtln.errors import AudioDeviceError

__all__ = ["VirtualMicrophone", "virtual_microphone"]

RATE = 48_000  # Hz, what call programs and most sound cards work at, so that nobody resamples twice
OWNER = "dtln.owner"  # the property of our modules that says which program loaded them
ANSWER_SECONDS = 5.0  # in which a sound server that works has answered
ELSEWHERE = {
    "darwin": "On macOS install BlackHole, play into it with `-o BlackHole`, and choose it as the microphone",
    "win32": "On Windows install VB-Cable, play into it with `-o 'CABLE Input'`, and choose 'CABLE Output' as the "
    "microphone",
}


@dataclass(frozen=True)
class _Module:
    """A module of the sound server. owner: the program that loaded it; "" unless it is one of ours."""

    index: str
    name: str
    arguments: str
    owner: str

    @property
    def source(self) -> str:
        """The name of the source that a module of ours makes, which for a sink is its monitor."""
        kind, name = re.findall(r"(sink|source)_name=(\S+)", self.arguments)[0]
        return f"{name}.monitor" if kind == "sink" else name


@dataclass
class VirtualMicrophone:
    """A virtual microphone. A program has one at a time.

    name: of the program that fills it, as people read it. description: of the microphone, as call programs show it.
    source: its name, for programs that ask for one. device: the output device of PortAudio that plays into it, through
    the sink `sink`. environment: the variables, set already, that make it do so, and that make the same device as an
    input record from the microphone that was the default without ours.
    """

    name: str
    device: str = "pulse"  # ALSA's plugin, which heeds PULSE_SINK
    description: str = ""
    source: str = ""
    sink: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    _given: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        assert re.fullmatch("[A-Za-z0-9 ]+", self.name), "it becomes the name of a sink"
        self._given = {name: os.environ[name] for name in ("PULSE_SINK", "PULSE_SOURCE") if name in os.environ}

    def restore(self) -> bool:
        """Makes what is missing of it, which is all of it when the sound server was started again; says whether it did.

        It chooses the microphone of `environment` again, too. Raises AudioDeviceError where no server answers, or where
        it refuses.
        """
        modules = _modules()
        mine = [module for module in modules if module.owner == _owner()]
        if missing := len(mine) < 2:
            _unload([*mine, *(module for module in modules if _is_left(module.owner))])
            self._load()
        self._set_environment()
        return missing

    def _load(self) -> None:
        """Loads the two modules, under names that are free, and leaves the default sink and source as they were."""
        taken, defaults = {*_names("sinks"), *_names("sources")}, _defaults()
        plain = self.name.lower().replace(" ", "_")
        number = next(n for n in count(1) if _numbered(f"{plain}_microphone", "_", n) not in taken)
        self.source = _numbered(f"{plain}_microphone", "_", number)
        self.description = _numbered(f"{self.name} microphone", " ", number)
        self.sink = f"{plain}_sink_{os.getpid()}"
        mono = ("channels=1", "channel_map=mono")
        try:
            sink = (f"sink_name={self.sink}", f"rate={RATE}", "format=float32le", *mono)
            _pactl("load-module", "module-null-sink", *sink, f"sink_properties={_properties(f'{self.name} output')}")
            source = (f"source_name={self.source}", f"master={self.sink}.monitor", *mono)
            _pactl("load-module", "module-remap-source", *source, f"source_properties={_properties(self.description)}")
        except AudioDeviceError:
            _unload_ours()
            raise
        # It makes each new device the default. Elsewhere setting one would put a wish into the user's settings.
        if any(module.name == "module-switch-on-connect" for module in _modules()):
            for kind, name in defaults.items():
                if name in taken:
                    _pactl(f"set-default-{kind}", name)

    def _set_environment(self) -> None:
        """Names the sink to play into, and the microphone to hear: the user's, or the default, or a real one.

        It is named because the default may be the virtual microphone itself, by the server's choice or by the user's.
        """
        sources, ours = _names("sources"), {module.source for module in _modules() if module.owner}
        wanted = [_defaults()["source"], self.environment.get("PULSE_SOURCE")]
        wanted += [name for name in sources if not name.endswith(".monitor")]
        heard = [name for name in wanted if name in sources and name not in ours]
        self.environment = {"PULSE_SINK": self.sink}
        if microphone := self._given.get("PULSE_SOURCE") or next(iter(heard), None):
            self.environment["PULSE_SOURCE"] = microphone
        os.environ |= self.environment

    def remove(self) -> None:
        """Removes it from the sound server, if that is still there, and sets the environment as it was."""
        _unload_ours()
        for variable in self.environment:
            os.environ.pop(variable, None)
        os.environ |= self._given

    def check_device(self, sounddevice: Any) -> None:
        """Raises AudioDeviceError where PortAudio does not know the device that plays into it."""
        if not any(
            device["name"] == self.device and device["max_output_channels"] for device in sounddevice.query_devices()
        ):
            raise AudioDeviceError(
                f"a virtual microphone is filled through the output device {self.device!r}, which is not there. It is "
                "ALSA's plugin for PulseAudio and PipeWire; on Debian: apt install libasound2-plugins"
            )

    def describe(self) -> str:
        """What to do with it, in a line."""
        return f"virtual microphone: choose {self.description!r} ({self.source}) as the microphone of a call program"


@contextmanager
def virtual_microphone(name: str = "DTLN") -> Iterator[VirtualMicrophone]:
    """Makes a virtual microphone, NAME microphone, and removes it at the end; call `restore` when the server came back.

    The default sink and source of the user stay as they are, except that a machine without any microphone takes this
    one as its default. Raises AudioDeviceError on other systems than Linux, and where pactl or a sound server is
    missing.
    """
    if sys.platform != "linux":
        way = ELSEWHERE.get(sys.platform, "Elsewhere play into a loopback device of the system")
        raise AudioDeviceError(
            f"virtual microphones are made on PulseAudio and PipeWire only. {way}; see docs/virtual-microphone.md"
        )
    microphone = VirtualMicrophone(name)
    try:
        microphone.restore()
        yield microphone
    finally:
        microphone.remove()


def _pactl(*arguments: str) -> str:
    """What pactl prints. Raises AudioDeviceError if it is missing, fails, or waits in vain for the server."""
    program = shutil.which("pactl")
    if program is None:
        raise AudioDeviceError(
            "virtual microphones need pactl, which is not installed. On Debian: apt install pulseaudio-utils"
        )
    try:
        done = subprocess.run(
            [program, *arguments],
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=ANSWER_SECONDS,
            start_new_session=True,  # Ctrl+C ends us, not pactl at work
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise AudioDeviceError(
            f"the sound server did not answer within {ANSWER_SECONDS:.0f} s. Start it again: systemctl --user restart "
            "pipewire-pulse, or pulseaudio --kill"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        if "Connection" in reason:
            raise AudioDeviceError(
                f"virtual microphones need PulseAudio or PipeWire with pipewire-pulse, and none answers ({reason}). "
                "Start it: systemctl --user start pipewire-pulse, or pulseaudio --start"
            )
        raise AudioDeviceError(f"the sound server refuses `pactl {' '.join(arguments)}`: {reason}")
    return done.stdout


def _modules() -> list[_Module]:
    """The modules of the sound server, in the order in which they were loaded."""
    modules = []
    for index, name, arguments in re.findall(r"^(\d+)\t(\S+)\t(.*)$", _pactl("list", "short", "modules"), re.MULTILINE):
        owner = re.search(rf"{re.escape(OWNER)}='([^']*)'", arguments)
        modules.append(_Module(index, name, arguments, owner[1] if owner else ""))
    return modules


def _names(kind: str) -> list[str]:
    """The names of the "sinks" or "sources"."""
    return [line.split("\t")[1] for line in _pactl("list", "short", kind).splitlines()]


def _defaults() -> dict[str, str]:
    """The names of the default "sink" and "source"; empty where there is none."""
    info = _pactl("info")
    found = {
        kind: re.search(rf"^Default {kind.title()}: (\S*)", info, flags=re.MULTILINE) for kind in ("sink", "source")
    }
    return {kind: match[1] if match else "" for kind, match in found.items()}


def _unload(modules: list[_Module]) -> None:
    """Unloads modules, the last one first, because it stands on those before. One that is gone already is no error."""
    for module in reversed(modules):
        with suppress(AudioDeviceError):
            _pactl("unload-module", module.index)


def _unload_ours() -> None:
    """Unloads the modules of this program. They are looked up, because a server that came back numbers them anew."""
    with suppress(AudioDeviceError):
        _unload([module for module in _modules() if module.owner == _owner()])


def _properties(description: str) -> str:
    return f"\"device.description='{description}' {OWNER}='{_owner()}'\""


def _numbered(name: str, separator: str, number: int) -> str:
    return name if number == 1 else f"{name}{separator}{number}"


def _owner() -> str:
    """This program, so that no other one has the same name: machine, process, and when that began."""
    return f"{_machine()}:{os.getpid()}:{_start_of(os.getpid())}"


def _machine() -> str:
    return re.sub(r"[^\w.-]", "-", platform.node(), flags=re.ASCII)


def _start_of(process: int | str) -> str | None:
    """When a process of this machine began, in the system's ticks; None where it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()  # from the third, the state
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _is_left(owner: str) -> bool:
    """Whether a program of this machine loaded a module and has ended without removing it."""
    machine, _, rest = owner.partition(":")
    process, _, start = rest.partition(":")
    return machine == _machine() and _start_of(process) != start
