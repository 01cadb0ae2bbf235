"""Training on a CUDA GPU, as the arguments of run_training.py say."""

from __future__ import annotations

import argparse

from dtln.commands.train_flags import gpu_settings, remove_run, state_of_run, stored_arguments
from dtln.commands.train_sources import mixers_of
from dtln.gpu.training import prepare, train_networks
from dtln.training.run_config import write_run_config


def run(args: argparse.Namespace) -> None:
    """Trains. Raises SettingsError, AudioFileError, WeightsFileError, MissingPackageError or OSError for what a user
    can mend."""
    settings = gpu_settings(args)
    prepare(settings.deterministic)  # a missing package is told before a corpus is decoded
    from dtln.blocks import segment_length

    def begin() -> None:
        if args.overwrite:
            remove_run(args)
        write_run_config(args.run_dir, stored_arguments(args))

    training, validation = mixers_of(args, segment_length(args.segment_seconds))
    train_networks(
        args.network,
        training,
        validation,
        args.validation_segments,
        settings,
        args.run_dir,
        state_of_run(args),
        resume=args.resume,
        begin=begin,
    )
