"""A PulseAudio with two virtual devices, the live script at work on them, and its recordings."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dtln.facts import SAMPLE_RATE
from dtln.streaming.backends import Backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "real_time_dtln_audio.py"
RAW = ("--raw", "--format=float32le", f"--rate={SAMPLE_RATE}", "--channels=1")
SILENCE_SECONDS = 2.0  # that the script hears before the speech
NULL_SINK = f"module-null-sink rate={SAMPLE_RATE} channels=1 format=float32le sink_name="
ALSA_CONFIG = """
pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.pulse { type pulse }
pcm.null { type null }
# Dolby Digital, which knows no 16 kHz: a device that refuses ours
pcm.only_48k { type a52 slavepcm "null" rate 48000 channels 2 format S16_LE }
"""


@dataclass
class Server:
    """A running PulseAudio with the null sinks `mic` and `speaker`."""

    process: subprocess.Popen
    folder: Path
    environment: dict[str, str]

    def recorder(self, source: str, target: Path) -> subprocess.Popen:
        """Records mono float32 samples until it is terminated."""
        command = ["parec", "-d", source, *RAW, "--latency-msec=50"]
        with open(target, "wb") as file:
            return subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=file)

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """Runs the script to its end."""
        return subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip


@contextlib.contextmanager
def audio_server(folder: Path) -> Iterator[Server]:
    """A PulseAudio whose socket, home and configuration lie in `folder`; skips where something for it is missing."""
    missing = [program for program in ("pulseaudio", "parec", "paplay", "pactl") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing; on Debian: apt install pulseaudio pulseaudio-utils")
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"sounddevice or PortAudio is missing: {error}")
    folder.chmod(0o700)
    (folder / "asound.conf").write_text(ALSA_CONFIG)
    socket = folder / "socket"
    foreign = ("PULSE_", "ALSA_", "XDG_", "DBUS_", "DISPLAY", "WAYLAND_")  # of the user's own session
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        "PULSE_SERVER": f"unix:{socket}",
        "PULSE_SOURCE": "mic.monitor",
        "PULSE_SINK": "speaker",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    modules = (
        f"{NULL_SINK}mic",
        f"{NULL_SINK}speaker",
        f"module-native-protocol-unix socket={socket} auth-anonymous=1",
    )
    command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--disable-shm=yes", "--exit-idle-time=-1"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command + [part for module in modules for part in ("-L", module)],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    # Without a listener that asks for less, a null sink works in portions of two seconds.
    listeners: list[subprocess.Popen] = []
    try:
        favour(process)
        wait_for(
            lambda: (
                process.poll() is not None
                or subprocess.run(["pactl", "info"], env=environment, capture_output=True).returncode == 0
            )
        )
        if process.poll() is not None:
            pytest.skip(f"pulseaudio does not start: {(folder / 'log').read_text()[-300:]}")
        server = Server(process, folder, environment)
        listeners += [server.recorder(f"{sink}.monitor", Path(os.devnull)) for sink in ("mic", "speaker")]
        probe = "import sounddevice; sounddevice.check_input_settings('default', 1); print('yes')"
        probed = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
        if "yes" not in probed.stdout:
            pytest.skip(f"ALSA has no PulseAudio plugin; on Debian: apt install libasound2-plugins ({probed.stderr})")
        yield server
    finally:
        for started in (*listeners, process):
            started.terminate()
            started.wait(10)


def wait_for(condition, seconds: float = 30) -> None:
    """Returns when the condition holds; fails after some time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def favour(process: subprocess.Popen) -> None:
    """Puts a process before others on a busy machine, where that is allowed; its later threads inherit it."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, process.pid, -10)


class Live:
    """The script at work: `stdout` and `stderr` so far."""

    def __init__(self, server: Server, *arguments: str) -> None:
        self._paths = [server.folder / "stdout", server.folder / "stderr"]
        with open(self._paths[0], "w") as out, open(self._paths[1], "w") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *arguments],
                env=server.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        favour(self.process)

    def __enter__(self) -> Live:
        wait_for(lambda: "running:" in self.stdout or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.stderr
        self.started = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def stdout(self) -> str:
        return self._paths[0].read_text()

    @property
    def stderr(self) -> str:
        return self._paths[1].read_text()


@dataclass
class Recording:
    """What the script heard and what it played, (L,) each and not aligned, and what it reported."""

    heard: np.ndarray
    played: np.ndarray
    report: str


def record_live(server: Server, folder: Path, speech: np.ndarray, *arguments: str) -> Recording:
    """Plays speech into the microphone while the script runs, and records both virtual devices."""
    speech.tofile(folder / "speech.raw")
    files = [folder / "heard.raw", folder / "played.raw"]
    recorders = [server.recorder(f"{sink}.monitor", file) for sink, file in zip(("mic", "speaker"), files, strict=True)]
    try:
        with Live(server, "--latency", "1", *arguments) as live:
            wait_for(lambda: all(file.stat().st_size for file in files))
            time.sleep(SILENCE_SECONDS)
            subprocess.run(
                ["paplay", "-d", "mic", *RAW, str(folder / "speech.raw")], env=server.environment, check=True
            )
            time.sleep(3.0)  # until the buffers of all have passed
            live.process.send_signal(signal.SIGINT)
            assert live.process.wait(20) == 0, live.stderr
            report = live.stdout
    finally:
        for recorder in recorders:
            recorder.terminate()
            recorder.wait(10)
    heard, played = (np.fromfile(file, np.float32) for file in files)
    return Recording(heard, played, report)


def live_snr(
    recording: Recording, backend: Backend, denoise_all: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """(SNR in dB of what was played against offline processing of what was heard, seconds compared).

    denoise_all: (B, L) -> (B, L), the same network on many signals at once, for what is only a choice among trials.

    The recording does not say where the script's blocks began, and the network's output depends on that: each of the
    128 possible beginnings is tried on a short stretch, and with each the samples around the best lag, which a wrong
    beginning may have shifted. The silence before the speech goes along, because the script had been hearing it too and
    the states of a trained network drift in it for minutes: half a second of it against two leaves 20 to 34 dB.
    """
    heard, played, denoiser = recording.heard, recording.played, StreamingDenoiser(backend)
    loud = np.flatnonzero(np.abs(heard) > 1e-4)
    silence = min(loud[0], round(SILENCE_SECONDS * SAMPLE_RATE))
    begin, end = loud[0] - silence, loud[-1]

    estimate = denoiser.denoise(heard[begin:end])
    size = 1 << int(len(estimate) + len(played)).bit_length()
    spectrum = np.fft.rfft(played, size) * np.conj(np.fft.rfft(estimate, size))
    coarse = int(np.argmax(np.fft.irfft(spectrum, size)[: len(played) - len(estimate)])) - begin

    def snr(first: int, output: np.ndarray, lags: Sequence[int]) -> tuple[float, int]:
        """The best SNR in dB, of an output that begins at `first`, and its lag."""
        expected = output[: -denoiser.delay]  # the rest lacks what came afterwards
        errors = [np.sum((expected - played[first + lag :][: len(expected)]) ** 2.0) for lag in lags]
        best = int(np.argmin(errors))
        return 10 * math.log10(np.sum(expected**2.0) / (errors[best] + 1e-20)), lags[best]

    lags = range(coarse - 2, coarse + 3)
    stretch = silence + SAMPLE_RATE
    outputs = denoise_all(np.lib.stride_tricks.sliding_window_view(heard[begin : begin + 127 + stretch], stretch))
    (_, lag), first = max((snr(begin + i, output, lags), begin + i) for i, output in enumerate(outputs))
    return snr(first, denoiser.denoise(heard[first:end]), [lag])[0], (end - begin - silence) / SAMPLE_RATE
