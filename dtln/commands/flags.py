"""Flags that several commands have, and checks of their values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from dtln.choices import LEVELS
from dtln.formats import EXPORT_KINDS, MODEL_DIR
from dtln.shards import Shard

__all__ = [
    "SPEAKER_PATTERN_HELP",
    "add_exports_arguments",
    "add_kind_argument",
    "add_level_argument",
    "add_published_name",
    "add_scale_arguments",
    "add_strength_arguments",
    "name_and_path",
    "positive",
    "within",
]

SPEAKER_PATTERN_HELP = (
    "how the paths below the folder of speech tell speakers: librispeech, timit, vctk, dns-challenge, or a regular "
    "expression with one group, 'reader_(\\d+)' say; default: these corpora are recognised, in other names it is all "
    "before the last underscore"
)


Arguments = argparse.ArgumentParser | argparse._ArgumentGroup  # what flags are added to


def add_exports_arguments(parser: Arguments) -> None:
    """Adds -m for the exports, and --threads for the runtime that runs them."""
    parser.add_argument(
        "-m", "--model-dir", type=Path, default=MODEL_DIR, metavar="DIR",
        help="folder of the exports, or one of them, such as a SavedModel's folder (default: the included models)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=positive(int), default=1, metavar="N", help="threads of the runtime (default: %(default)s)"
    )


def add_kind_argument(parser: Arguments) -> None:
    """Adds --backend, of one kind of export; None is the default one."""
    parser.add_argument(
        "--backend", choices=tuple(EXPORT_KINDS), metavar="KIND",
        help=f"kind of model: {', '.join(EXPORT_KINDS)} (default: the first of these that is there and can run)",
    )  # fmt: skip


def add_level_argument(parser: Arguments) -> None:
    """Adds --level, of a stream."""
    parser.add_argument(
        "--level", choices=LEVELS, default="raw",
        help="auto: follow the level, so that the model hears a stream that is too quiet or too loud for it at a level "
        "that it knows, and remove a DC offset; adds no delay. raw: let the model hear the stream as it is (default)",
    )  # fmt: skip


def add_published_name(parser: argparse.ArgumentParser, option: str, *, dest: str) -> None:
    """Adds the name under which the published script takes a path; --help does not show it."""
    parser.add_argument(option, dest=dest, type=Path, help=argparse.SUPPRESS)


def add_scale_arguments(parser: Arguments, what: str) -> None:
    """Adds --shard and --ray; what: what the former divides, for the help."""

    def shard(text: str) -> Shard:
        try:
            return Shard.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    parser.add_argument(
        "--shard", type=shard, metavar="I/N",
        help=f"do the I-th of N parts of {what}, for the jobs of an array: no two parts have anything in common, and "
        "together they are the whole",
    )  # fmt: skip
    parser.add_argument(
        "--ray", metavar="ADDRESS",
        help="let the machines of a Ray cluster do the work: auto, HOST:PORT or ray://HOST:PORT of one that runs, or "
        "local, which starts one here; all must see the same files under the same paths (needs the package ray)",
    )  # fmt: skip


def add_strength_arguments(parser: Arguments) -> None:
    """Adds --strength and --attenuation-limit, of which one may be given."""
    mix = parser.add_mutually_exclusive_group()
    mix.add_argument(
        "--strength", type=within(0, 1), default=1.0, metavar="S",
        help="give S of the denoised signal and 1 - S of the input, from 0 (the input) to 1 (default)",
    )  # fmt: skip
    mix.add_argument(
        "--attenuation-limit", type=within(0, math.inf), metavar="DB",
        help="turn the noise down by at most so many dB: --strength 1 - 10^(-DB/20)",
    )  # fmt: skip


def name_and_path(argument: str) -> tuple[str | None, Path]:
    """The parts of NAME=FILE; a file whose own name holds an equals sign is taken as it is."""
    name, equals, path = argument.partition("=")
    return (name, Path(path)) if equals and name and not Path(argument).exists() else (None, Path(argument))


def within(lowest: float, highest: float) -> Callable[[str], float]:
    """A converter for argparse that takes numbers from the lowest to the highest, which may be infinite."""

    def convert(text: str) -> float:
        value = float(text)
        if not lowest <= value <= highest:
            expected = f"from {lowest:g} to {highest:g}" if highest < math.inf else f"of at least {lowest:g}"
            raise argparse.ArgumentTypeError(f"{text}: expected a number {expected}")
        return value

    convert.__name__ = "number"
    return convert


def positive(number: type) -> Callable[[str], float]:
    """A converter for argparse that takes finite numbers above zero, of a type: int or float."""

    def convert(text: str) -> float:
        value = number(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text}: expected a finite number above 0")
        return value

    convert.__name__ = number.__name__  # argparse names it where the text is no number at all
    return convert
