"""real_time_dtln_audio.py in trouble: each ends in sound again or in a clear exit, with the counters shown."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from live_audio import Live, Server, audio_server, drifting_microphone, wait_for
from terminals import full_pipe


def slow(*values: object):
    """A case of a test that takes too long for every run."""
    return pytest.param(*values, marks=pytest.mark.slow)


pytestmark = pytest.mark.alone
KINDS = ["pulseaudio", "pipewire"]
MOSTLY_ONE_KIND = ["pulseaudio", slow("pipewire")]
AUDIBLE_DB = -50.0  # far below the noise of Server.play_noise
FAST = ("--latency", "0.1", "--bypass")  # the network would remove the noise


def assert_heard(server: Server, seconds: float = 15) -> None:
    """Sound comes out of the loudspeaker within some time."""
    wait_for(lambda: server.level_db() > AUDIBLE_DB, seconds)


def counters(text: str) -> dict[str, int]:
    """The numbers of the report at the end, by their names."""
    found = {name.strip(): int(number) for name, number in re.findall(r"([a-z][a-z, ]+): (\d+)", text)}
    assert "reconnections" in found, f"no report: {text}"
    return found


def assert_quiet_exit(live: Live, number: int | None, status: int = 0, seconds: float = 10) -> None:
    """It ends in time, with a status and no traceback."""
    assert live.end(number, seconds) == status, f"{live.stdout}\n{live.stderr}"
    assert "Traceback" not in live.stderr
    assert "Expression" not in live.stderr and "ALSA lib" not in live.stderr  # PortAudio's own lines


def assert_clear_exit(live: Live, number: int | None, status: int = 0, seconds: float = 10) -> dict[str, int]:
    """It ends so, with a report; gives the counters."""
    assert_quiet_exit(live, number, status, seconds)
    return counters(live.stdout)


@contextlib.contextmanager
def hogs(count: int, niceness: int = 0) -> Iterator[None]:
    """So many processes that never rest."""
    command = ["nice", "-n", str(niceness), sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", params=MOSTLY_ONE_KIND)
def server(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """At 48 kHz and stereo, as real devices are, with noise at the microphone."""
    with audio_server(tmp_path_factory.mktemp("sound"), request.param, 48000, 2) as server:
        server.play_noise()
        yield server


# --- the server goes away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_server_killed_and_back(kind, tmp_path):
    with audio_server(tmp_path, kind, 48000, 2) as server, Live(server, *FAST, "--reconnect") as live:
        server.play_noise()
        assert_heard(server)
        server.kill()
        time.sleep(0.5)
        server.start()
        server.play_noise()
        live.wait_for("running:", times=2)
        assert_heard(server)
        assert assert_clear_exit(live, signal.SIGTERM)["reconnections"] == 1


@pytest.mark.parametrize("kind", MOSTLY_ONE_KIND)
def test_server_killed(kind, tmp_path):
    with audio_server(tmp_path, kind, 48000, 2) as server, Live(server, *FAST, "--no-reconnect") as live:
        time.sleep(1)
        server.kill()
        assert_clear_exit(live, None, status=1)
        assert "the sound server" in live.stderr  # is to be looked at, whichever call notices first


@pytest.mark.parametrize("how", ["SIGTERM", slow("--duration")])
def test_end_while_the_server_is_away(how, tmp_path):
    duration = ("--duration", "4") if how == "--duration" else ()
    with audio_server(tmp_path) as server, Live(server, *FAST, "--reconnect", *duration) as live:
        time.sleep(1)
        server.kill()
        live.wait_for("Waiting for the devices")
        assert_clear_exit(live, None if duration else signal.SIGTERM)


@pytest.mark.parametrize("ending", ["comes", slow("SIGTERM")])
def test_started_before_the_server(ending, tmp_path):
    with audio_server(tmp_path) as server:
        server.kill()
        with Live(server, *FAST, "--reconnect", started=False) as live:
            live.wait_for("Waiting for the devices")
            if ending == "comes":
                server.start()
                server.play_noise()
                live.wait_for("running:")
                assert_heard(server)
            assert_quiet_exit(live, signal.SIGTERM)


def test_no_server(tmp_path):
    with audio_server(tmp_path) as server:
        server.kill()
        with Live(server, *FAST, "--no-reconnect", started=False) as live:
            assert_quiet_exit(live, None, status=1)
            assert "device" in live.stderr


# --- the server stalls ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("reconnect", ["--reconnect", "--no-reconnect"])
def test_server_stalled_for_a_while(server, reconnect):
    with Live(server, *FAST, reconnect) as live:
        assert_heard(server)
        before = server.delay()
        server.send(signal.SIGSTOP)
        time.sleep(2)
        server.send(signal.SIGCONT)
        wait_for(lambda: server.delay() < before + 0.1)  # what came in meanwhile is not played
        assert_clear_exit(live, signal.SIGTERM)


@pytest.mark.parametrize(
    ("reconnect", "how"),
    [("--reconnect", "SIGTERM"), slow("--reconnect", "--duration"), slow("--no-reconnect", "by itself")],
)
def test_end_while_the_server_is_stalled(server, reconnect, how):
    duration = ("--duration", "3") if how == "--duration" else ()
    with Live(server, *FAST, reconnect, *duration) as live:
        time.sleep(1)
        server.send(signal.SIGSTOP)
        try:
            time.sleep(0.5)
            if how == "by itself":
                assert_clear_exit(live, None, status=1, seconds=30)
            else:
                assert_clear_exit(live, signal.SIGTERM if how == "SIGTERM" else None)
        finally:
            server.send(signal.SIGCONT)


@pytest.mark.slow
def test_devices_suspended_and_resumed(server):
    with Live(server, *FAST, "--no-reconnect") as live:
        assert_heard(server)
        before = server.delay()
        # Once the microphone of PipeWire 0.3 was suspended, all that listened to it hear silence, parec, too.
        for sink in ("speaker", "mic") if server.kind == "pulseaudio" else ("speaker",):
            server.pactl("suspend-sink", sink, "1")
            time.sleep(1)
            server.pactl("suspend-sink", sink, "0")
            wait_for(lambda: server.delay() < before + 0.1)
        assert_clear_exit(live, signal.SIGTERM)


@pytest.mark.slow
def test_devices_suspended_for_long(tmp_path):
    with audio_server(tmp_path, rate=48000) as server, Live(server, *FAST, "--reconnect") as live:
        server.play_noise()
        for count, sink in enumerate(("speaker", "mic")):
            assert_heard(server)
            time.sleep(6)  # what stalls soon after its start is started again without a word
            server.pactl("suspend-sink", sink, "1")
            live.wait_for("has not moved", times=count + 1)
            server.pactl("suspend-sink", sink, "0")
        assert_heard(server)
        assert assert_clear_exit(live, signal.SIGTERM)["reconnections"] >= 1


# --- devices go away --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["mic", "speaker"])
def test_device_unplugged_and_back(sink, tmp_path):
    """PulseAudio gives the stream another device, if there is one, and it may come back to its own."""
    with audio_server(tmp_path, rate=48000) as server, Live(server, *FAST, "--reconnect") as live:
        server.play_noise()
        assert_heard(server)
        modules = [line.split() for line in server.pactl("list", "short", "modules").splitlines()]
        number, name, *settings = next(line for line in modules if f"sink_name={sink}" in line)
        server.pactl("unload-module", number)
        time.sleep(1)
        assert live.process.poll() is None
        server.pactl("load-module", name, *settings)
        server.play_noise()
        assert live.process.poll() is None
        assert_clear_exit(live, signal.SIGTERM)


def test_all_devices_unplugged_and_back(tmp_path):
    with audio_server(tmp_path, rate=48000) as server, Live(server, *FAST, "--reconnect") as live:
        server.play_noise()
        assert_heard(server)
        server.pactl("unload-module", "module-null-sink")
        live.wait_for("Waiting for the devices")
        server.start_sinks()
        server.play_noise()
        live.wait_for("running:", times=2)
        assert_heard(server)
        assert_clear_exit(live, signal.SIGTERM)


# --- too little time, or nobody who reads -----------------------------------------------------------------------------


@pytest.mark.parametrize("niceness", [0, slow(19)])
def test_processors_busy(server, niceness):
    """More programs want to compute than there are processors."""
    with hogs(2 * (os.cpu_count() or 1), niceness), Live(server, *FAST, "--duration", "5") as live:
        assert_heard(server, 30)
        troubles = assert_clear_exit(live, None, seconds=30)
        print(niceness, troubles)
    assert "blocks, " in live.stdout


@pytest.mark.parametrize("how", [signal.SIGTERM, slow(None)])
def test_terminal_paused(server, how):
    """As with Ctrl+S: what is printed waits, sound goes on, and the session ends all the same."""
    import pty
    import termios

    ours, terminal = pty.openpty()
    try:
        duration = ("--duration", "4") if how is None else ()
        with Live(server, *FAST, *duration, started=False, terminal=terminal) as live:
            wait_for(lambda: b"running:" in os.read(ours, 1 << 16))
            termios.tcflow(terminal, termios.TCOOFF)
            time.sleep(2)
            assert_heard(server)
            assert live.end(how) == 0, live.stderr
    finally:
        os.close(ours)
        os.close(terminal)


@pytest.mark.parametrize("how", [signal.SIGTERM, slow(None)])
def test_reader_of_the_output_stalls(server, how):
    """The pipe that takes the standard output is full, as where a pager waits for a key."""
    reader, writer = full_pipe()
    try:
        duration = ("--duration", "4") if how is None else ()
        with Live(server, *FAST, *duration, started=False, terminal=writer) as live:
            assert_heard(server)
            assert live.end(how) == 0, live.stderr
    finally:
        os.close(reader)
        os.close(writer)


# --- devices of 48 kHz, and clocks that differ ------------------------------------------------------------------------


@pytest.mark.parametrize("latency", ["0.1", slow("low")])
def test_every_start_at_48_khz_succeeds(server, latency):
    for _ in range(3):
        done = server.run("--latency", latency, "--duration", "0.5")
        assert done.returncode == 0, done.stderr


@pytest.mark.quiet
@pytest.mark.parametrize(("ppm", "seconds"), [(200, 240), (-200, 240), (2000, 90), (-2000, 90)])
def test_clocks_that_differ(ppm, seconds, tmp_path):
    """The delay stays within bounds, and sound goes on. Without stretching, 2000 ppm would add up to 180 ms."""
    report = tmp_path / "report.json"
    with audio_server(tmp_path, rate=48000) as server, drifting_microphone(server, ppm):
        server.environment["PULSE_SOURCE"] = "drifting"
        arguments = (*FAST, "--rate", "48000", "--duration", str(seconds), "--json", str(report))
        with Live(server, *arguments) as live:
            delays = []
            while time.monotonic() < live.started + seconds - 10:
                delays.append(server.delay(source="drifting"))
                time.sleep(5)
            troubles = assert_clear_exit(live, None, seconds=30)
    told = json.loads(report.read_text())
    print(
        f"{ppm} ppm: delays {np.round(delays, 3)}, told {told['delay_ms']} ms and {told['drift_ppm']} ppm, {troubles}"
    )
    assert np.median(delays) < 0.5 and delays[-1] < 1  # a busy machine may stand still for a moment
    assert troubles["reconnections"] == 0 and troubles["dropouts"] <= 2
    if told["drift_ppm"] is not None:
        assert told["drift_ppm"] == pytest.approx(-ppm, rel=0.25, abs=100)
