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

FORMATS = (
    "savedmodel",
    "tflite",
    "tflite-quant",
    "tflite-stream",
    "tflite-stream-quant",
    "onnx",
    "onnx-stream",
    "onnx-stream-quant",
)
FLOAT_TOLERANCE = 1e-4  # largest difference of samples at a peak level of 0.5
QUANTISED_SNR_DB = 12.0  # of the 8-bit output against the float one; untypical weights come close, typical ones do not


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-m", "--model", type=Path, required=True, nargs="+", metavar="WEIGHTS",
        help="`.h5` weights, or a SavedModel of ours; several `.h5` files: their mean",
    )  # fmt: skip
    parser.add_argument("--mean", type=Path, metavar="H5", help="write the mean of several -m here")
    parser.add_argument("-t", "--target", type=Path, required=True, metavar="FOLDER", help="folder for the exports")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS, help="which (default: all)")
    args = parser.parse_args(argv)
    if (len(args.model) > 1) != (args.mean is not None):
        parser.error("several files after -m need --mean, and --mean needs several")
    return args


def export(network, kind: str, folder: Path) -> None:
    """Writes one kind of export into a folder, under the published names."""
    import DTLN_model as dtln

    if kind == "savedmodel":
        dtln.export_saved_model(network, folder / "dtln_saved_model")
    elif kind == "onnx":
        dtln.export_onnx(network, folder / "model")
    elif kind == "tflite-stream":
        dtln.export_tflite_stream(network, folder / "model_stream.tflite")
    elif kind == "tflite-stream-quant":
        dtln.export_tflite_stream(network, folder / "model_stream_quant.tflite", quantise=True)
    elif kind == "onnx-stream":
        dtln.export_onnx_stream(network, folder / "model_stream.onnx")
    elif kind == "onnx-stream-quant":
        dtln.export_onnx_stream(network, folder / "model_stream_quant.onnx", quantise=True)
    elif kind == "tflite":
        dtln.export_tflite(network, folder / "model")
    else:
        dtln.export_tflite(network, folder / "model_quant", quantise=True)


def test_signal(length: int = 32000):
    """Two seconds like voiced speech in noise, peak 0.5: float32 (L,)."""
    import numpy as np

    from dtln_audio import SAMPLE_RATE

    time = np.arange(length) / SAMPLE_RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 1.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.cos(k * phase) / k for k in range(1, 25)) * np.maximum(0, np.sin(2 * np.pi * 2.5 * time))
    signal = voice + 0.2 * np.random.default_rng(0).standard_normal(length)
    return (0.5 * signal / np.max(np.abs(signal))).astype(np.float32)


def check(network, kind: str, folder: Path) -> tuple[bool, str]:
    """Runs an export through the streaming engine: (close enough to the Keras network?, what was measured)."""
    import numpy as np

    import dtln_streaming as streaming

    signal = test_signal()
    expected = network.denoise(signal[None])[0]
    found = streaming.StreamingDenoiser(streaming.open_backend(kind, folder)).denoise(signal)
    error = expected - found
    if kind.endswith("-quant"):
        snr = 10 * np.log10(np.sum(expected**2) / max(np.sum(error**2), 1e-20))
        return bool(snr >= QUANTISED_SNR_DB), f"SNR against float {snr:.1f} dB (at least {QUANTISED_SNR_DB:g} wanted)"
    largest = np.max(np.abs(error))
    return bool(largest <= FLOAT_TOLERANCE), f"largest error {largest:.1e} (at most {FLOAT_TOLERANCE:g} wanted)"


def load(sources: Sequence[Path]):
    """The Keras network of one `.h5` file or SavedModel, or of the mean of several `.h5` files."""
    import DTLN_model as dtln

    if len(sources) > 1:
        return dtln.load_mean_network(sources)
    return dtln.load_network_from_saved_model(sources[0]) if sources[0].is_dir() else dtln.load_network(sources[0])


def convert(network, target: Path, formats: Sequence[str]) -> bool:
    """Converts, checks, then moves all files into place; False, and nothing moved, if a check fails."""
    from dtln_streaming import backend_paths

    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial.", dir=target) as name:
        partial, passed = Path(name), True
        for kind in formats:
            export(network, kind, partial)
            good, measured = check(network, kind, partial)
            print(f"{kind}: {'ok' if good else 'FAILED'}, {measured}", flush=True)
            passed = passed and good
        if not passed:
            print(f"{target}: left as it was, because a conversion failed", file=sys.stderr)
            return False
        for kind in formats:
            for old, new in zip(backend_paths(kind, target), backend_paths(kind, partial), strict=True):
                if old.exists():
                    os.replace(old, partial / f"old_{old.name}")  # a folder cannot be replaced, only moved
                os.replace(new, old)
                print(f"wrote {old}")
    return True


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        network = load(args.model)
        if not convert(network, args.target, args.formats):
            return 1
        if args.mean is not None:
            network.save_weights(args.mean)
            print(f"wrote {args.mean}")
        return 0
    except (ValueError, OSError, ImportError) as error:
        print(f"convert_weights_and_savedmodel.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
