"""real_time_dtln_audio.py on a real audio server: two virtual devices of a PulseAudio of its own, no sound card."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from live_audio import (
    ROOT,
    Live,
    Server,
    audio_server,
    live_snr,
    record_live,
)
from simulated_devices import PassingNetwork

from dtln.audio.reading import read_audio
from dtln.evaluation.sequences import SequenceNetwork
from dtln.facts import SAMPLE_RATE
from dtln.formats import MODEL_DIR
from dtln.live.counters import FLAGS
from dtln.streaming.backends import open_backend

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def server_at_16_khz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with audio_server(tmp_path_factory.mktemp("sound"), rate=SAMPLE_RATE) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with audio_server(tmp_path_factory.mktemp("sound")) as server:
        yield server


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """12 s of noisy speech, peak 0.5, float32 (L,)."""
    length = 12 * SAMPLE_RATE
    samples = sorted((ROOT / "audio_samples" / "noisy").glob("*.wav"))
    signal_ = np.concatenate([read_audio(path, SAMPLE_RATE, mono=True)[0] for path in samples])
    signal_ = np.tile(signal_, -(-length // len(signal_)))[:length]
    return (0.5 * signal_ / np.abs(signal_).max()).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> SequenceNetwork:
    return SequenceNetwork(MODEL_DIR / "model.h5")


def test_live_output_equals_offline_processing(server_at_16_khz, network, speech, tmp_path):
    """Once in three recordings: on a busy machine the server and its recorders lose sound, and delays are corrected."""
    for _ in range(3):
        recording = record_live(server_at_16_khz, tmp_path, speech)
        snr, seconds = live_snr(recording, open_backend("tflite"), network.denoise)
        print(f"SNR of live against offline processing: {snr:.1f} dB over {seconds:.1f} s\n{recording.report}")
        if snr >= 30:
            break
    for flag in FLAGS:
        assert f"{flag.replace('_', ' ')}s: 0" in recording.report
    assert seconds >= 10
    assert snr >= 30


def test_comparison_fails_without_the_network(server_at_16_khz, network, speech, tmp_path):
    recording = record_live(server_at_16_khz, tmp_path, speech[: 4 * SAMPLE_RATE], "--bypass")
    backend = open_backend("tflite")
    snr, seconds = live_snr(recording, backend, network.denoise)
    itself, _ = live_snr(recording, PassingNetwork(), lambda signals: signals)
    print(f"bypassed, against the network: {snr:.1f} dB, against itself: {itself:.1f} dB, over {seconds:.1f} s")
    assert snr < 20
    assert itself >= 90  # so it was the network, not the way through the devices


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_signal_ends_with_report(server, number):
    with Live(server, "--latency", "0.5") as live:
        time.sleep(2.0)
        live.process.send_signal(number)
        assert live.process.wait(10) == 0, live.stderr
        assert "output underflows: " in live.stdout
        assert "ms per block: mean" in live.stdout
        assert "Traceback" not in live.stderr


def test_duration_ends_on_time(server):
    with Live(server, "--latency", "0.5", "--duration", "3") as live:
        assert live.process.wait(10) == 0, live.stderr
        assert 2.9 < time.monotonic() - live.started < 5
        blocks = int(live.stdout.split(" blocks, ")[0].split()[-1])
        assert 125 < blocks <= 3.5 * 125


def test_runs_with_numpy_sounddevice_and_tflite_only(server):
    pytest.importorskip("ai_edge_litert.interpreter", reason="the only TF-lite runtime here is TensorFlow's")
    absent = ("soundfile", "scipy", "librosa", "tensorflow", "keras", "onnxruntime", "h5py", "pandas")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import real_time_dtln_audio; "
        f"sys.exit(real_time_dtln_audio.main(['--duration', '0.5']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=server.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


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
        (("-m", "nowhere"), "nowhere: holds no model files"),
        (("-m", "nowhere", "--backend", "tflite"), "no such model file"),
    ],
)
def test_what_cannot_be_chosen_is_named(server, arguments, message):
    done = server.run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
