"""Draw the picture of the README: spectrograms of a noisy sample, before and after denoising.

    python docs/make_spectrograms.py [--sample reader_jackhammer_5dB.wav] [-o docs/images/spectrograms.png]

Run it in an environment with `pip install ".[bench]"`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
WINDOW, SHIFT = 512, 64  # samples
RANGE_DB = (-75.0, -5.0)  # of the colours, relative to the loudest bin
COLOURS = 64  # of the PNG's palette: a quarter of the bytes of full colour


def spectrogram_db(samples: np.ndarray) -> np.ndarray:
    """Levels of Hann-windowed blocks in dB, (257 bins, blocks), from float samples (L,)."""
    blocks = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::SHIFT]
    return 20 * np.log10(np.abs(np.fft.rfft(blocks * np.hanning(WINDOW))).T + 1e-9)


def draw(noisy: np.ndarray, denoised: np.ndarray, sample_rate: int, path: Path) -> None:
    """Writes both spectrograms, side by side, as a PNG."""
    from matplotlib.figure import Figure

    pictures = {"noisy": spectrogram_db(noisy), "denoised": spectrogram_db(denoised)}
    loudest = max(picture.max() for picture in pictures.values())
    low, high = (loudest + edge for edge in RANGE_DB)
    extent = (0, len(noisy) / sample_rate, 0, sample_rate / 2000)
    figure = Figure(figsize=(9, 2.6), dpi=110, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
        axis.set(title=name, xlabel="seconds")
    axes[0].set_ylabel("kHz")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG with a palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image  # matplotlib brings it

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[..., :3]  # (height, width, RGB)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).quantize(COLOURS).save(path, optimize=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", default="reader_jackhammer_5dB.wav", help="a file of audio_samples/noisy")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "images" / "spectrograms.png")
    args = parser.parse_args(argv)

    import soundfile

    import dtln

    noisy, sample_rate = soundfile.read(ROOT / "audio_samples" / "noisy" / args.sample, dtype="float32")
    denoised = dtln.denoise(noisy, sample_rate)
    draw(noisy, denoised, sample_rate, args.output)
    print(f"wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
