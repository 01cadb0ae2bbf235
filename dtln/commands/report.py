"""Make a page of scores: means, charts, a table to listen to the worst files, a blind test.

    dtln report scores.json -o report.html
    dtln report scores.json -o report.html --name DTLN --compare RNNoise=OTHER_DENOISED --compare old=old_scores.json
    dtln report scores.json -o report.html --files
    dtln report part_1.json part_2.json -o report.html --compare old=old_1.csv --compare old=old_2.csv

SCORES are what --json or --csv of `dtln score` or `dtln enhance` wrote; several are parts of one system, as --shard
makes them. A CSV does not say where recordings lie: the page has no sound of it. --compare adds other systems, denoised
folders of which are scored here against the same clean recordings, with the same flags.

The page opens from disk and asks nothing of the network. The sound of the worst and the best files is inside it
(--embed), and the others are played from where they lie, without spectrograms, which a page from disk cannot draw of
them. --files copies the sound of every file into the folder NAME_files beside the page; then it has all spectrograms,
plays recordings in any format, and can be moved together with the folder. Copies are as the metrics heard the
recordings: mono, 16 kHz, of long ones the first 60 s.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.commands.flags import positive
from dtln.commands.run import failed
from dtln.errors import SettingsError, count, one_line
from dtln.interrupts import last_words

if TYPE_CHECKING:
    from dtln.reporting import System


def parse(argv: Sequence[str] | None, prog: str = "dtln report") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scores", nargs="+", type=Path, metavar="SCORES", help="scores of a system; several are parts of it"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="HTML", help="the page; it is replaced")
    parser.add_argument("--name", metavar="NAME", help="what the page calls the system of SCORES (default: enhanced)")
    parser.add_argument(
        "--compare", action="append", default=[], type=named, metavar="NAME=PATH",
        help="another system: its scores, or the folder that it denoised, which is scored; may be given again, with "
        "the same NAME for parts of one system",
    )  # fmt: skip
    parser.add_argument("--title", metavar="TEXT", help="title of the page (default: the names of the systems)")
    sound = parser.add_mutually_exclusive_group()
    sound.add_argument(
        "--embed", type=whole, default=5, metavar="N",
        help="put the sound of the N worst and the N best files into the page (default: 5)",
    )  # fmt: skip
    sound.add_argument("--files", action="store_true", help="copy the sound of all files into a folder beside the page")
    parser.add_argument("--jobs", type=positive(int), metavar="N", help="files at a time (default: one per core)")
    return parser.parse_args(argv)


def named(text: str) -> tuple[str, Path]:
    """The name and the path of NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name, = and a path: RNNoise=denoised_by_rnnoise")
    return name, Path(path)


def whole(text: str) -> int:
    """A number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 on")
    return int(text)


def main(argv: Sequence[str] | None = None, prog: str = "dtln report") -> int:
    args = parse(argv, prog)
    from dtln.commands.score import USER_ERRORS
    from dtln.reporting import ReportSettings, combine, read_scores, require_page_name, write_report

    try:
        require_page_name(args.output)
        parts = [read_scores(path) for path in args.scores]
        name = args.name or next((file.signal for part in parts for file in part.files), "enhanced")
        first = [replace(part, name=name) for part in parts]
        others = [None if path.is_dir() else read_scores(path, other) for other, path in args.compare]
        combine([*first, *filter(None, others)])  # what does not fit is told before folders are scored
        require_own_names(name, args.compare)
        with last_words("the page was not written".format):
            systems = [
                written or scored_here(other, path, first[0], args.jobs)
                for written, (other, path) in zip(others, args.compare, strict=True)
            ]
            settings = ReportSettings(args.embed, args.files, args.title, args.jobs)
            table = write_report(args.output, [*first, *systems], settings)
    except USER_ERRORS as error:
        return failed(prog, error)
    beside = f", its sound to {args.output.stem}_files beside it" if args.files else ""
    size = args.output.stat().st_size / 1e6
    print(f"page of {count(len(table.names), 'file')} written to {args.output}, {size:.1f} MB{beside}")
    for note in table.notes:
        print(f"note: {one_line(note)}")
    return 0


def require_own_names(first: str, compared: Sequence[tuple[str, Path]]) -> None:
    """Raises SettingsError for a folder with the name of another system or signal, before it is scored."""
    from dtln.reporting.written import CLEAN, NOISY

    names = [first, *(name for name, _ in compared)]
    for name, path in compared:
        if path.is_dir() and (names.count(name) > 1 or name in (NOISY, CLEAN)):
            raise SettingsError(f"{path}: {name} is the name of something else. Expected another one, NAME=FOLDER.")


def scored_here(name: str, folder: Path, first: System, jobs: int | None) -> System:
    """A folder, scored as `first` was. Raises as `plan_scores`, and SettingsError where that is not known."""
    from dtln.evaluation.scores import ScoringSettings, plan_scores, score_files, scores_report
    from dtln.reporting import system_of
    from dtln.reporting.written import path_from

    said = first.settings

    def path(key: str) -> Path | None:
        return path_from(said[key], first.path.parent) if said.get(key) else None

    settings = ScoringSettings(
        path("reference"),
        bool(said.get("dnsmos")),
        bool(said.get("align")),
        path("manifest"),
        not said.get("no_pesq"),
        bool(said.get("salvage")),
    )
    if not (settings.reference or settings.dnsmos):
        raise SettingsError(
            f"{first.path}: does not say how {first.name} was scored. Expected what --json of `dtln score` writes; or "
            f"score {folder} with the same flags and --json, and compare its scores."
        )
    print(f"{name}:")
    noisy = path("noisy" if said.get("score_only", True) else "input")  # the latter of `dtln enhance`
    scored = score_files(plan_scores(folder, settings, noisy), settings, jobs)
    return system_of(name, scores_report(scored, dict(said)), folder)
