"""Try to break the folder run: damaged files, kills, huge inputs, trouble with the disk.

    python benchmarks/robustness.py [--only NAME ...] [--json FILE] [--quick]

Each experiment starts run_evaluation.py as a user does and prints a row. Of its inputs are "done" those whose output is
complete and finite, "named" those that the command reports as failed, "lost" all others, and "partial" are outputs that
are not complete, and temporary files that stay. A run is right if nothing is lost or partial, and if time and memory
stay within the bounds that are printed. The exit status is 1 otherwise. benchmarks/README.md describes the experiments.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `python benchmarks/robustness.py` looks only in benchmarks/

from benchmarks.mutations import MUTATIONS, double, recordings  # noqa: E402
from dtln.audio.headers import audio_info  # noqa: E402
from dtln.audio.reading import audio_blocks  # noqa: E402
from dtln.audio.resampling import resampled_length  # noqa: E402
from dtln.facts import SAMPLE_RATE  # noqa: E402

MOST_MEMORY = 1000  # MB, of a run
MOST_GROWTH = 100  # times the size of a recording: that of its output; compressed ones become integers
OPTIONS = ((), ("--keep-rate",), ("--keep-rate", "--keep-channels"), ("--salvage",))  # in turns, for damaged files
SECONDS_TO_STOP = 1.0  # after Ctrl-C or SIGTERM
QUICK = {
    "files": 60, "batch": 30, "kills": 3, "long_seconds": 60.0, "gib": 0.05, "tiny_files": 100, "full_files": 8,
}  # fmt: skip


@dataclass
class Row:
    """What became of the inputs of an experiment."""

    what: str
    inputs: int = 0
    done: int = 0
    named: int = 0
    lost: int = 0
    partial: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    bounds: str = ""  # which of time and memory it was held to
    faults: list[str] = field(default_factory=list)  # each in words, with what reproduces it
    notes: list[str] = field(default_factory=list)


@dataclass
class Run:
    """How a command ended."""

    status: int | None  # None: it was still running when its time was over
    seconds: float
    peak_mb: float
    out: str
    err: str
    seconds_to_stop: float = 0.0  # from the signal to the end
    hit: bool = False  # the signal found it running

    def names(self, *paths: Path) -> bool:
        """Whether it reports one of these, a recording or its output, as failed or as passed over."""
        _, _, passed_over = self.out.partition("passed over:")
        failed = "\n".join(line for line in self.err.splitlines() if line.startswith("FAILED "))
        return any(str(path) in failed or str(path) in passed_over for path in paths)


# ----------------------------------------------------------------------------------------------------------------------
# Running a command, and judging what it left
# ----------------------------------------------------------------------------------------------------------------------


def run(
    arguments: Sequence[object],
    limit: float,
    stop: tuple[signal.Signals, float] | None = None,
    meanwhile: Callable[[], object] | None = None,
    most_bytes: int | None = None,
) -> Run:
    """Runs run_evaluation.py for at most `limit` seconds, and measures time and memory.

    stop: a signal, and after how many seconds it is sent. meanwhile: called every 20 ms. most_bytes: how large a file
    may become, in place of a full disk.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that puts us into the background has it ignored
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    command = [sys.executable, ROOT / "run_evaluation.py", *arguments]
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, preexec_fn=prepare)
        peak, stopped = 0.0, None
        while process.poll() is None and time.monotonic() - started < limit:
            peak = max(peak, _peak_mb(process.pid))
            if stop and stopped is None and time.monotonic() - started >= stop[1]:
                process.send_signal(stop[0])
                stopped = time.monotonic()
            if meanwhile:
                meanwhile()
            time.sleep(0.02)
        ended, status = time.monotonic(), process.poll()
        if status is None:
            process.kill()
            process.wait()
        return Run(
            status, ended - started, peak, _text(out), _text(err), ended - stopped if stopped else 0.0,
            stopped is not None and (status != 0 or ended - stopped > SECONDS_TO_STOP),
        )  # fmt: skip


def _peak_mb(pid: int) -> float:
    """The largest resident memory of a process so far, in MB; 0 where /proc does not tell it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="backslashreplace")


def output_of(source: Path, inputs: Path, outputs: Path) -> Path | None:
    """The output of a recording: of its name, or a wav where its format cannot be written; None if there is none."""
    target = outputs / source.relative_to(inputs)
    return next((path for path in (target, target.with_suffix(".wav"), Path(f"{target}.wav")) if path.exists()), None)


def incomplete(output: Path, source: Path, options: Sequence[str] = ()) -> str | None:
    """What an output lacks, in words: it must be readable, finite, as long as its source, and not far larger."""
    salvage = "--salvage" in options
    try:
        info = audio_info(source, salvage)
        rate = info.sample_rate if "--keep-rate" in options else SAMPLE_RATE
        expected = resampled_length(sum(map(len, audio_blocks(source, salvage=salvage))), info.sample_rate, rate)
        length = sum(map(len, audio_blocks(output)))
    except (ValueError, OSError) as error:  # AudioFileError is a ValueError
        return str(error)
    if output.stat().st_size > MOST_GROWTH * source.stat().st_size + 100000:
        return f"{output}: has {output.stat().st_size} bytes, its source {source.stat().st_size}"
    return None if length == expected else f"{output}: has {length} samples, expected {expected}"


def hidden_files(folder: Path) -> list[Path]:
    """Temporary files that were left."""
    return [Path(root, name) for root, _, names in os.walk(folder) for name in names if name.startswith(".")]


def judge(
    row: Row, result: Run, sources: Sequence[Path], inputs: Path, outputs: Path, options: Sequence[str] = ()
) -> None:
    """Counts what became of each source, and notes what is wrong; options: of the command."""
    row.inputs += len(sources)
    for source in sources:
        named = result.names(source, outputs / source.relative_to(inputs))
        output = output_of(source, inputs, outputs)
        wrong = incomplete(output, source, options) if output else None
        if output and (named or wrong):
            row.partial += 1
            row.faults.append(f"{source.name}: {'failed, but has an output' if named else wrong}")
        elif output:
            row.done += 1
        elif named:
            row.named += 1
        else:
            row.lost += 1
            row.faults.append(f"{source.name}: neither done nor named")
    measure(row, result)
    leftovers(row, outputs)


def measure(row: Row, result: Run) -> None:
    """Adds time, memory, and what is wrong with the end of a command."""
    row.seconds += result.seconds
    row.peak_mb = max(row.peak_mb, result.peak_mb)
    if result.status is None:
        row.faults.append(f"hung: still running after {result.seconds:.0f} s")
    elif result.status < 0 or "Traceback" in result.err:
        row.faults.append(f"crashed, status {result.status}: {result.err[-300:]}")
    if result.peak_mb > MOST_MEMORY:
        row.faults.append(f"took {result.peak_mb:.0f} MB")


def leftovers(row: Row, outputs: Path) -> None:
    for path in hidden_files(outputs):
        row.partial += 1
        row.faults.append(f"{path.name}: a temporary file that stayed")


def write_wav(path: Path, seconds: float, seed: int = 0) -> Path:
    """A mono wav of noise at 16 kHz, 16 bit."""
    noise = np.random.default_rng(seed).normal(0, 1000, round(seconds * SAMPLE_RATE)).astype("<i2").tobytes()
    path.write_bytes(wav_header(len(noise), SAMPLE_RATE, 1, 2) + noise)
    return path


def wav_header(size: int, rate: int, channels: int, width: int) -> bytes:
    """The header of a PCM wav of so many bytes of samples; sizes from 4 GiB on wrap around, as recorders do it."""
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * width, channels * width, 8 * width)
    return (
        b"RIFF"
        + struct.pack("<I", (size + 36) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + form
        + (b"data" + struct.pack("<I", size & 0xFFFFFFFF))
    )


# ----------------------------------------------------------------------------------------------------------------------
# The experiments
# ----------------------------------------------------------------------------------------------------------------------


def mutated(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Damaged files of many formats, in runs of --batch files."""
    mono, stereo = recordings(args.seconds), recordings(args.seconds, 2)
    row = Row(f"damaged files, {len(mono)} formats")
    limit = 60 + args.batch
    row.bounds = f"{limit} s for {args.batch} files"
    for first in range(0, args.files, args.batch):
        inputs, outputs = folder / f"in{first}", folder / f"out{first}"
        inputs.mkdir()
        doubled, faults = [], len(row.faults)
        for index in range(first, min(first + args.batch, args.files)):
            rng = np.random.default_rng([args.seed, index])
            originals = stereo if rng.integers(2) else mono
            extension, other = (list(originals)[i] for i in rng.choice(len(originals), 2, replace=False))
            mutation = MUTATIONS[rng.integers(len(MUTATIONS))]
            path = inputs / f"{index:06d}_{mutation.__name__}{extension}"
            path.write_bytes(mutation(originals[extension], originals[other], rng))
            doubled += [path] if mutation is double else []
        sources = sorted(inputs.iterdir())
        options = OPTIONS[first // args.batch % len(OPTIONS)]
        result = run(["-i", inputs, "-o", outputs, *options], limit)
        judge(row, result, sources, inputs, outputs, options)
        for path in doubled:
            output = output_of(path, inputs, outputs)
            said = path.name in result.out or path.name in result.err
            short = output and _seconds(output) < 1.9 * args.seconds
            if short and not said and "--salvage" not in options:  # that lists most files, and the first ten only
                row.done, row.lost = row.done - 1, row.lost + 1
                row.faults.append(f"{path.name}: half of the sound is missing without a word")
        if args.keep and len(row.faults) > faults:
            shutil.copytree(inputs, args.keep / inputs.name, dirs_exist_ok=True)
        shutil.rmtree(inputs)
        shutil.rmtree(outputs, ignore_errors=True)
    yield row


def _seconds(path: Path) -> float:
    """The length of a recording."""
    info = audio_info(path)
    return info.length / info.sample_rate


def kills(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Signals at random moments of a run over a long file and short ones, and the run after it."""
    inputs = folder / "in"
    inputs.mkdir()
    sources = [write_wav(inputs / f"{i}.wav", 2.0, i) for i in range(4)]
    sources.append(write_wav(inputs / "2_long.wav", args.long_seconds))
    reference = folder / "reference"
    whole = run(["-i", inputs, "-o", reference], 60 + args.long_seconds)
    rng = np.random.default_rng(args.seed)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        row = Row(f"{number.name} at random moments", bounds=f"{SECONDS_TO_STOP:g} s to stop")
        slowest = 0.0
        while row.inputs < math.ceil(args.kills / 3):
            outputs = folder / f"{number.name}{row.inputs}"
            moment = rng.uniform(0, whole.seconds)
            stopped = run(["-i", inputs, "-o", outputs], 60 + args.long_seconds, (number, moment))
            if not stopped.hit:  # it had ended
                shutil.rmtree(outputs)
                continue
            row.inputs += 1
            slowest = max(slowest, stopped.seconds_to_stop)
            faults = len(row.faults)
            when = f"{number.name} after {moment:.2f} of {whole.seconds:.2f} s"
            for source in sources:
                output = output_of(source, inputs, outputs)
                if output and output.read_bytes() != (reference / source.name).read_bytes():
                    row.partial += 1
                    row.faults.append(f"{when}: {source.name} is not what an undisturbed run writes")
            if number != signal.SIGKILL:
                leftovers(row, outputs)
                if stopped.seconds_to_stop > SECONDS_TO_STOP:
                    row.faults.append(f"{when}: ended after {stopped.seconds_to_stop:.1f} s")
                written = sum(output_of(source, inputs, outputs) is not None for source in sources)
                # the second is the summary: the signal came when all was done, as Python ended
                said = re.search(r"(\d+)(?: of \d+ files written| files denoised)", stopped.err + stopped.out)
                if written != (int(said[1]) if said else 0):
                    row.faults.append(f"{when}: {written} files are there, but: {stopped.err[-200:]}")
                begun = outputs.exists()  # before, Python itself may be interrupted
                if stopped.status is None or (begun and "Traceback" in stopped.err):
                    row.faults.append(f"{when}: status {stopped.status}, {stopped.err[-300:]}")
            again = run(["-i", inputs, "-o", outputs, "--skip-existing"], 60 + args.long_seconds)
            row.seconds += stopped.seconds + again.seconds
            row.peak_mb = max(row.peak_mb, stopped.peak_mb, again.peak_mb)
            leftovers(row, outputs)
            for source in sources:
                output = output_of(source, inputs, outputs)
                if not output or output.read_bytes() != (reference / source.name).read_bytes():
                    row.lost += 1
                    row.faults.append(f"{when}, then --skip-existing: {source.name} is missing or another")
            row.done += len(row.faults) == faults
            shutil.rmtree(outputs)
        row.notes.append(f"slowest end {slowest:.2f} s after the signal")
        yield row


def large(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A recording beyond 4 GiB, and a folder of very many files."""
    size = round(args.gib * 2**30)
    rate, channels, width = 192000, 8, 4
    size -= size % (rate * channels * width)
    inputs = folder / "in"
    inputs.mkdir()
    source, second = inputs / "long.wav", rate * channels
    noise = np.random.default_rng(0).normal(0, 1e8, second).astype("<i4").tobytes()
    with open(source, "wb") as stream:  # sparse: silence takes no space
        stream.write(wav_header(size, rate, channels, width) + noise)
        stream.seek(44 + size - len(noise))
        stream.write(noise)
    seconds = size / (rate * channels * width)
    row = Row(f"wav of {size / 2**30:.2f} GiB, {seconds:.0f} s of 8 channels", 1)
    result = run(["-i", inputs, "-o", folder / "out", "--salvage"], 120 + seconds)  # a wrapped size is refused without
    row.bounds = f"{120 + seconds:.0f} s"
    output = output_of(source, inputs, folder / "out")
    if output:
        length = audio_info(output).length
        end = [block for block in audio_blocks(output)][-1] if length else np.zeros(1)
        complete = length == round(seconds * SAMPLE_RATE) and float(np.max(np.abs(end))) > 1e-4
        row.done, row.partial = int(complete), int(not complete)
        row.faults += [] if complete else [f"{length} samples of {round(seconds * SAMPLE_RATE)}, or a silent end"]
    else:
        row.named, row.lost = int(result.names(source)), int(not result.names(source))
    row.notes += [line for line in result.err.splitlines() if line.startswith("FAILED")]
    measure(row, result)
    leftovers(row, folder / "out")
    yield row
    shutil.rmtree(inputs)

    inputs.mkdir()
    data = write_wav(folder / "one.wav", 0.02).read_bytes()
    for index in range(args.tiny_files):
        path = inputs / f"{index // 1000:03d}" / f"{index:06d}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    limit = 60 + args.tiny_files / 50
    row = Row("folder of tiny files", args.tiny_files, bounds=f"{limit:.0f} s")
    result = run(["-i", inputs, "-o", folder / "tiny"], limit)
    expected = len(data)
    for root, _, names in os.walk(inputs):
        for name in names:
            source = Path(root, name)
            output = folder / "tiny" / source.relative_to(inputs)
            if output.exists():
                complete = output.stat().st_size == expected
                row.done, row.partial = row.done + complete, row.partial + (not complete)
            else:
                named = result.names(source, output)
                row.named, row.lost = row.named + named, row.lost + (not named)
    measure(row, result)
    leftovers(row, folder / "tiny")
    row.notes.append(f"{args.tiny_files / result.seconds:.0f} files a second")
    yield row


def disk(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A full disk, a folder that cannot be written to, recordings that vanish or grow during the run."""
    inputs = folder / "in"
    inputs.mkdir()
    sources = [write_wav(inputs / f"{i:02d}.wav", 1.0 + i, i) for i in range(args.full_files)]
    room = 44 + round(2 * SAMPLE_RATE * (args.full_files / 2 + 0.3))  # half of the files are larger than this
    result = run(["-i", inputs, "-o", folder / "limited"], 120, most_bytes=room)
    row = Row("files may not grow beyond a size", bounds="120 s")
    judge(row, result, sources, inputs, folder / "limited")
    yield row

    with mounted(folder / "small", f"size={room}") as small:
        row = Row("full disk", bounds="120 s")
        if small:
            judge(row, run(["-i", inputs, "-o", small / "out"], 120), sources, inputs, small / "out")
            row.faults += [] if row.named else ["the disk was not full"]
        else:
            row.notes.append("not tried: needs root rights to mount a small disk")
        yield row

    with mounted(folder / "fixed", "ro") as fixed:
        row = Row("folder that cannot be written to", bounds="120 s")
        target = fixed or folder / "fixed"
        target.chmod(0o555) if not fixed else None
        result = run(["-i", inputs, "-o", target / "out"], 120)
        if result.names(sources[0]):
            judge(row, result, sources, inputs, target / "out")
        else:  # refused before the first file, which need not be named then
            row.inputs, row.named = len(sources), len(sources) * (result.status == 1 and str(target) in result.err)
            row.lost = row.inputs - row.named
            row.notes.append(result.err.strip()[-200:])
            measure(row, result)
        yield row

    victims = [write_wav(inputs / f"9{i}.wav", 5.0, i) for i in range(5)]
    copies = folder / "copies"
    shutil.copytree(inputs, copies)
    outputs = folder / "vanishing"

    def vanish() -> None:
        if outputs.exists() and victims[-1].exists():  # the run has planned its work, and begun
            for victim in victims[2:]:
                victim.unlink()

    result = run(["-i", inputs, "-o", outputs, "--jobs", 1], 120, meanwhile=vanish)
    for victim in victims[2:]:
        shutil.copy(copies / victim.name, victim)  # to compare with
    row = Row("recordings that vanish", bounds="120 s")
    judge(row, result, [*sources, *victims], inputs, outputs)
    row.faults += [] if row.named >= 3 else ["no recording was missed: they vanished too late"]
    yield row

    growing = write_wav(inputs / "95_growing.wav", 5.0)
    complete = growing.stat().st_size
    outputs = folder / "growing"

    def grow() -> None:
        with open(growing, "ab") as stream:
            stream.write(bytes(3200))

    result = run(["-i", inputs, "-o", outputs, "--jobs", 1], 120, meanwhile=grow)
    with open(growing, "ab") as stream:
        stream.truncate(complete)
    row = Row("a recording that grows", bounds="120 s")
    output = output_of(growing, inputs, outputs)
    if output and audio_info(output).length < 5 * SAMPLE_RATE:
        row.faults.append(f"{growing.name}: {audio_info(output).length} samples of what was there at the start")
    judge(row, result, [*sources, *victims], inputs, outputs)
    row.inputs, row.done = row.inputs + 1, row.done + (output is not None)
    row.named += output is None and result.names(growing)
    row.notes.append(f"it was {'done' if output else 'named'}")
    yield row


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path | None]:
    """A disk of its own at a folder, None where it cannot be mounted: that needs root rights and Linux."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "robustness", str(folder)]
    ready = shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield folder if ready else None
    finally:
        if ready:
            subprocess.run(["umount", str(folder)], check=True)


EXPERIMENTS = {"mutated": mutated, "kills": kills, "large": large, "disk": disk}


# ----------------------------------------------------------------------------------------------------------------------
# Command line
# ----------------------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=EXPERIMENTS, metavar="NAME", help=f"{', '.join(EXPERIMENTS)} (default: all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows, faults and notes there")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows in a minute or two that it runs")
    parser.add_argument("--seed", type=int, default=0, help="of damages and moments (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy damaged files that did harm there")
    parser.add_argument("--temporary", type=Path, metavar="DIR", help="work below this folder (default: the system's)")
    sizes = parser.add_argument_group("sizes")
    sizes.add_argument("--files", type=int, default=5000, help="damaged ones (default: %(default)s)")
    sizes.add_argument("--batch", type=int, default=50, help="of them in one run (default: %(default)s)")
    sizes.add_argument("--seconds", type=float, default=0.3, help="of sound in each (default: %(default)s)")
    sizes.add_argument("--kills", type=int, default=50, help="a third by each signal (default: %(default)s)")
    sizes.add_argument("--long-seconds", type=float, default=900.0, help="of the long file (default: %(default)s)")
    sizes.add_argument("--gib", type=float, default=4.2, help="of the large wav (default: %(default)s)")
    sizes.add_argument("--tiny-files", type=int, default=100000, help="default: %(default)s")
    sizes.add_argument("--full-files", type=int, default=20, help="on the full disk (default: %(default)s)")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    rows = []
    print(
        f"{'what':44} {'inputs':>7} {'done':>7} {'named':>7} {'lost':>5} {'partial':>7} {'seconds':>8} {'peak MB':>8}"
    )
    for name in args.only or EXPERIMENTS:
        with tempfile.TemporaryDirectory(prefix="robustness", dir=args.temporary) as folder:
            for row in EXPERIMENTS[name](args, Path(folder)):
                rows.append(row)
                print(
                    f"{row.what:44} {row.inputs:8d} {row.done:8d} {row.named:8d} {row.lost:8d} {row.partial:8d} "
                    f"{row.seconds:8.1f} {row.peak_mb:8.0f}"
                )
                for line in [*(f"FAULT {fault}" for fault in row.faults[:20]), *row.notes]:
                    print(f"    {line}", flush=True)
    print(f"bounds: {MOST_MEMORY} MB; " + "; ".join(f"{row.what}: {row.bounds}" for row in rows if row.bounds))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if any(row.faults or row.lost or row.partial for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
