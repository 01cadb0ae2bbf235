"""Draw the picture of the README: spectrograms of a noisy sample, before and after denoising.

    python docs/make_spectrograms.py [--sample reader_jackhammer_5dB.wav] [-o docs/images/spectrograms.png]

Run it in an environment with `pip install ".[eval,plot]"`. `dtln plot spectrograms` draws any recordings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dtln
from dtln.audio.reading import read_audio
from dtln.plotting import save, spectrogram_figure

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", default="reader_jackhammer_5dB.wav", help="a file of audio_samples/noisy")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "images" / "spectrograms.png")
    args = parser.parse_args(argv)
    noisy, sample_rate = read_audio(ROOT / "audio_samples" / "noisy" / args.sample, mono=True)
    denoised = dtln.denoise(noisy, sample_rate)
    save(spectrogram_figure({"noisy": (noisy, sample_rate), "denoised": (denoised, sample_rate)}), args.output)
    print(f"wrote {args.output}: {args.output.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
