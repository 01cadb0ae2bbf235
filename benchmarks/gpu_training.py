"""Time a training step of --engine cuda beside one of the Keras engine, on the same device, in turns.

    python benchmarks/gpu_training.py [--batch-size N] [--segment-seconds X] [--networks N] [--json FILE]

Contenders: Keras on PyTorch, and the engine cuda step by step, as a CUDA graph, and as a graph with Triton's kernels,
each where the device has it. All train the same network with Muon in the same precision, bfloat16 on a GPU and float32
on a CPU. A step of Keras begins with a batch in host memory; one of the engine cuda mixes its batch, too. Everything
runs in this process; the contenders take turns in another order each round.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `python benchmarks/gpu_training.py` looks only in benchmarks/

from benchmarks.turns import Times  # noqa: E402
from dtln.errors import MissingPackageError, SettingsError, require  # noqa: E402
from dtln.facts import BLOCK_SHIFT, SAMPLE_RATE  # noqa: E402
from dtln.gpu.settings import BLOCK_SEGMENTS, COMPILED_SIGNALS, GPUSettings, NetworkSettings  # noqa: E402

if TYPE_CHECKING:
    from dtln.gpu.pool import SegmentPool

Turn = Callable[[int], list[float]]  # steps -> seconds of each
BASELINE = "keras"
RATE = 1e-4  # low: it changes nothing in the time of a step


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=192, help="segments (default: %(default)s)")
    parser.add_argument("--segment-seconds", type=float, default=6.0, help="default: %(default)s")
    parser.add_argument("--networks", type=int, default=1, help="that --engine cuda trains at once (default: 1)")
    parser.add_argument("--norm", action="store_true", help="train the variant with --norm-stft")
    parser.add_argument("--turns", type=int, default=10, help="of each contender (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="of a turn, after one to settle (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    args = parser.parse_args(argv)
    if min(args.batch_size, args.networks, args.turns, args.steps) < 1 or args.segment_seconds < 0.1:
        parser.error("expected at least one of everything, and segments of at least 0.1 s")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        measure(args)
    except (SettingsError, MissingPackageError, OSError) as error:
        print(f"gpu_training.py: {error}", file=sys.stderr)
        return 1
    return 0


def measure(args: argparse.Namespace) -> None:
    """Prints a row for each contender, then writes the numbers."""
    from dtln.gpu.training import prepare

    prepare()
    import numpy as np
    import torch

    from dtln.gpu.pool import SegmentPool
    from dtln.mixing import Mixer, Recordings

    length = int(SAMPLE_RATE * args.segment_seconds / BLOCK_SHIFT) * BLOCK_SHIFT
    rng = np.random.default_rng(0)
    speech, noise = (
        Recordings([kind], [rng.integers(-9000, 9000, 4 * length).astype(np.int16)]) for kind in ("speech", "noise")
    )
    # forked before the GPU is touched; it ends when the pool is full, and disturbs no turn
    with SegmentPool(Mixer(speech, noise, length), BLOCK_SEGMENTS, 1, seed=0) as pool:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        pool.open(device, until=1)
    torch.backends.cuda.matmul.allow_tf32 = True
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    audio = args.batch_size * length / SAMPLE_RATE
    print(f"{name}, PyTorch {torch.__version__}: {args.batch_size} segments, {audio:.0f} s of audio a step")
    contenders, missing = start(args, pool)
    times = {contender: Times(runtime=name) for contender in contenders}
    order = list(contenders)
    for turn in contenders.values():
        turn(1)
    for index in range(args.turns):
        first = index % len(order)
        for contender in order[first:] + order[:first]:
            times[contender].turns.append(contenders[contender](args.steps))
    baseline = times[BASELINE].median_ms()
    print("one step, for each network | median ms | 5th to 95th percentile | hours of mixtures a minute | of Keras's")
    for contender, value in times.items():
        found = value.summary()
        print(
            f"{contender} | {found['median_ms']:.1f} | {found['p5_ms']:.1f} to {found['p95_ms']:.1f} | "
            f"{audio / found['median_ms'] * 1e3 / 60:.2f} | {found['median_ms'] / baseline:.3f}"
        )
    for contender, reason in missing.items():
        print(f"{contender}: not here, {reason}")
    if args.json:
        summaries = {contender: value.summary() for contender, value in times.items()}
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        report = {"device": name, "torch": torch.__version__, "settings": settings, "missing": missing}
        args.json.write_text(json.dumps({**report, "contenders": summaries}, indent=2) + "\n")


def start(args: argparse.Namespace, pool: SegmentPool) -> tuple[dict[str, Turn], dict[str, str]]:
    """The contenders that can run here, the baseline first, and why others cannot."""
    import torch

    from dtln.gpu.losses import LOSSES
    from dtln.gpu.network import PLAIN, compiled, compiled_operations
    from dtln.gpu.steps import Steps
    from dtln.gpu.training import built

    on_gpu, length = pool.device.type == "cuda", pool.mixer.segment_length
    dtype = torch.bfloat16 if on_gpu else torch.float32
    ways: dict[str, tuple[bool, bool]] = {"cuda": (False, False)}  # graph, compiled
    missing: dict[str, str] = {}
    for name, way, lacks in (
        ("cuda, graph", (True, False), ""),
        ("cuda, graph, compiled", (True, True), compiles(args)),
    ):
        if on_gpu and not lacks:
            ways[name] = way
        else:
            missing[name] = lacks if on_gpu else "this device is no GPU"
    turns: dict[str, Turn] = {BASELINE: keras_turn(args, length, on_gpu)}
    for name, (graph, compile_kernels) in ways.items():
        settings = GPUSettings(batch_size=args.batch_size, mixed_precision=on_gpu, compiled=compile_kernels)
        wanted = [NetworkSettings(str(i), norm=args.norm, init="mdct", rate=RATE) for i in range(args.networks)]
        networks = built(wanted, settings, pool.device)[1]
        operations = compiled_operations() if compile_kernels else PLAIN
        loss = compiled(LOSSES["snr"]) if compile_kernels else LOSSES["snr"]
        steps = Steps(networks, pool, args.batch_size, dtype, graph, operations, loss)
        turns[name] = timed_turn(steps.take, torch.cuda.synchronize if on_gpu else None, args.networks)
    return turns, missing


def compiles(args: argparse.Namespace) -> str:
    """Why Triton cannot make the kernels; nothing if it can."""
    if args.batch_size % COMPILED_SIGNALS:
        return f"compiled kernels need a batch that is a multiple of {COMPILED_SIGNALS}"
    try:
        require("triton", "compiling kernels")
    except MissingPackageError as error:
        return str(error)
    return ""


def timed_turn(take: Callable[[float], None], wait: Callable[[], None] | None, networks: int) -> Turn:
    """Turns of a step of the engine cuda; the time is that of each network."""

    def turn(count: int) -> list[float]:
        ends = []
        for _ in range(count + 1):  # the first one settles
            take(1.0)
            if wait is not None:
                wait()
            ends.append(time.perf_counter())
        return [(after - before) / networks for before, after in zip(ends, ends[1:], strict=False)]

    return turn


def keras_turn(args: argparse.Namespace, length: int, on_gpu: bool) -> Turn:
    """Turns of `fit` with Keras on PyTorch."""
    import keras
    import numpy as np
    import torch

    import DTLN_model

    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if on_gpu else "float32")
    network = DTLN_model.build_network(DTLN_model.DTLNConfig(norm_stft=args.norm, dropout=0.1), seed=0)
    settings = DTLN_model.TrainingSettings(batch_size=args.batch_size, learning_rate=RATE, optimizer="muon")
    DTLN_model.compile_network(network, settings, steps=1)
    keras.mixed_precision.set_dtype_policy("float32")  # the networks of the other contenders only hold weights
    rng, ends = np.random.default_rng(0), []
    clean = 0.1 * rng.standard_normal((args.batch_size, length)).astype(np.float32)
    noisy = clean + 0.03 * rng.standard_normal(clean.shape).astype(np.float32)

    def note_end(batch: int, logs: object) -> None:
        if on_gpu:
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    def batches() -> Any:
        while True:
            yield noisy, clean

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=note_end)

    def turn(count: int) -> list[float]:
        ends.clear()
        network.fit(batches(), steps_per_epoch=count + 1, shuffle=False, verbose=0, callbacks=[callback])
        return np.diff(ends).tolist()  # the first step settles

    return turn


if __name__ == "__main__":
    sys.exit(main())
