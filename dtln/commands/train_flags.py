"""The flags of run_training.py, and which engine honours which.

`Flag.defaults` has an entry for each engine that honours a flag; the other engine refuses it. Flags that are given win
over the file of --config (or, with --resume, the run's own config.json), and the file wins over the defaults.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from dtln.choices import LOSSES, OPTIMIZERS, ROOM_TARGETS, SCHEDULES, SNR_OVER, STARTS
from dtln.commands.flags import SPEAKER_PATTERN_HELP
from dtln.errors import SettingsError
from dtln.formats import MODEL_DIR
from dtln.gpu.settings import GPUSettings, NetworkSettings
from dtln.training.run_config import CONFIG_NAME, find_config, read_run_config

ENGINES = {  # name: what trains as the arguments say
    "keras": "dtln.commands.train_keras:run",
    "cuda": "dtln.commands.train_cuda:run",
}
VALIDATION_SPEECH_SHARE = 0.06
VALIDATION_NOISE_SHARE = 0.1
OF_ONE_CALL = ("run_name", "run_dir", "config", "resume", "overwrite", "process", "coordinator")  # not stored
PAIRED = ("train_noisy", "train_clean", "val_noisy", "val_clean")
UNMIXED = ("speech", "noise")
SHARES = {"validation_speech_share": (0, 0.9), "validation_noise_share": (0, 0.9), "reverberant_share": (0, 1)}
AT_LEAST_ONE = ("segments_per_epoch", "validation_segments", "examples", "examples_every")
ALTERNATIVES = (("rooms", "rir"), ("rir", "rooms"))  # a flag for the first sets the second of a file aside

NO_RUN = (
    "--resume: {} holds no run to go on with, {} is missing. Check --run-name and --run-dir, or begin the run without "
    "--resume; its first state appears when its first epoch ends, with --engine cuda within a minute"
)

RETIRED = {  # flags that have left: the value that means "off" in an old config.json, and what replaced the flag
    "open_core_1_mask": (False, "research/open_core_1_mask.py"),
    "change_basis": (None, "research/change_basis.py"),
    "only_core_1": (False, "research/core_1.py --alone"),
    "core_1_loss": (0.0, "research/core_1.py --share X"),
}
RETIRED_CHOICES = {  # choices that have left, by flag and value, and what replaced them
    ("init", "mclt"): "research/bases.py writes weights that start from it, for --init-weights",
    ("loss", "snr_stft"): "research/stft_loss.py trains with it",
}


@dataclass(frozen=True)
class Flag:
    """A flag, its default for each engine that honours it, and what other engines have instead, in words."""

    action: argparse.Action
    defaults: Mapping[str, Any]
    instead: str = ""

    @property
    def option(self) -> str:
        """The flag as it is given."""
        return self.action.option_strings[0]

    def refusal(self, engine: str) -> str:
        """What to say where it is given to an engine that does not honour it."""
        return f"{self.option}: the engine {engine} does not take it; {self.instead or 'leave it out'}"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name the file that the arguments come from, if they come from one."""

    source: Path | None = None

    def error(self, message: str) -> NoReturn:
        super().error(f"{self.source}: {message}" if self.source else message)


class FlagGroup:
    """A group of flags in --help, which adds them to a table as well.

    engines: those that honour the flags. suppress: flags that are not given leave no trace in the arguments.
    """

    def __init__(
        self, parser: argparse.ArgumentParser, table: dict[str, Flag], title: str, *engines: str, suppress: bool = True
    ) -> None:
        self.group = parser.add_argument_group(title)
        self.table, self.engines, self.suppress = table, engines, suppress

    def add(
        self,
        *options: str,
        help: str,
        default: Any = None,
        engines: Sequence[str] = (),
        instead: str = "",
        to: Any = None,
        **settings: Any,
    ) -> None:
        """Adds a flag; settings are those of `add_argument`, or the default for one engine by the engine's name.

        engines: if only some of the group's honour it. to: a group of flags that exclude each other.
        """
        defaults = {engine: settings.pop(engine, default) for engine in engines or self.engines}
        own = argparse.SUPPRESS if self.suppress else default
        if settings.get("type") in (int, float):
            settings.setdefault("metavar", "N" if settings["type"] is int else "X")
        action = (to or self.group).add_argument(*options, default=own, help=help + _shown(defaults), **settings)
        self.table[action.dest] = Flag(action, defaults, instead)


def _shown(defaults: Mapping[str, Any]) -> str:
    """The defaults of a flag, as --help shows them after its text."""
    texts = {}
    for engine, value in defaults.items():
        if value is not None and value is not False and value != []:
            texts[engine] = " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in _as_list(value))
    if not texts:
        return ""
    if len(set(texts.values())) == 1 and len(texts) == len(defaults):
        return f" (default: {next(iter(texts.values()))})"
    return f" (default: {', '.join(f'{text} with {engine}' for engine, text in texts.items())})"


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


# ----------------------------------------------------------------------------------------------------------------------
# Types and actions
# ----------------------------------------------------------------------------------------------------------------------


class ListAugmentations(argparse.Action):
    """Prints every augmentation with its share of segments and the first line of its description."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from dtln.mixing.augmentations import AUGMENTATIONS

        for name, augmentation in AUGMENTATIONS.items():
            print(f"{name}={augmentation.share:.3g}: {augmentation.description}")
        parser.exit()


class Retired(argparse.Action):
    """A flag that has left: an error that says what replaced it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(_retired(self.dest))


def _retired(name: str) -> str:
    return f"--{name.replace('_', '-')} is no flag any more: {RETIRED[name][1]} replaces it, see research/README.md"


def choice(flag: str, table: Mapping[str, str]) -> Callable[[str], str]:
    """A type for argparse: a name. One that has left the table is refused with what replaced it."""

    def name(text: str) -> str:
        if text not in table and (flag, text) in RETIRED_CHOICES:
            replaced = RETIRED_CHOICES[flag, text]
            raise argparse.ArgumentTypeError(f"{text} is no choice any more: {replaced}, see research/README.md")
        return text

    return name


def folder_weight(text: str) -> tuple[str, float]:
    """`librispeech=2.5` -> ("librispeech", 2.5), for argparse."""
    folder, _, weight = text.rpartition("=")
    try:
        return folder, float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected FOLDER=X with a number X, librispeech=2.5 say") from None


def weights_file(text: str | Path) -> Path:
    """A weights file: a path, or the bare name of an included file, such as model.h5."""
    path, included = Path(text), MODEL_DIR / text
    return included if path.name == str(text) and not path.exists() and included.is_file() else path


# ----------------------------------------------------------------------------------------------------------------------
# The flags
# ----------------------------------------------------------------------------------------------------------------------


def build_parser(prog: str, description: str) -> tuple[Parser, dict[str, Flag]]:
    """The parser, and its flags by the names of their arguments."""
    parser = Parser(
        prog,
        usage="%(prog)s --run-name RUN [--config JSON] [FLAG ...]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    table: dict[str, Flag] = {}

    run = FlagGroup(parser, table, "run", *ENGINES)
    run.add("--run-name", metavar="RUN", help="names the folder models_RUN, and files in it")
    run.add("--run-dir", type=Path, metavar="DIR", help="folder for weights, log and settings (default: models_RUN)")
    run.add("--engine", choices=tuple(ENGINES), help="keras trains one network on any device, cuda several on a GPU")
    run.add(
        "--config",
        metavar="JSON",
        help="take settings from a recipe (recipes/*.json, or its name alone) or from another run's config.json; flags "
        "here win",
    )
    run.add(
        "--resume",
        action="store_true",
        default=False,
        help="go on with the run of this name, with its settings; flags here win",
    )
    run.add(
        "--overwrite",
        action="store_true",
        default=False,
        help="replace weights, log and state of a run of this name",
    )

    pairs = FlagGroup(parser, table, "pairs on disk (keras): wavs with equal names or the same fileid_N", "keras")
    mixes = "it mixes on the fly: give --speech and --noise"
    pairs.add("--train-noisy", type=Path, metavar="DIR", instead=mixes, help="noisy wavs to train on, 16 kHz mono")
    pairs.add("--train-clean", type=Path, metavar="DIR", instead=mixes, help="their clean partners")
    pairs.add("--val-noisy", type=Path, metavar="DIR", instead=mixes, help="noisy wavs to validate on")
    pairs.add("--val-clean", type=Path, metavar="DIR", instead=mixes, help="their clean partners")

    _add_mixing(FlagGroup(parser, table, "mixed on the fly, from any audio format", *ENGINES))

    network = FlagGroup(parser, table, "network and its start (keras)", "keras")
    network.add(
        "--norm-stft",
        action="store_true",
        default=False,
        instead="give --network NAME norm",
        help="log magnitude and instant layer normalisation before core 1",
    )
    network.add(
        "--init-weights",
        type=weights_file,
        nargs="+",
        default=[],
        metavar="H5",
        instead="give --network NAME weights=H5",
        help="start from these weights, such as model.h5, which is included; from weights of the other variant all "
        "layers after core 1 are taken; of several files the later ones win",
    )
    network.add(
        "--init",
        "--init-basis",
        type=choice("init", STARTS),
        choices=tuple(STARTS),
        default="random",
        instead="give --network NAME init=NAME",
        help="start of encoder and decoder: random as in the paper, or a transform that passes the signal through",
    )
    network.add(
        "--dropout",
        type=float,
        default=0.25,
        metavar="SHARE",
        instead="give --network NAME dropout=X",
        help="share of the first LSTM's outputs that is dropped in each core; less suits short trainings",
    )

    loop = FlagGroup(parser, table, "loop", *ENGINES)
    loop.add("--segment-seconds", type=float, keras=15.0, cuda=4.0, help="length of a segment")
    loop.add("--batch-size", type=int, keras=32, cuda=256, help="segments of one step")
    loop.add("--warmup-steps", type=int, keras=0, cuda=300, help="steps in which a cosine schedule reaches its rate")
    loop.add("--clip-norm", type=float, default=3.0, help="longest gradient of a weight")
    loop.add(
        "--adam-share",
        type=float,
        keras=1.0,
        cuda=0.2,
        metavar="SHARE",
        help="with muon: the learning rate for encoder, decoder, biases and normalisation, as a share of the rate",
    )
    loop.add(
        "--mixed-precision",
        action="store_true",
        default=False,
        help="compute the cores in bfloat16; signal and variables stay float32",
    )
    loop.add(
        "--loss",
        type=choice("loss", LOSSES),
        choices=tuple(LOSSES),
        default="snr",
        help="training lowers the negative of this, in dB; snr is the paper's",
    )
    loop.add(
        "--ema",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="validate and keep a moving average of the weights; each step keeps this share of it, 0.999 say",
    )
    loop.add("--seed", type=int, default=42, help="seed of order, mixtures, dropout and start")

    keras = FlagGroup(parser, table, "loop of the engine keras", "keras")
    keras.add(
        "--optimizer",
        choices=tuple(OPTIMIZERS),
        default="adam",
        instead="it always takes muon",
        help="adam is the paper's; muon gets farther in the same number of steps",
    )
    keras.add(
        "--learning-rate",
        type=float,
        default=1e-3,
        instead="give --network NAME rate=X",
        help="learning rate, the highest one of a schedule",
    )
    keras.add(
        "--schedule",
        choices=tuple(SCHEDULES),
        default="plateau",
        instead="its schedule is cosine",
        help="plateau halves the rate after 3 epochs without improvement; cosine lets it fall to 0 at the last epoch",
    )
    keras.add("--max-epochs", type=int, default=200, instead="give --steps or --minutes", help="epochs at most")
    keras.add(
        "--stop-patience",
        type=int,
        default=10,
        instead="it takes all of --steps, and keeps the best weights beside the last ones",
        help="stop after so many epochs without improvement",
    )
    keras.add("--workers", type=int, default=1, instead="give --mixing-processes", help="threads that make batches")

    cuda = FlagGroup(parser, table, "loop of the engine cuda", "cuda")
    other = "--engine cuda takes it"
    cuda.add(
        "--network",
        nargs="+",
        action="append",
        metavar=("NAME", "SETTING"),
        instead=other,
        help="a network to train, and what it differs in: norm (log magnitude and instant layer normalisation before "
        f"core 1), weights=H5 (start from these), init={'|'.join(STARTS)}, rate=X (highest learning rate, default "
        f"{NetworkSettings.rate:g}), dropout=X (default {NetworkSettings.dropout:g}); may be repeated",
    )
    cuda.add("--steps", type=int, default=20000, instead="give --max-epochs", help="steps at most")
    cuda.add(
        "--minutes",
        type=float,
        default=0.0,
        instead="give --max-epochs",
        help="if above 0, end by then, the schedule too",
    )
    cuda.add(
        "--check-every",
        type=int,
        default=500,
        instead="it validates after each epoch",
        help="steps between validations",
    )
    cuda.add("--pool-segments", type=int, default=16384, instead=other, help="segments that are kept on the GPU")
    cuda.add(
        "--mixing-processes",
        type=int,
        instead="give --workers",
        help="processes that draw segments (default: all cores but one)",
    )
    cuda.add(
        "--compile",
        action="store_true",
        default=False,
        instead=other,
        help="let Triton make the kernels: several times faster; with --mixed-precision",
    )
    cuda.add(
        "--deterministic",
        action="store_true",
        default=False,
        instead=other,
        help="the same settings give the same weights, bit by bit, on the same machine, also after --resume; steps "
        "wait for the segments that are due. Not with --minutes",
    )
    cuda.add(
        "--no-graph",
        action="store_true",
        default=False,
        instead=other,
        help="start every kernel of a step anew instead of replaying a recorded step",
    )

    one = "it trains in one process, on one GPU"
    several = FlagGroup(parser, table, "several devices (keras, with KERAS_BACKEND=jax or torch)", "keras")
    several.add(
        "--distribute",
        action="store_true",
        default=False,
        instead=one,
        help="share each batch among all devices of this host (JAX)",
    )
    several.add(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        instead=one,
        help="share each batch among so many processes: on PyTorch one for each GPU or core, on JAX one for each host",
    )
    several.add(
        "--coordinator",
        metavar="HOST:PORT",
        instead=one,
        help="where the first process listens; without it, all processes are started here",
    )
    several.add("--process", type=int, default=0, metavar="I", instead=one, help="which process this is, from 0")

    unseen = "its log is training.csv"
    board = FlagGroup(parser, table, "TensorBoard (keras; needs tensorboardX)", "keras")
    board.add(
        "--tensorboard", type=Path, metavar="DIR", instead=unseen, help="write curves, scores, sound and pictures here"
    )
    board.add("--examples", type=int, default=4, instead=unseen, help="validation segments shown")
    board.add("--examples-every", type=int, default=5, instead=unseen, help="epochs between two of these")

    for name in RETIRED:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, nargs="*", action=Retired, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser, table


def add_mixing_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of mixing to another parser; `train_sources.mixers_of` takes them."""
    _add_mixing(FlagGroup(parser, {}, "mixed on the fly, from any audio format", "keras", suppress=False))


def _add_mixing(mixed: FlagGroup) -> None:
    mixed.add("--speech", type=Path, metavar="DIR", help="clean speech")
    mixed.add("--noise", type=Path, metavar="DIR", help="noise recordings")
    mixed.add(
        "--val-speech", type=Path, metavar="DIR", help="clean speech to validate on (default: a share of --speech)"
    )
    mixed.add("--val-noise", type=Path, metavar="DIR", help="noise to validate on (default: a share of --noise)")
    mixed.add("--speaker-pattern", metavar="PATTERN", help=SPEAKER_PATTERN_HELP)
    for kind in ("speech", "noise"):
        mixed.add(
            f"--{kind}-weights",
            nargs="+",
            type=folder_weight,
            default=[],
            metavar="FOLDER=X",
            help=f"draw X times as much {kind} from this sub-folder as its duration says, 0 for none",
        )
    mixed.add("--cache-dir", type=Path, metavar="DIR", help="keep decoded recordings here for the next run")
    mixed.add(
        "--segments-per-epoch",
        type=int,
        default=3200,
        engines=["keras"],
        instead="give --steps",
        help="segments of an epoch (keras)",
    )
    mixed.add("--validation-segments", type=int, default=256, help="segments of a validation")
    mixed.add(
        "--validation-speech-share",
        type=float,
        default=VALIDATION_SPEECH_SHARE,
        metavar="SHARE",
        help="share of the speakers that is kept for validation; of a single one, the last part of the time; 0 trains "
        "on all and validates on the same",
    )
    mixed.add(
        "--validation-noise-share",
        type=float,
        default=VALIDATION_NOISE_SHARE,
        metavar="SHARE",
        help="share of the kinds of noise that is kept for validation; 0 trains on all and validates on the same",
    )
    mixed.add("--snr-db", type=float, nargs=2, default=(-5.0, 25.0), metavar=("MIN", "MAX"), help="range of SNRs")
    mixed.add(
        "--level-dbfs",
        type=float,
        nargs=2,
        default=(-35.0, -15.0),
        metavar=("MIN", "MAX"),
        help="range of the mixtures' levels",
    )
    mixed.add(
        "--augment",
        nargs="*",
        default=[],
        metavar="NAME[=SHARE]",
        help="augmentations, in this order, of all segments or of a share of them; see --list-augmentations",
    )
    mixed.add(
        "--snr-over",
        choices=SNR_OVER,
        default="all",
        help="frames whose powers make the SNR: all of a segment, or (engine keras) those where speech is heard",
    )
    rooms = mixed.group.add_mutually_exclusive_group()
    mixed.add("--rooms", type=int, metavar="N", to=rooms, help="put segments into rooms: simulate N responses")
    mixed.add(
        "--rir", type=Path, metavar="DIR", to=rooms, help="or take measured ones; a sub-folder holds those of one room"
    )
    mixed.add(
        "--room-target",
        choices=tuple(ROOM_TARGETS),
        default="reverberant",
        help="target in rooms: the speech as it sounds there, or its first 50 ms",
    )
    mixed.add(
        "--reverberant-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of the segments that is put into a room, if there are rooms",
    )
    mixed.group.add_argument(
        "--list-augmentations",
        nargs=0,
        action=ListAugmentations,
        default=argparse.SUPPRESS,
        help="print the augmentations and stop",
    )


# ----------------------------------------------------------------------------------------------------------------------
# Parsing
# ----------------------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None, prog: str, description: str) -> argparse.Namespace:
    """The arguments that the engine honours: those given, then those of a file, then its defaults.

    Ends with an error for arguments that do not fit or that the engine would ignore.
    """
    parser, table = build_parser(prog, description)
    given = vars(parser.parse_args(argv))
    if "run_name" not in given:
        parser.error("the following arguments are required: --run-name")
    path, stored = _config_of(given), {}
    if path is not None:
        try:
            stored = _stored_arguments(parser, table, path)
        except SettingsError as error:
            parser.error(str(error))
    for flag, other in ALTERNATIVES:
        if flag in given and other not in given:
            stored.pop(other, None)
    engine = given.get("engine") or stored.get("engine") or "keras"
    for arguments, source in ((given, ""), (stored, f"{path}: ")):
        for name in arguments:
            if engine not in table[name].defaults:
                parser.error(f"{source}{table[name].refusal(engine)}")
    defaults = {name: flag.defaults[engine] for name, flag in table.items() if engine in flag.defaults}
    args = argparse.Namespace(**defaults | stored | given | {"engine": engine})
    args.run_dir = args.run_dir or Path(f"models_{args.run_name}")
    check_ranges(parser, args)
    if args.resume and args.overwrite:
        parser.error("--resume goes on with a run, --overwrite replaces it: give one of them")
    if args.resume and not any(vars(args).get(name) for name in (*PAIRED, *UNMIXED)):  # no config.json told them
        parser.error(NO_RUN.format(args.run_dir, CONFIG_NAME))
    {"keras": _check_keras, "cuda": _check_cuda}[engine](parser, args)
    if engine == "keras" and args.resume and args.init_weights != stored.get("init_weights", []):
        parser.error("--resume goes on with the run's own weights; --init-weights starts another one")
    return args


def _config_of(given: Mapping[str, Any]) -> Path | None:
    """The file to take settings from: that of --config, or with --resume that of the run, if it has one."""
    if "config" in given:
        return find_config(given["config"])
    path = (given.get("run_dir") or Path(f"models_{given['run_name']}")) / CONFIG_NAME
    return path if "resume" in given and path.is_file() else None


def _stored_arguments(parser: Parser, table: Mapping[str, Flag], path: Path) -> dict[str, Any]:
    """The arguments in a file, read as the same words on the command line would be. Raises SettingsError."""
    words: list[str] = []
    for name, value in read_run_config(path).items():
        if name in RETIRED:
            if value != RETIRED[name][0]:
                raise SettingsError(f"{path}: {name} is {value!r}. {_retired(name)}")
        elif name not in table:
            raise SettingsError(f"{path}: unknown argument {name!r}. Expected flags of {parser.prog}, see --help")
        elif name not in OF_ONE_CALL and value is not None and value is not False and value != []:
            words += _words(table[name], value, path)
    parser.source = path
    stored = vars(parser.parse_args(words))
    parser.source = None
    return stored


def _words(flag: Flag, value: Any, path: Path) -> list[str]:
    """A value from a file as words of the command line."""
    if flag.action.nargs == 0:
        if value is not True:
            raise SettingsError(f"{path}: {flag.action.dest} is {value!r}. Expected true or false")
        return [flag.option]
    if flag.action.dest == "network":
        return [word for network in _as_list(value) for word in (flag.option, *map(str, _as_list(network)))]
    if flag.action.nargs is None:
        return [f"{flag.option}={value}"]
    items = ["=".join(map(str, item)) if isinstance(item, list) else str(item) for item in _as_list(value)]
    return [flag.option, *items]


def stored_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """What config.json is to hold of the arguments, so that they can be read again; see `write_run_config`."""
    kept = {name: value for name, value in vars(args).items() if name not in OF_ONE_CALL and value is not None}
    if "network" in kept:
        kept["network"] = [network.words() for network in kept["network"]]
    return kept


def files_of_run(args: argparse.Namespace) -> list[Path]:
    """The files of a run that hold what its training has cost: weights, log and state, those that exist."""
    networks = getattr(args, "network", None) or []  # words at first, then settings
    names = [network[0] if isinstance(network, list) else network.name for network in networks]
    names = [word for name in names for word in (f"{name}.h5", f"{name}_last.h5")]
    names += [state_of_run(args).name, "training.csv"]
    if args.engine == "keras":
        run = args.run_name
        names = [f"{run}.h5", f"{run}_last.h5", state_of_run(args).name, f"training_{run}.log"]
    return [path for path in (args.run_dir / name for name in names) if path.is_file() and path.stat().st_size]


def remove_run(args: argparse.Namespace) -> None:
    """Removes what `files_of_run` finds, so that files of two runs are never side by side."""
    for path in files_of_run(args):
        path.unlink()


def check_run(args: argparse.Namespace) -> None:
    """Raises SettingsError where a run would be replaced without a word, or where there is none to go on with."""
    if getattr(args, "resume", False):
        if not state_of_run(args).is_file():
            raise SettingsError(NO_RUN.format(args.run_dir, state_of_run(args).name))
    elif not args.overwrite and (present := files_of_run(args)):
        raise SettingsError(
            f"{args.run_dir}: holds {', '.join(path.name for path in present)} of an earlier run. Go on with it by "
            "--resume, replace it by --overwrite, or choose another --run-name"
        )


def state_of_run(args: argparse.Namespace) -> Path:
    """The file from which a run goes on."""
    return args.run_dir / f"{args.run_name}_state.npz"


def check_ranges(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with an error for an empty range, a number that is not finite, or a seed that no generator takes."""
    for flag, (low, high) in (("--snr-db", args.snr_db), ("--level-dbfs", args.level_dbfs)):
        if low > high:
            parser.error(f"{flag} {low:g} {high:g} is an empty range: give the lower end first")
    for name, value in vars(args).items():
        numbers = [n for n in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(n, float)]
        if not all(map(math.isfinite, numbers)):
            parser.error(f"--{name.replace('_', '-')} {' '.join(f'{n:g}' for n in numbers)}: expected finite numbers")
    for name, (low, high) in SHARES.items():
        if name in vars(args) and not low <= getattr(args, name) <= high:
            parser.error(
                f"--{name.replace('_', '-')} {getattr(args, name):g}: expected a share from {low:g} to {high:g}"
            )
    for name in AT_LEAST_ONE:
        if (value := getattr(args, name, None)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if not 0 <= args.seed < 2**32:
        parser.error(f"--seed {args.seed}: expected a number from 0 to {2**32 - 1}")


def _check_keras(parser: Parser, args: argparse.Namespace) -> None:
    paired, unmixed = ([getattr(args, name) for name in names] for names in (PAIRED, UNMIXED))
    if any(paired) and (args.val_speech or args.val_noise):
        parser.error(
            "--val-speech and --val-noise go with --speech and --noise; pairs have --val-noisy and --val-clean"
        )
    if not (all(paired) and not any(unmixed)) and not (all(unmixed) and not any(paired)):
        parser.error("give either --train-noisy, --train-clean, --val-noisy and --val-clean, or --speech and --noise")
    if not 0 <= args.dropout < 1:
        parser.error(f"--dropout {args.dropout:g}: expected a share from 0 to below 1")
    if not 0 <= args.process < args.processes or (args.process > 0 and not args.coordinator):
        parser.error(
            "on several hosts each process needs --coordinator HOST:PORT and another --process, from 0 to "
            "--processes - 1"
        )


def _check_cuda(parser: Parser, args: argparse.Namespace) -> None:
    if not args.speech or not args.noise:
        parser.error("give --speech and --noise")
    if not args.network:
        parser.error("give at least one --network NAME")
    try:
        gpu_settings(args)
    except SettingsError as error:
        parser.error(str(error))
    try:
        for word in (word for words in args.network for word in words if word.startswith("init=")):
            choice("init", STARTS)(word.removeprefix("init="))
        networks = [NetworkSettings.of(words) for words in args.network]
    except (SettingsError, argparse.ArgumentTypeError) as error:
        parser.error(f"--network: {error}")
    if len({network.name for network in networks}) < len(networks):
        parser.error("--network: two networks have the same name")
    args.network = [replace(n, weights=weights_file(n.weights)) if n.weights else n for n in networks]


def gpu_settings(args: argparse.Namespace) -> GPUSettings:
    """The settings of the loop of the engine cuda. Raises SettingsError."""
    return GPUSettings(
        batch_size=args.batch_size,
        steps=args.steps,
        minutes=args.minutes,
        warmup_steps=args.warmup_steps,
        check_every=args.check_every,
        pool_segments=args.pool_segments,
        mixing_processes=max(1, (os.cpu_count() or 1) - 1) if args.mixing_processes is None else args.mixing_processes,
        adam_share=args.adam_share,
        clip_norm=args.clip_norm,
        loss=args.loss,
        ema=args.ema,
        mixed_precision=args.mixed_precision,
        compiled=args.compile,
        graph=not args.no_graph,
        deterministic=args.deterministic,
        seed=args.seed,
    )
