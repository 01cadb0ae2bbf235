"""Time this toolkit beside the published system's processing, both in the same run, in turns.

    python benchmarks/speed.py --published DIR [--only ROW ...] [--json FILE] [--plot FILE.png]

Rows: folder (whole commands on a folder of recordings), block (the TF-lite and ONNX pairs block by block, one thread,
beside the time that the weights and the Fourier transforms take by themselves), savedmodel, jitter, start, training.
DIR holds the published exports and model.h5; without it the block-by-block rows stand without a baseline. Every
contender is a process of its own that waits for its turn; medians are over all blocks, ranges over the turns.
benchmarks/README.md says what each row means and how to keep a machine quiet.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

ROWS = ("folder", "block", "savedmodel", "jitter", "start", "training")
QUICK = {
    "turns": 5, "turn_blocks": 100, "jitter_blocks": 1000, "files": 3, "seconds": (1.0, 2.0), "folder_repeats": 1,
    "start_repeats": 1, "batch_size": 2, "segment_seconds": 0.64, "steps": 1, "training_turns": 2,
}  # fmt: skip

PRODUCT_BLOCKS = 512  # multiplied at once where the limit of a folder is measured
SETTLE_BLOCKS = 20  # at the start of each turn, not counted: the caches still hold another contender's weights
JITTER_TURN_BLOCKS = 2500  # 20 s of signal
MINUTE_BLOCKS = 7500  # of 8 ms
SHIFT_MS = 8.0  # between two blocks
START_LIMIT_S, HELP_LIMIT_S = 1.0, 0.3
PI_CACHES = (
    "--I1=49152,3,64",
    "--D1=32768,2,64",
    "--LL=1048576,16,64",
)  # Raspberry Pi 4 (Cortex-A72): size, ways, line
ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few short turns: shows that it runs, measures little")
    parser.add_argument("--published", type=Path, metavar="DIR", help="the published exports and model.h5")
    parser.add_argument(
        "-m", "--model-dir", type=Path, default=ROOT / "pretrained_model", metavar="DIR", help="our exports"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them there (needs matplotlib)")
    parser.add_argument(
        "--count", action="store_true",
        help="only count what a block needs, weights, multiplications and, with valgrind, misses in simulated caches",
    )  # fmt: skip
    parser.add_argument("--keras2", action="store_true", help="baselines of folder and training on Keras 2 (tf_keras)")
    parser.add_argument("--contender", help=argparse.SUPPRESS)  # this process is one of them

    blocks = parser.add_argument_group("block by block")
    blocks.add_argument("--turns", type=int, default=60, help="of each contender (default: %(default)s)")
    blocks.add_argument("--turn-blocks", type=int, default=300, help="blocks of a turn (default: %(default)s)")
    blocks.add_argument(
        "--jitter-blocks", type=int, default=20000, help="450000 are an hour of signal (default: %(default)s)"
    )

    folder = parser.add_argument_group("folder")
    folder.add_argument("--speech", type=Path, metavar="DIR", help="make the files of this speech")
    folder.add_argument("--noise", type=Path, metavar="DIR", help="and this noise, instead of synthetic signals")
    folder.add_argument("--files", type=int, default=60, help="default: %(default)s")
    folder.add_argument(
        "--seconds", type=float, nargs=2, default=(6.0, 14.0), metavar=("MIN", "MAX"), help="of a file (default: 6 14)"
    )
    folder.add_argument("--folder-repeats", type=int, default=3, help="of both commands (default: %(default)s)")
    parser.add_argument("--start-repeats", type=int, default=7, help="of each command (default: %(default)s)")

    training = parser.add_argument_group("training")
    training.add_argument("--batch-size", type=int, default=8, help="segments (default: %(default)s)")
    training.add_argument("--segment-seconds", type=float, default=2.56, help="default: %(default)s")
    training.add_argument("--steps", type=int, default=3, help="of a turn, after one to settle (default: %(default)s)")
    training.add_argument("--training-turns", type=int, default=8, help="default: %(default)s")
    training.add_argument("--training-threads", type=int, default=1, help="default: %(default)s")
    training.add_argument(
        "--torch-python", default=sys.executable, metavar="PATH", help="a python with torch (default: this one)"
    )
    if parser.parse_known_args(argv)[0].quick:
        parser.set_defaults(**QUICK)
    args = parser.parse_args(argv)
    counts = (
        args.turns, args.turn_blocks, args.jitter_blocks, args.files, args.folder_repeats, args.start_repeats,
        args.batch_size, args.steps, args.training_turns, args.training_threads,
    )  # fmt: skip
    if min(counts) < 1 or not 0 < args.seconds[0] <= args.seconds[1] or args.segment_seconds < 0.1:
        parser.error("expected at least one of everything, --seconds MIN <= MAX, and segments of at least 0.1 s")
    if (args.speech is None) != (args.noise is None):
        parser.error("--speech and --noise go together: the files are mixed of both")
    if args.published and not args.published.is_dir():
        parser.error(f"--published {args.published}: is no folder. Expected one with the published exports")
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    for path in (args.json, args.plot):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"{path}: its folder does not exist. Make it first.")
    args.only = args.only or list(ROWS)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(argv)
    if args.contender:
        return contend(args)
    try:
        return print_counts(args, argv) if args.count else measure(args, argv)
    except (OSError, ImportError, ValueError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"speed.py: {error}", file=sys.stderr)
        return 1


def measure(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Prints the rows as they are finished, then writes and draws them."""
    report = Report(args)
    print(report.heading(), flush=True)
    functions = {
        "folder": folder_row, "block": block_rows, "savedmodel": savedmodel_row, "jitter": jitter_rows,
        "start": start_rows, "training": training_rows,
    }  # fmt: skip
    for name in ROWS:
        if name in args.only:
            first = len(report.rows)
            functions[name](args, argv, report)
            print("\n".join([TITLE] * (first == 0) + [row.line() for row in report.rows[first:]]), flush=True)
    print(report.ending())
    if args.json:
        report.write_json(args.json)
    if args.plot:
        report.plot(args.plot)
    return 0


# ----------------------------------------------------------------------------------------------------------------------
# Contenders: each runs in a process of its own, which this part is
# ----------------------------------------------------------------------------------------------------------------------

Turn = Callable[[int], "list[float]"]  # takes a number of blocks (or steps), gives the seconds of each


class NotHere(Exception):
    """A contender that cannot run on this machine, and why."""


def contend(args: argparse.Namespace) -> int:
    """Answers every number on stdin by a line of JSON: the seconds of so many blocks, and the memory afterwards."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints stays out of the answers

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    kind, _, name = args.contender.partition(":")
    try:
        turn, details = CONTENDERS[kind](args, name)
    except (NotHere, ImportError, OSError) as error:
        answer(missing=str(error))
        return 0
    answer(**details)
    for line in sys.stdin:
        answer(seconds=turn(int(line)), memory=resident_bytes())
    return 0


def resident_bytes() -> int | None:
    """Memory that this process holds, None where the system does not tell (other than Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def timed(work: Callable[[Any], object], inputs: Sequence[Any]) -> Turn:
    """Turns of `work` on the inputs, again and again in their order."""
    position = 0

    def turn(count: int) -> list[float]:
        nonlocal position
        seconds = [0.0] * count
        for index in range(-SETTLE_BLOCKS, count):
            value = inputs[position % len(inputs)]
            position += 1
            start = time.perf_counter()
            work(value)
            end = time.perf_counter()
            if index >= 0:
                seconds[index] = end - start
        return seconds

    return turn


def block_signal() -> np.ndarray:
    """Half a minute of synthetic signal in shifts: float32 (T, 128)."""
    import numpy as np

    return synthetic(16000 * 32, np.random.default_rng(0)).reshape(-1, 128)


def our_engine(args: argparse.Namespace, kind: str) -> tuple[Turn, dict[str, object]]:
    """One kind of export through this toolkit's streaming engine."""
    from dtln.errors import ModelError
    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import StreamingDenoiser

    try:
        denoiser = StreamingDenoiser(open_backend(kind, args.model_dir, threads=1))
    except ModelError as error:
        raise NotHere(str(error)) from error
    return timed(denoiser.process_block, block_signal()), {"runtime": denoiser.backend.runtime}


def published_loop(args: argparse.Namespace, kind: str) -> tuple[Turn, dict[str, object]]:
    """One kind of published export through the published loop."""
    from benchmarks import published
    from dtln.formats import kind_paths
    from dtln.streaming.backends import find_tflite_runtime

    if args.published is None:
        raise NotHere("--published DIR was not given")
    paths = kind_paths(kind, args.published)
    if missing := [path for path in paths if not path.exists()]:
        raise NotHere(f"{missing[0]} does not exist")
    if kind == "tflite":
        runtime, interpreter_class = find_tflite_runtime()
        loop: published.Loop = published.TFLiteLoop(paths, interpreter_class)
    elif kind == "onnx":
        runtime, loop = "onnxruntime", published.ONNXLoop(paths)
    else:
        runtime, loop = "tensorflow", published.SavedModelLoop(paths[0])
    return timed(loop.process_block, block_signal()), {"runtime": runtime}


def physical_limit(args: argparse.Namespace, what: str) -> tuple[Turn, dict[str, object]]:
    """What no engine on numpy does without: the float weights once through the processor, and the two transforms.

    "products" multiplies the weights with PRODUCT_BLOCKS blocks at once, the most that whole recordings allow.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    if what == "transforms":

        def transforms(block: np.ndarray) -> object:
            return np.fft.irfft(np.fft.rfft(block), 512)

        return timed(transforms, rng.standard_normal((64, 512)).astype(np.float32)), {"runtime": "numpy"}
    products = []
    for shape, _ in weight_tensors([args.model_dir / name for name in ("model_1.tflite", "model_2.tflite")]):
        rows = shape[0]
        matrix = rng.standard_normal((rows, int(np.prod(shape)) // rows)).astype(np.float32)
        products.append((matrix, rng.standard_normal(matrix.shape[1]).astype(np.float32), np.zeros(rows, np.float32)))

    def multiply(_: object) -> None:
        for matrix, vector, result in products:
            np.dot(matrix, vector, out=result)

    weights = sum(matrix.nbytes for matrix, _, _ in products)
    if what == "products":  # each weight is read once for many blocks, as if no block waited for the one before
        products = [
            (matrix, np.tile(vector, (PRODUCT_BLOCKS, 1)).T, np.zeros((len(matrix), PRODUCT_BLOCKS), np.float32))
            for matrix, vector, _ in products
        ]
    return timed(multiply, [None]), {"runtime": "numpy", "weight_bytes": weights}


def empty_loop(args: argparse.Namespace, milliseconds: str) -> tuple[Turn, dict[str, object]]:
    """A loop over nothing that takes about as long as a block: its jitter is the machine's."""
    count, duration = 1000, 0.0
    while duration < 0.02:  # s, long enough for the clock
        count *= 2
        start = time.perf_counter()
        for _ in range(count):
            pass
        duration = time.perf_counter() - start
    rounds = max(1, round(count * float(milliseconds) * 1e-3 / duration))

    def nothing(_: object) -> None:
        for _ in range(rounds):
            pass

    return timed(nothing, [None]), {"runtime": "python"}


def training_step(args: argparse.Namespace, name: str) -> tuple[Turn, dict[str, object]]:
    """Steps of `fit` on one batch after the other; name: published, or back end and precision of our network."""
    import numpy as np

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    length = int(16000 * args.segment_seconds / 128) * 128
    backend, _, precision = name.partition(",")
    if backend == "published":
        from benchmarks import published

        keras = published.keras_module(args.keras2)
        model = published.build_graph(keras)
        published.compile_graph(keras, model)
        versions = {"keras": keras.__version__, "tensorflow": sys.modules["tensorflow"].__version__}
    else:
        os.environ["KERAS_BACKEND"] = backend
        import keras

        import DTLN_model as dtln

        if precision == "mixed":
            keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
        model = dtln.build_network(dtln.DTLNConfig(), seed=0)
        dtln.compile_network(model, dtln.TrainingSettings(batch_size=args.batch_size), steps=1)
        versions = {"keras": keras.__version__, backend: sys.modules[backend].__version__}
        if backend == "torch":
            sys.modules["torch"].set_num_threads(args.training_threads)
    rng = np.random.default_rng(0)
    ends: list[float] = []
    note_end = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))

    def turn(count: int) -> list[float]:
        clean = np.stack([synthetic(length, rng) for _ in range((count + 1) * args.batch_size)])  # (B, L)
        noisy = (clean + 0.03 * rng.standard_normal(clean.shape)).astype(np.float32)
        ends.clear()
        model.fit(noisy, clean, batch_size=args.batch_size, shuffle=False, verbose=0, callbacks=[note_end])
        return np.diff(ends).tolist()  # of all but the first step, which settles

    return turn, {"runtime": backend, "versions": versions}


CONTENDERS: dict[str, Callable[[argparse.Namespace, str], tuple[Turn, dict[str, object]]]] = {
    "ours": our_engine,
    "published": published_loop,
    "limit": physical_limit,
    "empty": empty_loop,
    "train": training_step,
}


def synthetic(length: int, rng: np.random.Generator) -> np.ndarray:
    """White noise that swells and falls like syllables, over a noise floor: float32 (length,)."""
    import numpy as np

    swell = np.maximum(0, np.sin(2 * np.pi * 3 * np.arange(length) / 16000))  # 3 syllables a second
    return ((0.01 + 0.1 * swell) * rng.standard_normal(length)).astype(np.float32)


# ----------------------------------------------------------------------------------------------------------------------
# Turns
# ----------------------------------------------------------------------------------------------------------------------


@dataclass
class Times:
    """What a contender took: seconds turn by turn, and its memory after each turn."""

    runtime: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    turns: list[list[float]] = field(default_factory=list)
    memory: list[int | None] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        """Seconds of every block."""
        return [seconds for turn in self.turns for seconds in turn]

    def medians(self) -> list[float]:
        """The median of each turn in seconds."""
        import numpy as np

        return [float(np.median(turn)) for turn in self.turns]

    def summary(self) -> dict[str, object]:
        """Milliseconds: percentiles over all blocks, and the median of each turn."""
        import numpy as np

        values = np.array(self.all) * 1e3
        names = {"median": 50, "p5": 5, "p95": 95, "p99": 99, "p99_9": 99.9}
        return {
            **self.details,
            "count": len(values),
            "mean_ms": float(values.mean()),
            **{f"{name}_ms": float(np.percentile(values, share)) for name, share in names.items()},
            "max_ms": float(values.max()),
            "turn_medians_ms": [1e3 * median for median in self.medians()],
        }


class Contender:
    """A process that waits for its turns."""

    def __init__(self, name: str, argv: Sequence[str], python: str, threads: int) -> None:
        self.name, self.times = name, Times()
        environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
        environment |= dict.fromkeys(ONE_THREAD, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (`close` closes it)
        self._process = subprocess.Popen(
            [python, __file__, *argv, "--contender", name], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip

    def open(self) -> str | None:
        """Waits until it is ready; the reason where it cannot run here."""
        self.times.details = self._read()
        self.times.runtime = self.times.details.get("runtime", "")
        return self.times.details.get("missing")

    def turn(self, count: int, counted: bool = True) -> None:
        """Lets it run so many blocks."""
        print(count, file=self._process.stdin, flush=True)
        answer = self._read()
        if counted:
            self.times.turns.append(answer["seconds"])
            self.times.memory.append(answer["memory"])

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} failed:\n{self._errors.read()[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def take_turns(
    names: Sequence[str],
    argv: Sequence[str],
    counts: Sequence[int],
    report: Report,
    pythons: dict[str, str] | None = None,
    threads: int = 1,
    warm_up: int = 200,
    label: str = "",
) -> dict[str, Times]:
    """The times of those contenders that can run here, in turns of `counts` blocks after `warm_up` uncounted ones.

    The order is another one in each round. Why others cannot run goes into the report. pythons: name -> interpreter,
    where it is another one. label: before the names in the report. Raises RuntimeError with what a contender that
    failed wrote.
    """
    ready: list[Contender] = []
    with contextlib.ExitStack() as stack:
        for name in names:
            contender = Contender(name, argv, (pythons or {}).get(name, sys.executable), threads)
            stack.callback(contender.close)
            reason = contender.open()
            if reason:
                report.missing[name] = reason
            else:
                ready.append(contender)
        for contender in ready:
            contender.turn(warm_up, counted=False)
        for index, count in enumerate(counts):
            first = index % max(1, len(ready))
            for contender in ready[first:] + ready[:first]:
                contender.turn(count)
    times = {contender.name: contender.times for contender in ready}
    for name, value in times.items():
        report.contenders[label + name] = value.summary()
    return times


# ----------------------------------------------------------------------------------------------------------------------
# Rows
# ----------------------------------------------------------------------------------------------------------------------


EXPORT_NAMES = {
    "tflite": "TF-lite pair",
    "tflite-stream": "TF-lite graph",
    "tflite-quant": "TF-lite pair, 8 bit",
    "tflite-stream-quant": "TF-lite graph, 8 bit",
    "onnx": "ONNX pair",
    "onnx-stream": "ONNX graph",
    "onnx-stream-quant": "ONNX graph, 8 bit",
}


def block_rows(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Exports block by block against the published float TF-lite loop, ONNX also against the published ONNX loop."""
    names = [f"ours:{kind}" for kind in EXPORT_NAMES] + ["published:tflite", "published:onnx"]
    names += ["limit:weights", "limit:transforms"]
    times = take_turns(names, argv, [args.turn_blocks] * args.turns, report)
    report.histogram = {name: value.all for name, value in times.items() if not name.startswith("limit")}
    for title, baseline, goal, wanted in (
        ("float", "published:tflite", (0.75, 0.6), lambda kind: "quant" not in kind),
        ("8 bit", "published:tflite", (0.5, 0.35), lambda kind: "quant" in kind),
        ("ONNX", "published:onnx", (0.5, None), lambda kind: kind.startswith("onnx")),
    ):
        kinds = [kind for kind in EXPORT_NAMES if wanted(kind)]
        measured = [kind for kind in kinds if f"ours:{kind}" in times]
        if measured:
            best = min(measured, key=lambda kind: times[f"ours:{kind}"].summary()["median_ms"])
            row = f"block, {title}, best: {EXPORT_NAMES[best]}"
            report.compare("block", row, times, f"ours:{best}", baseline, goal)
        for kind in kinds:
            report.compare("block", f"block, {title}: {EXPORT_NAMES[kind]}", times, f"ours:{kind}", baseline, goal)
    if "limit:weights" in times:
        weights, transforms = (times[f"limit:{name}"].summary()["median_ms"] for name in ("weights", "transforms"))
        stored = times["limit:weights"].details["weight_bytes"]
        report.limit |= {"weights_ms": weights, "transforms_ms": transforms, "weight_bytes": stored}


def savedmodel_row(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """SavedModels block by block."""
    names, count = ["ours:savedmodel", "published:savedmodel"], max(1, args.turn_blocks // 3)
    times = take_turns(names, argv, [count] * args.turns, report)
    report.compare("savedmodel", "block, SavedModel", times, *names, (0.2, None))


def jitter_rows(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """The slowest block in a thousand over the median one, and the memory after a minute and at the end."""
    from dtln.formats import fastest_kind

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
        "jitter", f"p99.9 / median of {args.jitter_blocks} blocks", ratios.get(ours), ratios.get(baseline), "",
        why=report.missing.get(ours) or report.missing.get(baseline),
    )  # fmt: skip
    row.finish((1.0, None))
    report.rows.append(row)
    report.rows.append(Row("jitter", "   the same of an empty loop as long", ratios.get(empty), None, ""))
    minute = min(len(counts), MINUTE_BLOCKS // JITTER_TURN_BLOCKS) - 1
    for index in (minute, len(counts) - 1):
        title = f"memory after {sum(counts[: index + 1]) * SHIFT_MS / 1e3:.0f} s of signal"
        memory = [times[name].memory[index] if name in times else None for name in (ours, baseline)]
        report.rows.append(Row("jitter", title, *(None if m is None else m / 2**20 for m in memory), unit="MiB"))


def folder_row(args: argparse.Namespace, argv: Sequence[str], report: Report) -> None:
    """Whole commands, from start to exit, on as many cores as they take."""
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
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        blocks = seconds / (SHIFT_MS * 1e-3)
        multiply = products.summary()["median_ms"] * 1e-3 / PRODUCT_BLOCKS * blocks / cores
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
    """Steps of `fit`, forwards, backwards and Adam, with the same threads, batch and length."""
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
    """Seconds from start to exit, and the last line of what a command that failed wrote."""
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    taken = time.perf_counter() - start
    return taken, (run.stderr.strip().splitlines() or ["failed"])[-1] if run.returncode else None


def write_recordings(args: argparse.Namespace, folder: Path) -> float:
    """Writes the noisy wavs, 16 bit; their seconds in all."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    folder.mkdir()
    speech, noise = (signals(path, rng) if path else None for path in (args.speech, args.noise))
    samples = 0
    for index in range(args.files):
        length = int(rng.uniform(*args.seconds) * 16000)
        if speech and noise:
            from dtln.mixing.mixer import mix

            parts = (take(source, length) for source in (speech, noise))
            signal, _ = mix(*parts, snr_db=rng.uniform(-5, 20), level_dbfs=-25.0)
        else:
            signal = synthetic(length, rng)
        soundfile.write(folder / f"{index:04d}.wav", signal, 16000, subtype="PCM_16")
        samples += length
    return samples / 16000


def signals(folder: Path, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Recordings of a folder, 16 kHz mono, in a random order, again and again."""
    from dtln.audio.folders import find_audio_files
    from dtln.audio.reading import read_audio

    files = find_audio_files(folder)
    while True:
        yield read_audio(files[rng.integers(len(files))], sample_rate=16000, mono=True)[0]


def take(source: Iterator[np.ndarray], length: int) -> np.ndarray:
    """So many samples of recordings one after the other."""
    import numpy as np

    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < length:
        pieces.append(next(source))
    return np.concatenate(pieces)[:length]


# ----------------------------------------------------------------------------------------------------------------------
# Counts
# ----------------------------------------------------------------------------------------------------------------------


def weight_tensors(paths: Sequence[Path]) -> list[tuple[tuple[int, ...], int]]:
    """(shape, bytes of an element) of the weight matrices in TF-lite models.

    They are the float and 8-bit tensors of rank 2 and more whose first axis is not the one signal's.
    """
    import numpy as np

    from dtln.streaming.backends import find_tflite_runtime

    _, interpreter_class = find_tflite_runtime()
    found = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        for detail in interpreter_class(model_path=str(path)).get_tensor_details():
            shape = tuple(int(size) for size in detail["shape"])
            size = np.dtype(detail["dtype"])
            if len(shape) >= 2 and shape[0] > 1 and size in (np.dtype("float32"), np.dtype("int8")):
                found.append((shape, size.itemsize))
    return found


def print_counts(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Prints what a block needs by count, float and 8 bit; these are no times."""
    import math

    print("Counted in the model files, not measured: what every block of 8 ms needs, on any processor.")
    counts: dict[str, dict[str, float]] = {}
    for kind, names in (
        ("tflite", ("model_1.tflite", "model_2.tflite")),
        ("tflite-quant", ("model_quant_1.tflite", "model_quant_2.tflite")),
    ):
        tensors = weight_tensors([args.model_dir / name for name in names])
        stored = sum(math.prod(shape) * size for shape, size in tensors)
        products = sum(math.prod(shape) for shape, _ in tensors)
        rate = stored / (SHIFT_MS * 1e-3)
        counts[kind] = {"weight_bytes": stored, "multiply_adds": products, "bytes_per_second": rate}
        print(
            f"  {kind + ':':<13} {products / 1e6:.3f} million multiply-adds, {stored / 1e6:.3f} MB of weights; "
            f"{rate / 1e6:.0f} MB/s where no cache holds them from block to block"
        )
    transforms = 2 * 2.5 * 512 * math.log2(512)  # 5/2 N log2 N: a real transform by halving
    print(f"  the two Fourier transforms: about {transforms / 1e6:.3f} million operations")
    if shutil.which("valgrind") and not args.quick:
        print("Simulated by cachegrind: this processor's code, without AVX-512, in caches of a Raspberry Pi 4 (48 KiB")
        print("instructions, 32 KiB data, 1 MiB shared). Arm code has other instructions; the misses are the point.")
        for kind in counts:
            counts[kind] |= simulate(kind, argv)
            c = counts[kind]
            print(
                f"  {kind + ':':<13} {c['instructions'] / 1e6:.3f} million instructions a block, "
                f"{c['last_level_misses']:.0f} lines of 64 bytes from memory: {c['memory_mb_per_second']:.0f} MB/s"
            )
    else:
        print("No cache simulation: it needs valgrind, and runs without --quick.")
    if args.json:
        write_json(args.json, {"machine": machine(), "versions": versions(), "count": counts})
    return 0


def simulate(kind: str, argv: Sequence[str], blocks: int = 100) -> dict[str, float]:
    """Instructions and last-level misses of one block: the difference of two runs of the engine under cachegrind."""
    totals = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (blocks, 2 * blocks):
            file = Path(folder) / "out"
            subprocess.run(
                ["valgrind", "--tool=cachegrind", "--cache-sim=yes", *PI_CACHES, f"--cachegrind-out-file={file}"]
                + [sys.executable, __file__, *argv, "--contender", f"ours:{kind}"],
                input=f"{count}\n", text=True, check=True, capture_output=True,
                env=os.environ | dict.fromkeys(ONE_THREAD, "1") | {"PYTHONHASHSEED": "0"},
            )  # fmt: skip
            lines = dict(line.split(": ", 1) for line in file.read_text().splitlines() if ": " in line[:10])
            totals.append(dict(zip(lines["events"].split(), map(int, lines["summary"].split()), strict=True)))
    per_block = {name: (totals[1][name] - totals[0][name]) / blocks for name in totals[0]}
    misses = per_block["ILmr"] + per_block["DLmr"] + per_block["DLmw"]
    return {
        "instructions": per_block["Ir"],
        "last_level_misses": misses,
        "memory_mb_per_second": misses * 64 / (SHIFT_MS * 1e-3) / 1e6,
    }


# ----------------------------------------------------------------------------------------------------------------------
# Report
# ----------------------------------------------------------------------------------------------------------------------

TITLE = f"{'':46} {'ours':>10} {'baseline':>10}   {'ratio':<22} {'needed':>7} {'aimed':>6}"


@dataclass
class Row:
    """One line of the table. `ours` and `baseline` in `unit`; the range of the ratio is over turns."""

    name: str
    title: str
    ours: float | None
    baseline: float | None
    unit: str
    why: str | None = None  # there is no ratio
    ratio: float | None = None
    ratio_range: tuple[float, float] | None = None
    needed: float | None = None
    aimed: float | None = None
    verdict: str = ""
    baseline_is_limit: bool = False

    def finish(self, goal: tuple[float, float | None]) -> None:
        """Adds the goal, the ratio unless it is there, and what they say together."""
        self.needed, self.aimed = goal
        if self.ratio is None and self.ours is not None and self.baseline:
            self.ratio = self.ours / self.baseline
        if self.ratio is not None:
            reached = "aimed at" if self.aimed and self.ratio <= self.aimed else "reached"
            self.verdict = reached if self.ratio <= self.needed else "NOT REACHED"

    def line(self) -> str:
        """For people."""

        def number(value: float | None) -> str:
            digits = {"ms": 3, "s": 2, "MiB": 1}.get(self.unit, 2)
            return "-" if value is None else f"{value:.{digits}f} {self.unit}".strip()

        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        if self.ratio_range:
            ratio += f" ({self.ratio_range[0]:.3f}-{self.ratio_range[1]:.3f})"
        goals = [
            f"{goal:.3f}" if goal and goal < 0.1 else f"{goal:g}" if goal else "" for goal in (self.needed, self.aimed)
        ]
        baseline = ("< " if self.baseline_is_limit else "") + number(self.baseline)
        line = f"{self.title:<46} {number(self.ours):>10} {baseline:>10}   {ratio:<22} {goals[0]:>7} {goals[1]:>6}"
        return f"{line}  {self.verdict}".rstrip() + (f"\n    no comparison: {self.why}" if self.why else "")


class Report:
    """What was measured, as it comes in."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.rows: list[Row] = []
        self.contenders: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.limit: dict[str, float] = {}
        self.histogram: dict[str, list[float]] = {}  # seconds
        self.throughput: dict[str, float] = {}  # times real time
        self.machine, self.versions = machine(), versions()

    def compare(
        self,
        name: str,
        title: str,
        times: dict[str, Times],
        ours: str,
        baseline: str,
        goal: tuple[float, float | None],
        unit: str = "ms",
        why: str | None = None,
    ) -> None:
        """Adds the row of two contenders' medians; the ratio's range is from the 5th to the 95th percentile of the
        turns' ratios."""
        import numpy as np

        scale = 1e3 if unit == "ms" else 1.0
        mine, other = times.get(ours), times.get(baseline)
        medians = [None if t is None else scale * float(np.median(t.all)) for t in (mine, other)]
        row = Row(name, title, *medians, unit, why=why or self.missing.get(ours) or self.missing.get(baseline))
        if mine and other:
            ratios = np.array(mine.medians()) / np.array(other.medians())
            row.ratio_range = tuple(float(x) for x in np.percentile(ratios, (5, 95))) if len(ratios) > 1 else None
        row.finish(goal)
        self.rows.append(row)

    def heading(self) -> str:
        """Machine and versions."""
        m = self.machine
        lines = [
            f"{m['processor']}, {m['cores_usable']} of {m['cores']} cores, {m['system']}, load {m['load']}, "
            f"governor {m['governor']}",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        if m["load"] and m["load"][0] > 0.3:
            lines.append("Other programs are running: expect longer times and wide ranges.")
        return "\n".join(lines)

    def ending(self) -> str:
        """The physical limits, to be read beside the best float engine and the folder."""
        lines = []
        if "weights_ms" in self.limit:
            weights, transforms = self.limit["weights_ms"], self.limit["transforms_ms"]
            megabytes = self.limit["weight_bytes"] / 1e6
            lines.append(
                f"limit of a float block on one thread: {weights + transforms:.3f} ms; {weights:.3f} to read "
                f"{megabytes:.2f} MB of weights once and multiply (numpy), {transforms:.3f} for the two transforms"
            )
        if "folder_start_s" in self.limit:
            lines.append(
                f"limit of the folder: {self.limit['folder_start_s']:.2f} s for a folder with 0.1 s of audio; "
                f"{self.limit['folder_products_s']:.2f} s for the products of all blocks at once, all cores (numpy)"
            )
        lines.append("ratios: medians, in brackets the 5th to 95th percentile over turns")
        return "\n".join(lines)

    def write_json(self, path: Path) -> None:
        """Everything but the single blocks."""
        arguments = {n: str(v) if isinstance(v, Path) else v for n, v in vars(self.args).items() if n != "contender"}
        write_json(
            path,
            {
                "machine": self.machine | {"load_after": load()},
                "versions": self.versions,
                "settings": arguments,
                "rows": [vars(row) for row in self.rows],
                "contenders": self.contenders,
                "missing": self.missing,
                "limit": self.limit,
                "throughput": self.throughput,
            },
        )
        print(f"written to {path}")

    def plot(self, path: Path) -> None:
        """Draws the histogram of latencies and the bars of throughput."""
        import matplotlib

        matplotlib.use("Agg")
        import numpy as np
        from matplotlib import pyplot

        figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
        if self.histogram:
            every = np.concatenate([np.array(seconds) for seconds in self.histogram.values()]) * 1e3
            bins = np.geomspace(every.min(), np.percentile(every, 99), 80)  # the slowest would stretch the axis
            for name, seconds in self.histogram.items():
                style = "--" if name.startswith("published") else "-"
                left.hist(
                    np.array(seconds) * 1e3, bins, histtype="step", label=name.replace(":", ", "), linestyle=style
                )
            left.set(xscale="log", xlabel="ms per block", ylabel="blocks", title="Latency of a block, one thread")
            left.legend()
        bars = {name: SHIFT_MS / c["median_ms"] for name, c in self.contenders.items() if name in self.histogram}
        bars |= self.throughput
        if bars:
            names = list(bars)[::-1]
            colours = ["tab:orange" if "published" in name else "tab:blue" for name in names]
            drawn = right.barh([name.replace(":", ", ") for name in names], [bars[n] for n in names], color=colours)
            right.bar_label(drawn, fmt="%.0f", padding=2)
            limits = (1, 2 * max(bars.values()))
            right.set(xscale="log", xlim=limits, xlabel="times real time", title="Throughput")
        figure.suptitle(self.machine["processor"])
        figure.tight_layout()
        figure.savefig(path, dpi=120)
        print(f"drawn in {path}")


def write_json(path: Path, value: object) -> None:
    """Writes it, complete or not at all."""
    from dtln.files import complete_file

    with complete_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def load() -> list[float] | None:
    """Processes that wanted to run in the last 1, 5 and 15 minutes; None where the system does not tell."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def machine() -> dict[str, Any]:
    """Processor, cores, clock governor, load, system."""
    from dtln.commands.benchmark import processor_name

    try:
        governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        governor = "unknown"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor_name(), "cores": os.cpu_count(), "cores_usable": usable, "governor": governor,
        "load": load(), "system": platform.platform(), "architecture": platform.machine(),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of python and of the packages that count, where installed."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in (
        "numpy", "ai-edge-litert", "tflite-runtime", "onnxruntime", "tensorflow", "tensorflow-cpu", "keras", "torch",
        "tf-keras",
    ):  # fmt: skip
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
