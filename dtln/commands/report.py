"""Make a page of scores: means, charts, a table to listen to the worst files, a blind test.

    dtln report scores.json -o report.html
    dtln report scores.json -o report.html --name DTLN --compare RNNoise=OTHER_DENOISED --compare old=old_scores.json
    dtln report scores.json -o report.html --files

`dtln score --json` and `dtln enhance --json` write scores.json. --compare adds other systems, denoised folders of which
are scored here against the same clean recordings, with the same flags.

The page opens from disk and asks nothing of the network. The sound of the worst and the best files is inside it
(--embed), and the others are played from where they lie, without spectrograms, which a page from disk cannot draw of
them. --files copies the sound of every file into the folder NAME_files beside the page; then it has all spectrograms,
plays recordings in any format, and can be moved together with the folder. Copies are as the metrics heard the
recordings: mono, 16 kHz, of long ones the first 60 s.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtln.commands.flags import positive
from dtln.commands.run import failed
from dtln.errors import AudioFileError, SettingsError
from dtln.interrupts import last_words

if TYPE_CHECKING:
    from dtln.reporting import System


def parse(argv: Sequence[str] | None, prog: str = "dtln report") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, metavar="SCORES", help="what `dtln score --json` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="HTML", help="the page; it is replaced")
    parser.add_argument("--name", metavar="NAME", help="what the page calls the system of SCORES (default: enhanced)")
    parser.add_argument(
        "--compare", action="append", default=[], type=named, metavar="NAME=PATH",
        help="another system: its scores.json, or the folder that it denoised, which is scored; may be given again",
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
    from dtln.evaluation.denoising import count
    from dtln.reporting import ReportSettings, System, read_scores, require_page_name, write_report

    try:
        require_page_name(args.output)
        report = read_scores(args.scores)
        name = args.name or list(report["files"][0]["scores"])[-1]
        systems = [System(name, report, args.scores.parent)]
        with last_words("the page was not written".format):
            systems += [compared(other, path, systems[0], args.jobs) for other, path in args.compare]
            settings = ReportSettings(args.embed, args.files, args.title, args.jobs)
            table = write_report(args.output, systems, settings)
    except USER_ERRORS as error:
        return failed(prog, error)
    beside = f", its sound to {args.output.stem}_files beside it" if args.files else ""
    size = args.output.stat().st_size / 1e6
    print(f"page of {count(len(table.names), 'file')} written to {args.output}, {size:.1f} MB{beside}")
    return 0


def compared(name: str, path: Path, first: System, jobs: int | None) -> System:
    """The system of one --compare: its scores, or those of a folder, scored as `first` was.

    Raises as `read_scores`, and as `plan_scores` for a folder.
    """
    from dtln.evaluation.scores import ScoringSettings, plan_scores, score_files, scores_report
    from dtln.reporting import System, read_scores

    if path.is_file():
        return System(name, read_scores(path), path.parent)
    if not path.exists():
        raise AudioFileError(f"{path}: does not exist. Expected the scores of {name}, or the folder that it denoised.")
    said: Mapping[str, Any] = first.report.get("settings", {})
    reference, noisy = (first.path(said.get(key)) for key in ("reference", "noisy"))
    if not said.get("score_only", True):  # of `dtln enhance`
        noisy = first.path(said.get("input"))
    settings = ScoringSettings(
        reference,
        bool(said.get("dnsmos")),
        bool(said.get("align")),
        first.path(said.get("manifest")),
        not said.get("no_pesq"),
        bool(said.get("salvage")),
    )
    if not (reference or settings.dnsmos):
        raise SettingsError(
            f"the scores of {first.name} do not say how they were made. Expected what `dtln score --json` writes; or "
            f"score {path} with --json, and compare its scores."
        )
    print(f"{name}:")
    scored = score_files(plan_scores(path, settings, noisy), settings, jobs)
    return System(name, scores_report(scored, dict(said)))
