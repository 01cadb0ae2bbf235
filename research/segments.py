"""The training data that scripts in this folder look at, named by the flags of run_training.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import DTLN_model as dtln
from dtln.commands.train_flags import add_mixing_arguments, check_ranges
from dtln.commands.train_sources import mixers_of
from dtln.errors import AudioFileError, SettingsError, WeightsFileError

__all__ = ["change_weights", "parse_with_data", "shown_batch"]

SHOWN_SEGMENTS = 64


def parse_with_data(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Adds flags for pairs or recordings to mix, and parses; ends with an error unless either are named."""
    pairs = parser.add_argument_group("pairs on disk: wavs with equal names or the same fileid_N")
    pairs.add_argument("--train-noisy", type=Path, metavar="DIR", help="noisy wavs, 16 kHz mono")
    pairs.add_argument("--train-clean", type=Path, metavar="DIR", help="their clean partners")
    add_mixing_arguments(parser)
    parser.add_argument("--segment-seconds", type=float, default=4.0, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=42, help="of the segments looked at (default: %(default)s)")
    args = parser.parse_args(argv)
    paired, unmixed = [args.train_noisy, args.train_clean], [args.speech, args.noise]
    if not (all(paired) and not any(unmixed)) and not (all(unmixed) and not any(paired)):
        parser.error("give either --train-noisy and --train-clean, or --speech and --noise")
    check_ranges(parser, args)
    return args


def shown_batch(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The first SHOWN_SEGMENTS to train on, or all if there are fewer: (noisy, clean), each float32 (B, L)."""
    length = dtln.segment_length(args.segment_seconds)
    source: dtln.SegmentSource
    if args.speech:
        training, _ = mixers_of(args, length)
        source = dtln.MixedSegments(training, SHOWN_SEGMENTS)
    else:
        source = dtln.PairedFolders(args.train_noisy, args.train_clean, length)
    return dtln.batch_of(source, range(min(SHOWN_SEGMENTS, len(source))), [args.seed])


def change_weights(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    change: Callable[[dtln.DTLNNetwork, argparse.Namespace], str],
) -> int:
    """The command of a script that changes weights: from one `.h5` file, with the help of data, into another.

    change: changes a network, and says in words what it did. Returns the exit status.
    """
    parser.add_argument("-m", "--weights", type=Path, required=True, metavar="H5", help="trained weights")
    parser.add_argument("--output", type=Path, required=True, metavar="H5", help="weights to write")
    args = parse_with_data(parser, argv)
    try:
        network = dtln.load_network(args.weights)
        done = change(network, args)
        network.save_weights(args.output)
    except (AudioFileError, SettingsError, WeightsFileError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.output}{done}")
    return 0
