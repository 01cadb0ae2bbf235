"""The rows of the table: which contenders each compares, and with what goal."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import CHUNK_BLOCKS, CHUNKS, PRODUCT_BLOCKS, SHIFT_MS, synthetic
from benchmarks.report import Goal, Report, Row
from benchmarks.turns import Times, take_turns
from dtln.facts import SAMPLE_RATE
from dtln.formats import EXPORT_KINDS, ExportKind, fastest_kind
from dtln.machine import usable_cores

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S, HELP_LIMIT_S = 1.0, 0.3
JITTER_TURN_BLOCKS = 2500  # 20 s of signal
MINUTE_BLOCKS = 7500  # of 8 ms


def block_rows(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Our exports against the published float TF-lite loop, block by block, and ONNX also against the ONNX loop."""
    exports = [kind for kind in EXPORT_KINDS.values() if kind.name != "savedmodel"]  # which has a row of its own
    names = [f"ours:{kind.name}" for kind in exports] + ["published:tflite", "published:onnx"]
    names += ["limit:weights", "limit:transforms"]
    times = take_turns(names, argv, [args.turn_blocks] * args.turns, report)
    report.histogram = {name: value.all for name, value in times.items() if not name.startswith("limit")}
    goals: tuple[tuple[str, str, Goal, list[ExportKind]], ...] = (
        ("float", "published:tflite", (0.75, 0.6), [kind for kind in exports if not kind.quantised]),
        ("8 bit", "published:tflite", (0.5, 0.35), [kind for kind in exports if kind.quantised]),
        ("ONNX", "published:onnx", (0.5, None), [kind for kind in exports if "onnxruntime" in kind.runtimes]),
    )
    for title, baseline, goal, kinds in goals:
        measured = [kind for kind in kinds if f"ours:{kind.name}" in times]
        if measured:
            best = min(measured, key=lambda kind: times[f"ours:{kind.name}"].median_ms())
            row = f"block, {title}, best: {best.title}"
            report.compare("block", row, times, f"ours:{best.name}", baseline, goal)
        for kind in kinds:
            report.compare("block", f"block, {title}: {kind.title}", times, f"ours:{kind.name}", baseline, goal)
    if "limit:weights" in times:
        weights, transforms = (times[f"limit:{name}"].median_ms() for name in ("weights", "transforms"))
        stored = times["limit:weights"].details["weight_bytes"]
        report.limit |= {"weights_ms": weights, "transforms_ms": transforms, "weight_bytes": stored}


def savedmodel_row(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Our SavedModel against the published one, block by block."""
    ours, baseline = names = ["ours:savedmodel", "published:savedmodel"]
    times = take_turns(names, argv, [max(1, args.turn_blocks // 3)] * args.turns, report)
    report.compare("savedmodel", "block, SavedModel", times, ours, baseline, (0.2, None))


def chunk_rows(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Chunks of 10 ms, resampled there and back, against the bare blocks in them; how late they come out."""
    names = [f"chunks:{rate},1" for rate in (16000, 44100, 48000)] + ["chunks:48000,2", "bare:1", "bare:2"]
    times = take_turns(names, argv, [max(1, args.turn_blocks // CHUNK_BLOCKS)] * args.turns, report)
    for name in names[:4]:
        rate, channels = name.partition(":")[2].split(",")
        title = f"chunk, {CHUNKS} of 10 ms, {int(rate) / 1e3:g} kHz, {channels} channel{'s' * (channels > '1')}"
        report.compare("chunk", title, times, name, f"bare:{channels}", (1.5, None))
        if name in times:
            found = report.contenders[name]
            report.rows.append(Row("chunk", "   99th percentile", found["p99_ms"], None, "ms"))
            report.rows.append(Row("chunk", "   latency", found["latency_ms"], None, "ms"))


def jitter_rows(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """The slowest block in a thousand over the median one; the memory after a minute and at the end."""
    live = f"ours:{fastest_kind('tflite', args.model_dir)}"  # what the live script takes
    whole, rest = divmod(args.jitter_blocks, JITTER_TURN_BLOCKS)
    counts = [JITTER_TURN_BLOCKS] * whole + [rest] * (rest > 0)
    tried = take_turns([live], argv, [500], report, label="before jitter, ")
    block_ms = report.contenders[f"before jitter, {live}"]["median_ms"] if tried else 0.1
    ours, baseline, empty = names = [live, "published:tflite", f"empty:{block_ms:.4f}"]
    times = take_turns(names, argv, counts, report, label="jitter, ")
    summaries = {name: report.contenders[f"jitter, {name}"] for name in times}
    ratios = {name: s["p99_9_ms"] / s["median_ms"] for name, s in summaries.items()}
    row = Row(
        "jitter", f"p99.9 / median of {args.jitter_blocks} blocks", ratios.get(ours), ratios.get(baseline), unit="",
        why=report.missing.get(ours) or report.missing.get(baseline),
    )  # fmt: skip
    row.finish((1.0, None))
    report.rows.append(row)
    report.rows.append(Row("jitter", "   the same of an empty loop as long", ratios.get(empty), None, ""))
    minute = min(len(counts), MINUTE_BLOCKS // JITTER_TURN_BLOCKS) - 1
    for index in (minute, len(counts) - 1):
        title = f"memory after {sum(counts[: index + 1]) * SHIFT_MS / 1e3:.0f} s of signal"
        memory = [times[name].memory[index] if name in times else None for name in (ours, baseline)]
        mine, other = (None if size is None else size / 2**20 for size in memory)
        report.rows.append(Row("jitter", title, mine, other, unit="MiB"))


def folder_row(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Whole commands on a folder, from start to exit, on as many cores as they take."""
    weights = (args.published or args.model_dir) / "model.h5"
    if not weights.is_file():
        report.rows.append(Row("folder", "folder", None, None, "s", why=f"{weights} does not exist"))
        return
    commands = {
        "ours": [sys.executable, str(ROOT / "run_evaluation.py"), "-m", str(weights)],
        "published": [sys.executable, str(ROOT / "benchmarks" / "published.py"), "-m", str(weights)]
        + ["--keras2"] * args.keras2,
    }
    times = {name: Times() for name in commands}
    why = None
    with tempfile.TemporaryDirectory() as name:
        noisy = Path(name) / "noisy"
        seconds = write_recordings(args, noisy)
        start, short = [], Path(name) / "short"
        write_recordings(argparse.Namespace(**vars(args) | {"files": 1, "seconds": (0.1, 0.1)}), short)
        for _ in range(args.folder_repeats):
            taken, error = run_command(
                [*commands["ours"], "-i", str(short), "-o", str(Path(name) / "start"), "--overwrite"]
            )
            start += [] if error else [taken]
            for which, command in commands.items():
                target = Path(name) / which
                shutil.rmtree(target, ignore_errors=True)
                taken, error = run_command([*command, "-i", str(noisy), "-o", str(target)])
                if error:
                    why = f"{which}: {error}"
                    report.missing[f"folder, {which}"] = error
                else:
                    times[which].turns.append([taken])
    times = {which: value for which, value in times.items() if value.turns}
    for which, value in times.items():
        report.contenders[f"folder, {which}"] = value.summary() | {"audio_seconds": seconds}
        report.throughput[f"folder, {which}"] = seconds / (report.contenders[f"folder, {which}"]["median_ms"] / 1e3)
    title = f"folder: {args.files} files, {seconds:.0f} s of audio"
    report.compare("folder", title, times, "ours", "published", (1 / 25, 1 / 40), unit="s", why=why)
    products = take_turns(["limit:products"], argv, [5] * 20, report).get("limit:products")
    if products and start:
        blocks = seconds / (SHIFT_MS * 1e-3)
        multiply = products.median_ms() * 1e-3 / PRODUCT_BLOCKS * blocks / usable_cores()
        report.limit |= {"folder_start_s": statistics.median(start), "folder_products_s": multiply}


def start_rows(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """From the start of python to the first denoised block, and to the help of the slowest script."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import numpy as np\n"
        "from dtln.streaming import StreamingDenoiser, open_backend\n"
        f"denoiser = StreamingDenoiser(open_backend('tflite', {str(args.model_dir)!r}))\n"
        "denoiser.process_block(np.zeros(128, np.float32))\n"
        "print(denoiser.backend.runtime)"
    )
    commands = {"first block": [sys.executable, "-c", code], "python alone": [sys.executable, "-c", "pass"]}
    for script in sorted(ROOT.glob("*.py")):
        if "__main__" in script.read_text(encoding="utf-8"):
            commands[script.name] = [sys.executable, str(script), "--help"]
    times = {name: Times() for name in commands}
    failures = {}
    for _ in range(args.start_repeats):
        for name, command in commands.items():
            taken, error = run_command(command)
            times[name].turns.append([taken])
            if error:
                failures[name] = error
    medians = {}
    for name, value in times.items():
        report.contenders[f"start, {name}"] = value.summary()
        medians[name] = report.contenders[f"start, {name}"]["median_ms"] / 1e3
    scripts = [name for name in medians if name.endswith(".py")]
    slowest = max(scripts, key=lambda name: medians[name])
    for title, name, limit in (
        ("start to the first block", "first block", START_LIMIT_S),
        (f"--help, slowest: {slowest}", slowest, HELP_LIMIT_S),
    ):
        row = Row("start", title, medians[name], limit, "s", why=failures.get(name))
        row.finish((1.0, None))
        row.baseline_is_limit = True
        report.rows.append(row)
    report.rows.append(Row("start", "   python alone", medians["python alone"], None, "s"))


def training_rows(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Steps of `fit` (forwards, backwards, Adam) with the same threads, batch and length."""
    ours = {
        f"train:{backend},{precision}": f"training step, {library}, {precision}"
        for backend, library in (("tensorflow", "TensorFlow"), ("torch", "PyTorch"))
        for precision in ("float32", "mixed")
    }
    baseline = "train:published"
    times = take_turns(
        [baseline, *ours], argv, [args.steps] * args.training_turns, report, warm_up=1, threads=args.training_threads,
        pythons={name: args.torch_python for name in ours if "torch" in name},
    )  # fmt: skip
    audio = args.batch_size * args.segment_seconds
    for name, title in ours.items():
        report.compare("training", title, times, name, baseline, (0.67, None))
    for name in times:
        report.throughput[name] = audio / (report.contenders[name]["median_ms"] / 1e3)


def run_command(command: Sequence[str]) -> tuple[float, str | None]:
    """Seconds from start to exit; and, if the command failed, the last line that it wrote."""
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    taken = time.perf_counter() - start
    return taken, (run.stderr.strip().splitlines() or ["failed"])[-1] if run.returncode else None


def write_recordings(args: argparse.Namespace, folder: Path) -> float:
    """Writes the noisy wavs, 16 bit; returns their seconds in all."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    folder.mkdir()
    speech, noise = (signals(path, rng) if path else None for path in (args.speech, args.noise))
    samples = 0
    for index in range(args.files):
        length = int(rng.uniform(*args.seconds) * SAMPLE_RATE)
        if speech and noise:
            from dtln.mixing.mixer import mix

            signal, _ = mix(take(speech, length), take(noise, length), snr_db=rng.uniform(-5, 20), level_dbfs=-25.0)
        else:
            signal = synthetic(length, rng)
        soundfile.write(folder / f"{index:04d}.wav", signal, SAMPLE_RATE, subtype="PCM_16")
        samples += length
    return samples / SAMPLE_RATE


def signals(folder: Path, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draws recordings of a folder for ever, each 16 kHz mono, (L,)."""
    from dtln.audio.folders import find_audio_files
    from dtln.audio.reading import read_audio

    files = find_audio_files(folder)
    while True:
        yield read_audio(files[rng.integers(len(files))], sample_rate=SAMPLE_RATE, mono=True)[0]


def take(source: Iterator[np.ndarray], length: int) -> np.ndarray:
    """The first `length` samples of recordings, one after the other: (length,)."""
    import numpy as np

    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < length:
        pieces.append(next(source))
    return np.concatenate(pieces)[:length]


ROWS: dict[str, Callable[[argparse.Namespace, Sequence[str], Report], None]] = {  # name: adds its rows to the report
    "folder": folder_row,
    "block": block_rows,
    "chunk": chunk_rows,
    "savedmodel": savedmodel_row,
    "jitter": jitter_rows,
    "start": start_rows,
    "training": training_rows,
}
