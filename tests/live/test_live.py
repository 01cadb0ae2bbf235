"""real_time_dtln_audio.py on a real audio server: two virtual devices of a PulseAudio of its own, no sound card."""

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
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dtln.commands import live as live_command
from dtln.commands.live import main
from dtln.errors import AudioDeviceError
from dtln.export.tflite import export_tflite
from dtln.facts import SAMPLE_RATE
from dtln.formats import DEFAULT_MODEL_DIR, available_backends
from dtln.live import session
from dtln.live.callback import FLAGS, LiveDenoiser, PassThrough
from dtln.live.devices import choose_device
from dtln.live.session import noted_signals
from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser
from dtln.streaming.times import BlockTimes, time_summary

ROOT = Path(__file__).resolve().parents[2]
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


# ----------------------------------------------------------------------------------------------------------------------
# The audio server
# ----------------------------------------------------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with audio_server(tmp_path_factory.mktemp("sound")) as server:
        yield server


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


# ----------------------------------------------------------------------------------------------------------------------
# Model and signal
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a TF-lite pair that changes signals audibly: the trained one, else one with random masks."""
    if "tflite" in available_backends(DEFAULT_MODEL_DIR):
        return DEFAULT_MODEL_DIR
    import DTLN_model

    network = DTLN_model.build_network(DTLN_model.DTLNConfig(), seed=1)
    DTLN_model.initialise_mdct(network.dtln_layers)
    generator = np.random.default_rng(1)
    for core in (network.dtln_layers.core_1, network.dtln_layers.core_2):
        kernel, bias = core.dense.get_weights()
        core.dense.set_weights([kernel, generator.normal(0.0, 3.0, bias.shape)])
    folder = tmp_path_factory.mktemp("model")
    export_tflite(network, folder / "model")
    return folder


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """12 s of noisy speech (or noise that comes and goes like it), peak 0.5, float32 (L,)."""
    length = 12 * SAMPLE_RATE
    samples = sorted((ROOT / "audio_samples" / "noisy").glob("*.wav"))
    if samples:
        from dtln.audio.reading import read_audio

        signal_ = np.concatenate([read_audio(path, SAMPLE_RATE, mono=True)[0] for path in samples])
        signal_ = np.tile(signal_, -(-length // len(signal_)))[:length]
    else:
        generator = np.random.default_rng(2)
        seconds = np.arange(length) / SAMPLE_RATE
        syllables = np.interp(seconds, np.arange(0, 13, 0.15), generator.uniform(0, 1, 87) ** 2)
        signal_ = syllables * np.convolve(generator.standard_normal(length + 63), np.hanning(64), "valid")
    return (0.5 * signal_ / np.abs(signal_).max()).astype(np.float32)


# ----------------------------------------------------------------------------------------------------------------------
# Live equals offline
# ----------------------------------------------------------------------------------------------------------------------


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


def live_snr(recording: Recording, backend) -> tuple[float, float]:
    """(SNR in dB of what was played against offline processing of what was heard, seconds compared).

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

    def snr(first: int, stop: int, lags: Sequence[int]) -> tuple[float, int]:
        """The best SNR in dB and its lag."""
        expected = denoiser.denoise(heard[first:stop])[: -denoiser.delay]  # the rest lacks what came afterwards
        errors = [np.sum((expected - played[first + lag :][: len(expected)]) ** 2.0) for lag in lags]
        best = int(np.argmin(errors))
        return 10 * math.log10(np.sum(expected**2.0) / (errors[best] + 1e-20)), lags[best]

    lags = range(coarse - 2, coarse + 3)
    stretch = silence + SAMPLE_RATE
    trials = [(snr(first, first + stretch, lags), first) for first in range(begin, begin + 128)]
    (_, lag), first = max(trials)
    return snr(first, end, [lag])[0], (end - begin - silence) / SAMPLE_RATE


def test_live_output_equals_offline_processing(server, model_dir, speech, tmp_path):
    recording = record_live(server, tmp_path, speech, "-m", str(model_dir))
    snr, seconds = live_snr(recording, open_backend("tflite", model_dir))
    print(f"SNR of live against offline processing: {snr:.1f} dB over {seconds:.1f} s\n{recording.report}")
    for flag in FLAGS:
        assert f"{flag.replace('_', ' ')}s: 0" in recording.report
    assert seconds >= 10
    assert snr >= 30


def test_comparison_fails_without_the_network(server, model_dir, speech, tmp_path):
    recording = record_live(server, tmp_path, speech, "-m", str(model_dir), "--bypass")
    backend = open_backend("tflite", model_dir)
    snr, seconds = live_snr(recording, backend)
    itself, _ = live_snr(recording, PassThrough(backend))
    print(f"bypassed, against the network: {snr:.1f} dB, against itself: {itself:.1f} dB, over {seconds:.1f} s")
    assert snr < 20
    assert itself >= 90  # so it was the network, not the way through the devices


# ----------------------------------------------------------------------------------------------------------------------
# Beginning and end of the script
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_with_report(server, model_dir, number):
    with Live(server, "-m", str(model_dir)) as live:
        time.sleep(2.0)
        live.process.send_signal(number)
        assert live.process.wait(10) == 0, live.stderr
        assert "output underflows: " in live.stdout
        assert "ms per block: mean" in live.stdout
        assert "Traceback" not in live.stderr


def test_duration_ends_on_time(server, model_dir):
    with Live(server, "-m", str(model_dir), "--duration", "3") as live:
        assert live.process.wait(10) == 0, live.stderr
        assert 2.9 < time.monotonic() - live.started < 5
        blocks = int(live.stdout.split(" blocks, ")[0].split()[-1])
        assert 125 < blocks <= 3.5 * 125


def test_server_that_dies_is_an_error(model_dir, tmp_path):
    with audio_server(tmp_path) as server, Live(server, "-m", str(model_dir)) as live:
        time.sleep(1.5)
        server.process.kill()
        assert live.process.wait(20) == 1
        assert "stopped delivering sound" in live.stderr
        assert "ms per block" in live.stdout or "no blocks" in live.stdout


def test_runs_with_numpy_sounddevice_and_tflite_only(server, model_dir):
    pytest.importorskip("ai_edge_litert.interpreter", reason="the only TF-lite runtime here is TensorFlow's")
    absent = ("soundfile", "soxr", "scipy", "librosa", "tensorflow", "keras", "onnxruntime", "h5py", "pandas")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import real_time_dtln_audio; "
        f"sys.exit(real_time_dtln_audio.main(['-m', {str(model_dir)!r}, '--duration', '0.5']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=server.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_help_imports_neither_sounddevice_nor_a_runtime():
    code = """
import sys, real_time_dtln_audio
try:
    real_time_dtln_audio.main(["--help"])
except SystemExit as end:
    heavy = {"sounddevice", "soundfile", "tensorflow", "ai_edge_litert", "tflite_runtime", "onnxruntime"}
    sys.exit(f"imported {heavy & set(sys.modules)}" if heavy & set(sys.modules) else end.code)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "until Ctrl+C" in done.stdout and "--bypass" in done.stdout


# ----------------------------------------------------------------------------------------------------------------------
# Devices
# ----------------------------------------------------------------------------------------------------------------------


def test_list_devices_needs_no_model(server):
    done = server.run("--list-devices", "-m", str(server.folder / "nowhere"))
    assert done.returncode == 0, done.stderr
    assert "pulse, ALSA" in done.stdout and "default, ALSA" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-i", "kazoo"), "no input device matches 'kazoo'. There are: 0 (pulse, ALSA)"),
        (("-o", "99"), "no output device matches '99'. There are: 0 (pulse, ALSA)"),
        (("-i", "ALSA"), "2 input devices match 'ALSA': 0 (pulse, ALSA)"),
        (("-m", "nowhere"), "no such model file"),
    ],
)
def test_what_cannot_be_chosen_is_named(server, arguments, message):
    done = server.run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_device_that_refuses_16_khz(server):
    if "only_48k" not in server.run("--list-devices").stdout:
        pytest.skip("ALSA has no a52 plugin here, the device with a fixed rate")
    done = server.run("-o", "only_48k")
    assert done.returncode == 1
    assert "(only_48k) refuses 16000 Hz mono: Invalid sample rate" in done.stderr
    assert "'pulse' or 'default'" in done.stderr and "--list-devices" in done.stderr
    assert "Traceback" not in done.stderr


class FakeSoundDevice:
    """sounddevice with invented devices; its stream feeds 20 times 128 samples from a thread, as PortAudio does."""

    class PortAudioError(Exception):
        pass

    def __init__(self, names: Sequence[str] = ("USB", "USB", "USB headset"), hosts: Sequence[int] = (0, 1, 0)) -> None:
        self.default, self.refused, self.unopenable, self.feeding = 0, False, False, True
        self.active = True
        self.status = SimpleNamespace(**dict.fromkeys(FLAGS, False))
        self.outputs: list[np.ndarray] = []
        self.devices = [
            {"name": name, "index": index, "hostapi": host, "max_input_channels": 1, "max_output_channels": 2}
            for index, (name, host) in enumerate(zip(names, hosts, strict=True))
        ]

    def query_hostapis(self):
        return ({"name": "MME"}, {"name": "WASAPI"})

    def query_devices(self, device=None, kind=None):
        if kind is not None and self.default is None:
            raise self.PortAudioError("Error querying device -1")
        return self.devices if device is None and kind is None else self.devices[device or self.default]

    def check_output_settings(self, **settings):
        assert settings["samplerate"] == SAMPLE_RATE and settings["channels"] == 1

    def check_input_settings(self, **settings):
        self.check_output_settings(**settings)
        if self.refused:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def Stream(self, **settings):  # noqa: N802
        if self.unopenable:
            raise self.PortAudioError("Illegal combination of I/O devices [PaErrorCode -9993]")
        assert settings["blocksize"] == 0  # PortAudio's adaption to a wanted size fails now and then
        return FakeStream(self, settings["callback"])


class FakeStream:
    latency = (0.1, 0.1)

    def __init__(self, fake: FakeSoundDevice, callback) -> None:
        self._fake, self._callback, self.active = fake, callback, fake.active
        self._thread = threading.Thread(target=self._feed)

    def _feed(self) -> None:
        for _ in range(20 if self._fake.feeding else 0):
            outdata = np.full((128, 1), np.nan, np.float32)
            self._callback(np.full_like(outdata, 0.5), outdata, 128, None, self._fake.status)
            self._fake.outputs.append(outdata)

    def abort(self) -> None:
        pass

    def __enter__(self) -> FakeStream:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.join()


@pytest.fixture
def fake(monkeypatch) -> FakeSoundDevice:
    """Takes the place of sounddevice; the model is a PassThrough."""
    fake = FakeSoundDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(live_command, "open_backend", lambda *_: pass_through())
    return fake


def pass_through() -> PassThrough:
    return PassThrough(SimpleNamespace(block_length=512, block_shift=128))


def test_choosing_a_device():
    fake = FakeSoundDevice()
    assert choose_device(fake, None, "input") == 0
    assert choose_device(fake, "1", "output") == 1
    assert choose_device(fake, "HEAD", "input") == 2
    assert choose_device(fake, "usb, wasapi", "input") == 1
    with pytest.raises(
        AudioDeviceError, match=r"2 input devices match 'usb': 0 \(USB, MME\); 1 \(USB, WASAPI\)\. Give"
    ):
        choose_device(fake, "usb", "input")  # the whole name of two goes before a part of the third
    fake.default = None
    with pytest.raises(AudioDeviceError, match=r"no default output device. Choose one with --output-device: 0 \(USB"):
        choose_device(fake, None, "output")
    with pytest.raises(AudioDeviceError, match="there is no input device"):
        choose_device(FakeSoundDevice((), ()), None, "input")


def test_microphone_that_refuses_16_khz(fake, capsys):
    fake.refused = True
    assert main([]) == 1
    assert "input device 0 (USB) refuses 16000 Hz mono: Invalid sample rate" in capsys.readouterr().err


def test_devices_that_do_not_go_together(fake, capsys):
    fake.unopenable = True
    assert main([]) == 1
    assert "cannot be used together: Illegal combination" in capsys.readouterr().err


@pytest.mark.parametrize("active", [True, False])
def test_devices_that_fall_silent(fake, monkeypatch, capsys, active):
    fake.feeding, fake.active = False, active
    monkeypatch.setattr(session, "STALL_SECONDS", 0.1 if active else 1000)
    assert main(["--latency", "0.01"]) == 1
    captured = capsys.readouterr()
    assert "stopped delivering sound" in captured.err
    assert "no blocks" in captured.out


def test_missing_sounddevice_and_portaudio(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["--list-devices"]) == 1
    assert "pip install sounddevice" in capsys.readouterr().err

    def refuse(name, *rest, **options):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return original(name, *rest, **options)

    original = __import__
    monkeypatch.setattr("builtins.__import__", refuse)
    assert main(["--list-devices"]) == 1
    assert "apt install libportaudio2" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--latency", "--duration", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_numbers_out_of_range(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([f"{option}={value}"])
    assert option in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------------------
# The callback
# ----------------------------------------------------------------------------------------------------------------------


def call(live: LiveDenoiser, samples: np.ndarray, status: object = None) -> np.ndarray:
    """One callback: samples (L,) in, samples (L,) out."""
    outdata = np.full((len(samples), 1), np.nan, np.float32)
    live(samples[:, None], outdata, len(samples), None, status)
    return outdata[:, 0]


@pytest.mark.parametrize("unusable", [np.nan, np.inf, -np.inf, 1e30])
def test_unusable_block_is_silenced_and_forgotten(model_dir, unusable):
    signal_ = np.random.default_rng(3).normal(0, 0.1, (30, 128)).astype(np.float32)
    disturbed, silenced = signal_.copy(), signal_.copy()
    disturbed[10, 5], silenced[10] = unusable, 0.0
    live, reference = (LiveDenoiser(open_backend("tflite", model_dir)) for _ in range(2))
    np.testing.assert_array_equal([call(live, b) for b in disturbed], [call(reference, b) for b in silenced])
    assert "far beyond full scale): 1\n" in live.report()
    assert "far beyond full scale): 0\n" in reference.report()
    assert live.error is None


class Failing(PassThrough):
    """Fails at the ninth block."""

    calls = 0

    def run(self, block, states):
        self.calls += 1
        if self.calls == 9:
            raise RuntimeError("broken on purpose")
        return super().run(block, states)


def test_error_in_the_callback_gives_silence_and_exit_status(fake, monkeypatch, capsys):
    monkeypatch.setattr(live_command, "open_backend", lambda *_: Failing(pass_through()))
    assert main([]) == 1
    assert len(fake.outputs) == 20
    assert np.all(np.array(fake.outputs[4:8]) == 0.5)
    assert not np.any(fake.outputs[8:])  # NaN, which they started from, would count
    captured = capsys.readouterr()
    assert "RuntimeError: broken on purpose" in captured.err
    assert captured.out.count("ms per block") == 1

    live = LiveDenoiser(Failing(pass_through()))
    played = [call(live, np.full(100, 0.5, np.float32)) for _ in range(14)]
    assert np.all(played[10] == 0.5) and not np.any(played[11:])  # the ninth block is complete in the twelfth callback


def test_status_flags_are_counted(fake, capsys):
    fake.status.input_overflow = True
    assert main(["--duration", "0.2"]) == 0
    counts = "input overflows: 20, input underflows: 0, output overflows: 0, output underflows: 0"
    assert counts in capsys.readouterr().out


def test_callbacks_before_the_first_input_are_no_underflows():
    live, reference = LiveDenoiser(pass_through()), LiveDenoiser(pass_through())
    block = np.full(300, 0.5, np.float32)
    quiet, underflow = (SimpleNamespace(**dict.fromkeys(FLAGS, False) | {"input_underflow": b}) for b in (False, True))
    for _ in range(3):
        assert not np.any(call(live, np.full(128, 0.7, np.float32), underflow))
    for status in (None, quiet, underflow):
        np.testing.assert_array_equal(call(live, block, status), call(reference, block))
    assert "input underflows: 1," in live.report()
    assert "callbacks before the first input: 3\n" in live.report()


def test_output_does_not_depend_on_the_sizes_of_the_callbacks(model_dir):
    generator = np.random.default_rng(6)
    signal_ = generator.normal(0, 0.1, 128 * 60).astype(np.float32)
    backend = open_backend("tflite", model_dir)
    whole = call(LiveDenoiser(backend), signal_)
    ends = np.unique(np.append(generator.integers(0, len(signal_), 50), [1, len(signal_)]))
    live = LiveDenoiser(backend)
    np.testing.assert_array_equal(np.concatenate([call(live, part) for part in np.split(signal_, ends[:-1])]), whole)
    offline = StreamingDenoiser(backend).denoise(signal_)
    np.testing.assert_array_equal(whole[512:], offline[:-512])  # 32 ms, as documented


def test_bypass_is_the_delayed_input():
    live = LiveDenoiser(pass_through())
    signal_ = np.random.default_rng(4).normal(0, 0.1, 1280).astype(np.float32)
    played = call(live, signal_)
    np.testing.assert_array_equal(played[512:], signal_[:-512])
    assert not played[:512].any()


def test_nothing_grows_with_the_length_of_the_stream():
    live, block = LiveDenoiser(pass_through()), np.zeros(128, np.float32)
    tracemalloc.start()
    try:
        for _ in range(200):
            call(live, block)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5000):
            call(live, block)
        assert tracemalloc.get_traced_memory()[0] - before < 8 * 5000  # less than one number a block
    finally:
        tracemalloc.stop()


def test_block_times_agree_with_the_exact_summary():
    times, milliseconds = BlockTimes(), np.random.default_rng(5).lognormal(-1.0, 1.0, 20000)
    assert times.summary(128) == {"blocks": 0}
    for value in milliseconds:
        times.add(value)
    assert times.summary(128) == pytest.approx(time_summary(milliseconds, 128), rel=0.01)
    times.add(0.0)
    times.add(1e9)  # beyond both ends of the histogram
    assert times.summary(128)["max"] == 1e9 and times.summary(128)["blocks"] == 20002


def test_signal_is_noted_once_and_the_second_is_hard():
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits SIG_IGN
    try:
        with noted_signals() as noted:
            signal.raise_signal(signal.SIGINT)
            assert noted == [signal.SIGINT]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)
