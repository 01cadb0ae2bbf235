"""Convert weights to a SavedModel, TF-lite and ONNX, in float and in 8 bits, and check what was written.

    %(prog)s -m WEIGHTS.h5 -t FOLDER [--formats KIND ...]

-m takes `.h5` weights, published ones or ours, or a SavedModel of this toolkit. From several `.h5` files of one
training it converts the mean, which is often better than each of them, and writes it to --mean.

Each export is opened again by the streaming engine and compared with the Keras network on a test signal. Files take
their places only when all exports have passed: after a failure the older files are as they were.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.commands.run import failed
from dtln.errors import SettingsError, WeightsFileError, require_place
from dtln.formats import EXPORT_KINDS

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork

EXTRA = "convert"


def parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    kinds = "\n".join(f"  {kind.name:20} {kind.title:21} {', '.join(kind.files)}" for kind in EXPORT_KINDS.values())
    parser = argparse.ArgumentParser(
        prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"kinds of exports:\n{kinds}\nA pair is two halves of the network, a graph is the whole of it on one "
        "block, transforms inside.",
    )
    parser.add_argument(
        "-m", "--model", type=Path, required=True, nargs="+", metavar="WEIGHTS",
        help="`.h5` weights, or a SavedModel of ours; several `.h5` files: their mean",
    )  # fmt: skip
    parser.add_argument("--mean", type=Path, metavar="H5", help="write the mean of several -m here")
    parser.add_argument("-t", "--target", type=Path, required=True, metavar="FOLDER", help="folder for the exports")
    parser.add_argument(
        "--formats", nargs="+", choices=EXPORT_KINDS, default=EXPORT_KINDS, metavar="KIND",
        help="which exports to make (default: all)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if (len(args.model) > 1) != (args.mean is not None):
        parser.error("several files after -m need --mean, and --mean needs several")
    return args


def load(sources: Sequence[Path]) -> DTLNNetwork:
    """The Keras network of one `.h5` file or SavedModel, or of the mean of several `.h5` files.

    Raises WeightsFileError or FileNotFoundError for what holds no such network, or weights that are not finite.
    """
    import numpy as np

    import DTLN_model

    network = DTLN_model.load_mean_network(sources) if len(sources) > 1 else DTLN_model.load_network(sources[0])
    if broken := sum(int(np.sum(~np.isfinite(weight))) for weight in network.get_weights()):
        raise WeightsFileError(
            f"{', '.join(map(str, sources))}: {broken} of the weights are NaN or Inf. Expected those of a training "
            "that did not break down; take earlier ones."
        )
    return network


def convert(network: DTLNNetwork, target: Path, formats: Sequence[str]) -> bool:
    """Converts, checks, then moves all files into place; False, and nothing moved, if a check fails."""
    from dtln.export.check import check

    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial.", dir=target) as name:
        partial, passed = Path(name), True
        for kind in formats:
            EXPORT_KINDS[kind].export(network, partial)
            good, measured = check(network, kind, partial)
            print(f"{kind}: {'ok' if good else 'FAILED'}, {measured}", flush=True)
            passed = passed and good
        if not passed:
            print(f"{target}: left as it was, because a conversion failed", file=sys.stderr)
            return False
        for kind in formats:
            for old, new in zip(EXPORT_KINDS[kind].paths(target), EXPORT_KINDS[kind].paths(partial), strict=True):
                if old.exists():
                    os.replace(old, partial / f"old_{old.name}")  # a folder cannot be replaced, only moved
                os.replace(new, old)
                print(f"wrote {old}")
    return True


def main(argv: Sequence[str] | None = None, prog: str = "convert_weights_and_savedmodel.py") -> int:
    args = parse(argv, prog)
    try:
        if args.mean is not None:
            require_place(args.mean)
        network = load(args.model)
        if not convert(network, args.target, args.formats):
            return 1
        if args.mean is not None:
            network.save_weights(args.mean)
            print(f"wrote {args.mean}")
        return 0
    except (SettingsError, WeightsFileError, OSError) as error:
        return failed(prog, error)
