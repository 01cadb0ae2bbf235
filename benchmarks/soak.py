"""Leave a stream running: a day of audio through dtln.StreamingDenoiser, faster than real time.

    python benchmarks/soak.py [--hours 24] [--rate HZ] [--dtype int16] [--kind NAME] [--json FILE] [--quick]

Speech, silence, zeros, denormals, clipping, NaN and Inf, offsets and changing levels follow one another as the seed
draws them, in pieces of odd sizes. A line for each hour tells times, memory and silenced blocks. The exit status is 1
if memory grows, if the last hour is more than 10 % slower than the first, if samples are lost or not finite, or if the
last minute differs from that of a fresh stream, which begins a while before it. With --live the stream is a live
session between two devices in simulated time, whose clocks differ. benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # `python benchmarks/soak.py` looks only in benchmarks/

from simulated_devices import Devices  # noqa: E402

from benchmarks.contenders import SETTLE_BLOCKS, resident_bytes, synthetic  # noqa: E402
from dtln.audio.folders import find_audio_files  # noqa: E402
from dtln.audio.reading import read_audio  # noqa: E402
from dtln.choices import LEVELS  # noqa: E402
from dtln.facts import BLOCK_SHIFT, SAMPLE_RATE  # noqa: E402
from dtln.formats import EXPORT_KINDS, MODEL_DIR  # noqa: E402
from dtln.streaming.backends import Backend, open_backend  # noqa: E402
from dtln.streaming.engine import StreamingDenoiser  # noqa: E402
from dtln.streaming.times import BlockTimes  # noqa: E402

UNIT = 1.28  # s: a whole number of samples at all usual rates, and of shifts at 16 kHz
MOST_UNITS = 16  # of one stretch of sound
LONG_SHARE, LONG = 0.1, 8  # of the stretches, some have as many of the same sound after them: up to 3 minutes
LAST = 60.0  # s, that are compared with a fresh stream
MOST_DIFFERENCE_DB = -40.0  # of the last minute
SILENT = 1e-9  # mean square, -90 dBFS
MOST_GROWTH = 3.0  # MiB, of the resident memory from the end of the first hour to that of the last
MOST_SLOWDOWN = 1.1  # of the last hour against the first, beside a bare back end
UNDISTURBED = 10  # percent: the fastest pieces and bare blocks, whose caches nobody else has emptied
PPM = 200.0  # by which the clock of the simulated loudspeaker is faster
JITTER = 0.005  # s by which simulated callbacks come late at most
CALLBACK = (32, 1024)  # samples, at random
MOST_DRIFT_ERROR = 5.0  # ppm
MOST_DELAY_GROWTH = 0.02  # s from the first hour to the last
BARE_BLOCKS = 40  # of the bare back end after each stretch
QUICK = {"hours": 0.045, "settle": 90.0}

Sound = Callable[[np.random.Generator, np.ndarray], np.ndarray]  # speech (L,) float32 -> what is heard (L,)


# ----------------------------------------------------------------------------------------------------------------------
# What is heard
# ----------------------------------------------------------------------------------------------------------------------


def levels(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """Speech whose level jumps between -50 and +6 dB."""
    cuts = np.sort(rng.integers(0, len(speech), 4))
    gains = 10 ** (rng.uniform(-50, 6, 5) / 20)
    return speech * np.repeat(gains, np.diff([0, *cuts, len(speech)]))


def spoilt(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """Speech with bursts of NaN, Inf and numbers far beyond full scale."""
    changed = speech.copy()
    for bad in rng.choice([np.nan, np.inf, -np.inf, 3e38], 5):
        start = rng.integers(0, len(speech))
        changed[start : start + rng.integers(1, 2000)] = bad
    return changed


SOUNDS: dict[str, Sound] = {
    "speech": lambda rng, speech: speech * 10 ** (rng.uniform(-20, 0) / 20),
    "levels": levels,
    "clipping": lambda rng, speech: np.clip(speech * 10 ** (rng.uniform(20, 40) / 20), -1, 1),
    "offset": lambda rng, speech: 0.5 * speech + rng.uniform(-0.5, 0.5),
    "silence": lambda rng, speech: 1e-5 * rng.standard_normal(len(speech)),
    "zeros": lambda rng, speech: np.zeros(len(speech)),
    "denormals": lambda rng, speech: 1e-40 * rng.standard_normal(len(speech)),
    "spoilt": spoilt,
}
FLOAT_ONLY = ("denormals", "spoilt")  # 16-bit integers hold none


@dataclass(frozen=True)
class Stretch:
    """So many units of one sound; `index` and the seed decide its samples."""

    index: int
    sound: str
    units: int


def plan(seed: int, seconds: float, dtype: str) -> list[Stretch]:
    """The stretches of at least so many seconds: all sounds in a random order, then all in another one, and so on."""
    rng = np.random.default_rng(seed)
    names = [name for name in SOUNDS if dtype == "float32" or name not in FLOAT_ONLY]
    stretches: list[Stretch] = []
    missing = seconds / UNIT
    while True:
        for name in rng.permutation(names):
            for _ in range(LONG if rng.random() < LONG_SHARE else 1):
                if missing <= 0:
                    return stretches
                stretches.append(Stretch(len(stretches), str(name), int(rng.integers(1, MOST_UNITS + 1))))
                missing -= stretches[-1].units


class Recordings:
    """Gives the samples of stretches, made from the recordings of the repository, or of noise where there are none."""

    def __init__(self, folder: Path, seed: int, rate: int, dtype: str) -> None:
        self.seed, self.rate, self.dtype = seed, rate, dtype
        files = find_audio_files(folder) if folder.is_dir() else []
        found = [read_audio(file, sample_rate=rate, mono=True)[0] for file in files]
        self._speech = np.concatenate(found or [synthetic(60 * rate, np.random.default_rng(seed))])

    def samples(self, stretch: Stretch) -> np.ndarray:
        """(L,), of the dtype."""
        rng = np.random.default_rng([self.seed, stretch.index])
        length = round(stretch.units * UNIT * self.rate)
        begin = rng.integers(0, len(self._speech))
        speech = np.resize(np.roll(self._speech, -begin), length)
        heard = SOUNDS[stretch.sound](rng, speech)
        if self.dtype == "int16":
            return np.round(32767 * np.clip(heard, -1, 1)).astype(np.int16)
        return heard.astype(np.float32)


def pieces(samples: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Cuts samples into pieces of 1 to 4096; one in ten is as short as a hundredth of that."""
    start = 0
    while start < len(samples):
        end = start + int(rng.integers(1, 4097 if rng.random() < 0.9 else 41))
        yield samples[start:end]
        start = end


# ----------------------------------------------------------------------------------------------------------------------
# The run
# ----------------------------------------------------------------------------------------------------------------------


@dataclass
class Hour:
    """What a part of the run showed. Times in ms of the processor per block: those that others take do not count.

    ratio: the time of undisturbed blocks over that of undisturbed bare ones. A busy machine slows down both, but the
    medians not alike. memory: MiB that were resident at least, between two stretches: buffers of this script come and
    go. live: what a live session tells at its end.
    """

    seconds: float  # of audio
    median: float
    p99: float
    bare: float  # the median of the back end alone, meanwhile
    memory: float
    silenced: int
    ratio: float
    live: dict[str, float] = field(default_factory=dict)


@dataclass
class Result:
    """The whole run."""

    hours: list[Hour] = field(default_factory=list)
    sounds: dict[str, float] = field(default_factory=dict)  # median ms per block of each
    difference_db: float | None = None  # of the last minute from a fresh stream's
    faults: list[str] = field(default_factory=list)


class Bare:
    """The back end alone on the same blocks again and again, between the stretches."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._states = backend, backend.initial_states()
        signal = synthetic(4 * SAMPLE_RATE, np.random.default_rng(0))
        self._blocks = np.lib.stride_tricks.sliding_window_view(signal, backend.block_length)[:: backend.block_shift]

    def run(self, times: array) -> None:
        """Adds the times of some blocks; those before them bring its weights into the caches."""
        states = self._states
        for index, block in enumerate(self._blocks[: SETTLE_BLOCKS + BARE_BLOCKS]):
            start = time.process_time()
            _, states = self._backend.run(block, states)
            if index >= SETTLE_BLOCKS:
                times.append((time.process_time() - start) * 1e3)


class JitteringDevices(Devices):
    """Devices whose callbacks have another size each time."""

    def _plan(self, device: int) -> None:
        size = int(self._random.integers(*CALLBACK))
        self.sizes: tuple[int, int] = (self.sizes[0], size) if device else (size, self.sizes[1])
        super()._plan(device)


class SimulatedSession:
    """A live session, fed and read like a stream: its microphone hears what is given, as time passes."""

    def __init__(self, backend: Backend, level: str, rate: int) -> None:
        self._rate = rate
        self._heard, self._end = np.zeros(0, np.float32), 0  # what the microphone may still be asked for; up to where
        self._devices = JitteringDevices(
            self._sound, rates=(rate, rate), ppm=PPM, jitter=JITTER, backend=backend, loop_delay=0.0,
            make=lambda backend: StreamingDenoiser(backend, level, sample_rate=rate),
        )  # fmt: skip

    def _sound(self, moments: np.ndarray) -> np.ndarray:
        return self._heard[np.rint(moments * self._rate).astype(int) - self._end + len(self._heard)]

    def process(self, samples: np.ndarray) -> np.ndarray:
        """(L,) are heard; returns what is played meanwhile, about as many."""
        self._heard = np.concatenate((self._heard[-self._rate :], samples))
        self._end += len(samples)
        self._devices.played = [np.zeros(0, np.float32)]
        return self._devices.run(self._end / self._rate)

    def flush(self) -> np.ndarray:
        """Nothing: a session ends where it is."""
        return np.zeros(0, np.float32)

    @property
    def silenced_blocks(self) -> int:
        """As in StreamingDenoiser."""
        return self._devices.counters.silenced_blocks

    def told(self) -> dict[str, float]:
        """What a report would say."""
        found = self._devices.counters.snapshot()
        return {
            "late_blocks": found.late_blocks, "dropouts": found.dropouts,
            "drift_ppm": found.drift_ppm or 0.0, "delay": found.delay or 0.0,
        }  # fmt: skip


def new_stream(args: argparse.Namespace) -> StreamingDenoiser | SimulatedSession:
    """A stream as the arguments want it."""
    backend = open_backend(args.kind, args.model_dir)
    if args.live:
        return SimulatedSession(backend, args.level, args.rate)
    return StreamingDenoiser(backend, args.level, sample_rate=args.rate)


def soak(args: argparse.Namespace) -> Result:
    """Runs it all, and prints a line for each hour."""
    stretches = plan(args.seed, 3600 * args.hours, args.dtype)
    recordings = Recordings(args.speech, args.seed, args.rate, args.dtype)
    denoiser, bare = new_stream(args), Bare(open_backend(args.kind, args.model_dir))
    shift = BLOCK_SHIFT * args.rate / SAMPLE_RATE  # in samples of the input
    per_hour = 3600 * args.rate * min(1.0, args.hours / 4)  # samples; short runs have four parts
    last = np.full(round(LAST * args.rate), 1, np.dtype(args.dtype))  # the latest output, rolling
    result = Result()
    by_sound = {name: BlockTimes() for name in SOUNDS}
    rng = np.random.default_rng([args.seed, 1])
    times, bare_times, memory = array("d"), array("d"), math.inf
    taken = given = hour_began = silenced = 0
    print(f"{'hour':>6} {'median':>8} {'p99':>8} {'bare':>8} {'ratio':>6} {'MiB':>7} {'silenced':>8}   ms per block")
    for stretch in stretches:
        outputs = []
        for piece in pieces(recordings.samples(stretch), rng):
            start = time.process_time()
            output = denoiser.process(piece)
            ms = (time.process_time() - start) * 1e3
            blocks = int((taken + len(piece)) / shift) - int(taken / shift)
            taken += len(piece)
            if blocks:
                times.append(ms / blocks)
                by_sound[stretch.sound].add(ms / blocks)
            outputs.append(output)
        given += keep(outputs, last, result)
        bare.run(bare_times)
        memory = min(memory, (resident_bytes() or 0) / 2**20)
        if taken - hour_began >= per_hour or stretch is stretches[-1]:
            low, median, p99 = np.percentile(times, (UNDISTURBED, 50, 99)).tolist()
            bare_low, bare_median = np.percentile(bare_times, (UNDISTURBED, 50)).tolist()
            hour = Hour(
                (taken - hour_began) / args.rate, median, p99, bare_median,
                memory, denoiser.silenced_blocks - silenced, low / bare_low,
                denoiser.told() if isinstance(denoiser, SimulatedSession) else {},
            )  # fmt: skip
            result.hours.append(hour)
            print(
                f"{taken / args.rate / 3600:6.2f} {hour.median:8.4f} {hour.p99:8.4f} {hour.bare:8.4f} "
                f"{hour.ratio:6.2f} {hour.memory:7.1f} {hour.silenced:8}   "
                + ", ".join(f"{name} {value:.4g}" for name, value in hour.live.items()),
                flush=True,
            )
            times, bare_times, memory = array("d"), array("d"), math.inf
            hour_began, silenced = taken, denoiser.silenced_blocks
    given += keep([denoiser.flush()], last, result)
    if given != taken and not args.live:
        result.faults.append(f"{taken} samples went in, {given} came out")
    result.sounds = {n: t.summary(BLOCK_SHIFT).p50 for n, t in by_sound.items() if t.blocks}
    if not args.live:  # whose samples lie where the clocks put them
        result.difference_db = difference_db(fresh_end(args, stretches, recordings), last)
    judge(result, args.quick)
    return result


def keep(outputs: Sequence[np.ndarray], last: np.ndarray, result: Result) -> int:
    """Moves what came out into the end of `last`; returns how much it was. Notes what is not finite."""
    joined = np.concatenate(outputs)
    if not np.isfinite(joined).all():
        result.faults.append("an output is not finite")
    count = min(len(joined), len(last))
    last[: len(last) - count] = last[count:]
    last[len(last) - count :] = joined[len(joined) - count :]
    return len(joined)


def fresh_end(args: argparse.Namespace, stretches: Sequence[Stretch], recordings: Recordings) -> np.ndarray:
    """The last minute (L,) of a stream that begins `args.settle` seconds before it, or a little earlier."""
    wanted = (LAST + args.settle) / UNIT
    units = list(itertools.accumulate(stretch.units for stretch in reversed(stretches)))
    count = 1 + next((i for i, total in enumerate(units) if total >= wanted), len(units) - 1)
    denoiser, rng = new_stream(args), np.random.default_rng([args.seed, 2])
    outputs = [
        denoiser.process(piece) for stretch in stretches[-count:] for piece in pieces(recordings.samples(stretch), rng)
    ]
    return np.concatenate([*outputs, denoiser.flush()])[-round(LAST * args.rate) :]


def difference_db(fresh: np.ndarray, last: np.ndarray) -> float:
    """The energy of the difference over that of the fresh output, each (L,), in dB; silence counts as SILENT."""
    scale = 32767.0 if last.dtype == np.int16 else 1.0
    expected, found = fresh.astype(np.float64) / scale, last[len(last) - len(fresh) :].astype(np.float64) / scale
    error, power = (float(np.mean(values**2)) for values in (expected - found, expected))
    return 10 * math.log10(max(error, 1e-20) / max(power, SILENT))


def judge(result: Result, quick: bool) -> None:
    """Adds to the faults what the numbers say. A quick run is too short for time and memory."""
    first, final = result.hours[0], result.hours[-1]
    if final.memory - first.memory > MOST_GROWTH and not quick:
        result.faults.append(f"the memory grew from {first.memory:.1f} to {final.memory:.1f} MiB")
    if final.ratio > MOST_SLOWDOWN * first.ratio and not quick:
        result.faults.append(f"the last hour is {final.ratio / first.ratio:.2f} times as slow as the first")
    if result.difference_db is not None and not result.difference_db <= MOST_DIFFERENCE_DB:
        result.faults.append(f"the last minute differs from a fresh stream's by {result.difference_db:.1f} dB")
    if final.live and not quick:
        judge_live(first.live, final.live, result)


def judge_live(first: dict[str, float], final: dict[str, float], result: Result) -> None:
    """Adds to the faults what a live session told after the first and the last hour."""
    if final["dropouts"] or final["late_blocks"] > first["late_blocks"]:
        result.faults.append(
            f"{final['dropouts']:.0f} dropouts, {final['late_blocks']:.0f} late blocks; "
            f"{first['late_blocks']:.0f} of these in the first hour"
        )
    if abs(final["drift_ppm"] - PPM) > MOST_DRIFT_ERROR:
        result.faults.append(f"a drift of {PPM:.0f} ppm was told as {final['drift_ppm']:.0f}")
    if final["delay"] > first["delay"] + MOST_DELAY_GROWTH:
        result.faults.append(f"the delay grew from {first['delay']:.3f} to {final['delay']:.3f} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the soak; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0, help="of audio (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides what is heard (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=SAMPLE_RATE, metavar="HZ", help="of the stream (default: 16000)")
    parser.add_argument("--dtype", choices=("float32", "int16"), default="float32", help="of the samples")
    parser.add_argument("--kind", choices=EXPORT_KINDS, default="tflite-stream", help="of the export")
    parser.add_argument("--level", choices=LEVELS, default="raw", help="as StreamingDenoiser takes it")
    parser.add_argument("--live", action="store_true", help="a live session on simulated devices")
    parser.add_argument("--settle", type=float, default=300.0, metavar="SECONDS",
                        help="from the fresh stream's begin to the last minute (default: %(default)s)")  # fmt: skip
    parser.add_argument("--speech", type=Path, default=ROOT / "audio_samples", metavar="DIR", help="recordings")
    parser.add_argument("--model-dir", type=Path, default=MODEL_DIR, metavar="DIR", help="exports")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the numbers")
    parser.add_argument("--quick", action="store_true", help="some minutes, judged by their samples alone")
    args = parser.parse_args(argv)
    if args.quick:
        vars(args).update(QUICK)
    if args.hours <= 0 or args.settle < 0:
        parser.error("--hours must be above 0, --settle at least 0")
    if args.live and args.dtype != "float32":
        parser.error("--live takes float32, as sound devices give it")
    began = time.monotonic()
    result = soak(args)
    print(f"ms per block: {', '.join(f'{name} {ms:.4f}' for name, ms in result.sounds.items())}")
    if result.difference_db is not None:
        print(f"the last minute differs from that of a fresh stream by {result.difference_db:.1f} dB")
    print(f"took {time.monotonic() - began:.0f} s")
    for fault in result.faults:
        print(f"FAULT: {fault}")
    if args.json:
        args.json.write_text(json.dumps({"arguments": {k: str(v) for k, v in vars(args).items()}, **asdict(result)}))
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
