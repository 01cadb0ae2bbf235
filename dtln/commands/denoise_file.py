"""Denoise one recording block by block: what the three scripts real_time_processing*.py share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dtln.commands.flags import add_exports_arguments, add_level_argument
from dtln.commands.run import failed
from dtln.errors import AudioFileError, ModelError
from dtln.facts import SAMPLE_RATE
from dtln.formats import EXPORT_KINDS, fastest_kind

EPILOG = """\
The output is aligned with the input and equally long. Other rates are resampled to 16 kHz with a notice. The report
gives the time per block and the real-time factor: time spent over time heard."""


def parse(argv: Sequence[str] | None, prog: str, kind: str, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog, description=description, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="IN", help="noisy recording")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="denoised wav, 16 kHz mono")
    add_exports_arguments(parser)
    add_level_argument(parser)
    if quantised_kind(kind):
        parser.add_argument("--quantised", action="store_true", help="take the 8-bit model")
    else:
        parser.set_defaults(quantised=False)
    return parser.parse_args(argv)


def quantised_kind(kind: str) -> str | None:
    """The 8-bit kind that stands for a float kind, None where there is none."""
    names = (f"{kind}-quant", f"{EXPORT_KINDS[kind].faster}-quant")
    return next((name for name in names if name in EXPORT_KINDS), None)


def main(
    argv: Sequence[str] | None = None, prog: str = "real_time_processing.py", kind: str = "savedmodel",
    description: str = "",
) -> int:  # fmt: skip
    """Denoises a recording with a kind of export, or with the faster one that gives the same samples."""
    args = parse(argv, prog, kind, description)
    from dtln.streaming.backends import open_backend
    from dtln.streaming.recordings import denoise_recording
    from dtln.streaming.times import describe_times

    kind = fastest_kind((quantised_kind(kind) if args.quantised else None) or kind, args.model_dir)
    try:
        backend = open_backend(kind, args.model_dir, args.threads)
        done = denoise_recording(args.input, args.output, backend, args.level)
    except (AudioFileError, ModelError, OSError) as error:
        return failed(prog, error)
    if done.source_rate != SAMPLE_RATE:
        print(f"{args.input}: resampled from {done.source_rate} Hz to {SAMPLE_RATE} Hz")
    for words in done.findings:
        print(f"{args.input}: {words}")
    print(f"{args.output}: {done.samples} samples through {backend.runtime}")
    if done.clipped:
        print(f"{args.output}: {done.clipped} samples above full scale were clipped")
    if not done.samples:
        print(f"{args.input}: holds no samples; the output is empty")
    print(describe_times(done.times))
    return 0
