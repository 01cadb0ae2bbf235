"""Denoise one recording block by block with one kind of export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dtln.errors import AudioFileError, ModelError
from dtln.facts import SAMPLE_RATE
from dtln.formats import MODEL_DIR, fastest_kind
from dtln.streaming.backends import Backend, open_backend
from dtln.streaming.engine import TimedDenoiser
from dtln.streaming.times import describe_times, time_summary


def denoise_file_script(kind: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Command line of `real_time_processing*.py`: one recording through the stream of one kind of model."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="IN", help="noisy recording")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="denoised wav, 16 kHz mono")
    parser.add_argument(
        "-m", "--model-dir", type=Path, default=MODEL_DIR, metavar="DIR",
        help="folder with the exported model (default: pretrained_model beside the script)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default: %(default)s)")
    if kind == "tflite":
        parser.add_argument("--quantised", action="store_true", help="the 8-bit model")
    args = parser.parse_args(argv)
    if getattr(args, "quantised", False):
        kind = "tflite-quant"
    kind = fastest_kind(kind, args.model_dir)
    try:
        denoise_file(args.input, args.output, open_backend(kind, args.model_dir, args.threads))
    except (AudioFileError, ModelError, ImportError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def denoise_file(source: Path, target: Path, backend: Backend) -> None:
    """Denoises a recording block by block into an aligned, equally long 16 kHz mono wav; prints the times."""
    from dtln.audio.headers import SampleFormat, audio_info
    from dtln.audio.reading import read_audio
    from dtln.audio.writing import write_audio

    if target.suffix.lower() != ".wav":
        raise AudioFileError(f"{target}: expected the name of a wav file to write. Let it end in .wav.")
    if target.exists() and target.resolve() == source.resolve():
        raise AudioFileError(f"{target}: is the input itself. Choose another name for the output.")
    if not target.parent.is_dir():
        raise AudioFileError(f"{target}: its folder does not exist. Make it first.")
    signal, _ = read_audio(source, sample_rate=SAMPLE_RATE, mono=True)
    source_rate = audio_info(source).sample_rate
    if source_rate != SAMPLE_RATE:
        print(f"{source}: resampled from {source_rate} Hz to {SAMPLE_RATE} Hz")
    denoiser = TimedDenoiser(backend)
    denoised = denoiser.denoise(signal)
    clipped = write_audio(target, denoised, SAMPLE_RATE, SampleFormat("WAV", "PCM_16"))
    print(f"{target}: {len(denoised)} samples through {backend.runtime}")
    if clipped:
        print(f"{target}: {clipped} samples above full scale were clipped")
    if not len(denoised):
        print(f"{source}: holds no samples; the output is empty")
    print(describe_times(time_summary(denoiser.milliseconds, backend.block_shift)))
