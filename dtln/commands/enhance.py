"""Denoise a folder of recordings with DTLN weights, and score the result where clean recordings are given.

    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5
    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5 --reference CLEAN_DIR --csv scores.csv
    run_evaluation.py --score-only -i DENOISED_DIR --noisy NOISY_DIR --reference CLEAN_DIR --json scores.json
    run_evaluation.py --score-only -i DENOISED_DIR --dnsmos

Sub-folders and names are kept. Recordings of any rate, channel count and format that soundfile reads are taken; what
is written is mono at 16 kHz, aligned with the input and of the input's sample format (a format that cannot be written
becomes wav; the summary says so). A file that cannot be denoised is reported at the end and the others are done; the
exit status is then 1.

Scores are PESQ (raw P.862 narrow band, its P.862.1 mapping, wide band), STOI, ESTOI, SI-SDR and SNR against clean
recordings of equal name, extensions aside, or of the same fileid_N; and DNSMOS, which needs none. --score-only takes
recordings that were denoised elsewhere, or noisy ones, and needs no TensorFlow. The means over files come with 95 %
intervals (Student's t), also broken down by input SNR, as a manifest or names like ..._snr5_fileid_1.wav tell it, else
as measured against the clean recordings. Silent recordings and such as are too short are left out and counted; delays,
clipping and levels that spoil a score are reported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dtln.evaluation.denoising import denoise_files, plan
from dtln.evaluation.scores import plan_scores, score_files
from dtln.formats import EXPORT_KINDS, MODEL_DIR


def parse(argv: Sequence[str] | None, prog: str = "run_evaluation.py") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="IN", help="folder of noisy recordings")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "-m",
        "--weights",
        type=Path,
        metavar="H5",
        help="weights of the network (default: pretrained_model/model.h5 beside this script); for an export its folder",
    )
    parser.add_argument("--keep-rate", action="store_true", help="write the input's sampling rate instead of 16 kHz")
    parser.add_argument("--keep-channels", action="store_true", help="denoise each channel instead of their average")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave outputs that exist as they are")
    parser.add_argument(
        "--engine",
        choices=("fast", "keras", *EXPORT_KINDS),
        default="fast",
        metavar="NAME",
        help="fast: the weights on ONNX Runtime, whole sequences at once (default); keras: the network itself, slower; "
        f"or an export, block by block: {', '.join(EXPORT_KINDS)}",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="files at a time, in threads (processes for keras, savedmodel and scores); default: one per core, with "
        "keras and savedmodel one",
    )
    scoring = parser.add_argument_group("scores")
    scoring.add_argument("--reference", type=Path, metavar="CLEAN_DIR", help="score against the recordings in here")
    scoring.add_argument("--dnsmos", action="store_true", help="score with DNSMOS too (needs the package speechmos)")
    scoring.add_argument("--score-only", action="store_true", help="denoise nothing: score the recordings in IN")
    scoring.add_argument(
        "--noisy", type=Path, metavar="NOISY_DIR", help="with --score-only: what IN was denoised from, to score it too"
    )
    scoring.add_argument(
        "--align", action="store_true", help="remove a delay against the clean recording, and cut both to what is left"
    )
    scoring.add_argument(
        "--manifest", type=Path, metavar="FILE", help="CSV table of input SNRs: noisy/file/name, snr_db"
    )
    scoring.add_argument("--csv", type=Path, metavar="FILE", help="write the scores of each file here")
    scoring.add_argument("--json", type=Path, metavar="FILE", help="write scores, means, intervals and settings here")
    args = parser.parse_args(argv)
    if args.weights is None:
        args.weights = MODEL_DIR if args.engine in EXPORT_KINDS else MODEL_DIR / "model.h5"
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected at least one process")
    if not args.score_only:
        if args.output is None:
            parser.error("the following arguments are required: -o/--output (or --score-only)")
        if args.noisy:
            parser.error("--noisy goes with --score-only: what is denoised here is scored beside its input anyway")
    elif not (args.reference or args.dnsmos):
        parser.error("--score-only: say against which recordings with --reference CLEAN_DIR, or say --dnsmos")
    elif args.output or args.overwrite or args.skip_existing or args.keep_rate or args.keep_channels:
        parser.error("--score-only writes no recordings: leave out -o, --overwrite, --skip-existing and --keep-...")
    for option in ("csv", "json", "manifest"):
        if getattr(args, option) and not (args.reference or args.dnsmos):
            parser.error(
                f"--{option} is about scores: say against which recordings with --reference CLEAN_DIR, or say --dnsmos"
            )
    if args.align and not args.reference:
        parser.error("--align removes delays against clean recordings: say which with --reference CLEAN_DIR")
    return args


def main(argv: Sequence[str] | None = None, prog: str = "run_evaluation.py") -> int:
    args = parse(argv, prog)
    from dtln.errors import AudioFileError

    try:
        jobs, unreadable = ([], []) if args.score_only else plan(args)
        pairs = plan_scores(jobs, args) if args.reference or args.dnsmos else []
        denoised = [] if args.score_only else denoise_files(jobs, unreadable, args)
        left_out = {outcome.job.source for outcome in denoised if outcome.failure or outcome.empty}
        pairs = [pair for pair in pairs if pair.signals[0][1] not in left_out]
        scored = score_files(pairs, args) if args.reference or args.dnsmos else []
    except (AudioFileError, ValueError, OSError, ImportError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        written = (
            "no scores were written" if args.score_only else "what was written is complete, --skip-existing goes on"
        )
        print(f"{prog}: stopped; {written}", file=sys.stderr)
        return 130
    failures = [outcome for outcome in denoised + scored if outcome.failure]
    for outcome in failures:
        print(f"FAILED {outcome.failure}", file=sys.stderr)
    nothing_scored = scored and not any(outcome.scores for outcome in scored)
    return 1 if failures or nothing_scored else 0
