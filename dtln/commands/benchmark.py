"""Measure how long one block takes: mean and percentiles in ms, against the 8 ms between two blocks.

measure_execution_time.py [--backend savedmodel|tflite|tflite-quant|onnx|all] [-m DIR] [--threads N] [--json FILE]

Every block goes through the streaming engine, transforms and overlap-add included. "all" measures every export that the
folder holds and that has a runtime here. Real time needs the slowest blocks, not the mean, below the shift; the verdict
looks at the 99th percentile.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path


def parse(argv: Sequence[str] | None, prog: str = "measure_execution_time.py") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="savedmodel", help="kind of export, or all (default: %(default)s)")
    parser.add_argument("-m", "--model-dir", type=Path, metavar="DIR", help="exports (default: pretrained_model)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=2000, help="blocks to time (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    args = parser.parse_args(argv)
    if args.blocks < 1 or args.threads < 1:
        parser.error("--blocks and --threads must be at least 1")
    return args


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for key in ("model name", "Model", "Hardware"):  # the latter two on Arm boards
        for line in lines:
            if line.partition(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure(kind: str, model_dir: Path, threads: int, blocks: int) -> dict:
    """Times `blocks` blocks of noise through one kind of export, after a tenth as many to warm up."""
    import numpy as np

    from dtln.facts import SAMPLE_RATE
    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import TimedDenoiser
    from dtln.streaming.times import time_summary

    backend = open_backend(kind, model_dir, threads)
    denoiser = TimedDenoiser(backend)
    shift = backend.block_shift
    warm_up = blocks // 10 + 1
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (warm_up + blocks, shift)).astype(np.float32)
    for samples in noise:
        denoiser.process_block(samples)
    summary = time_summary(denoiser.milliseconds[warm_up:], shift)
    shift_ms = shift / SAMPLE_RATE * 1e3
    return {
        "backend": kind,
        "runtime": backend.runtime,
        "threads": threads,
        "shift_ms": shift_ms,
        **summary,
        "real_time": summary["p99"] < shift_ms,
    }


def main(argv: Sequence[str] | None = None, prog: str = "measure_execution_time.py") -> int:
    args = parse(argv, prog)
    from dtln.errors import ModelError
    from dtln.formats import EXPORT_KINDS, MODEL_DIR, available_kinds
    from dtln.streaming.times import describe_times

    model_dir = args.model_dir or MODEL_DIR
    kinds = available_kinds(model_dir) if args.backend == "all" else [args.backend]
    if not kinds:
        print(f"{model_dir}: holds no exports. Make them with convert_weights_and_savedmodel.py.", file=sys.stderr)
        return 1
    if "savedmodel" in kinds:  # first, because TensorFlow's threads can be set only before it has run
        kinds = ["savedmodel", *(kind for kind in kinds if kind != "savedmodel")]
    elif args.backend != "all" and args.backend not in EXPORT_KINDS:
        print(f"unknown backend {args.backend!r}: expected all or one of {', '.join(EXPORT_KINDS)}", file=sys.stderr)
        return 2
    machine = {"processor": processor_name(), "python": platform.python_version(), "system": platform.platform()}
    print(f"{machine['processor']}, {args.threads} thread{'s' if args.threads > 1 else ''}")
    results = []
    for kind in kinds:
        try:
            result = measure(kind, model_dir, args.threads, args.blocks)
        except ImportError as error:
            print(f"{kind}: not measured, {error}", file=sys.stderr)
            if args.backend != "all":
                return 1
            continue
        except (ModelError, OSError) as error:
            print(f"{kind}: {error}", file=sys.stderr)
            return 1
        results.append(result)
        verdict = "real time" if result["real_time"] else "TOO SLOW"
        print(f"{kind} ({result['runtime']}): {describe_times(result)}")
        print(f"    p99 is {result['p99'] / result['shift_ms']:.1%} of the {result['shift_ms']:g} ms shift: {verdict}")
    if args.json:
        from dtln.files import complete_file

        with complete_file(args.json) as partial:
            partial.write_text(json.dumps({**machine, "results": results}, indent=2) + "\n")
    return 0 if results else 1
