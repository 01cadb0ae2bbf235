"""Draw spectrograms of recordings, training curves, or histograms of block times, as PNG or SVG.

    dtln plot spectrograms noisy.wav denoised.wav -o spectrograms.png
    dtln plot spectrograms before=noisy.wav after=denoised.wav clean=clean.wav --start 2 --seconds 5 -o spectrograms.png
    dtln plot training models_a models_b/training_b.log -o training.svg
    dtln plot latency times.json live=live.json -o latency.png

spectrograms: recordings one above the other, with the same colours in dB for all. training: the log of each run, a
folder or its training_RUN.log or training.csv (--engine cuda). latency: what --json of `dtln benchmark` or `dtln live`
wrote. NAME= before a file gives it another title.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dtln.commands.flags import name_and_path, positive, within
from dtln.commands.run import failed
from dtln.errors import AudioFileError, SettingsError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

EXTRA = "plot"
Value = TypeVar("Value")


def parse(argv: Sequence[str] | None, prog: str = "dtln plot") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(KINDS), help="what to draw")
    parser.add_argument("sources", nargs="+", metavar="[NAME=]FILE", help="recordings, runs or reports")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PICTURE", help="the .png or .svg to write")
    group = parser.add_argument_group("spectrograms")
    group.add_argument("--start", type=within(0, 1e9), default=0.0, metavar="SECONDS", help="begin here (default: 0)")
    group.add_argument("--seconds", type=positive(float), metavar="SECONDS", help="draw so much (default: all)")
    group.add_argument("--highest", type=positive(float), metavar="HZ", help="draw frequencies up to here")
    args = parser.parse_args(argv)
    if args.kind != "spectrograms" and (args.start or args.seconds or args.highest):
        parser.error("--start, --seconds and --highest are about spectrograms")
    return args


def main(argv: Sequence[str] | None = None, prog: str = "dtln plot") -> int:
    args = parse(argv, prog)
    from dtln.plotting.figures import require_picture_path, save

    try:
        require_picture_path(args.output)
        figure = KINDS[args.kind](args)
        save(figure, args.output)
    except (AudioFileError, SettingsError, OSError) as error:
        return failed(prog, error)
    print(f"drawn in {args.output}")
    return 0


def spectrograms(args: argparse.Namespace) -> Figure:
    """The figure of recordings."""
    from dtln.audio.reading import read_audio
    from dtln.plotting.spectrograms import spectrogram_figure

    recordings: dict[str, tuple[np.ndarray, int]] = {}
    for name, path in map(name_and_path, args.sources):
        samples, rate = read_audio(path, mono=True)
        first = round(args.start * rate)
        last = None if args.seconds is None else first + round(args.seconds * rate)
        _add(recordings, name or str(path), (samples[first:last], rate))
    return spectrogram_figure(recordings, args.highest)


def training(args: argparse.Namespace) -> Figure:
    """The figure of runs."""
    from dtln.plotting.training import read_curves, training_figure

    return training_figure(_all_of(args.sources, read_curves))


def latency(args: argparse.Namespace) -> Figure:
    """The figure of block times."""
    from dtln.plotting.latency import latency_figure, read_times

    return latency_figure(_all_of(args.sources, read_times))


def _all_of(sources: Sequence[str], read: Callable[[Path], dict[str, Value]]) -> dict[str, Value]:
    """What the sources hold, by title; a name before a source of several goes before theirs."""
    found: dict[str, Value] = {}
    for name, path in map(name_and_path, sources):
        values = read(path)
        for own, value in values.items():
            _add(found, own if name is None else name if len(values) == 1 else f"{name}, {own}", value)
    return found


def _add(found: dict[str, Value], title: str, value: Value) -> None:
    """Adds a value. Raises SettingsError where another has its title."""
    if title in found:
        raise SettingsError(f"two of the sources are called {title}. Give them names: NAME=FILE.")
    found[title] = value


KINDS = {"spectrograms": spectrograms, "training": training, "latency": latency}
