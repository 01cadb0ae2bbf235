"""A virtual microphone on a PulseAudio and on a PipeWire of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from live_audio import Live, audio_server, wait_for

from dtln.errors import AudioDeviceError
from dtln.live.virtual_microphone import virtual_microphone

pytestmark = pytest.mark.alone
RATE = 48_000  # Hz
HOLD = """
import signal, sys
from dtln.live.session import noted_signals
from dtln.live.virtual_microphone import virtual_microphone
with noted_signals() as noted, virtual_microphone() as microphone:
    print(microphone.describe(), flush=True)
    while not noted:
        signal.pause()
"""
PLAY = """
import numpy, sounddevice
from dtln.live.virtual_microphone import virtual_microphone
with virtual_microphone() as microphone:
    print(microphone.source, flush=True)
    microphone.check_device(sounddevice)
    settings = dict(samplerate=48000, channels=1, dtype="float32", device=microphone.device, latency=0.2)
    with sounddevice.OutputStream(**settings) as stream:
        seconds = numpy.arange(2 * 48000, dtype="float32") / 48000
        stream.write(0.5 * numpy.sin(2 * numpy.pi * 1000 * seconds)[:, None])
        input()
"""


@pytest.fixture(scope="module", params=["pulseaudio", "pipewire"])
def environment(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of a server with the sink `speaker` and the microphone `desk`."""
    with audio_server(tmp_path_factory.mktemp("sound"), request.param) as server:
        chosen = ("PULSE_SINK", "PULSE_SOURCE")
        environment = {name: value for name, value in server.environment.items() if name not in chosen}
        run(environment, "load-module", "module-remap-source", "source_name=desk", "master=speaker.monitor")
        run(environment, "set-default-sink", "speaker")
        run(environment, "set-default-source", "desk")
        wait_for(lambda: "Default Source: desk" in run(environment, "info"))
        yield environment


@pytest.fixture
def server(environment, monkeypatch) -> dict[str, str]:
    """The same, as the environment of this process, without modules of ours before and after."""
    for name in ("PULSE_SINK", "PULSE_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "dtln" not in run(environment, "list", "short", "modules")
    return environment


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        ["pactl", *arguments], env=environment, capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout


def names(environment: dict[str, str], kind: str) -> list[str]:
    return [line.split("\t")[1] for line in run(environment, "list", "short", kind).splitlines()]


def defaults(environment: dict[str, str]) -> list[str]:
    return [line for line in run(environment, "info").splitlines() if line.startswith(("Default Si", "Default So"))]


@contextlib.contextmanager
def program(code: str, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_what_is_played_into_it_comes_out(server, tmp_path):
    with program(PLAY, server) as process:
        source = process.stdout.readline().strip()
        raw = ["--raw", "--format=float32le", f"--rate={RATE}", "--channels=1", "--latency-msec=50"]
        heard, beside = tmp_path / "heard", tmp_path / "beside"
        with open(heard, "wb") as file, open(beside, "wb") as other:
            recorders = [
                subprocess.Popen(["parec", "-d", name, *raw], env=server, stdout=target)
                for name, target in ((source, file), ("speaker.monitor", other))
            ]
            wait_for(lambda: np.count_nonzero(np.abs(np.fromfile(heard, np.float32)) > 0.4) > RATE // 3)  # 0.8 s of it
            for recorder in recorders:
                recorder.terminate()
                recorder.wait(10)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(20) == 0
    sound = np.fromfile(heard, np.float32)
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    tone = sound[loud[0] + RATE // 20 :][: RATE // 4]
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)))) ** 2
    assert np.argmax(spectrum) == 1000 * len(tone) // RATE
    assert spectrum[245:256].sum() > 0.999 * spectrum.sum()  # nothing but the tone
    assert np.abs(np.fromfile(beside, np.float32)).max() == 0  # the user's loudspeaker is silent


@pytest.mark.parametrize("switching", [False, True], ids=["plain", "switch-on-connect"])
def test_defaults_of_the_user_stay(server, switching):
    before = defaults(server)
    arguments = ("module-switch-on-connect", "ignore_virtual=no")
    index = run(server, "load-module", *arguments).strip() if switching else None
    try:
        with virtual_microphone() as microphone:
            assert microphone.source == "dtln_microphone" in names(server, "sources")
            assert microphone.sink in names(server, "sinks")
            assert defaults(server) == before == ["Default Sink: speaker", "Default Source: desk"]
            assert os.environ["PULSE_SINK"] == microphone.sink
            assert os.environ["PULSE_SOURCE"] == "desk"
        assert defaults(server) == before
        assert "PULSE_SINK" not in os.environ and "PULSE_SOURCE" not in os.environ
    finally:
        if index:
            run(server, "unload-module", index)


def test_it_never_hears_itself(server):
    with program(HOLD, server) as first:
        assert "'DTLN microphone' (dtln_microphone)" in first.stdout.readline()
        run(server, "set-default-source", "dtln_microphone")  # as users do who want it in every program
        wait_for(lambda: "Default Source: dtln_microphone" in defaults(server))
        try:
            with virtual_microphone() as second:
                assert second.describe().startswith(
                    "virtual microphone: choose 'DTLN microphone 2' (dtln_microphone_2)"
                )
                assert os.environ["PULSE_SOURCE"] == "desk"
                assert "Default Source: dtln_microphone" in defaults(server)  # which they keep
        finally:
            run(server, "set-default-source", "desk")


def test_source_that_the_user_names_is_heard(server, monkeypatch):
    monkeypatch.setenv("PULSE_SOURCE", "speaker.monitor")
    with virtual_microphone():
        assert os.environ["PULSE_SOURCE"] == "speaker.monitor"
    assert os.environ["PULSE_SOURCE"] == "speaker.monitor"


def test_error_and_signal_remove_it(server):
    with pytest.raises(ZeroDivisionError), virtual_microphone():
        _ = 1 / 0
    assert "dtln" not in run(server, "list", "short", "modules")
    for number in (signal.SIGTERM, signal.SIGINT):
        with program(HOLD, server) as process:
            process.stdout.readline()
            assert "dtln_microphone" in names(server, "sources")
            process.send_signal(number)
            assert process.wait(20) == 0
        assert "dtln" not in run(server, "list", "short", "modules")


def test_what_a_killed_run_left_is_swept_and_another_run_kept(server):
    with program(HOLD, server) as running:
        assert "(dtln_microphone)" in running.stdout.readline()
        with program(HOLD, server) as killed:
            assert "(dtln_microphone_2)" in killed.stdout.readline()
            killed.kill()
        assert names(server, "sources").count("dtln_microphone_2") == 1
        with virtual_microphone() as microphone:
            assert microphone.source == "dtln_microphone_2"
            assert sorted(name for name in names(server, "sinks") if "dtln" in name) == sorted(
                [f"dtln_sink_{running.pid}", microphone.sink]
            )
        assert f"dtln_sink_{running.pid}" in names(server, "sinks")
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_restore_makes_what_is_missing_only(server):
    with virtual_microphone() as microphone:
        assert not microphone.restore()
        (index,) = (
            line.split("\t")[0]
            for line in run(server, "list", "short", "modules").splitlines()
            if "dtln_microphone" in line
        )
        run(server, "unload-module", index)
        assert microphone.restore()
        assert [name for name in names(server, "sources") if "dtln" in name and "monitor" not in name] == [
            "dtln_microphone"
        ]
        assert len([name for name in names(server, "sinks") if "dtln" in name]) == 1


def test_server_that_is_killed_and_comes_back(tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:
        with audio_server(tmp_path) as first:
            for name, value in first.environment.items():
                monkeypatch.setenv(name, value)
            microphone = stack.enter_context(virtual_microphone())
            sink = microphone.sink
            first.process.kill()
            first.process.wait()
        with pytest.raises(AudioDeviceError, match="(?s)none answers.*systemctl --user start pipewire-pulse"):
            microphone.restore()
        with audio_server(tmp_path) as second:
            assert microphone.restore()
            assert os.environ["PULSE_SINK"] == microphone.sink == sink
            assert sink in names(second.environment, "sinks")
            stack.close()
            assert "dtln" not in run(second.environment, "list", "short", "modules")


def test_live_session_fills_it_and_brings_it_back(tmp_path):
    """A tone goes the whole way: microphone, bypassed script, virtual microphone, recorder."""
    seconds = np.arange(6 * 16_000) / 16_000
    (0.5 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32).tofile(tmp_path / "tone")
    sound = ["--raw", "--format=float32le", "--rate=16000", "--channels=1"]

    def hears_the_tone() -> None:
        recorder = server.recorder("dtln_microphone", tmp_path / "heard")
        player = subprocess.Popen(["paplay", "-d", "mic", *sound, str(tmp_path / "tone")], env=server.environment)
        try:
            wait_for(lambda: np.abs(np.fromfile(tmp_path / "heard", np.float32)).max(initial=0) > 0.4)
        finally:
            for client in (player, recorder):
                client.kill()
                client.wait(10)

    with audio_server(tmp_path) as server:
        with Live(server, "--virtual-microphone", "--bypass", "--reconnect") as live:
            live.wait_for("choose 'DTLN microphone' (dtln_microphone)")
            hears_the_tone()
            server.kill()
            live.wait_for("Waiting for the devices")
            server.start()
            live.wait_for("running", times=2)
            hears_the_tone()
            assert live.end() == 0
        assert "dtln" not in server.pactl("list", "short", "modules")


def test_end_without_a_server_is_no_error(tmp_path, monkeypatch):
    with audio_server(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with virtual_microphone():
            server.process.kill()
            server.process.wait()
        assert os.environ["PULSE_SINK"] == "speaker"


def test_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("dtln.live.virtual_microphone.ANSWER_SECONDS", 0.3)
    with audio_server(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(AudioDeviceError, match="did not answer within .* Start it again"), virtual_microphone():
                pass
        finally:
            server.process.send_signal(signal.SIGCONT)


def test_no_server_and_no_pactl(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioDeviceError, match="need pactl.*apt install pulseaudio-utils"), virtual_microphone():
        pass
    pactl = tmp_path / "pactl"
    pactl.write_text("#!/bin/sh\necho 'Failure: Module initialization failed' >&2; exit 1\n")
    pactl.chmod(0o755)
    with pytest.raises(AudioDeviceError, match="refuses `pactl list short modules`: Failure"), virtual_microphone():
        pass


@pytest.mark.parametrize(
    ("platform", "way"), [("darwin", "BlackHole"), ("win32", "'CABLE Output'"), ("freebsd14", "loopback device")]
)
def test_other_systems_are_told_the_way(monkeypatch, platform, way):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(AudioDeviceError, match=f"{way}.*docs/virtual-microphone.md"), virtual_microphone():
        pass


def test_device_that_plays_into_it_is_missing():
    from dtln.live.virtual_microphone import VirtualMicrophone

    devices = [{"name": "pulse", "max_output_channels": 0}, {"name": "pulses", "max_output_channels": 2}]
    sounddevice = SimpleNamespace(query_devices=lambda: devices)
    with pytest.raises(AudioDeviceError, match="output device 'pulse'.*apt install libasound2-plugins"):
        VirtualMicrophone("DTLN").check_device(sounddevice)
    devices.append({"name": "pulse", "max_output_channels": 2})
    VirtualMicrophone("DTLN").check_device(sounddevice)
