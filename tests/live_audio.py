"""A sound server with two virtual devices, the live script at work on them, and its recordings."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
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
USUAL_RATE = 48000  # Hz, of sound servers
RAW = ("--raw", "--format=float32le", f"--rate={SAMPLE_RATE}", "--channels=1")
SILENCE_SECONDS = 2.0  # that the script hears before the speech
PULSEAUDIO = (
    "pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--disable-shm=yes", "--exit-idle-time=-1",
)  # fmt: skip
# The session manager ends where it finds no D-Bus, and each of these where its server is not there yet.
PIPEWIRE = """
pipewire & until [ -S "$XDG_RUNTIME_DIR/pipewire-0" ]; do sleep 0.05; done
wireplumber & pipewire-pulse & wait
"""
STARTS = 5
PROGRAMS = {
    "pulseaudio": ("pulseaudio", "parec", "pacat", "pactl"),
    "pipewire": ("pipewire", "wireplumber", "pipewire-pulse", "dbus-run-session", "parec", "pacat", "pactl"),
}
PACKAGES = {
    "pulseaudio": "pulseaudio pulseaudio-utils",
    "pipewire": "pipewire pipewire-pulse wireplumber dbus pulseaudio-utils",
}
ALSA_CONFIG = """
pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.pulse { type pulse }
pcm.null { type null }
# Dolby Digital, which knows no 16 kHz: a device that refuses ours
pcm.only_48k { type a52 slavepcm "null" rate 48000 channels 2 format S16_LE }
"""


class Server:
    """A PulseAudio, or a PipeWire that stands in for one, with the null sinks `mic` and `speaker`.

    rate, channels: of the sinks. process: the server, or the parent of its parts; all are in one process group.
    """

    def __init__(self, folder: Path, kind: str = "pulseaudio", rate: int = USUAL_RATE, channels: int = 1) -> None:
        folder.chmod(0o700)
        (folder / "asound.conf").write_text(ALSA_CONFIG)
        self.folder, self.kind, self.rate, self.channels = folder, kind, rate, channels
        self.socket = folder / ("socket" if kind == "pulseaudio" else "pulse/native")
        foreign = ("PULSE_", "PIPEWIRE_", "ALSA_", "XDG_", "DBUS_", "DISPLAY", "WAYLAND_")  # of the user's own session
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
            "PULSE_SERVER": f"unix:{self.socket}",
            "PULSE_SOURCE": "mic.monitor",
            "PULSE_SINK": "speaker",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._clients: list[subprocess.Popen] = []

    def start(self) -> None:
        """Starts it; for the second time, too, after `kill`. Skips where it does not start.

        WirePlumber 0.4 hangs now and then when a client is there before it, as a session that reconnects; then PipeWire
        is started anew.
        """
        for _ in range(STARTS):
            self._start_process()
            try:
                self._wait_for_info("Server Name" if self.kind == "pulseaudio" else "Default Sink: auto_null")
                return self.start_sinks()
            except (subprocess.TimeoutExpired, AssertionError):
                self.kill()
        raise AssertionError(f"{self.kind} hangs: {(self.folder / 'log').read_text()[-1000:]}")

    def _start_process(self) -> None:
        for socket in (self.socket, self.folder / "pipewire-0"):  # of one that was killed
            socket.unlink(missing_ok=True)
        if self.kind == "pulseaudio":
            command = [*PULSEAUDIO, "-L", f"module-native-protocol-unix socket={self.socket} auth-anonymous=1"]
        else:
            command = ["dbus-run-session", "--", "sh", "-c", PIPEWIRE]
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        favour(self.process)

    def _wait_for_info(self, text: str) -> None:
        wait_for(lambda: self.process.poll() is not None or text in self.pactl("info"), 10)
        if self.process.poll() is not None:
            pytest.skip(f"{self.kind} does not start: {(self.folder / 'log').read_text()[-300:]}")

    def start_sinks(self) -> None:
        """Makes the sinks."""
        sound = f"rate={self.rate} channels={self.channels} format=float32le"
        for sink in ("mic", "speaker"):
            self.pactl("load-module", "module-null-sink", f"sink_name={sink}", *sound.split())
        wait_for(lambda: "speaker.monitor" in self.pactl("list", "short", "sources"), 10)
        if self.kind == "pulseaudio":  # without a listener that asks for less, a null sink works in portions of 2 s
            for sink in ("mic", "speaker"):
                self._clients.append(self.recorder(f"{sink}.monitor", Path(os.devnull)))

    def send(self, number: int) -> None:
        """Sends a signal to all parts of the server: SIGKILL ends it at once, SIGSTOP stalls it until SIGCONT."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Ends it without giving it time, and all that played or recorded here."""
        self.send(signal.SIGKILL)
        self.process.wait(10)
        self.end_clients()

    def stop(self) -> None:
        """Ends it."""
        self.end_clients()
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def end_clients(self) -> None:
        """Ends what plays and records here."""
        for client in self._clients:
            client.kill()
            client.wait(10)
        self._clients = []

    def pactl(self, *arguments: str) -> str:
        """What pactl says."""
        done = subprocess.run(["pactl", *arguments], env=self.environment, capture_output=True, text=True, timeout=10)
        return done.stdout

    def play_noise(self) -> None:
        """Plays noise into the microphone until the server ends."""
        command = ["pacat", "-d", "mic", "--raw", "--format=s16le", "--rate=16000", "--channels=1", "--volume=26000"]
        self._clients.append(
            subprocess.Popen(
                [*command, "/dev/urandom"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        )

    def recorder(self, source: str, target: Path) -> subprocess.Popen:
        """Records mono float32 samples until it is terminated."""
        command = ["parec", "-d", source, *RAW, "--latency-msec=50"]
        with open(target, "wb") as file:
            process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL
            )
        favour(process)  # what it does not fetch in time, the server throws away
        return process

    def record(self, seconds: float, *sources: str) -> tuple[list[np.ndarray], list[float]]:
        """What sources give from now on, (L,) each, and when their first samples came (s, of time.monotonic)."""
        count = round(seconds * SAMPLE_RATE)
        sounds, arrivals = [np.zeros(0, np.float32) for _ in sources], [0.0 for _ in sources]

        def listen(index: int) -> None:
            command = ["parec", "-d", sources[index], *RAW, "--latency-msec=20"]
            with subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            ) as recorder:
                assert recorder.stdout is not None
                begun = recorder.stdout.read1(1 << 16)
                arrivals[index] = time.monotonic() - len(begun) / 4 / SAMPLE_RATE
                sounds[index] = np.frombuffer(begun + recorder.stdout.read(4 * count - len(begun)), np.float32)
                recorder.kill()

        listeners = [threading.Thread(target=listen, args=(index,)) for index in range(len(sources))]
        for listener in listeners:
            listener.start()
        for listener in listeners:
            listener.join()
        return sounds, arrivals

    def level_db(self, seconds: float = 0.3) -> float:
        """The level of what the loudspeaker plays now, in dB of full scale."""
        (sound,), _ = self.record(seconds, "speaker.monitor")
        return 10 * math.log10(np.mean(sound**2.0) + 1e-12)

    def delay(self, seconds: float = 2.0, source: str = "mic.monitor") -> float:
        """How much later than at the microphone a sound comes out of the loudspeaker, in s, to about 0.03 s.

        Both are recorded; the delay is where they are most alike. Infinite if they are nowhere alike.
        """
        sounds, (heard_at, played_at) = self.record(seconds, source, "speaker.monitor")
        size = 1 << sum(map(len, sounds)).bit_length()
        highest = size * 1000 // SAMPLE_RATE  # Hz: what is stretched meanwhile stays alike in the low frequencies
        heard, played = (np.fft.rfft(sound, size)[:highest] for sound in sounds)
        alike = np.abs(np.fft.irfft(played * np.conj(heard), size))
        lag = int(np.argmax(alike[: size // 2]))
        return lag / SAMPLE_RATE + played_at - heard_at if alike[lag] > 6 * np.sqrt(np.mean(alike**2)) else math.inf

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """Runs the script to its end."""
        return subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip


@contextlib.contextmanager
def audio_server(folder: Path, kind: str = "pulseaudio", rate: int = USUAL_RATE, channels: int = 1) -> Iterator[Server]:
    """A server whose socket, home and configuration lie in `folder`; skips where something for it is missing.

    kind: "pulseaudio" or "pipewire". rate, channels: of its sinks.
    """
    missing = [program for program in PROGRAMS[kind] if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing; on Debian: apt install {PACKAGES[kind]}")
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"sounddevice or PortAudio is missing: {error}")
    server = Server(folder, kind, rate, channels)
    try:
        server.start()
        probe = "import sounddevice; sounddevice.check_input_settings('default', 1); print('yes')"
        probed = subprocess.run([sys.executable, "-c", probe], env=server.environment, capture_output=True, text=True)
        if "yes" not in probed.stdout:
            pytest.skip(f"ALSA has no PulseAudio plugin; on Debian: apt install libasound2-plugins ({probed.stderr})")
        yield server
    finally:
        server.stop()


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
    """The script at work: `stdout` and `stderr` so far.

    started: whether to wait until it runs. terminal: a file descriptor that its standard output goes to instead.
    """

    def __init__(self, server: Server, *arguments: str, started: bool = True, terminal: int | None = None) -> None:
        self._paths = [server.folder / "stdout", server.folder / "stderr"]
        self._started = started
        with open(self._paths[0], "w") as out, open(self._paths[1], "w") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *arguments],
                env=server.environment, stdin=subprocess.DEVNULL, stdout=terminal or out, stderr=err,
            )  # fmt: skip
        favour(self.process)

    def __enter__(self) -> Live:
        if self._started:
            self.wait_for("running:", 120)
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

    def wait_for(self, text: str, seconds: float = 20, times: int = 1) -> None:
        """Returns when it has said a text so many times; fails if it ends before, or takes longer."""
        wait_for(lambda: self._said(text) >= times or self.process.poll() is not None, seconds)
        assert self._said(text) >= times, f"{self.stdout}\n{self.stderr}"

    def _said(self, text: str) -> int:
        return (self.stdout + self.stderr).count(text)

    def end(self, number: int | None = signal.SIGTERM, seconds: float = 10) -> int:
        """Sends a signal, if any, and gives the exit status; fails if it takes longer."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended for {seconds} s:\n{self.stdout}\n{self.stderr}") from None


@contextlib.contextmanager
def drifting_microphone(server: Server, ppm: float, name: str = "drifting") -> Iterator[None]:
    """A source of a PulseAudio with a clock of its own, faster than the system's by so many parts per million.

    It gives noise. A thread writes the samples into a pipe when their times come; the source has no other clock.
    """
    import fcntl  # not on Windows

    fifo = server.folder / name
    sound = f"format=float32le rate={server.rate} channels=1"
    server.pactl("load-module", "module-pipe-source", f"source_name={name}", f"file={fifo}", *sound.split())
    assert name in server.pactl("list", "short", "sources")
    ended = threading.Event()
    portion = server.rate // 200  # samples
    generator = np.random.default_rng(0)

    def write() -> None:
        with open(fifo, "wb", buffering=0) as pipe:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
            start, written = time.monotonic(), 0
            while not ended.is_set():
                with contextlib.suppress(BrokenPipeError):
                    pipe.write(generator.normal(0, 0.05, portion).astype(np.float32).tobytes())
                written += portion
                ended.wait(max(start + written / (server.rate * (1 + ppm * 1e-6)) - time.monotonic(), 0))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join(10)


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
        with Live(server, "--rate", str(SAMPLE_RATE), "--latency", "1", *arguments) as live:
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
