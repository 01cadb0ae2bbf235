"""How well weights denoise unheard speakers, by kind of noise and in rooms: what to choose between checkpoints by.

    python benchmarks/mixtures.py -m models_a/a.h5 models_b/b.h5 --speech SPEECH --noise NOISE --rooms 60

All weights hear the same mixtures: speakers that run_training.py keeps for validation by default, one column for
recorded noise and one for each kind of noise that training makes or alters on the spot. Validation speakers may all
come from one set of recordings; --training-speakers shows how the others fare. Printed are means of the SNR in dB and,
below those of the first weights, differences to it, with half the width of their 95 % interval over mixtures.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.long_recordings import add_weights_and_corpus
from dtln.facts import SAMPLE_RATE
from dtln.mixing.augmentations import AUGMENTATIONS
from dtln.mixing.mixer import mix_with_guard
from dtln.mixing.recordings import load_recordings, split_by_group
from dtln.mixing.rooms import place_in_room, simulate_rooms
from dtln.mixing.segment import Segment

ON_TOP = ("altered_voices", "calls", "clicks", "hum", "impacts")  # what they add is heard alone here
INSTEAD = ("babble", "bursts", "coloured_noise", "cross_synthesis", "fan", "gusts", "noise_pieces")
CHANGED = ("frequency_shift", "noise_speed")  # the recorded, as it is never heard in training without these
KINDS = sorted([*ON_TOP, *INSTEAD, *CHANGED])
BATCH = 16  # mixtures denoised at once


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_weights_and_corpus(parser)
    parser.add_argument(
        "--kinds",
        nargs="*",
        default=["calls", "cross_synthesis", "impacts", "babble"],
        choices=KINDS,
        metavar="KIND",
        help=f"of noise beside the recorded: {', '.join(KINDS)} (default: %(default)s)",
    )
    parser.add_argument("--rooms", type=int, metavar="N", help="recorded noise in N simulated rooms, too")
    parser.add_argument(
        "--training-speakers",
        action="store_true",
        help="speakers trained on, too: a column for each sub-folder of the speech, named after it",
    )
    parser.add_argument("--core-1", action="store_true", help="score core 1 alone, too")
    parser.add_argument(
        "--snr-db", type=float, nargs=2, default=(-5.0, 20.0), metavar=("MIN", "MAX"), help="default: -5 20"
    )
    parser.add_argument("--mixtures", type=int, default=96, help="for each column (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each mixture (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the mixtures (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.mixtures < 2 or args.seconds <= 0 or args.snr_db[0] > args.snr_db[1]:
        parser.error("expected at least two mixtures, seconds above 0 and the lower SNR first")

    try:
        return compare(args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"mixtures.py: {error}", file=sys.stderr)
        return 1


def compare(args: argparse.Namespace) -> int:
    """Scores the weights and prints them; the status to exit with."""
    from dtln.evaluation.sequences import SequenceNetwork
    from dtln.scoring.metrics import snr

    networks = [(shortened(path), SequenceNetwork(path, threads=os.cpu_count() or 1)) for path in args.weights]
    if args.core_1:
        import DTLN_model as dtln
        from research.core_1 import core_1_network

        networks += [(f"core 1 {shortened(p, 16)}", core_1_network(dtln.load_network(p))) for p in args.weights]
    columns = {name: mixtures_of(args, *settings) for name, settings in settings_of(args).items()}
    print(f"{'SNR in dB':24}" + "".join(f"{name:>16}" for name in columns))
    noisy_scores = [[snr(c, n) for n, c in zip(*column, strict=True)] for column in columns.values()]
    print(f"{'noisy':24}" + "".join(f"{np.mean(scores):16.2f}" for scores in noisy_scores), flush=True)
    first: list[np.ndarray] = []
    for name, network in networks:
        scores = [score(network, *column) for column in columns.values()]
        print(f"{name:24}" + "".join(f"{np.mean(column):16.2f}" for column in scores), flush=True)
        if first:
            cells = [difference(now, before) for now, before in zip(scores, first, strict=True)]
            print(f"{'':24}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
        first = first or scores
    return 0


def settings_of(args: argparse.Namespace) -> dict[str, tuple]:
    """The columns: their names, and speech, noise, kind of noise and rooms of each, see `mixtures_of`."""
    from dtln.commands.train_flags import VALIDATION_SPEECH_SHARE

    noise = load_recordings(args.noise, args.cache_dir)
    trained, unheard = split_by_group(load_recordings(args.speech, args.cache_dir), VALIDATION_SPEECH_SHARE)
    columns: dict[str, tuple] = {"recorded": (unheard, noise, None, None)}
    if args.training_speakers:
        columns |= {name or "trained on": (part, noise, None, None) for name, part in trained.by_folder().items()}
    columns |= {kind: (unheard, noise, kind, None) for kind in args.kinds}
    if args.rooms:
        columns["in rooms"] = (unheard, noise, None, simulate_rooms(args.rooms, args.seed, args.cache_dir))
    return columns


def mixtures_of(args: argparse.Namespace, speech, noise, kind: str | None, rooms) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), each float32 (mixtures, L), the noise all of one kind; the same for the same seed."""

    length = round(args.seconds * SAMPLE_RATE)
    pairs = []
    for index in range(args.mixtures):
        rng = np.random.default_rng([args.seed, index])
        crops = speech.crop(rng, length), noise.crop(rng, length)
        segment = Segment(*crops, rng.uniform(*args.snr_db), rng.uniform(-30, -20), speech, noise)
        recorded = segment.noise
        if kind:
            AUGMENTATIONS[kind].change(segment, rng)
        if kind in ON_TOP:
            segment.noise = segment.noise - recorded
        if rooms:
            segment.speech, segment.noise, segment.target = place_in_room(
                segment.speech, segment.noise, rooms.draw(rng)
            )
        pairs.append(
            mix_with_guard(segment.speech, segment.noise, segment.snr_db, segment.level_dbfs, segment.target)[:2]
        )
    noisy, clean = zip(*pairs, strict=True)
    return np.stack(noisy), np.stack(clean)


def score(network, noisy: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The SNR in dB of each mixture that a network denoises: float64 (mixtures,)."""
    from dtln.scoring.metrics import snr

    denoised = [network.denoise(noisy[start : start + BATCH]) for start in range(0, len(noisy), BATCH)]
    return np.array([snr(c, d) for c, d in zip(clean, np.concatenate(denoised), strict=True)])


def shortened(path: Path, width: int = 23) -> str:
    """What of a path fits a column of `width` characters: its end."""
    return str(path) if len(str(path)) <= width else f"...{str(path)[3 - width :]}"


def difference(scores: np.ndarray, reference: np.ndarray) -> str:
    """The mean difference of the same mixtures' scores, with its interval."""
    from dtln.scoring.means import mean_with_interval

    mean = mean_with_interval(scores - reference)
    return f"{mean.mean:+.2f} +-{mean.half_width:.2f}"


if __name__ == "__main__":
    sys.exit(main())
