"""Convert weights to a SavedModel, TF-lite pairs (float, 8-bit) and ONNX graphs, and check what was written.

convert_weights_and_savedmodel.py -m WEIGHTS.h5 -t FOLDER [--formats savedmodel tflite tflite-quant onnx ...]

-m takes published `.h5` weights, ours, or a SavedModel of this toolkit; of several `.h5` files from one training the
mean is converted, and written to --mean: it is often better than each of them. The files in FOLDER carry the published
names: dtln_saved_model/, model_1.tflite, model_2.tflite, model_quant_1.tflite, model_quant_2.tflite, model_1.onnx,
model_2.onnx; and four of ours: model_stream.tflite, model_stream.onnx and, in 8 bits, model_stream_quant.tflite and
model_stream_quant.onnx, the whole network on one block in one graph, transforms inside, (block (1, 1, 512), states
(8, 1, 128)) -> (denoised (1, 1, 512), states).
Each conversion is opened again by the streaming engine and compared with the Keras network on a test signal; files take
their places only when all conversions have passed, so that a failure leaves older files alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dtln.export.check import check
from dtln.formats import EXPORT_KINDS


def parse(argv: Sequence[str] | None, prog: str = "convert_weights_and_savedmodel.py") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-m", "--model", type=Path, required=True, nargs="+", metavar="WEIGHTS",
        help="`.h5` weights, or a SavedModel of ours; several `.h5` files: their mean",
    )  # fmt: skip
    parser.add_argument("--mean", type=Path, metavar="H5", help="write the mean of several -m here")
    parser.add_argument("-t", "--target", type=Path, required=True, metavar="FOLDER", help="folder for the exports")
    parser.add_argument("--formats", nargs="+", choices=EXPORT_KINDS, default=EXPORT_KINDS, help="which (default: all)")
    args = parser.parse_args(argv)
    if (len(args.model) > 1) != (args.mean is not None):
        parser.error("several files after -m need --mean, and --mean needs several")
    return args


def load(sources: Sequence[Path]):
    """The Keras network of one `.h5` file or SavedModel, or of the mean of several `.h5` files."""
    import DTLN_model as dtln

    if len(sources) > 1:
        return dtln.load_mean_network(sources)
    return dtln.load_network(sources[0])


def convert(network, target: Path, formats: Sequence[str]) -> bool:
    """Converts, checks, then moves all files into place; False, and nothing moved, if a check fails."""
    from dtln.formats import kind_paths

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
            for old, new in zip(kind_paths(kind, target), kind_paths(kind, partial), strict=True):
                if old.exists():
                    os.replace(old, partial / f"old_{old.name}")  # a folder cannot be replaced, only moved
                os.replace(new, old)
                print(f"wrote {old}")
    return True


def main(argv: Sequence[str] | None = None, prog: str = "convert_weights_and_savedmodel.py") -> int:
    args = parse(argv, prog)
    try:
        network = load(args.model)
        if not convert(network, args.target, args.formats):
            return 1
        if args.mean is not None:
            network.save_weights(args.mean)
            print(f"wrote {args.mean}")
        return 0
    except (ValueError, OSError, ImportError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
