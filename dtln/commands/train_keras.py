"""Training with Keras, as the arguments of run_training.py say."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from dtln.choices import STARTS, resolve
from dtln.commands.train_flags import remove_run, stored_arguments
from dtln.commands.train_sources import sources_of
from dtln.errors import require
from dtln.training.run_config import write_run_config

if TYPE_CHECKING:
    from DTLN_model import DTLNNetwork


def run(args: argparse.Namespace, change: Callable[[DTLNNetwork], DTLNNetwork] | None = None) -> None:
    """Trains; with `change`, what it makes of the network (research/core_1.py).

    Raises SettingsError, AudioFileError, WeightsFileError, MissingPackageError or OSError for what a user can mend.
    """
    for package in ("keras", "h5py"):
        require(package, "training")
    import keras

    import DTLN_model as dtln
    from dtln.training.distribution import distribute
    from dtln.training.tensorboard import TensorBoardLog

    if args.distribute or args.processes > 1:
        distribute(args.coordinator, args.process, args.processes)
    keras.utils.set_random_seed(args.seed)
    if args.mixed_precision:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    settings = dtln.TrainingSettings(
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        max_epochs=args.max_epochs,
        schedule=args.schedule,
        warmup_steps=args.warmup_steps,
        stop_patience=args.stop_patience,
        clip_norm=args.clip_norm,
        loss=args.loss,
        optimizer=args.optimizer,
        adam_share=args.adam_share,
        ema=args.ema,
        workers=args.workers,
        process=args.process,
        processes=args.processes,
        seed=args.seed,
    )
    training, validation = sources_of(args, dtln.segment_length(args.segment_seconds))
    steps = dtln.steps_per_epoch(training, settings.batch_size)
    network = dtln.build_network(dtln.DTLNConfig(norm_stft=args.norm_stft, dropout=args.dropout), seed=args.seed)
    resolve(STARTS, args.init)(network.dtln_layers)
    for path in [] if args.resume else args.init_weights:
        print(f"starting from {path}: {dtln.warm_start(network, path)}")
    if change is not None:
        network = change(network)
    dtln.compile_network(network, settings, steps)

    callbacks: list[keras.callbacks.Callback] = []
    if args.process == 0:
        # written when the first epoch begins, so that a run that cannot be resumed leaves what is there as it was
        config = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_: write_run_config(args.run_dir, stored_arguments(args))
        )
        callbacks.append(config)
    if args.tensorboard and args.process == 0:
        # a network that JAX spreads over several hosts denoises nothing on one of them alone
        alone = args.processes == 1 or keras.backend.backend() == "torch"
        shown = range(min(args.examples, len(validation)))
        examples = dtln.batch_of(validation, shown, [dtln.VALIDATION_SEED]) if alone else None
        callbacks.append(TensorBoardLog(args.tensorboard / args.run_name, examples, args.examples_every))
    if args.overwrite and args.process == 0:
        remove_run(args)
    dtln.train(
        network,
        training,
        validation,
        args.run_name,
        settings,
        run_dir=args.run_dir,
        resume=args.resume,
        callbacks=callbacks,
    )
