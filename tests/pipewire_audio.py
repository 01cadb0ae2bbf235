"""A PipeWire of its own, with what stands in for PulseAudio on it, and no sound card."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_audio import wait_for

PROGRAMS = ("pipewire", "wireplumber", "pipewire-pulse", "dbus-run-session", "pactl", "parec")


@contextlib.contextmanager
def pipewire_server(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a PipeWire whose sockets, home and settings lie in `folder`, with the null sink `speaker`.

    Skips where something for it is missing.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing; on Debian: apt install pipewire-pulse wireplumber dbus")
    folder.chmod(0o700)
    foreign = ("PULSE_", "PIPEWIRE_", "ALSA_", "XDG_", "DBUS_", "DISPLAY", "WAYLAND_")  # of the user's own session
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_SERVER": f"unix:{folder}/pulse/native",
    }
    # The session manager ends where it finds no D-Bus, and each of them where its server is not there yet.
    script = """
    trap 'kill $(jobs -p)' TERM
    pipewire & until [ -S "$XDG_RUNTIME_DIR/pipewire-0" ]; do sleep 0.05; done
    wireplumber & pipewire-pulse & wait
    """
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            ["dbus-run-session", "--", "sh", "-c", script],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def says(*arguments: str) -> str:
        return subprocess.run(["pactl", *arguments], env=environment, capture_output=True, text=True).stdout

    try:
        wait_for(lambda: process.poll() is not None or "auto_null" in says("info"))
        if process.poll() is not None:
            pytest.skip(f"PipeWire does not start: {(folder / 'log').read_text()[-300:]}")
        says("load-module", "module-null-sink", "sink_name=speaker")
        wait_for(lambda: "Default Sink: speaker" in says("info"))
        yield environment
    finally:
        os.killpg(process.pid, 15)
        process.wait(10)
