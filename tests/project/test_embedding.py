"""docs/embedding.md: every program of it at work, and its table."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from live_audio import RAW, audio_server

from dtln.streaming.backends import open_backend
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# (\w+)\.py: (.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def program(name: str) -> str:
    """The code of a program of the page."""
    return f"# {PROGRAMS[name]}"


def int16(samples: np.ndarray) -> np.ndarray:
    return (samples * 32767).astype(np.int16)


def test_programs_are_those_that_are_tested():
    assert set(PROGRAMS) == {"denoise_wav", "pipe", "server", "with_asyncio", "callback"}
    assert len(PROGRAMS) == PAGE.count("```python")


def test_program_for_a_file(noise, tmp_path):
    samples = int16(noise(30000, channels=2))
    soundfile.write(tmp_path / "noisy.wav", samples, 44100)
    subprocess.run([sys.executable, "-c", program("denoise_wav")], cwd=tmp_path, env=ENVIRONMENT, check=True)
    denoised, rate = soundfile.read(tmp_path / "denoised.wav", dtype="int16")
    assert rate == 44100
    assert np.array_equal(denoised, StreamingDenoiser(sample_rate=44100, channels=2).denoise(samples))
    assert len(program("denoise_wav").splitlines()) <= 20


def test_program_for_a_pipe(noise):
    samples = int16(noise(30001))
    command = [sys.executable, "-c", program("pipe")]
    done = subprocess.run(command, env=ENVIRONMENT, input=samples.tobytes(), stdout=subprocess.PIPE, check=True)
    assert done.stdout == StreamingDenoiser(sample_rate=48000).denoise(samples).tobytes()


def test_server_serves_clients_at_the_same_time(noise):
    signals = [int16(noise(48000 + number, seed=number)) for number in range(2)]
    outputs = [bytearray() for _ in signals]
    server = subprocess.Popen(
        [sys.executable, "-c", program("server")], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        address = ("127.0.0.1", int(server.stdout.readline().split()[1]))
        clients = [socket.create_connection(address, timeout=30) for _ in signals]
        middle = threading.Barrier(2, timeout=30)

        def send(number: int) -> None:
            for begin in range(0, len(signals[number]), 4800):
                clients[number].sendall(signals[number][begin : begin + 4800].tobytes())
                if begin == 24000:
                    middle.wait()  # both have had answers, and will have more
            clients[number].shutdown(socket.SHUT_WR)

        def receive(number: int) -> None:
            while data := clients[number].recv(4096):
                outputs[number] += data

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2) for work in (send, receive)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for client in clients:
            client.close()
    finally:
        server.kill()
        server.communicate()
    for samples, output in zip(signals, outputs, strict=True):
        assert output == StreamingDenoiser(sample_rate=48000).denoise(samples).tobytes()


def test_asyncio_keeps_the_event_loop_free(noise):
    names: dict = {}
    exec(program("with_asyncio"), names)
    signals = [noise(48000, seed=number) for number in range(2)]
    threads = set()

    class Backend:
        """The default one; notes which threads calculate."""

        def __init__(self) -> None:
            self._backend = open_backend()

        def __getattr__(self, name: str):
            return getattr(self._backend, name)

        def run(self, block, states):
            threads.add(threading.current_thread())
            return self._backend.run(block, states)

    async def chunks(samples: np.ndarray):
        for begin in range(0, len(samples), 4800):
            await asyncio.sleep(0)
            yield samples[begin : begin + 4800]

    async def denoise(samples: np.ndarray, backend) -> np.ndarray:
        denoised = names["denoised"](chunks(samples), backend, sample_rate=48000)
        return np.concatenate([piece async for piece in denoised])

    async def both() -> list[np.ndarray]:
        backend = Backend()
        return await asyncio.gather(*(denoise(samples, backend) for samples in signals))

    for samples, denoised in zip(signals, asyncio.run(both()), strict=True):
        assert np.array_equal(denoised, StreamingDenoiser(sample_rate=48000).denoise(samples))
    assert threads and threading.main_thread() not in threads


RECORDED = """
import sys
import numpy as np
import sounddevice

heard, played = [], []

class Recorded(sounddevice.Stream):
    def __init__(self, callback, **settings):
        def recorded(indata, outdata, *others):
            callback(indata, outdata, *others)
            heard.append(indata[:, 0].copy())
            played.append(outdata[:, 0].copy())
        super().__init__(callback=recorded, **settings)

sounddevice.Stream = Recorded
exec(sys.argv[1])
np.savez("recorded.npz", heard=np.concatenate(heard), played=np.concatenate(played))
"""


@pytest.mark.alone
def test_callback_between_devices(noise, tmp_path):
    (tmp_path / "noise.raw").write_bytes(noise(2 * 16000).tobytes())
    folder = tmp_path / "server"
    folder.mkdir()
    with audio_server(folder) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", RECORDED, program("callback")],
            cwd=tmp_path, env=server.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.read(6) == "Return"
        subprocess.run(
            ["paplay", "-d", "mic", *RAW, str(tmp_path / "noise.raw")], env=server.environment, check=True, timeout=30
        )
        process.communicate("\n", timeout=30)
        assert process.returncode == 0
    recorded = np.load(tmp_path / "recorded.npz")
    denoiser = StreamingDenoiser(sample_rate=48000)
    delay = np.zeros(denoiser.latency.samples, np.float32)
    expected = np.concatenate([delay, denoiser.denoise(recorded["heard"])])
    assert recorded["heard"].std() > 0.01 and np.array_equal(recorded["played"], expected[: len(recorded["played"])])


def test_callback_at_16_khz(noise):
    (line,) = re.findall(r"`(outdata.*?process_block.*?)`", PAGE)
    samples, played = noise(1280), []
    denoiser = StreamingDenoiser()
    for indata in samples.reshape(-1, 128, 1):
        outdata = np.zeros((128, 1), np.float32)
        exec(line, {"outdata": outdata, "denoiser": denoiser, "indata": indata})
        played.append(outdata[:, 0])
    assert np.array_equal(np.concatenate(played)[384:], StreamingDenoiser().denoise(samples)[: 1280 - 384])


def test_delays_are_those_of_the_class():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    backend = open_backend()
    for rate, output_rate, samples, milliseconds in rows:
        latency = StreamingDenoiser(backend, sample_rate=int(rate), output_rate=int(output_rate)).latency
        assert (latency.samples, f"{latency.seconds * 1e3:.1f}") == (int(samples), milliseconds), rate
    assert len(rows) >= 8


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_conversions_are_those_that_the_class_takes(noise, dtype):
    lines = dict(zip((np.float64, np.int32), re.findall(r"`(\S*samples.*?astype\(np\.float32\))`", PAGE), strict=True))
    samples = noise(1000)
    given = (samples * np.float64(2**31)).astype(dtype) if dtype is np.int32 else samples.astype(dtype)
    converted = eval(lines[dtype], {"samples": given, "np": np})
    np.testing.assert_allclose(converted, samples, atol=1e-6)
    assert len(StreamingDenoiser().denoise(converted)) == 1000
    with pytest.raises(ValueError, match=dtype.__name__):
        StreamingDenoiser().process(given)
