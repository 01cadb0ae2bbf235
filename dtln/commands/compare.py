"""Compare denoisers by scores that were written before: which is ahead, or whether no difference is found.

    dtln score DENOISED_A --noisy NOISY --reference CLEAN --json ours.json
    dtln score DENOISED_B --noisy NOISY --reference CLEAN --json theirs.json
    dtln compare ours.json theirs.json
    dtln compare "model.h5=a.json" "published=b.csv" "another=c.json" --json comparison.json

Each FILE is what --json or --csv of `dtln score` or `dtln enhance` wrote; its name, or NAME= before it, is the name of
the system; files of one NAME are joined, as --shard makes them. All others are compared with the first, on the files
that all have, file by file.

Each interval holds by itself, at 95 %. The verdicts (paired t-test) hold together: Holm's correction over all metrics
and systems keeps the probability of any wrong one below 5 %. "findable" is the difference that so many files would show
in four of five repetitions: "no difference found" says nothing about smaller ones. Below ten files it is large.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dtln.commands.flags import name_and_path
from dtln.commands.run import failed
from dtln.errors import SettingsError, require_place

EXTRA = "score"


def parse(argv: Sequence[str] | None, prog: str = "dtln compare") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "systems", nargs="+", metavar="[NAME=]FILE", help="scores of a system; the others are compared with the first"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write means, differences and verdicts here")
    args = parser.parse_args(argv)
    if len(args.systems) < 2:
        parser.error("expected the scores of two systems at least")
    return args


def main(argv: Sequence[str] | None = None, prog: str = "dtln compare") -> int:
    args = parse(argv, prog)
    from dtln.evaluation.comparing import compare_scores, print_comparison, write_comparison
    from dtln.reporting import read_scores

    try:
        if args.json:
            require_place(args.json)
        systems = [read_scores(path, name) for name, path in map(name_and_path, args.systems)]
        if args.json and args.json.exists() and any(system.path.samefile(args.json) for system in systems):
            raise SettingsError(f"{args.json}: holds scores that are compared. Choose another name for the comparison.")
        whole, by_snr, notes = compare_scores(systems)
        print_comparison(whole, by_snr, notes)
        if args.json:
            write_comparison(args.json, whole, by_snr, notes)
    except (SettingsError, OSError) as error:
        return failed(prog, error)
    return 0
