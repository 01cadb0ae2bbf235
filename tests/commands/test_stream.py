"""dtln stream: real pipes around the command."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dtln.audio.reading import read_audio
from dtln.commands import stream
from dtln.streaming.engine import StreamingDenoiser

ROOT = Path(__file__).resolve().parents[2]
NOISY = ROOT / "audio_samples" / "noisy" / "numbers_bus_10dB.wav"
COMMAND = [sys.executable, "-m", "dtln", "stream"]
TYPES = {"s16le": np.int16, "f32le": np.float32}


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """1.7 s of noisy stereo at 48 kHz with two different channels, int16 (L, 2)."""
    signal_, _ = read_audio(NOISY, 48000, mono=True)
    length = round(1.7 * 48000) + 5
    return (np.stack([signal_[:length], 0.5 * signal_[9000 : 9000 + length]], axis=1) * 32767).astype(np.int16)


def filtered(samples: bytes, *options: str, **settings: object) -> subprocess.CompletedProcess:
    """The command with all of its input at once."""
    return subprocess.run([*COMMAND, *options], cwd=ROOT, input=samples, capture_output=True, timeout=60, **settings)


class Filter:
    """The command at work, with its pipes."""

    def __init__(self, *options: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*COMMAND, *options], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = b""

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def feed(self, data: bytes) -> None:
        self.process.stdin.write(data)

    def collect(self, least: int, seconds: float = 30) -> int:
        """Reads until `least` bytes have come in all; returns how many have."""
        deadline = time.monotonic() + seconds
        while len(self.output) < least and time.monotonic() < deadline:
            select.select([self.process.stdout], [], [], 0.1)
            read = self.process.stdout.read()  # None: nothing is there
            if read == b"":
                break
            self.output += read or b""
        return len(self.output)

    def end(self) -> str:
        """Waits for the end; returns what the command said."""
        self.process.wait(30)
        os.set_blocking(self.process.stdout.fileno(), True)
        self.output += self.process.stdout.read()
        return self.process.stderr.read().decode()


def said(text: str) -> str:
    """What the command said itself, without notes of the runtime."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("INFO: "))


@pytest.mark.parametrize(
    ("rates", "channels", "sample_format", "options"),
    [
        ((16000, None), 1, "s16le", {}),
        ((48000, None), 2, "s16le", {"attenuation_limit_db": 12.0}),
        ((48000, 16000), 1, "f32le", {"level": "auto"}),
        ((44100, 48000), 2, "f32le", {"strength": 0.75}),
    ],
)
def test_output_is_that_of_the_class(speech, rates, channels, sample_format, options):
    scale = 1 if sample_format == "s16le" else 32768
    samples = (speech[:, :channels] / scale).astype(TYPES[sample_format])
    denoiser = StreamingDenoiser(sample_rate=rates[0], output_rate=rates[1], channels=channels, **options)
    expected = denoiser.denoise(samples)
    flags = ["--rate", str(rates[0]), *(["--output-rate", str(rates[1])] if rates[1] else [])]
    flags += ["--channels", str(channels), "--format", sample_format]
    names = {"attenuation_limit_db": "--attenuation-limit"}
    for name, value in options.items():
        flags += [names.get(name, f"--{name}"), str(value)]
    with Filter(*flags) as run:
        data = samples.tobytes()
        cuts = np.sort(np.random.default_rng(0).integers(0, len(data), 40))  # within samples and frames, too
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            run.feed(data[begin:end])
            run.collect(len(run.output) + 1, 0.005)
        run.process.stdin.close()
        run.collect(expected.nbytes)
        assert (said(run.end()), run.process.returncode) == ("", 0)
    assert run.output == expected.tobytes()


def test_live_samples_come_at_once(speech):
    """While the input stays open: all samples but those that the delay holds back."""
    latency = StreamingDenoiser(sample_rate=48000).latency.samples
    with Filter("--rate", "48000") as run:
        for end in range(480, 48000, 480):
            run.feed(speech[end - 480 : end, 0].tobytes())
            assert run.collect(2 * (end - latency)) >= 2 * (end - latency)
        run.process.stdin.close()
        run.end()
        assert len(run.output) == 2 * end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_stream_as_its_end_does(speech, number):
    samples = speech[:30000, 0]
    expected = StreamingDenoiser(sample_rate=48000).denoise(samples)
    with Filter("--rate", "48000") as run:
        run.feed(samples.tobytes())
        run.collect(2 * 20000)
        time.sleep(0.1)
        started = time.monotonic()
        for _ in range(2):  # wrappers pass on what the terminal has sent already
            run.process.send_signal(number)
        text = run.end()
        assert time.monotonic() - started < 10  # 1 s where nothing else runs; it would wait for its input without end
        assert run.process.returncode == 128 + number
        assert said(text) == "dtln stream: stopped: 0.6 s were denoised\n"
    assert run.output == expected.tobytes()


def test_signal_tears_no_samples(speech):
    samples = speech[:30000, 0]
    with Filter("--rate", "48000") as run:
        run.feed(samples[:4800].tobytes())
        run.collect(1000)
        run.feed(samples[4800:].tobytes())
        time.sleep(0.01)
        run.process.send_signal(signal.SIGINT)  # while it denoises
        run.end()
    whole = len(run.output) // 2  # what it had read
    assert whole >= 4800 and run.output == StreamingDenoiser(sample_rate=48000).denoise(samples[:whole]).tobytes()


def test_signal_ends_a_stream_that_nobody_reads(speech):
    with Filter("--rate", "48000") as run:
        run.feed(speech.tobytes()[: 1 << 16])
        run.feed(speech.tobytes()[1 << 16 : (1 << 16) * 2 - 4096])  # more than the pipe behind it holds
        while select.select([], [run.process.stdin], [], 0.5)[1]:
            run.feed(speech.tobytes()[:4096])
        started = time.monotonic()
        run.process.send_signal(signal.SIGTERM)
        run.process.wait(30)
        assert time.monotonic() - started < 10
        assert said(run.end()).startswith("dtln stream: stopped: ")


def test_reader_that_goes_away_ends_it_quietly(speech):
    with Filter("--rate", "48000") as run:
        run.feed(speech[:24000, 0].tobytes())
        run.collect(1000)
        run.process.stdout.close()
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                run.feed(speech[:24000, 0].tobytes())
        run.process.wait(30)
        assert said(run.process.stderr.read().decode()) == "" and run.process.returncode == 1


def test_what_is_whole_of_a_torn_end_is_kept(speech):
    samples = speech[:20000]
    done = filtered(samples.tobytes()[:-1], "--channels", "2")
    assert done.stdout == StreamingDenoiser(channels=2).denoise(samples[:-1]).tobytes()
    assert said(done.stderr.decode()) == (
        "dtln stream: the input ended within a frame of 4 bytes: its last 3 were left out. Check --format s16le and "
        "--channels 2.\n"
    )
    assert done.returncode == 1


def test_samples_that_are_no_numbers_are_told():
    samples = np.zeros(16000, np.float32)
    samples[1000], samples[5000:5002] = np.nan, np.inf
    done = filtered(samples.tobytes(), "--format", "f32le")
    assert np.isfinite(np.frombuffer(done.stdout, np.float32)).all() and len(done.stdout) == samples.nbytes
    assert said(done.stderr.decode()) == (
        "dtln stream: 2 blocks held NaN, Inf or samples far beyond full scale: they became silence\n"
    )


def test_empty_input_is_told():
    done = filtered(b"")
    assert (done.stdout, said(done.stderr.decode()), done.returncode) == (b"", "dtln stream: the input was empty\n", 0)


def test_file_with_a_header_is_refused():
    done = filtered(NOISY.read_bytes())
    assert done.stdout == b"" and done.returncode == 1
    assert said(done.stderr.decode()) == (
        "dtln stream: the input begins as a wav file does. Expected samples without a header: make them with "
        "`ffmpeg -i FILE -f s16le -ac 1 -ar HZ -`, or denoise the file with `dtln enhance`.\n"
    )


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("<&-", "stdin is closed. Expected a pipe or file; send it samples: `ffmpeg "),
        ("</dev/null >&-", "stdout is closed. Expected a pipe or file; send it on "),
        ("</proc/self/mem", "stdin: the disk reports an error. "),
        ("</dev/zero >/dev/full", "stdout: no space is left on the disk. "),
        ("--rate 7 </dev/null", "a sample rate of 7 was given. Expected a whole number of Hz, "),
    ],
)
def test_what_it_cannot_work_with_is_one_line(redirection, message):
    done = subprocess.run(
        f"{shlex.join(COMMAND)} {redirection}", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    lines = said(done.stderr).splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"dtln stream: {message}"), done.stderr
    assert done.returncode == 1 and done.stdout == ""


@pytest.mark.parametrize("options", ["--channels 2", "--rate 7"])
def test_messages_stay_out_of_the_samples_where_stderr_is_closed(speech, options):
    samples = speech[:20000]
    done = subprocess.run(
        f"{shlex.join(COMMAND)} {options} 2>&-", shell=True, cwd=ROOT, input=samples.tobytes()[:-1],
        stdout=subprocess.PIPE, timeout=60,
    )  # fmt: skip
    expected = b"" if options == "--rate 7" else StreamingDenoiser(channels=2).denoise(samples[:-1]).tobytes()
    assert done.stdout == expected and done.returncode == 1


def test_pipe_that_does_not_wait_for_its_reader_loses_nothing(speech):
    samples = speech[:, 0]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen(COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        feeder = threading.Thread(target=process.communicate, args=(samples.tobytes(),))
        feeder.start()
        select.select([reader], [], [], 30)
        time.sleep(0.5)  # the pipe is full by now
        with open(reader, "rb") as pipe:
            output = pipe.read()
        feeder.join()
    assert process.returncode == 0 and output == StreamingDenoiser().denoise(samples).tobytes()


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_terminals_are_refused(name):
    controller, terminal = pty.openpty()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | {name: terminal}
    done = subprocess.run(COMMAND, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=30, **streams)
    os.close(controller)
    os.close(terminal)
    assert done.returncode == 1
    assert done.stderr.startswith(f"dtln stream: {name} is a terminal. Expected a pipe or file; ")


@pytest.mark.parametrize("option", ["--rate", "--output-rate", "--channels", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_numbers_out_of_range(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        stream.main([f"{option}={value}"])
    assert option in capsys.readouterr().err


def python(code: str) -> str:
    """A command of the shell that runs Python code."""
    return shlex.join([sys.executable, "-c", code])


PROGRAMS = {  # what makes samples of in.wav, and what makes out.wav of samples, at 48 kHz, where it is installed
    "python": (
        python("import soundfile, sys; sys.stdout.buffer.write(soundfile.read('in.wav', dtype='int16')[0].tobytes())"),
        python(
            "import numpy, soundfile, sys\n"
            "soundfile.write('out.wav', numpy.frombuffer(sys.stdin.buffer.read(), numpy.int16), 48000)"
        ),
    ),
    "ffmpeg": ("ffmpeg -i in.wav -f s16le -ac 1 -ar 48000 -", "ffmpeg -f s16le -ar 48000 -ac 1 -i - out.wav"),
    "sox": (
        "sox in.wav -t raw -e signed -b 16 -c 1 -r 48000 -",
        "sox -t raw -e signed -b 16 -c 1 -r 48000 - out.wav",
    ),
}


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name == "python" or shutil.which(name)])
def test_stands_between_programs(program, speech, tmp_path):
    soundfile.write(tmp_path / "in.wav", speech[:, 0], 48000)
    source, sink = PROGRAMS[program]
    line = f"set -o pipefail; {source} | {shlex.join(COMMAND)} --rate 48000 | {sink}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    samples, rate = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert rate == 48000 and np.array_equal(samples, StreamingDenoiser(sample_rate=48000).denoise(speech[:, 0]))
