"""Train DTLN on folders of noisy and clean wavs, or on speech and noise mixed on the fly.

Pairs on disk:      run_training.py --run-name RUN --train-noisy DIR --train-clean DIR --val-noisy DIR --val-clean DIR
Mixed on the fly:   run_training.py --run-name RUN --speech DIR --noise DIR --segment-seconds 4 --batch-size 16

The defaults are the paper's: batches of 32 segments of 15 s, Adam at 1e-3 with gradient norm clipping at 3, the rate
halved after 3 epochs without improvement, stopped after 10. In models_RUN/ appear the best weights RUN.h5, the last
ones RUN_last.h5, the log training_RUN.log, config.json from which the run can be repeated, and the state from which
--resume goes on. KERAS_BACKEND=torch or jax trains on another back end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

VALIDATION_SPEECH_SHARE = 0.06
VALIDATION_NOISE_SHARE = 0.1
SHOWN_SEGMENTS = 64  # of training, on which --open-core-1-mask and --change-basis look at the network
NOT_STORED = (
    "run_name",
    "run_dir",
    "config",
    "resume",
    "process",
    "coordinator",
)  # belong to one call, not to what is trained


def stored_arguments(argv: Sequence[str] | None) -> dict[str, object]:
    """The arguments in the file of --config, or in that of the run that --resume goes on with, if it has one."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--config", "--run-dir", "--run-name"):
        first.add_argument(name, type=Path)
    first.add_argument("--resume", action="store_true")
    known, _ = first.parse_known_args(argv)
    path = known.config
    if path is None and known.resume and known.run_name:
        path = (known.run_dir or Path(f"models_{known.run_name}")) / "config.json"
        path = path if path.is_file() else None
    if path is None:
        return {}
    try:
        arguments = json.loads(path.read_text())["arguments"]
        if isinstance(arguments.get("init_weights"), str):  # of a run before it could be several
            arguments["init_weights"] = [arguments["init_weights"]]
        return {name: value for name, value in arguments.items() if name not in NOT_STORED}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: cannot be taken as settings ({error!r}). Expected the config.json of a run."
        ) from error


def add_mixing_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what segments are mixed from and how; `mixed_sources` takes them."""
    mixed = parser.add_argument_group("mixed on the fly (any audio format)")
    mixed.add_argument(
        "--speech", type=Path, metavar="DIR", help="clean speech; file names up to the last _ name speakers"
    )
    mixed.add_argument("--noise", type=Path, metavar="DIR", help="noise recordings")
    for kind in ("speech", "noise"):
        mixed.add_argument(
            f"--{kind}-weights",
            nargs="+",
            type=folder_weight,
            default=[],
            metavar="FOLDER=X",
            help=f"draw X times as much {kind} from this sub-folder as its duration says, 0 for none",
        )
    mixed.add_argument("--cache-dir", type=Path, metavar="DIR", help="keep decoded recordings here for the next run")
    mixed.add_argument("--segments-per-epoch", type=int, default=3200, help="default: %(default)s")
    mixed.add_argument("--validation-segments", type=int, default=256, help="default: %(default)s")
    mixed.add_argument(
        "--validation-speech-share",
        type=float,
        default=VALIDATION_SPEECH_SHARE,
        help="speakers kept for validation (default: %(default)s)",
    )
    mixed.add_argument(
        "--validation-noise-share",
        type=float,
        default=VALIDATION_NOISE_SHARE,
        help="kinds of noise kept for validation; 0 trains on all and validates on the same (default: %(default)s)",
    )
    mixed.add_argument(
        "--snr-db", type=float, nargs=2, default=(-5.0, 25.0), metavar=("MIN", "MAX"), help="default: -5 25"
    )
    mixed.add_argument(
        "--level-dbfs", type=float, nargs=2, default=(-35.0, -15.0), metavar=("MIN", "MAX"), help="default: -35 -15"
    )
    mixed.add_argument(
        "--augment",
        nargs="*",
        default=[],
        metavar="NAME[=SHARE]",
        help="augmentations, in order, of all or of a share of the segments; see --list-augmentations",
    )
    rooms = mixed.add_mutually_exclusive_group()
    rooms.add_argument("--rooms", type=int, metavar="N", help="put segments into rooms, of N simulated responses")
    rooms.add_argument("--rir", type=Path, metavar="DIR", help="or of measured ones; a sub-folder holds one room's")
    mixed.add_argument(
        "--room-target",
        choices=("reverberant", "early"),
        default="reverberant",
        help="target in rooms: speech as it sounds, or its first 50 ms (default: %(default)s)",
    )
    mixed.add_argument(
        "--reverberant-share",
        type=float,
        default=0.5,
        metavar="X",
        help="share of segments in a room, where there are any (default: %(default)s)",
    )
    mixed.add_argument("--list-augmentations", action=ListAugmentations, help="print the augmentations and stop")


def check_ranges(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with an error where a range of `add_mixing_arguments` is empty."""
    for flag, (low, high) in (("--snr-db", args.snr_db), ("--level-dbfs", args.level_dbfs)):
        if low > high:
            parser.error(f"{flag} {low:g} {high:g} is an empty range: give the lower end first")


def parse(argv: Sequence[str] | None, prog: str = "run_training.py") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-name", required=True, help="names the folder models_RUN and the files in it")
    parser.add_argument("--run-dir", type=Path, help="folder for weights, log and state (default: models_RUN)")
    parser.add_argument(
        "--config", type=Path, metavar="JSON", help="take the settings of another run's config.json; flags here win"
    )

    pairs = parser.add_argument_group("pairs on disk (wavs with equal names or the same fileid_N, 16 kHz mono)")
    for name, text in (
        ("--train-noisy", "noisy wavs to train on"),
        ("--train-clean", "their clean partners"),
        ("--val-noisy", "noisy wavs to validate on"),
        ("--val-clean", "their clean partners"),
    ):
        pairs.add_argument(name, type=Path, metavar="DIR", help=text)

    add_mixing_arguments(parser)

    network = parser.add_argument_group("network and start")
    network.add_argument(
        "--norm-stft", action="store_true", help="log magnitude and instant layer normalisation before core 1"
    )
    network.add_argument(
        "--init-weights",
        type=Path,
        nargs="+",
        default=[],
        metavar="H5",
        help="start from these weights (of the other variant: all after core 1); of several files, the later ones "
        "replace what the ones before gave",
    )
    network.add_argument(
        "--init",
        "--init-basis",
        choices=("random", "mdct", "mclt"),
        default="random",
        help="start of encoder and decoder: as in the paper, or a transform that passes the signal through, mclt with "
        "more filters for low frequencies (default: %(default)s)",
    )
    network.add_argument(
        "--change-basis",
        choices=("mdct", "mclt"),
        help="start encoder and decoder from this transform, but keep what core 2 has learned; with --init-weights",
    )
    network.add_argument(
        "--open-core-1-mask",
        action="store_true",
        help="let the encoder take over the constant part of core 1's mask; with --init-weights",
    )
    network.add_argument(
        "--dropout",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the first LSTM's outputs in each core; less where hours, not data, are short (default: %(default)s)",
    )
    network.add_argument(
        "--resume", action="store_true", help="go on with the run of this name and its settings; flags here win"
    )

    loop = parser.add_argument_group("loop")
    loop.add_argument("--segment-seconds", type=float, default=15.0, help="default: %(default)s")
    loop.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    loop.add_argument(
        "--mixed-precision", action="store_true", help="cores in bfloat16 (signal and variables stay float32)"
    )
    loop.add_argument("--workers", type=int, default=1, help="threads that make batches (default: %(default)s)")
    loop.add_argument(
        "--loss",
        default="snr",
        metavar="NAME",
        help="snr (the paper's), si_sdr, or snr_stft: SNR plus multi-resolution STFT (default: %(default)s)",
    )
    loop.add_argument(
        "--core-1-loss",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="add this share of the loss of what core 1 alone makes of the signal (default: %(default)s)",
    )
    loop.add_argument(
        "--only-core-1", action="store_true", help="train core 1 alone, on its own estimate; the rest stays as it is"
    )
    loop.add_argument(
        "--optimizer",
        choices=("adam", "muon"),
        default="adam",
        help="adam (the paper's), or muon: farther in as many steps (default: %(default)s)",
    )
    loop.add_argument(
        "--adam-share",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="with muon: of the learning rate for encoder, decoder, biases and normalisation (default: %(default)s)",
    )
    loop.add_argument(
        "--ema",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="validate and keep a moving average of the weights of which a step keeps this share, 0.999 say",
    )
    loop.add_argument("--clip-norm", type=float, default=3.0, help="of the gradient (default: %(default)s)")
    loop.add_argument("--learning-rate", type=float, default=1e-3, help="default: %(default)s")
    loop.add_argument("--max-epochs", type=int, default=200, help="default: %(default)s")
    loop.add_argument("--schedule", choices=("plateau", "cosine"), default="plateau", help="default: %(default)s")
    loop.add_argument("--warmup-steps", type=int, default=0, help="of the cosine schedule (default: %(default)s)")
    loop.add_argument("--stop-patience", type=int, default=10, help="epochs without improvement (default: %(default)s)")
    loop.add_argument(
        "--seed", type=int, default=42, help="of order, mixtures, dropout and start (default: %(default)s)"
    )

    several = parser.add_argument_group("several devices (KERAS_BACKEND=jax or torch)")
    several.add_argument(
        "--distribute", action="store_true", help="share each batch among all devices of this host (JAX)"
    )
    several.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="that share each batch: on PyTorch one for each GPU or core, on JAX one for each host (default: 1)",
    )
    several.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="where the first process listens; without it, all of them are started here",
    )
    several.add_argument("--process", type=int, default=0, metavar="I", help="which one this is, from 0 (default: 0)")

    board = parser.add_argument_group("TensorBoard (needs tensorboardX)")
    board.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves, scores, sound and pictures here")
    board.add_argument("--examples", type=int, default=4, help="validation segments shown (default: %(default)s)")
    board.add_argument("--examples-every", type=int, default=5, help="in epochs (default: %(default)s)")

    try:
        stored = stored_arguments(argv)
    except ValueError as error:
        parser.error(str(error))
    unknown = sorted(set(stored) - {action.dest for action in parser._actions})
    if unknown:
        parser.error(f"the stored settings name {', '.join(unknown)}, which no flag here is called")
    parser.set_defaults(**stored)
    args = parser.parse_args(argv)
    paired = [args.train_noisy, args.train_clean, args.val_noisy, args.val_clean]
    unmixed = [args.speech, args.noise]
    if not (all(paired) and not any(unmixed)) and not (all(unmixed) and not any(paired)):
        parser.error("give either --train-noisy, --train-clean, --val-noisy and --val-clean, or --speech and --noise")
    check_ranges(parser, args)
    if min(args.segments_per_epoch, args.validation_segments, args.examples, args.examples_every) < 1:
        parser.error("--segments-per-epoch, --validation-segments and the --examples flags must be at least 1")
    if args.core_1_loss < 0 or (args.core_1_loss and args.only_core_1):
        parser.error("--core-1-loss: expected a share of at least 0, and 0 with --only-core-1, whose loss it is alone")
    for flag, given in (("--open-core-1-mask", args.open_core_1_mask), ("--change-basis", args.change_basis)):
        if given and not args.init_weights:
            parser.error(f"{flag} is for trained weights: name them with --init-weights")
    if not 0 <= args.dropout < 1:
        parser.error(f"--dropout {args.dropout:g}: expected a share from 0 to below 1")
    if not 0 <= args.process < args.processes or (args.process > 0 and not args.coordinator):
        parser.error(
            "on several hosts each process needs --coordinator HOST:PORT and another --process, from 0 to "
            "--processes - 1"
        )
    args.init_weights = [Path(path) for path in args.init_weights]
    if args.resume and list(map(str, args.init_weights)) != stored.get("init_weights", []):
        parser.error("--resume goes on with the run's own weights; --init-weights starts another one")
    return args


def folder_weight(text: str) -> tuple[str, float]:
    """`librispeech=2.5` -> ("librispeech", 2.5), for argparse."""
    folder, _, weight = text.rpartition("=")
    try:
        return folder, float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected FOLDER=X with a number X, librispeech=2.5 say") from None


class ListAugmentations(argparse.Action):
    """Prints every augmentation with its share of segments and the first line of its description."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        from dtln.mixing.augmentations import AUGMENTATIONS

        for name, augmentation in AUGMENTATIONS.items():
            print(f"{name}={augmentation.share:.3g}: {augmentation.description}")
        parser.exit()


def main(argv: Sequence[str] | None = None, prog: str = "run_training.py") -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(argv, prog)
    return (
        train_in_processes(args.processes, argv, prog)
        if args.processes > 1 and not args.coordinator
        else train(args, prog)
    )


# what a further process runs, wherever the package was imported from
START = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r}); "
    "from dtln.commands.train import main; sys.exit(main())"
)


def train_in_processes(count: int, argv: Sequence[str], prog: str) -> int:
    """Starts all of `--processes N` on this host, which divide its cores among them; the status to exit with.

    The first one's output is shown; that of another only if it fails and the first one does not.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))} | os.environ
    command = [sys.executable, "-c", START, *argv, "--coordinator", coordinator, "--process"]
    with contextlib.ExitStack() as stack:
        errors = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(1, count)]
        others = [
            subprocess.Popen([*command, str(i)], env=environment, stdout=subprocess.DEVNULL, stderr=written)
            for i, written in enumerate(errors, 1)
        ]
        status = 1
        try:
            status = subprocess.run([*command, "0"], env=environment).returncode
        finally:
            for other, written in zip(others, errors, strict=True):
                if status:
                    other.terminate()
                if other.wait() and not status:
                    written.seek(0)
                    print(f"{prog}: a process beside the first failed:\n{written.read()}", file=sys.stderr)
    return status or int(any(other.returncode for other in others))


def train(args: argparse.Namespace, prog: str) -> int:
    """Trains as the arguments say; the status to exit with."""
    import keras

    import DTLN_model as dtln
    from dtln.training.distribution import distribute
    from dtln.training.tensorboard import TensorBoardLog

    try:
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
        segment_length = dtln.segment_length(args.segment_seconds)
        training: dtln.SegmentSource
        validation: dtln.SegmentSource
        if args.speech:
            training, validation = mixed_sources(args, segment_length)
        else:
            training = dtln.PairedFolders(args.train_noisy, args.train_clean, segment_length)
            validation = dtln.PairedFolders(args.val_noisy, args.val_clean, segment_length)
        steps = dtln.steps_per_epoch(training, settings.batch_size)
        network = dtln.build_network(dtln.DTLNConfig(norm_stft=args.norm_stft, dropout=args.dropout), seed=args.seed)
        dtln.INITIALISATIONS[args.init](network.dtln_layers)
        if not args.resume:
            for path in args.init_weights:
                print(f"starting from {path}: {dtln.warm_start(network, path)}")
            if args.open_core_1_mask or args.change_basis:
                noisy, clean = dtln.batch_of(training, range(min(SHOWN_SEGMENTS, len(training))), [args.seed])
            if args.open_core_1_mask:
                dtln.open_core_1_mask(network, noisy)
            if args.change_basis:
                dtln.change_basis(network, args.change_basis, noisy, clean)
        if args.only_core_1:
            network = dtln.core_1_network(network)
        elif args.core_1_loss:
            network = dtln.supervise_core_1(network, args.core_1_loss)
        dtln.compile_network(network, settings, steps)
        run_dir = args.run_dir or Path(f"models_{args.run_name}")
        # when the first epoch begins: a run that cannot be resumed leaves what is there as it was
        callbacks = []
        if args.process == 0:
            callbacks.append(keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: write_config(run_dir, args)))
        if args.tensorboard and args.process == 0:
            shown = range(min(args.examples, len(validation)))
            # a network that JAX spreads over several hosts denoises nothing on one of them alone
            alone = args.processes == 1 or keras.backend.backend() == "torch"
            examples = dtln.batch_of(validation, shown, [dtln.VALIDATION_SEED]) if alone else None
            callbacks.append(TensorBoardLog(args.tensorboard / args.run_name, examples, args.examples_every))
        dtln.train(
            network,
            training,
            validation,
            args.run_name,
            settings,
            run_dir=run_dir,
            resume=args.resume,
            callbacks=callbacks,
        )
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return 0


def write_config(run_dir: Path, args: argparse.Namespace) -> None:
    """Writes config.json, from which the run can be repeated: its arguments with absolute paths, and the versions."""
    import platform

    import keras
    import numpy as np

    from dtln.files import complete_file

    arguments = {name: value for name, value in vars(args).items() if name not in NOT_STORED and value is not None}
    versions = {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "numpy": np.__version__,
    }
    with complete_file(run_dir / "config.json") as partial:
        stored = {"arguments": arguments, "versions": versions}
        partial.write_text(json.dumps(stored, indent=2, default=lambda path: str(path.resolve())) + "\n")


def mixed_sources(args: argparse.Namespace, segment_length: int) -> tuple:
    """Training and validation mixers over disjoint speakers and, unless all noise is trained on, disjoint noises."""
    from dtln.mixing.augmentations import augmentation_by_name
    from dtln.mixing.mixer import Mixer
    from dtln.mixing.recordings import load_recordings, split_by_group
    from dtln.mixing.rooms import load_rooms, simulate_rooms
    from DTLN_model import MixedSegments

    for name in args.augment:  # decoding a corpus takes minutes: a misspelt name is known before
        augmentation_by_name(name)
    rooms = None
    if args.rir:
        rooms = load_rooms(args.rir)
    elif args.rooms is not None:
        rooms = simulate_rooms(args.rooms, args.seed, args.cache_dir)
    speech = load_recordings(args.speech, args.cache_dir)
    noise = load_recordings(args.noise, args.cache_dir)
    training_speech, validation_speech = split_by_group(speech, args.validation_speech_share)
    if unheard := set(speech.by_folder()) - set(validation_speech.by_folder()) - {""}:
        print(
            f"validation has no speaker of {', '.join(sorted(unheard))}: it will not tell how well they fare. A larger "
            "--validation-speech-share may keep some; benchmarks/mixtures.py --training-speakers compares sets"
        )
    training_noise = validation_noise = noise
    if args.validation_noise_share != 0:
        training_noise, validation_noise = split_by_group(noise, args.validation_noise_share)
    training_speech = training_speech.reweighted(dict(args.speech_weights))
    training_noise = training_noise.reweighted(dict(args.noise_weights))
    ranges = (segment_length, tuple(args.snr_db), tuple(args.level_dbfs))
    in_rooms = (rooms, args.room_target, args.reverberant_share)
    training = Mixer(training_speech, training_noise, *ranges, args.augment, *in_rooms)
    validation = Mixer(validation_speech, validation_noise, *ranges)
    return (
        MixedSegments(training, args.segments_per_epoch),
        MixedSegments(validation, args.validation_segments),
    )
