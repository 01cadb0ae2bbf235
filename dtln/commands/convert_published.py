"""Convert weights to one kind of export: what the three scripts convert_weights_to_*.py share."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dtln.errors import WeightsFileError
from dtln.formats import EXPORT_KINDS

EXTRA = "convert"
EPILOG = """\
TARGET is the beginning of the files' names, TARGET_1 and TARGET_2, or the folder of the SavedModel. The export is
compared with the network before it takes its place. convert_weights_and_savedmodel.py makes all kinds at once."""
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parse(argv: Sequence[str] | None, prog: str, kind: str, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog, description=description, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-m", "--weights_file", type=Path, required=True, metavar="H5", help="`.h5` weights, published ones or ours"
    )
    parser.add_argument(
        "-t", "--target_folder", type=Path, required=True, metavar="TARGET", help="what to write: see below"
    )
    if kind == "tflite":
        parser.add_argument(
            "-q", "--quantization", type=truth, default=False, metavar="True|False",
            help="all weights in 8 bits (default: False)",
        )  # fmt: skip
    else:
        parser.set_defaults(quantization=False)
    return parser.parse_args(argv)


def truth(text: str) -> bool:
    """True or False, for argparse. The published converter took every text for True."""
    if text.lower() not in TRUTHS:
        raise argparse.ArgumentTypeError(f"{text}: expected True or False")
    return TRUTHS[text.lower()]


def main(
    argv: Sequence[str] | None = None,
    prog: str = "convert_weights_to_tf_lite.py",
    kind: str = "tflite",
    description: str = "",
) -> int:
    """Converts to "savedmodel", "tflite" or "onnx", checks, then moves what was written into place."""
    args = parse(argv, prog, kind, description)
    target = args.target_folder
    export = EXPORT_KINDS[f"{kind}-quant" if args.quantization else kind]
    names = [target.name] if kind == "savedmodel" else [f"{target.name}_{half}.{kind}" for half in (1, 2)]
    try:
        import DTLN_model
        from dtln.export.check import check

        network = DTLN_model.load_network(args.weights_file)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial.", dir=target.parent) as name:
            partial = Path(name)
            export.export(network, partial)
            passed, measured = check(network, export.name, partial)
            print(f"{export.name}: {'ok' if passed else 'FAILED'}, {measured}", flush=True)
            for written, final in zip(export.paths(partial) if passed else (), names, strict=passed):
                if (target.parent / final).exists():
                    os.replace(target.parent / final, partial / f"old_{final}")  # a folder cannot be replaced
                os.replace(written, target.parent / final)
                print(f"wrote {target.parent / final}")
    except (WeightsFileError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return 0 if passed else 1
