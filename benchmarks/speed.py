"""Time this toolkit beside the published system's processing, both in the same run, in turns.

    python benchmarks/speed.py --published DIR [--only ROW ...] [--json FILE] [--plot FILE.png]

Rows: folder (whole commands on a folder of recordings), block (the exports block by block, one thread, beside the time
that the weights and the Fourier transforms take by themselves), chunk (what a program that streams spends around the
blocks), savedmodel, jitter, start, training.
DIR holds the published exports and model.h5; without it the block-by-block rows stand without a baseline. Every
contender is a process of its own that waits for its turn; medians are over all blocks, ranges over the turns.
benchmarks/README.md says what each row means and how to keep a machine quiet.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `python benchmarks/speed.py` looks only in benchmarks/

from benchmarks.contenders import contend  # noqa: E402
from benchmarks.counts import print_counts  # noqa: E402
from benchmarks.report import TITLE, Report  # noqa: E402
from benchmarks.rows import ROWS  # noqa: E402
from dtln.errors import install_line  # noqa: E402
from dtln.formats import MODEL_DIR  # noqa: E402

QUICK = {
    "turns": 5, "turn_blocks": 100, "jitter_blocks": 1000, "files": 3, "seconds": (1.0, 2.0), "folder_repeats": 1,
    "start_repeats": 1, "batch_size": 2, "segment_seconds": 0.64, "steps": 1, "training_turns": 2,
}  # fmt: skip


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", help=f"{', '.join(ROWS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few short turns: shows that it runs, measures little")
    parser.add_argument("--published", type=Path, metavar="DIR", help="the published exports and model.h5")
    parser.add_argument("-m", "--model-dir", type=Path, default=MODEL_DIR, metavar="DIR", help="our exports")
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
    folder.add_argument("--speech", type=Path, metavar="DIR", help="mix the files from this speech")
    folder.add_argument("--noise", type=Path, metavar="DIR", help="and this noise; without both, synthetic signals")
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
        parser.error("--speech and --noise go together: the files are mixed from both")
    if args.published and not args.published.is_dir():
        parser.error(f"--published {args.published}: is no folder. Expected one with the published exports")
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error(f"--plot needs matplotlib: {install_line('matplotlib')}")
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
    for name, add_rows in ROWS.items():
        if name in args.only:
            first = len(report.rows)
            add_rows(args, argv, report)
            print("\n".join([TITLE] * (first == 0) + [row.line() for row in report.rows[first:]]), flush=True)
    print(report.ending())
    if args.json:
        report.write_json(args.json)
    if args.plot:
        report.plot(args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
