"""How well weights denoise unheard speakers, by kind of noise and in rooms: what to choose between checkpoints by.

    python benchmarks/mixtures.py -m models_a/a.h5 models_b/b.h5 --speech SPEECH --noise NOISE --rooms 60
    python benchmarks/mixtures.py -m a.h5 b.h5 --speech SPEECH --noise NOISE --kinds rumble wind machine \\
        --near-clean ljspeech --levels --silence 120
    python benchmarks/mixtures.py -m a.h5 b.h5 --speech VOICES --noise SOUNDS --all-speakers --kinds \\
        --mixtures 512 --scores si_sdr_db stoi_percent pesq_raw_nb

All weights hear the same mixtures: speakers that run_training.py keeps for validation by default, one column for
recorded noise and one for each kind of noise that training makes or alters on the spot. Validation speakers may all
come from one set of recordings; --training-speakers shows how the others fare. --all-speakers is for recordings that
nothing was trained on. Printed are means and, below those of the first weights, differences to it, with half the width
of their 95 % interval over mixtures.

The kind rumble has speech of -25 dBFS without anything below 80 Hz, and rumble of 10 to 80 Hz alone, of -35 to -15
dBFS. A table of its own says by how many dB the energy below 80 Hz falls, in how many of a hundred mixtures it falls by
at least 15 dB, and the gain of 80 to 160 Hz in low voices: those whose 85 to 155 Hz hold at least 0.4 times the energy
of their 155 to 310 Hz.

--levels and --silence print how the SNR of the mixtures of recorded noise changes, mixture by mixture.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.long_recordings import THREADS, AfterSilence, add_weights_and_corpus, difference
from benchmarks.low_frequencies import part_from_rumble, rumble_measures
from dtln.errors import NotScorable, SettingsError
from dtln.evaluation.sequences import SequenceNetwork
from dtln.facts import SAMPLE_RATE
from dtln.mixing.augmentations import AUGMENTATIONS
from dtln.mixing.mixer import mix_with_guard
from dtln.mixing.recordings import Recordings, load_recordings, split_by_group
from dtln.mixing.rooms import RoomResponses, place_in_room, simulate_rooms
from dtln.mixing.segment import Segment
from dtln.scoring import metrics

ON_TOP = ("altered_voices", "calls", "clicks", "hum", "impacts", "rumble")  # what they add is heard alone here
INSTEAD = ("babble", "bursts", "coloured_noise", "cross_synthesis", "fan", "gusts", "machine", "noise_pieces", "wind")
CHANGED = ("frequency_shift", "noise_speed")  # the recorded, as it is never heard in training without these
KINDS = sorted([*ON_TOP, *INSTEAD, *CHANGED])
NEAR_CLEAN_DB = 40.0  # SNR
LEVELS_DBFS = (-60, -55, -45, -35, -15, -5, 0)
USUAL_DBFS = -25
OFFSETS = (0.05, 0.3)  # full scale 1
BATCH = 16  # mixtures denoised at once
COLUMN = 16  # characters
CHANGES = "change of SNR in dB"  # the title of a table
SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {  # keys of METRICS -> (clean, estimate) -> score
    "snr_db": metrics.snr,
    "si_sdr_db": metrics.si_sdr,
    "stoi_percent": metrics.stoi_percent,
    "pesq_raw_nb": lambda clean, estimate: metrics.raw_pesq(metrics.pesq_lqo(clean, estimate, "nb")),
}
Table = dict[str, np.ndarray]  # column -> (mixtures,), nan where there is nothing to measure
Denoise = Callable[[np.ndarray], np.ndarray]  # (B, L) -> (B, L)


@dataclass(frozen=True)
class Column:
    """What the mixtures of a column are made from."""

    speech: Recordings
    noise: Recordings
    kind: str | None = None  # of noise, one of KINDS
    rooms: RoomResponses | None = None
    snr_db: tuple[float, float] = (-5.0, 20.0)


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
    speakers = parser.add_mutually_exclusive_group()
    speakers.add_argument(
        "--training-speakers",
        action="store_true",
        help="speakers trained on, too: a column for each sub-folder of the speech, named after it",
    )
    speakers.add_argument(
        "--all-speakers",
        action="store_true",
        help="all speakers of the folder, not only those kept for validation: where none was trained on",
    )
    parser.add_argument(
        "--near-clean",
        nargs="*",
        metavar="FOLDER",
        help="recorded noise at 40 dB SNR, too; with another column for each sub-folder of the speech that is named",
    )
    parser.add_argument(
        "--levels",
        action="store_true",
        help="the same mixtures at -60 to 0 dBFS and with DC offsets of 0.05 and 0.3, too, as they are",
    )
    parser.add_argument(
        "--silence", type=float, nargs="+", default=(), metavar="SECONDS", help="after so much digital silence, too"
    )
    parser.add_argument(
        "--scores",
        nargs="+",
        default=(),
        choices=[key for key in SCORES if key != "snr_db"],
        metavar="SCORE",
        help="beside the SNR: " + ", ".join(key for key in SCORES if key != "snr_db"),
    )
    parser.add_argument("--core-1", action="store_true", help="score core 1 alone, too")
    parser.add_argument(
        "--snr-db", type=float, nargs=2, default=(-5.0, 20.0), metavar=("MIN", "MAX"), help="default: -5 20"
    )
    parser.add_argument("--mixtures", type=int, default=96, help="for each column (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each mixture (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the mixtures (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.mixtures < 2 or args.seconds <= 0 or args.snr_db[0] > args.snr_db[1] or min(args.silence, default=1) <= 0:
        parser.error("expected at least two mixtures, seconds above 0 and the lower SNR first")
    if args.core_1 and args.silence:
        parser.error("--core-1 goes without --silence: core 1 alone keeps no states")

    try:
        return compare(args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"mixtures.py: {error}", file=sys.stderr)
        return 1


def compare(args: argparse.Namespace) -> int:
    """Scores the weights and prints them; the status to exit with."""
    networks: list[tuple[str, Denoise, Path | None]] = [
        (shortened(path), SequenceNetwork(path, THREADS).denoise, path) for path in args.weights
    ]
    if args.core_1:
        import DTLN_model as dtln
        from research.core_1 import core_1_network

        networks += [
            (f"core 1 {shortened(path, 16)}", core_1_network(dtln.load_network(path)).denoise, None)
            for path in args.weights
        ]
    columns = {name: mixtures_of(args, column) for name, column in columns_of(args).items()}
    rows = [("noisy", tables_of(args, columns, lambda noisy: noisy))]
    for name, denoise, path in networks:
        made = tables_of(args, columns, denoise)
        if args.levels or args.silence:
            silent = {seconds: AfterSilence(path, seconds, THREADS).denoise for seconds in args.silence if path}
            made |= {CHANGES: changes_of(denoise, silent, args.levels, *columns["recorded"])}
        rows.append((name, made))
        print(f"{name} is done", file=sys.stderr, flush=True)
    for title in rows[-1][1]:
        print_table(title, [(name, made[title]) for name, made in rows if title in made])
    return 0


def columns_of(args: argparse.Namespace) -> dict[str, Column]:
    """The columns by their names."""
    from dtln.commands.train_flags import VALIDATION_SPEECH_SHARE

    noise, speech = (load_recordings(folder, args.cache_dir) for folder in (args.noise, args.speech))
    trained, unheard = (speech, speech) if args.all_speakers else split_by_group(speech, VALIDATION_SPEECH_SHARE)
    folders, near_clean = trained.by_folder(), {}
    if args.near_clean is not None:
        if unknown := [folder for folder in args.near_clean if folder not in folders]:
            raise SettingsError(f"--near-clean {unknown[0]}: expected a sub-folder of the speech: {', '.join(folders)}")
        near_clean = {"": unheard} | {folder: folders[folder] for folder in args.near_clean}
    column = partial(Column, noise=noise, snr_db=tuple(args.snr_db))
    columns = {"recorded": column(unheard)}
    if args.training_speakers:
        columns |= {name or "trained on": column(part) for name, part in folders.items()}
    columns |= {kind: column(unheard, kind=kind) for kind in args.kinds}
    columns |= {
        f"{NEAR_CLEAN_DB:g} dB {name}".strip(): Column(part, noise, snr_db=(NEAR_CLEAN_DB, NEAR_CLEAN_DB))
        for name, part in near_clean.items()
    }
    if args.rooms:
        columns["in rooms"] = column(unheard, rooms=simulate_rooms(args.rooms, args.seed, args.cache_dir))
    return columns


def mixtures_of(args: argparse.Namespace, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """(noisy, clean), each float32 (mixtures, L), the noise all of one kind; the same for the same seed."""

    length = round(args.seconds * SAMPLE_RATE)
    pairs = []
    for index in range(args.mixtures):
        rng = np.random.default_rng([args.seed, index])
        crops = column.speech.crop(rng, length), column.noise.crop(rng, length)
        snr_db, level_dbfs = rng.uniform(*column.snr_db), rng.uniform(-30, -20)
        segment = Segment(*crops, snr_db, level_dbfs, column.speech, column.noise)
        recorded = segment.noise
        if column.kind:
            AUGMENTATIONS[column.kind].change(segment, rng)
        if column.kind in ON_TOP:
            segment.noise = segment.noise - recorded
        if column.kind == "rumble":
            part_from_rumble(segment, rng)
        if column.rooms:
            segment.speech, segment.noise, segment.target = place_in_room(
                segment.speech, segment.noise, column.rooms.draw(rng)
            )
        pairs.append(
            mix_with_guard(segment.speech, segment.noise, segment.snr_db, segment.level_dbfs, segment.target)[:2]
        )
    noisy, clean = zip(*pairs, strict=True)
    return np.stack(noisy), np.stack(clean)


def tables_of(
    args: argparse.Namespace, columns: Mapping[str, tuple[np.ndarray, np.ndarray]], denoise: Denoise
) -> dict[str, Table]:
    """The tables of what denoises the columns: one for each score, and one for rumble, by their titles."""
    tables: dict[str, Table] = {metrics.METRICS[key]: {} for key in ("snr_db", *args.scores)}
    for name, (noisy, clean) in columns.items():
        denoised = in_batches(denoise, noisy)
        for key in ("snr_db", *args.scores):
            tables[metrics.METRICS[key]][name] = scores_of(key, clean, denoised)
        if name == "rumble":
            tables["rumble"] = rumble_measures(noisy, clean, denoised)
    return tables


def changes_of(
    denoise: Denoise, silent: Mapping[float, Denoise], levels: bool, noisy: np.ndarray, clean: np.ndarray
) -> Table:
    """How the SNR in dB changes with the level and with an offset, if `levels`, and after silence, by column.

    silent: the network that has heard so many seconds of digital silence.
    It is compared with that of the same mixtures at -25 dBFS, without offset, from states of zero.
    """
    usual = 10 ** (USUAL_DBFS / 20) / np.sqrt(np.mean(np.square(noisy), axis=1, keepdims=True))  # (M, 1)
    noisy, clean = noisy * usual, clean * usual
    heard: dict[str, tuple[Denoise, np.ndarray, float]] = {}  # and the gain of the clean speech
    if levels:
        for level in LEVELS_DBFS:
            gain = np.float32(10 ** ((level - USUAL_DBFS) / 20))
            heard[f"{level} dBFS"] = denoise, noisy * gain, gain
        heard |= {f"offset {offset:g}": (denoise, noisy + np.float32(offset), 1.0) for offset in OFFSETS}
    heard |= {f"{seconds:g} s silence": (later, noisy, 1.0) for seconds, later in silent.items()}
    before = scores_of("snr_db", clean, in_batches(denoise, noisy))
    return {
        name: scores_of("snr_db", clean * gain, in_batches(network, signals)) - before
        for name, (network, signals, gain) in heard.items()
    }


def in_batches(denoise: Denoise, noisy: np.ndarray) -> np.ndarray:
    """The denoised mixtures: float32 (mixtures, L)."""
    return np.concatenate([denoise(noisy[start : start + BATCH]) for start in range(0, len(noisy), BATCH)])


def scores_of(key: str, clean: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    """A score of each mixture: float64 (mixtures,), nan where it cannot be computed."""
    scores = np.full(len(clean), math.nan)
    for index, pair in enumerate(zip(clean, denoised, strict=True)):
        try:
            scores[index] = SCORES[key](*pair)
        except NotScorable:
            continue
    return scores


def print_table(title: str, rows: Sequence[tuple[str, Table]]) -> None:
    """Prints a table: the means of each row and, below those of the first weights, the differences to it."""
    widths = {name: max(COLUMN, len(name) + 2) for name in rows[0][1]}

    def line(head: str, cells: Mapping[str, str]) -> str:
        return f"{head:24}" + "".join(f"{cell:>{widths[name]}}" for name, cell in cells.items())

    print(line(title, {name: name for name in widths}))
    first: Table = {}
    for head, table in rows:
        cell = (lambda found: difference(found, 0 * found)) if title == CHANGES else mean_of
        cells = {name: cell(found) for name, found in table.items()}
        print(line(head, cells))
        if first:
            print(line("", {name: difference(found, first[name]) for name, found in table.items()}))
        first = first or (table if head != "noisy" else {})
    sys.stdout.flush()


def mean_of(scores: np.ndarray) -> str:
    """The mean of the scores that there are."""
    there = scores[~np.isnan(scores)]
    return f"{np.mean(there):.2f}" if len(there) else "-"


def shortened(path: Path, width: int = 23) -> str:
    """What of a path fits a column of `width` characters: its end."""
    return str(path) if len(str(path)) <= width else f"...{str(path)[3 - width :]}"


if __name__ == "__main__":
    sys.exit(main())
