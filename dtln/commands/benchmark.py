"""Measure how long one block takes: mean and percentiles in ms, against the 8 ms between two blocks.

    %(prog)s [--backend KIND | all] [-m DIR] [--threads N] [--json FILE]

Every block goes through the streaming engine, transforms and overlap-add included. "all" measures every export that the
folder holds and that has a runtime here. Real time needs the slowest blocks, not the mean, to be below the shift; the
verdict looks at the 99th percentile.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from dtln.commands.flags import add_exports_arguments, positive
from dtln.commands.run import failed
from dtln.errors import MissingPackageError, ModelError, SettingsError, require_place
from dtln.formats import EXPORT_KINDS, available_kinds


def parse(argv: Sequence[str] | None, prog: str, kind: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--backend", default=kind, metavar="KIND",
        help=f"kind of export, or all: {', '.join(EXPORT_KINDS)} (default: %(default)s)",
    )  # fmt: skip
    add_exports_arguments(parser)
    parser.add_argument(
        "--blocks", type=positive(int), default=2000, metavar="N", help="blocks to time (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return parser.parse_args(argv)


def measure(kind: str, model_dir: Path, threads: int, blocks: int) -> dict:
    """Times `blocks` blocks of noise through one kind of export, after a tenth as many to warm up."""
    from dataclasses import asdict

    import numpy as np

    from dtln.facts import SAMPLE_RATE
    from dtln.streaming.backends import open_backend
    from dtln.streaming.engine import TimedDenoiser
    from dtln.streaming.times import BlockTimes, describe_times, time_summary

    backend = open_backend(kind, model_dir, threads)
    denoiser = TimedDenoiser(backend)
    shift = backend.block_shift
    warm_up = blocks // 10 + 1
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (warm_up + blocks, shift)).astype(np.float32)
    for samples in noise:
        denoiser.process_block(samples)
    times = time_summary(denoiser.milliseconds[warm_up:], shift)
    bins = BlockTimes()
    for milliseconds in denoiser.milliseconds[warm_up:]:
        bins.add(milliseconds)
    shift_ms = shift / SAMPLE_RATE * 1e3
    real_time = times.p99 < shift_ms
    print(f"{kind} ({backend.runtime}): {describe_times(times)}")
    verdict = "real time" if real_time else "TOO SLOW"
    print(f"    p99 is {times.p99 / shift_ms:.1%} of the {shift_ms:g} ms shift: {verdict}")
    return {
        "backend": kind,
        "runtime": backend.runtime,
        "threads": threads,
        "shift_ms": shift_ms,
        **asdict(times),
        "real_time": real_time,
        "histogram": bins.histogram(),
    }


def main(argv: Sequence[str] | None = None, prog: str = "measure_execution_time.py", kind: str = "all") -> int:
    """kind: what is measured where --backend does not say."""
    args = parse(argv, prog, kind)
    from dtln.machine import processor_name

    everything = args.backend == "all"
    kinds = available_kinds(args.model_dir) if everything else [args.backend]
    if not kinds:
        print(f"{args.model_dir}: holds no exports. Make them with `dtln convert`.", file=sys.stderr)
        return 1
    if not everything and args.backend not in EXPORT_KINDS:
        print(f"unknown backend {args.backend!r}: expected all or one of {', '.join(EXPORT_KINDS)}", file=sys.stderr)
        return 2
    if args.json:
        try:
            require_place(args.json)
        except SettingsError as error:
            return failed(prog, error)
    kinds.sort(key=lambda name: name != "savedmodel")  # TensorFlow takes a number of threads only before it has run
    machine = {"processor": processor_name(), "python": platform.python_version(), "system": platform.platform()}
    print(f"{machine['processor']}, {args.threads} thread{'s' if args.threads > 1 else ''}")
    results = []
    for name in kinds:
        try:
            results.append(measure(name, args.model_dir, args.threads, args.blocks))
        except MissingPackageError as error:
            print(f"{name}: not measured, {error}", file=sys.stderr)
            if not everything:
                return 1
        except (ModelError, OSError) as error:
            return failed(name, error)
    if args.json:
        from dtln.files import complete_file

        with complete_file(args.json) as partial:
            partial.write_text(json.dumps({**machine, "results": results}, indent=2) + "\n")
    return 0 if results else 1
