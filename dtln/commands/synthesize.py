"""Make noisy and clean wav pairs to train on from folders of clean speech and of noise, as the DNS-Challenge does.

    %(prog)s --speech DIR --noise DIR --output DIR --hours 100 --jobs 4
    %(prog)s --speech DIR --noise DIR --output DIR --count 2000 --simulated-rooms --seconds 15
    %(prog)s --output DIR --resume

A pair is made of utterances of one speaker, joined with short pauses, and of clips of random noise recordings, joined
with cross-fades; in a share of the pairs both sound in a room. Noise is scaled to a random SNR, the mixture to a random
level. Pairs lie in OUTPUT/training/{noisy,clean} and OUTPUT/validation/{noisy,clean}, which have no speaker and no
noise recording in common, as wavs of 16 kHz, mono, 16 bits. A noisy file is called SPEAKER_snr5_tl-25_fileid_12.wav
(without speech: nospeech_tl-25_fileid_12.wav) and its partner clean_fileid_12.wav, as in the DNS-Challenge set; tl is
the level in dBFS. manifest.csv tells what each pair was made of, settings.json takes --settings to make it again.
The same recordings, settings and seed give the same files, whatever the number of jobs, shards or machines. Shards may
write into one folder; --resume without --shard then makes what is missing and joins their manifests. Recordings that
turn out to be damaged or silent are replaced by others and listed at the end; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dtln.choices import ROOM_TARGETS
from dtln.commands.flags import SPEAKER_PATTERN_HELP, add_scale_arguments
from dtln.commands.run import failed
from dtln.errors import AudioFileError, SettingsError
from dtln.interrupts import last_words
from dtln.synthesis.run import synthesize
from dtln.synthesis.settings import SETTINGS_NAME, Settings, effective_settings

EXTRA = "synthesis"


def parse(
    argv: Sequence[str] | None, prog: str = "synthesize_training_data.py"
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """(how to run, the settings given as flags)."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new or empty folder to write to")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="take settings from this JSON; flags win over it")
    parser.add_argument("--jobs", type=int, metavar="N", help="worker processes (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on in OUTPUT, with the settings it was begun with")

    add_scale_arguments(parser, "the pairs, in the order of their numbers")

    names = {field.name for field in fields(Settings)}
    group = parser.add_argument_group("settings (kept in settings.json)", argument_default=argparse.SUPPRESS)
    group.add_argument("--speech", metavar="DIR", help="clean speech, any audio format, sub-folders included")
    group.add_argument("--noise", metavar="DIR", help="noise recordings")
    rooms = group.add_mutually_exclusive_group()
    rooms.add_argument("--rir", metavar="DIR", help="room impulse responses; a sub-folder holds those of one room")
    rooms.add_argument(
        "--simulated-rooms",
        action=argparse.BooleanOptionalAction,
        help="simulate a room for each pair (needs the package pyroomacoustics)",
    )
    size = group.add_mutually_exclusive_group()
    size.add_argument("--hours", type=float, metavar="H", help="hours of pairs, validation included")
    size.add_argument("--count", type=int, metavar="N", help="number of pairs, validation included")
    group.add_argument("--seconds", type=float, help=f"length of a file (default: {Settings.seconds:g})")
    group.add_argument(
        "--snr-db", type=int, nargs=2, metavar=("MIN", "MAX"), help="whole dB (default: {} {})".format(*Settings.snr_db)
    )
    group.add_argument(
        "--level-dbfs",
        type=int,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="level of the mixture, whole dB (default: {} {})".format(*Settings.level_dbfs),
    )
    group.add_argument(
        "--reverberant-share", type=float, metavar="X", help="share of pairs in a room (default: 0.5 if there are any)"
    )
    group.add_argument(
        "--target",
        choices=ROOM_TARGETS,
        help="clean file in rooms: speech as it sounds there, or its direct sound with the first 50 ms of reflections "
        f"(default: {Settings.target})",
    )
    group.add_argument(
        "--silence-share", type=float, metavar="X", help=f"share without speech (default: {Settings.silence_share:g})"
    )
    group.add_argument(
        "--validation-share", type=float, metavar="X", help=f"default: {Settings.validation_share:g}; 0 makes none"
    )
    group.add_argument(
        "--speaker-pattern",
        metavar="PATTERN",
        help=SPEAKER_PATTERN_HELP,
    )
    group.add_argument("--seed", type=int, help=f"default: {Settings.seed}")
    args = parser.parse_args(argv)
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected at least one process")
    return args, {name: value for name, value in vars(args).items() if name in names}


def main(argv: Sequence[str] | None = None, prog: str = "synthesize_training_data.py") -> int:
    args, given = parse(argv, prog)
    from dtln.pool import WorkerKilled

    file = args.settings
    if file is None and args.resume and (args.output / SETTINGS_NAME).is_file():
        file = args.output / SETTINGS_NAME
    try:
        settings = effective_settings(given, file)
        with last_words("what was written is complete, --resume goes on".format):
            made, there, unusable = synthesize(settings, args.output, args.jobs, args.resume, args.shard, args.ray)
    except (AudioFileError, SettingsError, OSError) as error:
        return failed(prog, error)
    except WorkerKilled as error:
        print(f"{prog}: {error} What was written is complete; --resume goes on.", file=sys.stderr)
        return 1
    hours = (made + there) * settings.seconds / 3600
    print(f"{args.output}: {made + there} pairs, {hours:.2f} h; {made} made now, {there} were there")
    for reason in unusable:
        print(f"LEFT OUT {reason}", file=sys.stderr)
    return 1 if unusable else 0
