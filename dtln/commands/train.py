"""Train DTLN on folders of noisy and clean wavs, or on speech and noise mixed on the fly.

Mixed on the fly:   %(prog)s --run-name RUN --config recipes/mixing.json --speech DIR --noise DIR
Pairs on disk:      %(prog)s --run-name RUN --config recipes/paper.json --train-noisy DIR --train-clean DIR
                    --val-noisy DIR --val-clean DIR
On a CUDA GPU:      %(prog)s --run-name RUN --config recipes/gpu.json --speech DIR --noise DIR

The engine keras (the default) trains one network on any device and back end: KERAS_BACKEND=torch or jax chooses another
one than TensorFlow. Its defaults are the paper's. In models_RUN/ appear the best weights RUN.h5, the last ones
RUN_last.h5, the log training_RUN.log, config.json from which the run can be repeated, and the state from which --resume
goes on.

The engine cuda trains several networks at once on one GPU, 400 hours of mixtures in a minute on an H200; it needs
PyTorch. All networks hear the same batches. The optimizer is Muon, the schedule warm-up and cosine. In models_RUN/
appear NAME.h5 and NAME_last.h5 of each network, the log training.csv, config.json and the state from which --resume
goes on; --deterministic repeats a run bit by bit. Without a GPU it runs step by step, for tests.

A flag that an engine does not honour is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from dtln.choices import resolve
from dtln.commands import train_flags
from dtln.commands.run import failed
from dtln.commands.train_flags import ENGINES, check_run, files_of_run, state_of_run
from dtln.errors import AudioFileError, SettingsError, WeightsFileError
from dtln.interrupts import last_words
from dtln.training.processes import run_processes

EXTRA = "train"

# what each of several processes runs, wherever the package was imported from
START = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r}); "
    "from dtln.commands.run import run; sys.exit(run('dtln.commands.train', sys.argv[2:], sys.argv[1]))"
)


def parse(argv: Sequence[str] | None, prog: str = "run_training.py") -> argparse.Namespace:
    """The arguments that the chosen engine honours; ends with an error for what does not fit."""
    return train_flags.parse(argv, prog, __doc__ or "")


def main(argv: Sequence[str] | None = None, prog: str = "run_training.py") -> int:
    """Trains; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(argv, prog)
    first = args.engine != "keras" or args.process == 0
    try:
        if first:
            check_run(args)
    except SettingsError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    if args.engine == "keras" and args.processes > 1 and not args.coordinator:
        return run_processes([sys.executable, "-c", START, prog, *argv], args.processes, prog)
    try:
        with last_words(lambda: _what_is_kept(args)) if first else nullcontext():
            resolve(ENGINES, args.engine)(args)
    except (AudioFileError, SettingsError, WeightsFileError, OSError) as error:
        return failed(prog, error)
    return 0


def _what_is_kept(args: argparse.Namespace) -> str:
    """What a run that is stopped leaves behind, and how to go on."""
    kept = files_of_run(args)
    if not kept:
        return f"no {'epoch' if args.engine == 'keras' else 'step'} had ended, nothing was kept"
    names = ", ".join(path.name for path in kept)
    if not state_of_run(args).is_file():
        flags = "--init-weights" if args.engine == "keras" else "--network NAME weights=FILE"
        return f"{args.run_dir} keeps {names}; begin again from them with {flags}"
    where = "after the last whole epoch" if args.engine == "keras" else "within a minute of where it was"
    return f"{args.run_dir} keeps {names}; the same command with --resume goes on {where}"
