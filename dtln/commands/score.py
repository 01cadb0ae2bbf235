"""Score recordings that were denoised already, or noisy ones.

    dtln score DENOISED --reference CLEAN --noisy NOISY --json scores.json
    dtln score DENOISED --reference CLEAN --csv scores.csv
    dtln score DENOISED --reference CLEAN --noisy NOISY --report report.html
    dtln score DENOISED --dnsmos

DENOISED, CLEAN and NOISY are folders, or single recordings. Any program may have denoised them; the network is not
needed.

Scores are PESQ (raw P.862 narrow band, its P.862.1 mapping, wide band), STOI, ESTOI, SI-SDR and SNR against clean
recordings of the same name, whatever the extension, or of the same fileid_N; and DNSMOS, which needs no clean
recordings. The means over files come with 95 % intervals (Student's t). They are also given by input SNR: --manifest or
names like ..._snr5_fileid_1.wav tell it, else it is measured on the noisy recordings. Recordings that are silent, too
short, or too long for PESQ (above 128 s, or about 45 utterances) are left out, named and counted; --no-pesq scores long
ones, too. Delays, clipping and levels that spoil a score are reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtln.commands.flags import add_scale_arguments
from dtln.commands.run import failed
from dtln.errors import (
    AudioFileError,
    MissingPackageError,
    ModelError,
    SettingsError,
    WeightsFileError,
    one_line,
    require_place,
)
from dtln.interrupts import last_words

if TYPE_CHECKING:
    from dtln.evaluation.recording import DenoisedFile
    from dtln.evaluation.scores import ScoredFile, ScoringSettings

# what a user can mend is told without a traceback; any other exception is a bug of ours
USER_ERRORS = (AudioFileError, MissingPackageError, ModelError, SettingsError, WeightsFileError, OSError)
NOT_SCORING = ("output", "weights")  # flags of run_evaluation.py that say nothing about scores


def parse(argv: Sequence[str] | None, prog: str = "dtln score") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(
        parser,
        ("DENOISED", "recording or folder to score"),
        jobs="processes (default: as many as pay, at most one per core)",
        noisy="what DENOISED was denoised from, a recording or folder, to score it too",
    )
    args = parse_flags(parser, argv)
    if not (args.reference or args.dnsmos):
        parser.error("say against which recordings with --reference CLEAN, or say --dnsmos")
    return args


def add_flags(parser: argparse.ArgumentParser, recordings: tuple[str, str], jobs: str, noisy: str) -> None:
    """Adds what `dtln enhance` and `dtln score` share: input, jobs and the flags of scores.

    recordings: name and help of the input. jobs, noisy: the help of these flags.
    """
    name, text = recordings
    parser.add_argument("positional_input", nargs="?", type=Path, metavar=name, help=text)
    parser.add_argument("-i", "--input", type=Path, metavar=name, help=f"{name}, given as a flag")
    parser.add_argument("--jobs", type=int, metavar="N", help=jobs)
    parser.add_argument(
        "--salvage",
        action="store_true",
        help="read what is there of recordings whose header announces more or less than the file holds (a recorder "
        "that crashed, a file cut off, files joined end to end), instead of refusing them",
    )
    add_scale_arguments(parser, "the recordings, of equal sizes")
    group = parser.add_argument_group("scores")
    group.add_argument(
        "--reference", type=Path, metavar="CLEAN", help="score against this clean recording, or those in this folder"
    )
    group.add_argument("--noisy", type=Path, metavar="NOISY", help=noisy)
    group.add_argument("--dnsmos", action="store_true", help="score with DNSMOS too (needs the package speechmos)")
    group.add_argument(
        "--no-pesq", action="store_true", help="leave PESQ out, and score recordings that are too long for it"
    )
    group.add_argument(
        "--align", action="store_true", help="remove a delay against the clean recording, and cut both to what is left"
    )
    group.add_argument(
        "--manifest", type=Path, metavar="FILE", help="take input SNRs from a CSV table: noisy/file/name, snr_db"
    )
    group.add_argument("--csv", type=Path, metavar="FILE", help="write the scores of each file here")
    group.add_argument(
        "--json", type=Path, metavar="FILE", help="write scores, means and settings here, and what became of each file"
    )
    group.add_argument(
        "--report", type=Path, metavar="HTML",
        help="write a page with tables, charts and players here; `dtln report` makes larger ones, and compares systems",
    )  # fmt: skip


def parse_flags(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with the input as `input`; refuses what contradicts itself among the flags of `add_flags`."""
    args = parser.parse_args(argv)
    if (args.input is None) == (args.positional_input is None):
        parser.error("expected one recording or folder, as an argument or after -i")
    args.input = args.input or args.positional_input
    del args.positional_input
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected at least one process")
    for option in ("csv", "manifest", "report"):
        if getattr(args, option) and not (args.reference or args.dnsmos):
            parser.error(
                f"--{option} is about scores: say against which recordings with --reference CLEAN, or say --dnsmos"
            )
    if args.no_pesq and not args.reference:
        parser.error("--no-pesq is about scores against clean recordings: say which with --reference CLEAN")
    if args.align and not args.reference:
        parser.error("--align removes delays against clean recordings: say which with --reference CLEAN")
    return args


def main(argv: Sequence[str] | None = None, prog: str = "dtln score") -> int:
    return run(parse(argv, prog), prog)


def run(args: argparse.Namespace, prog: str) -> int:
    """Scores what the arguments say; `run_evaluation.py --score-only` does the same. Returns the exit status."""
    from dtln.evaluation.scores import plan_scores, score_files

    try:
        require_report_folders(args)
        tell_equal_folders(args, prog)
        settings = scoring_settings(args)
        with last_words("no scores were written".format):
            pairs = plan_scores(args.input, settings, args.noisy, shard=args.shard)
            scored = score_files(pairs, settings, args.jobs, args.ray)
            write_reports(args, scored, {name: value for name, value in vars(args).items() if name not in NOT_SCORING})
    except USER_ERRORS as error:
        return failed(prog, error)
    return status([], scored)


def scoring_settings(args: argparse.Namespace) -> ScoringSettings:
    """The settings that the flags stand for."""
    from dtln.evaluation.scores import ScoringSettings

    return ScoringSettings(args.reference, args.dnsmos, args.align, args.manifest, not args.no_pesq, args.salvage)


def tell_equal_folders(args: argparse.Namespace, prog: str, denoises: bool = False) -> None:
    """Says on stderr what scores mean where two of the paths are the same, before work starts.

    denoises: whether the input is what is denoised, and not what was denoised.
    """
    noisy = args.input if denoises else args.noisy

    def same(one: Path | None, other: Path | None) -> bool:
        return bool(one and other and one.exists() and other.exists() and one.samefile(other))

    if same(noisy, args.reference):
        text = (
            f"{noisy} is noisy input and clean reference at once, so the scores say what denoising does to clean "
            "speech. If that was not meant, give the clean recordings after --reference"
        )
    elif same(args.input, args.reference):
        text = (
            f"{args.input} is scored against itself. Expected denoised or noisy recordings; `dtln score DENOISED "
            f"--reference {args.reference} --noisy {args.reference}` tells what denoising did to these"
        )
    elif not denoises and same(args.input, args.noisy):
        text = f"{args.input} is denoised and noisy at once, so all differences are 0. Expected what it was made from"
    else:
        return
    print(f"{prog}: note: {one_line(text)}.", file=sys.stderr)


def require_report_folders(args: argparse.Namespace) -> None:
    """Raises SettingsError as `require_page_name` and `require_place` for what is to be written, before work."""
    if args.report:
        from dtln.reporting import require_page_name

        require_page_name(args.report)
    for report in (args.csv, args.json):
        if report:
            require_place(report)


def write_reports(
    args: argparse.Namespace,
    scored: Sequence[ScoredFile],
    settings: Mapping[str, object],
    denoised: Sequence[Mapping[str, object]] | None = None,
) -> None:
    """Writes the files of --csv, --json and --report; denoised: as `write_json` takes it."""
    from dtln.evaluation.scores import scores_report, write_csv, write_json

    if args.csv:
        write_csv(args.csv, scored)
    if args.json:
        write_json(args.json, scored, settings, denoised)
    if args.report:
        from dtln.reporting import system_of, write_report

        if not any(file.scores for file in scored):
            print(f"{args.report}: not written, because no file could be scored")
            return
        name = list(scored[0].pair.signals)[-1]
        write_report(args.report, [system_of(name, scores_report(scored, settings, denoised))])
        print(f"page written to {args.report}")


def status(denoised: Sequence[DenoisedFile], scored: Sequence[ScoredFile]) -> int:
    """Prints the failures, last of all. The exit status: 1 where a file failed, or none could be scored."""
    failures = [failure for failure in [*(f.failure for f in denoised), *(f.failure for f in scored)] if failure]
    for failure in failures:
        print(f"FAILED {one_line(failure)}", file=sys.stderr)
    nothing_scored = bool(scored) and not any(file.scores for file in scored)
    return 1 if failures or nothing_scored else 0
