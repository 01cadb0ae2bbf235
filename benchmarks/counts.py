"""What a block needs by count: weights, multiplications and, with valgrind, misses in simulated caches."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import SHIFT_MS, weight_tensors
from benchmarks.report import machine, versions, write_json
from benchmarks.turns import ONE_THREAD, SCRIPT
from dtln.facts import BLOCK_LENGTH
from dtln.formats import kind_paths

PI_CACHES = ("--I1=49152,3,64", "--D1=32768,2,64", "--LL=1048576,16,64")  # Raspberry Pi 4: bytes, ways, line


def print_counts(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Prints what a block needs by count, in float and in 8 bits; returns the exit status."""
    print("Counted in the model files, not measured: what every block of 8 ms needs, on any processor.")
    counts: dict[str, dict[str, float]] = {}
    for kind in ("tflite", "tflite-quant"):
        tensors = weight_tensors(kind_paths(kind, args.model_dir))
        stored = sum(math.prod(shape) * size for shape, size in tensors)
        products = sum(math.prod(shape) for shape, _ in tensors)
        rate = stored / (SHIFT_MS * 1e-3)
        counts[kind] = {"weight_bytes": stored, "multiply_adds": products, "bytes_per_second": rate}
        print(
            f"  {kind + ':':<13} {products / 1e6:.3f} million multiply-adds, {stored / 1e6:.3f} MB of weights; "
            f"{rate / 1e6:.0f} MB/s where no cache holds them from block to block"
        )
    transforms = 2 * 2.5 * BLOCK_LENGTH * math.log2(BLOCK_LENGTH)  # 5/2 N log2 N: a real transform by halving
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
                + [sys.executable, str(SCRIPT), *argv, "--contender", f"ours:{kind}"],
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
