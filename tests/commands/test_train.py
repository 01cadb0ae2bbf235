"""run_training.py: arguments, mixing on the fly, rooms, and folders of synthesised pairs."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from room_responses import response_folder
from synthesised import make
from training_pairs import speech_like, write_unmixed

from dtln.commands import train
from dtln.commands.run import run
from dtln.commands.train_flags import build_parser, stored_arguments
from dtln.commands.train_sources import sources_of
from dtln.errors import install_line
from dtln.facts import SAMPLE_RATE
from dtln.mixing.augmentations import AUGMENTATIONS, augmentation_by_name
from dtln.mixing.corpus import CorpusSettings
from dtln.training.run_config import write_run_config

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("eagerly")
MIXED = ["--run-name", "r", "--speech", "s", "--noise", "n"]
CUDA = [*MIXED, "--engine", "cuda", "--network", "a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (MIXED[2:], "required: --run-name"),
        (MIXED[:2], "give either --train-noisy"),
        (MIXED[:4], "give either --train-noisy"),
        ([*MIXED, "--val-noisy", "v"], "give either --train-noisy"),
        ([*MIXED[:2], "--train-noisy", "a", "--train-clean", "b", "--val-noisy", "c"], "give either --train-noisy"),
        ([*MIXED, "--resume", "--init-weights", "w.h5"], "--resume goes on with the run's own weights"),
        ([*MIXED, "--snr-db", "9", "1"], "--snr-db 9 1 is an empty range"),
        ([*MIXED, "--level-dbfs", "0", "-9"], "--level-dbfs 0 -9 is an empty range"),
        ([*MIXED, "--validation-segments", "0"], "--validation-segments 0: expected at least 1"),
        ([*MIXED, "--validation-speech-share", "1"], "--validation-speech-share 1: expected a share from 0 to 0.9"),
        ([*MIXED, "--reverberant-share", "-0.1"], "--reverberant-share -0.1: expected a share from 0 to 1"),
        ([*MIXED[:2], "--resume"], "--resume: models_r holds no run to go on with, config.json is missing"),
        (
            [
                *MIXED[:2],
                *[
                    "--train-noisy",
                    "a",
                    "--train-clean",
                    "b",
                    "--val-noisy",
                    "c",
                    "--val-clean",
                    "d",
                    "--val-speech",
                    "e",
                ],
            ],
            "--val-speech and --val-noise go with --speech and --noise",
        ),
        ([*MIXED, "--schedule", "step"], "invalid choice: 'step'"),
        ([*MIXED, "--processes", "2", "--process", "1"], "needs --coordinator HOST:PORT and another --process"),
        ([*MIXED, "--noise-weights", "esc50"], "esc50: expected FOLDER=X with a number X"),
        ([*MIXED, "--dropout", "1"], "--dropout 1: expected a share from 0 to below 1"),
        ([*MIXED, "--engine", "gpu"], "invalid choice: 'gpu'"),
        ([*MIXED, "--config", "missing.json"], "missing.json: cannot be taken as settings (No such file or directory)"),
        ([*MIXED, "--open-core-1-mask"], "--open-core-1-mask is no flag any more: research/open_core_1_mask.py"),
        (
            [*MIXED, "--change-basis", "mclt"],
            "--change-basis is no flag any more: research/change_basis.py",
        ),
        ([*MIXED, "--only-core-1"], "--only-core-1 is no flag any more: research/core_1.py --alone replaces it"),
        ([*MIXED, "--core-1-loss", "0.2"], "--core-1-loss is no flag any more: research/core_1.py --share X replaces"),
        ([*MIXED, "--init", "mclt"], "mclt is no choice any more: research/bases.py writes weights that start from it"),
        ([*MIXED, "--loss", "snr_stft"], "snr_stft is no choice any more: research/stft_loss.py trains with it"),
        ([*CUDA, "init=mclt"], "--network: mclt is no choice any more: research/bases.py"),
        ([*CUDA[:-2]], "give at least one --network NAME"),
        ([*CUDA, "init=dct"], "init=dct: expected random or mdct"),
        ([*CUDA, "norms"], "norms: expected norm, weights=H5"),
        ([*CUDA, "rate=fast"], "rate=fast: could not convert string to float"),
        ([*CUDA, "dropout=1"], "expected a rate above 0, a share below 1"),
        ([*CUDA, "--network", "a"], "two networks have the same name"),
        ([*CUDA, "--batch-size", "0"], "expected at least 1"),
        ([*CUDA, "--compile"], "compiled kernels need mixed precision (--compile --mixed-precision)"),
        ([*CUDA, "--compile", "--mixed-precision", "--batch-size", "24"], "compiled kernels need a multiple of 16"),
        ([*CUDA, "--warmup-steps", "-1"], "expected steps and minutes of at least 0"),
        ([*CUDA, "--snr-db", "5", "1"], "is an empty range"),
        ([*CUDA, "--validation-segments", "0"], "--validation-segments 0: expected at least 1"),
        ([*CUDA, "--deterministic", "--minutes", "1"], "1 minutes: a run that ends by the clock cannot be repeated"),
        ([*CUDA, "--ema", "1"], "moving average 1: expected a share from 0 to below 1"),
        ([*CUDA, "--resume", "--overwrite"], "--resume goes on with a run, --overwrite replaces it: give one of them"),
        (["--run-name", "none", "--engine", "cuda", "--resume"], "models_none holds no run to go on with, config.json"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_stopped_run_on_a_gpu_says_how_to_go_on(tmp_path: Path) -> None:
    args = train.parse([*CUDA, "--run-dir", str(tmp_path)])
    assert train._what_is_kept(args) == "no step had ended, nothing was kept"
    (tmp_path / "a.h5").write_text("weights")
    assert "a.h5; begin again from them with --network NAME weights=FILE" in train._what_is_kept(args)
    (tmp_path / "r_state.npz").write_text("state")
    assert "a.h5, r_state.npz; the same command with --resume goes on within a minute" in train._what_is_kept(args)


FLAGS = build_parser("run_training.py", "")[1]
VALUES = {  # of flags that take one, where "1" does not do
    "--init": ["mdct"], "--loss": ["si_sdr"], "--optimizer": ["muon"], "--schedule": ["cosine"],
    "--snr-over": ["active"],
    "--room-target": ["early"], "--snr-db": ["1", "2"], "--level-dbfs": ["-2", "-1"], "--speech-weights": ["a=2"],
    "--noise-weights": ["a=2"], "--augment": ["pauses"], "--network": ["b"], "--dropout": ["0"], "--ema": ["0.5"],
    "--process": ["0"], "--compile": ["--mixed-precision"], "--run-dir": ["x"], "--run-name": ["x"],
    "--adam-share": ["0.5"], "--processes": ["2"], "--workers": ["2"], "--validation-speech-share": ["0.5"],
    "--validation-noise-share": ["0.5"],
}  # fmt: skip
DATA = {"--speech", "--noise", "--train-noisy", "--train-clean", "--val-noisy", "--val-clean", "--engine", "--config"}


@pytest.mark.parametrize("engine", ["keras", "cuda"])
@pytest.mark.parametrize("name", [name for name, flag in FLAGS.items() if flag.option not in DATA])
def test_an_engine_takes_a_flag_or_refuses_it(name: str, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    flag = FLAGS[name]
    words = [flag.option, *VALUES.get(flag.option, [] if flag.action.nargs == 0 else ["1"])]
    plain = CUDA if engine == "cuda" else MIXED
    if engine in flag.defaults:
        args = vars(train.parse([*plain, *words]))
        changed = args[name] != vars(train.parse(plain))[name]
        assert args["engine"] == engine and (changed or flag.option == "--process")
    else:
        with pytest.raises(SystemExit):
            train.main([*plain, *words])
        message = f"{flag.option}: the engine {engine} does not take it; {flag.instead or 'leave it out'}"
        assert message in capsys.readouterr().err
        assert name not in vars(train.parse(plain))


@pytest.mark.parametrize("engine", ["keras", "cuda"])
def test_an_engine_reads_every_flag_that_it_takes(engine: str) -> None:
    """None is taken and then ignored."""
    modules = [importlib.import_module(f"dtln.commands.train_{name}") for name in (engine, "sources", "flags")]
    read = set(re.findall(r"\bargs\.(\w+)", "".join(map(inspect.getsource, modules))))
    read |= {field.name for field in fields(CorpusSettings)}
    assert {name for name, flag in FLAGS.items() if engine in flag.defaults} - {
        "config",
        "engine",
    } <= read  # these two are read before


@pytest.mark.parametrize("flag", ["--train-noisy", "--train-clean", "--val-noisy", "--val-clean"])
def test_pairs_are_for_keras(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main([*CUDA, flag, "x"])
    assert f"{flag}: the engine cuda does not take it; it mixes on the fly" in capsys.readouterr().err


def test_every_flag_says_which_engines_honour_it() -> None:
    assert all(flag.defaults and set(flag.defaults) <= {"keras", "cuda"} for flag in FLAGS.values())
    assert {flag.option for flag in FLAGS.values() if len(flag.defaults) == 2} >= {"--speech", "--seed", "--rooms"}
    parser, table = build_parser("run_training.py", "")
    outside = {action.dest for action in parser._actions} - set(table)
    assert outside == {"help", "list_augmentations", "open_core_1_mask", "change_basis", "only_core_1", "core_1_loss"}


def test_the_engine_is_keras_unless_it_is_said() -> None:
    assert train.parse(MIXED).engine == "keras" and train.parse(MIXED).batch_size == 32
    assert train.parse(CUDA).batch_size == 256
    assert train.parse(MIXED).run_dir == train.parse(CUDA).run_dir == Path("models_r")


# ----------------------------------------------------------------------------------------------------------------------
# Settings from files
# ----------------------------------------------------------------------------------------------------------------------


RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.json"))
PAIRED = ["--train-noisy", "a", "--train-clean", "b", "--val-noisy", "c", "--val-clean", "d"]


def test_recipes_hold_what_was_given_as_flags() -> None:
    """The commands of the README before there were recipes."""
    assert RECIPES == ["gpu", "mixing", "paper"]
    mixing = "--segment-seconds 2.56 --batch-size 8 --segments-per-epoch 2000 --init mdct --schedule cosine"
    mixing += " --warmup-steps 200 --max-epochs 90 --augment speed_perturbation equalisation second_noise babble"
    model = ROOT / "pretrained_model" / "model.h5"
    gpu = "--engine cuda --compile --mixed-precision --steps 20000 --augment speech_speed noise_speed equalisation"
    gpu += f" second_noise babble coloured_noise --network plain weights={model} rate=0.002 --network norm norm"
    for recipe, data, flags in (
        ("paper", ["--run-name", "r", *PAIRED], ""),
        ("mixing", MIXED, mixing + " coloured_noise"),
        ("gpu", MIXED, gpu),
    ):
        expected = vars(train.parse([*data, *flags.split()]))
        for name in (recipe, str(ROOT / "recipes" / f"{recipe}.json")):
            found = vars(train.parse([*data, "--config", name]))
            assert {**found, "config": None} == {**expected, "config": None}


def test_flags_win_over_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = train.parse([*MIXED, "--config", "mixing", "--batch-size", "4", "--augment"])
    assert (args.batch_size, args.augment, args.max_epochs) == (4, [], 90)
    args = train.parse([*MIXED, "--config", "gpu", "--network", "b", "rate=0.1"])
    assert [network.name for network in args.network] == ["b"] and args.steps == 20000
    (tmp_path / "rooms.json").write_text('{"arguments": {"rooms": 10}}')
    args = train.parse([*MIXED, "--config", str(tmp_path / "rooms.json"), "--rir", "measured"])
    assert args.rooms is None and args.rir == Path("measured")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixing").write_text('{"arguments": {"batch_size": 3}}')  # a file here wins over a recipe
    assert train.parse([*MIXED, "--config", "mixing"]).batch_size == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "bad.json: cannot be taken as settings (no JSON"),
        ("[1]", 'bad.json: cannot be taken as settings (no "arguments")'),
        ('{"arguments": {"colour": "red"}}', "bad.json: unknown argument 'colour'. Expected flags of run_training.py"),
        ('{"arguments": {}, "colour": "red"}', "bad.json: unknown key 'colour'. Expected about, arguments, versions"),
        ('{"arguments": {"batch_size": "many"}}', "bad.json: argument --batch-size: invalid int value: 'many'"),
        ('{"arguments": {"mixed_precision": "no"}}', "bad.json: mixed_precision is 'no'. Expected true or false"),
        ('{"arguments": {"schedule": "step"}}', "bad.json: argument --schedule: invalid choice: 'step'"),
        ('{"arguments": {"rooms": 1, "rir": "x"}}', "bad.json: argument --rir: not allowed with argument --rooms"),
        ('{"arguments": {"steps": 3}}', "bad.json: --steps: the engine keras does not take it; give --max-epochs"),
        ('{"arguments": {"only_core_1": true}}', "bad.json: only_core_1 is True. --only-core-1 is no flag any more"),
        ('{"arguments": {"init": "mclt"}}', "bad.json: argument --init/--init-basis: mclt is no choice any more"),
    ],
)
def test_files_that_do_not_fit(content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(SystemExit):
        train.main([*MIXED, "--config", str(tmp_path / "bad.json")])
    assert message in capsys.readouterr().err


def test_settings_of_a_run_of_old_still_resume(tmp_path: Path) -> None:
    """What left the flags is passed over where it was off."""
    old = {"open_core_1_mask": False, "only_core_1": False, "core_1_loss": 0.0, "change_basis": None}
    old |= {"init_weights": str(tmp_path / "w.h5"), "batch_size": 16, "augment": ["pauses=0.3"], "loss": "snr"}
    (tmp_path / "config.json").write_text(json.dumps({"arguments": old, "versions": {"keras": "3.8.0"}}))
    args = train.parse([*MIXED, "--run-dir", str(tmp_path), "--resume"])
    assert (args.batch_size, args.augment, args.init_weights) == (16, ["pauses=0.3"], [tmp_path / "w.h5"])


@pytest.mark.parametrize(
    "command",
    [
        [
            *MIXED,
            "--norm-stft",
            "--snr-db",
            "-3",
            "9.5",
            "--speech-weights",
            "a=2",
            "b=0.5",
            "--rir",
            "x",
            "--ema",
            "0.9",
        ],
        ["--run-name", "r", *PAIRED, "--init-weights", "model.h5", "other.h5", "--clip-norm", "1e-07"],
        [*CUDA, "norm", "weights=w.h5", "rate=0.1", "--network", "b", "init=mdct", "--compile", "--mixed-precision"],
    ],
)
def test_settings_of_a_run_are_read_again(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another folder, too: paths are absolute."""
    args = train.parse(command)
    write_run_config(tmp_path, stored_arguments(args))
    again = ["--run-name", "r", "--config", str(tmp_path / "config.json")]
    first = train.parse(again)
    monkeypatch.chdir(tmp_path)
    write_run_config(tmp_path, stored_arguments(train.parse(again)))
    assert vars(train.parse(again)) == vars(first)
    paths = {name: value for name, value in vars(args).items() if isinstance(value, Path) and name != "run_dir"}
    for name, value in vars(args).items():
        found = getattr(first, name)
        if name in paths:
            assert found == ROOT / value
        elif name == "network":
            assert [replace(n, weights=None) for n in found] == [replace(n, weights=None) for n in value]
            assert found[0].weights == ROOT / "w.h5"
        elif name == "init_weights" and value:
            assert found == [ROOT / "pretrained_model" / "model.h5", ROOT / "other.h5"]
        elif name not in ("config", "run_dir"):
            assert found == value or list(found) == list(value)


def test_status_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One command for all: what the first writes, and what another does that fails alone."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "process = sys.argv[sys.argv.index('--process') + 1]\n"
        "print('written by', process, file=sys.stderr)\n"
        "sys.exit(process in sys.argv[sys.argv.index('--run-name') + 1])\n"  # the name says who fails
    )
    monkeypatch.setattr(train, "START", script.read_text())
    for failing, shown in (("none", "0"), ("0", "0"), ("1", "01"), ("012", "0")):
        arguments = ["--run-name", failing, *MIXED[2:], "--processes", "3"]
        assert train.main(arguments) == (failing != "none")
        message = capfd.readouterr().err
        assert [i for i in "012" if f"written by {i}" in message] == list(shown)


def test_augmentations_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(["--list-augmentations"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("=")[0] for line in lines] == list(AUGMENTATIONS)
    assert "pauses=0.1: Silences the speech before or after a random point." in lines
    for line in lines:  # what is listed can be given
        assert augmentation_by_name(line.split(":")[0]).share == pytest.approx(float(line.split("=")[1].split(":")[0]))


@pytest.fixture(scope="module")
def unmixed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name a folder of speech and one of noise, with enough speakers to split."""
    return write_unmixed(tmp_path_factory.mktemp("unmixed"))


def mixed_command(unmixed: list[str], run_dir: Path, *more: str) -> list[str]:
    sizes = ["--segment-seconds", "0.064", "--batch-size", "2", "--max-epochs", "1", "--segments-per-epoch", "4"]
    return [*unmixed, *sizes, "--validation-segments", "3", "--run-name", "r", "--run-dir", str(run_dir), *more]


@pytest.mark.usefixtures("small_networks")
def test_training_on_mixtures_made_on_the_fly(
    unmixed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    command = mixed_command(unmixed, tmp_path / "run", "--augment", "pauses", "babble", "--cache-dir", str(cache))
    assert train.main(command) == 0
    output = capfd.readouterr().out
    assert "training: mixed from" in output and "4 segments of 0.064 s" in output
    assert "validation: mixed from" in output and "3 segments of 0.064 s" in output
    assert "validation has no speaker" not in output
    assert (tmp_path / "run" / "r.h5").is_file()
    assert len(list(cache.iterdir())) == 2


@pytest.mark.usefixtures("small_networks")
def test_sets_without_a_validation_speaker_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    unmixed = write_unmixed(tmp_path)
    speech = tmp_path / "speech"
    for folder, files in {"crowd": sorted(speech.iterdir())[:-2], "solo": sorted(speech.iterdir())[-2:]}.items():
        (speech / folder).mkdir()
        for index, path in enumerate(files):
            path.rename(speech / folder / (path.name if folder == "crowd" else f"reader_{index}.wav"))
    sources_of(train.parse(mixed_command(unmixed, tmp_path / "run")), 1024)
    assert "validation has no speaker of solo: it will not tell" in capfd.readouterr().out


@pytest.mark.usefixtures("small_networks")
def test_shares_kept_for_validation(unmixed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def counts(*more: str) -> list[tuple[int, int]]:
        """Files of speech and of noise in training, then in validation."""
        sources = sources_of(train.parse(mixed_command(unmixed, tmp_path / "run", *more)), 1024)
        pattern = r"mixed from (\d+) speech files .*? and (\d+) noise files"
        found = (re.match(pattern, source.summary) for source in sources)
        return [(int(counts[1]), int(counts[2])) for counts in found]

    (speech, noise), (validation_speech, validation_noise) = counts("--validation-speech-share", "0.3")
    assert speech + validation_speech == 40 and 5 < validation_speech < 20
    assert noise + validation_noise == 30 and 0 < validation_noise < 10
    training, validation = counts("--validation-noise-share", "0")  # all noise in both, speakers apart
    assert training[1] == validation[1] == 30
    assert training[0] + validation[0] == 40
    training, validation = counts("--validation-speech-share", "0")
    assert training[0] == validation[0] == 40
    held = tmp_path / "held"
    shutil.copytree(unmixed[1], held)
    training, validation = counts("--val-speech", str(held), "--val-noise", str(held))
    assert training == (40, 30) and validation == (40, 40)  # nothing is kept back of what is trained on
    for folder in (unmixed[1], Path(unmixed[1]).parent):  # itself, or around it
        with pytest.raises(ValueError, match="validation would hear what is trained on"):
            counts("--val-speech", str(folder))
    assert counts("--speaker-pattern", r"(\d)\d*\.")[1][0] not in (0, 40)
    with pytest.raises(ValueError, match="--speaker-pattern timit finds no speaker in this path"):
        counts("--speaker-pattern", "timit")


@pytest.mark.usefixtures("small_networks")
def test_weights_count_in_training_alone(tmp_path: Path) -> None:
    for kind, folder in (("speech", "read"), ("noise", "street")):
        for part in (folder, "other"):
            (tmp_path / kind / part).mkdir(parents=True)
            for index in range(20):
                signal = speech_like(2048, seed=index)
                soundfile.write(tmp_path / kind / part / f"{index:02d}_0.wav", signal, SAMPLE_RATE)
    folders = ["--speech", str(tmp_path / "speech"), "--noise", str(tmp_path / "noise")]
    weights = ["--speech-weights", "read=3", "other=0.5", "--noise-weights", "street=2"]
    command = mixed_command([*folders, *weights], tmp_path / "run")
    assert train.main(command) == 0
    for argv in (command, [*command[-4:], "--resume"]):  # given, and taken from config.json
        args = train.parse(argv)
        training, validation = sources_of(args, 1024)
        assert set(training.mixer.speech.weights) == {3, 0.5} and set(training.mixer.noise.weights) == {2, 1}
        assert validation.mixer.speech.weights is validation.mixer.noise.weights is None


def test_dropout_is_set(unmixed: list[str], tmp_path: Path) -> None:
    """The same start and mixtures: nothing but the dropout can change the loss."""
    losses = []
    for share in ("0.25", "0"):
        run_dir = tmp_path / share
        assert train.main(mixed_command(unmixed, run_dir, "--dropout", share)) == 0
        losses.append(read_losses(run_dir / "training_r.log"))
    assert losses[0] != losses[1]
    command = mixed_command(unmixed, tmp_path)
    assert train.parse(command) == train.parse([*command, "--dropout", "0.25"])  # the default


def read_losses(path: Path) -> list[str]:
    return [line.split(",")[-2] for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--augment", "reverb"], "unknown augmentation 'reverb': expected one of"),
        (["--warmup-steps", "5"], "warm-up steps belong to the cosine schedule"),
        (["--segment-seconds", "0.001"], "segments of 0.001 s are shorter than one shift"),
        (["--batch-size", "5"], "a batch of 5 segments is larger than the data: mixed from"),
        (["--batch-size", "0"], "batch size 0"),
        (["--speech-weights", "read=2"], "read: no recording to weight lies in a folder of this name"),
        (["--init-weights", "missing.h5"], "missing.h5: no such weights file"),
    ],
)
def test_settings_that_do_not_fit(
    more: list[str], message: str, unmixed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train.main(mixed_command(unmixed, tmp_path / "run", *more)) == 1
    assert message in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_training_on_what_was_written(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The paper's recipe but for sizes, on the folders as they are, names and all."""
    make(corpus, tmp_path / "set", "--count", 5, "--seconds", 1)
    folders = [
        f"--{flag}-{kind}={tmp_path / 'set' / part / kind}"
        for flag, part in (("train", "training"), ("val", "validation"))
        for kind in ("noisy", "clean")
    ]
    command = [sys.executable, "run_training.py", "--run-name", "r", "--run-dir", str(tmp_path / "run"), *folders]
    sizes = ["--segment-seconds", "1", "--batch-size", "2", "--max-epochs", "1"]
    run = subprocess.run([*command, *sizes], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "4 pairs, 0.00 h, 4 segments of 1 s" in run.stdout and "1 pairs, 0.00 h, 1 segments of 1 s" in run.stdout
    assert (tmp_path / "run" / "r.h5").is_file()


def test_training_in_rooms_says_what_is_missing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("keras")

    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    command = ["--run-name", "r", "--run-dir", str(tmp_path / "run"), "--speech", str(corpus / "speech")]
    command += ["--noise", str(corpus / "noise"), "--segment-seconds", "0.064", "--batch-size", "2"]
    checks: list[tuple[list[str], str]] = [
        (["--rooms", "2"], f"simulating rooms needs the package pyroomacoustics: {install_line('pyroomacoustics')}"),
        (["--rooms", "0"], "0 simulated room responses: expected at least one"),
        (["--rir", str(tmp_path / "missing")], "missing: expected a folder of audio files, found nothing"),
    ]
    for more, message in checks:
        assert run("dtln.commands.train", [*command, *more], "run_training.py") == 1
        assert message in capfd.readouterr().err
        assert not (tmp_path / "run").exists()


def test_training_mixes_in_rooms(tmp_path: Path) -> None:
    """`--rir` and its flags reach the mixer that is trained on; validation stays as it is without them."""
    rir = ["--rir", str(response_folder(tmp_path / "rir")), "--room-target", "early", "--reverberant-share", "0.9"]
    rir += ["--snr-over", "active"]
    speech = tmp_path / "speech"
    speech.mkdir()
    for index in range(60):  # enough speakers and kinds to divide by hashes
        soundfile.write(speech / f"a{index}_0.wav", speech_like(2000, index), 16000)
    command = ["--run-name", "r", "--speech", str(speech), "--noise", str(speech)]
    sources = [sources_of(train.parse([*command, *more]), 8000) for more in ([], rir)]
    (dry, _), (wet, validation) = ([source.mixer for source in pair] for pair in sources)
    assert dry.rooms is None and validation.rooms is None
    assert len(wet.rooms.responses) == 3 and wet.room_target == "early" and wet.reverberant_share == 0.9
    assert (dry.snr_over, wet.snr_over, validation.snr_over) == ("all", "active", "all")
    assert any(not np.array_equal(dry.draw(rng(s))[0], wet.draw(rng(s))[0]) for s in range(10))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_missing_packages_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--run-name", "r", "--run-dir", str(tmp_path / "run"), "--speech", str(tmp_path), "--noise", "n"]
    for engine, package, purpose in (
        ("keras", "keras", "training"),
        ("keras", "h5py", "training"),
        ("cuda", "torch", "training on a GPU"),
    ):
        more = ["--engine", engine, *(["--network", "a"] if engine == "cuda" else [])]
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, package, None)
            patched.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", ""))  # put back what the engine sets
            assert run("dtln.commands.train", [*command, *more], "run_training.py") == 1
        assert f"{purpose} needs the package {package}: {install_line(package, 'train')}" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_a_bug_keeps_its_traceback(unmixed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ValueError that is none of ours is a bug, and not made one line."""

    def buggy(*_: object) -> None:
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr("DTLN_model.compile_network", buggy)
    with pytest.raises(ValueError, match="broadcast"):
        train.main(mixed_command(unmixed, tmp_path / "run"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "-1"], "--seed -1: expected a number from 0"),
        (["--segment-seconds", "nan"], "--segment-seconds nan: expected finite numbers"),
        (["--snr-db", "nan", "nan"], "--snr-db nan nan: expected finite numbers"),
        (["--learning-rate", "inf"], "--learning-rate inf: expected finite numbers"),
    ],
)
def test_numbers_that_nothing_can_be_done_with(flags, message, capsys):
    with pytest.raises(SystemExit):
        train.parse(["--run-name", "r", "--speech", "S", "--noise", "N", *flags])
    assert message in capsys.readouterr().err
