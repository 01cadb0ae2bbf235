"""Denoise a recording or a folder of them, and score the result where clean recordings are given.

    run_evaluation.py -i noisy.wav -o denoised.wav
    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5
    run_evaluation.py -i NOISY_DIR -o DENOISED_DIR -m model.h5 --reference CLEAN_DIR --csv scores.csv
    run_evaluation.py --score-only -i DENOISED_DIR --noisy NOISY_DIR --reference CLEAN_DIR --json scores.json
    run_evaluation.py --score-only -i DENOISED_DIR --dnsmos

Recordings may have any rate and channel count, and any format that soundfile reads; with the package av also m4a, mp4,
wma, webm and more, and the sound of videos. The output is mono at 16 kHz, aligned with the input and in its sample
format. A format that cannot be written becomes wav; the summary says so. Outputs of a folder keep their names and
sub-folders. The output of one recording is NAME_denoised beside it, or the file that -o names, whose extension then
decides the format. A file that cannot be denoised is reported at the end, and the others are denoised; the exit status
is then 1.

Scores are PESQ (raw P.862 narrow band, its P.862.1 mapping, wide band), STOI, ESTOI, SI-SDR and SNR against clean
recordings of the same name, whatever the extension, or of the same fileid_N; and DNSMOS, which needs no clean
recordings. --score-only, like the command `dtln score`, scores recordings that any program denoised, or noisy ones.
The means over files come with 95 % intervals (Student's t). They are also given by input SNR: --manifest or names like
..._snr5_fileid_1.wav tell it, else it is measured on the noisy recordings. Recordings that are silent, too short, or
too long for PESQ (above 128 s, or about 45 utterances) are left out, named and counted; --no-pesq scores long ones,
too. Delays, clipping and levels that spoil a score are reported.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dtln.choices import LEVELS
from dtln.commands import score
from dtln.commands.flags import add_published_name, add_strength_arguments, positive
from dtln.commands.run import failed
from dtln.formats import DEFAULT_WEIGHTS, EXPORT_KINDS, MODEL_DIR
from dtln.interrupts import last_words

ABOUT_WRITING = (
    "output", "overwrite", "skip_existing", "keep_rate", "keep_channels", "channel", "level", "strength",
    "attenuation_limit", "keep_high_band",
)  # fmt: skip


def parse(argv: Sequence[str] | None, prog: str = "run_evaluation.py") -> argparse.Namespace:
    text = (__doc__ or "").replace("run_evaluation.py", prog)
    parser = argparse.ArgumentParser(prog, description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    score.add_flags(
        parser,
        ("IN", "noisy recording, or folder of them"),
        jobs="files at a time, in threads (processes for keras, savedmodel and scores); default: one per core, with "
        "keras and savedmodel one",
        noisy="with --score-only: what IN was denoised from, to score it too",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="folder to write to; for one recording, the file"
    )
    parser.add_argument(
        "-m",
        "--weights",
        type=Path,
        metavar="H5",
        help="weights of the network (default: those that are included); for an export its folder, or the export",
    )
    parser.add_argument("--keep-rate", action="store_true", help="write the input's sampling rate instead of 16 kHz")
    parser.add_argument(
        "--keep-high-band", action="store_true",
        help="with --keep-rate: add what the recording has above 8 kHz, which the network does not hear, turned down "
        "by as much as the network turned down 4 to 8 kHz",
    )  # fmt: skip
    channels = parser.add_mutually_exclusive_group()
    channels.add_argument("--keep-channels", action="store_true", help="denoise each channel instead of their average")
    channels.add_argument(
        "--channel",
        type=positive(int),
        metavar="N",
        help="denoise channel N alone, counted from 1 (default: the average of the channels, without those that lie "
        "40 dB or more below the loudest; where channels cancel each other, the loudest)",
    )
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default="auto",
        help="auto: the network hears recordings that are too quiet or too loud for its weights at a level that they "
        "know, they are written at their own, and a DC offset is removed (default); raw: it hears them as they are",
    )
    add_strength_arguments(parser)
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
    parser.add_argument("--score-only", action="store_true", help="denoise nothing: score the recordings in IN")
    for option, dest in (("--in_folder", "input"), ("--out_folder", "output"), ("--model", "weights")):
        add_published_name(parser, option, dest=dest)
    args = score.parse_flags(parser, argv)
    if args.weights is None:
        args.weights = MODEL_DIR if args.engine in EXPORT_KINDS else DEFAULT_WEIGHTS
    if not args.score_only:
        if args.output is None and not args.input.is_file():
            missing = "" if args.input.exists() else f"; {args.input} does not exist"
            parser.error(f"the following arguments are required: -o/--output (or --score-only){missing}")
        if args.keep_high_band and not args.keep_rate:
            parser.error("--keep-high-band goes with --keep-rate: at 16 kHz there is nothing above 8 kHz")
        if args.noisy:
            parser.error("--noisy goes with --score-only: what is denoised here is scored beside its input anyway")
    elif not (args.reference or args.dnsmos):
        parser.error("--score-only: say against which recordings with --reference CLEAN, or say --dnsmos")
    elif any(getattr(args, name) != parser.get_default(name) for name in ABOUT_WRITING):
        parser.error("--score-only writes no recordings: leave out -o and the flags that say how they are written")
    return args


def main(argv: Sequence[str] | None = None, prog: str = "run_evaluation.py") -> int:
    args = parse(argv, prog)
    if args.score_only:
        return score.run(args, prog)
    from dtln.audio.signal_path import chosen_strength
    from dtln.evaluation.denoising import account, denoise_files, plan_denoising
    from dtln.evaluation.recording import DenoisingSettings
    from dtln.evaluation.scores import ScoredFile, plan_scores, score_files

    may_exist = args.overwrite or args.skip_existing
    scored: list[ScoredFile] = []
    try:
        score.require_report_folders(args)
        score.tell_equal_folders(args, prog, denoises=True)
        scoring = score.scoring_settings(args) if args.reference or args.dnsmos else None
        jobs = plan_denoising(
            args.input,
            args.output,
            args.keep_rate,
            args.keep_channels,
            clean=args.reference,
            may_exist=may_exist,
            salvage=args.salvage,
            shard=args.shard,
        )
        targets = {job.source: job.target for job in jobs if not job.unreadable}
        pairs = plan_scores(args.input, scoring, denoised=targets) if scoring else []
        settings = DenoisingSettings(
            args.engine,
            args.weights,
            level=args.level,
            strength=chosen_strength(args.strength, args.attenuation_limit),
            keep_high_band=args.keep_high_band,
            channel=args.channel,
            salvage=args.salvage,
        )
        denoised = denoise_files(jobs, settings, args.jobs, args.skip_existing, args.ray)
        if args.output is None and any(not file.failure for file in denoised):
            print(f"written to {jobs[0].target}")
        if scoring:
            useless = {file.job.source for file in denoised if file.failure or file.empty}
            scorable = [pair for pair in pairs if pair.signals["noisy"] not in useless]
            with last_words("all recordings were written, no scores were".format):
                scored = score_files(scorable, scoring, args.jobs, args.ray)
        with last_words("all recordings were written, no report was".format):
            score.write_reports(args, scored, vars(args), account(jobs, denoised))
    except score.USER_ERRORS as error:
        return failed(prog, error)
    return score.status(denoised, scored)
