"""Train DTLN on a CUDA GPU, several networks at once, on speech and noise mixed on the fly: 400 hours in a minute.

run_training_cuda.py --run-dir DIR --speech DIR --noise DIR --steps 20000 --network plain --network norm norm rate=0.003

Each --network NAME is followed by what it differs in: norm (log magnitude and instant layer normalisation before
core 1), weights=H5 (start from these), init=random|mdct|mclt, rate=X (highest learning rate), dropout=X. All see the
same batches; the optimizer is Muon, the loss negative SNR, the schedule warm-up and cosine. In DIR appear the best
weights NAME.h5, the last ones NAME_last.h5, the log training.csv and config.json. Needs PyTorch; without a GPU it runs
step by step. Pairs on disk, other losses, exact resume and several devices: run_training.py.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dtln.commands.train import add_mixing_arguments, check_ranges
from dtln.gpu.training import NetworkSettings, train


def parse(argv: Sequence[str] | None, prog: str = "run_training_cuda.py") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, required=True, help="folder for weights, log and settings")
    parser.add_argument(
        "--network",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "SETTING"),
        help="a network to train, and what it differs in; may be repeated",
    )
    add_mixing_arguments(parser)
    loop = parser.add_argument_group("loop")
    loop.add_argument("--segment-seconds", type=float, default=4.0, help="default: %(default)s")
    loop.add_argument("--batch-size", type=int, default=256, help="default: %(default)s")
    loop.add_argument("--steps", type=int, default=20000, help="at most (default: %(default)s)")
    loop.add_argument(
        "--minutes", type=float, default=0.0, help="end by then, the schedule too (default: only --steps)"
    )
    loop.add_argument("--warmup-steps", type=int, default=300, help="default: %(default)s")
    loop.add_argument("--check-every", type=int, default=500, help="steps between validations (default: %(default)s)")
    loop.add_argument("--pool-segments", type=int, default=16384, help="kept on the GPU (default: %(default)s)")
    loop.add_argument(
        "--mixing-processes", type=int, default=max(1, (os.cpu_count() or 1) - 1), help="default: all cores but one"
    )
    loop.add_argument("--adam-share", type=float, default=0.2, help="see run_training.py (default: %(default)s)")
    loop.add_argument("--clip-norm", type=float, default=3.0, help="of the gradient (default: %(default)s)")
    loop.add_argument(
        "--mixed-precision", action="store_true", help="cores in bfloat16 (signal and variables stay float32)"
    )
    loop.add_argument("--compile", action="store_true", help="kernels made by Triton: several times faster on CUDA")
    loop.add_argument("--no-graph", action="store_true", help="launch every kernel of a step anew, as on a CPU")
    loop.add_argument("--seed", type=int, default=42, help="of mixtures, dropout and start (default: %(default)s)")
    args = parser.parse_args(argv)
    if not args.speech or not args.noise:
        parser.error("give --speech and --noise")
    check_ranges(parser, args)
    if args.compile and not args.mixed_precision:
        parser.error("--compile: expected --mixed-precision, too; recurrent weights in float32 do not fit on the chip")
    if min(args.batch_size, args.steps, args.check_every, args.pool_segments, args.mixing_processes) < 1:
        parser.error("--batch-size, --steps, --check-every, --pool-segments, --mixing-processes: expected at least 1")
    try:
        names = [NetworkSettings.of(words).name for words in args.network]
    except ValueError as error:
        parser.error(f"--network: {error}")
    if len(set(names)) < len(names):
        parser.error("--network: two networks have the same name")
    return args


def main(argv: Sequence[str] | None = None, prog: str = "run_training_cuda.py") -> int:
    args = parse(argv, prog)
    try:
        train(args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return 0
