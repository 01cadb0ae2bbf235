"""run_training.py: arguments, mixing on the fly, rooms, and folders of synthesised pairs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from room_responses import response_folder
from synthesised import make
from training_pairs import speech_like, write_unmixed

from dtln.commands import train
from dtln.commands.train import mixed_sources
from dtln.errors import install_line
from dtln.facts import SAMPLE_RATE
from dtln.mixing.augmentations import AUGMENTATIONS, augmentation_by_name

ROOT = Path(__file__).resolve().parents[2]

MIXED = ["--run-name", "r", "--speech", "s", "--noise", "n"]


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
        ([*MIXED, "--validation-segments", "0"], "must be at least 1"),
        ([*MIXED, "--schedule", "step"], "invalid choice: 'step'"),
        ([*MIXED, "--processes", "2", "--process", "1"], "needs --coordinator HOST:PORT and another --process"),
        ([*MIXED, "--noise-weights", "esc50"], "esc50: expected FOLDER=X with a number X"),
        ([*MIXED, "--dropout", "1"], "--dropout 1: expected a share from 0 to below 1"),
        ([*MIXED, "--core-1-loss", "-1"], "--core-1-loss: expected a share of at least 0"),
        ([*MIXED, "--core-1-loss", "0.2", "--only-core-1"], "and 0 with --only-core-1, whose loss it is alone"),
        ([*MIXED, "--open-core-1-mask"], "--open-core-1-mask is for trained weights: name them with --init-weights"),
        ([*MIXED, "--change-basis", "mclt"], "--change-basis is for trained weights: name them with --init-weights"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


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


def test_sets_without_a_validation_speaker_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    unmixed = write_unmixed(tmp_path)
    speech = tmp_path / "speech"
    for folder, files in {"crowd": sorted(speech.iterdir())[:-2], "solo": sorted(speech.iterdir())[-2:]}.items():
        (speech / folder).mkdir()
        for index, path in enumerate(files):
            path.rename(speech / folder / (path.name if folder == "crowd" else f"reader_{index}.wav"))
    assert train.main(mixed_command(unmixed, tmp_path / "run")) == 0
    assert "validation has no speaker of solo: it will not tell" in capfd.readouterr().out


def test_shares_kept_for_validation(unmixed: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def counts(*more: str) -> list[tuple[int, int]]:
        """Files of speech and of noise in training, then in validation."""
        assert train.main(mixed_command(unmixed, tmp_path / "run", *more)) == 0
        pattern = r"(?:training|validation): mixed from (\d+) speech files .*? and (\d+) noise files"
        return [(int(speech), int(noise)) for speech, noise in re.findall(pattern, capfd.readouterr().out)]

    (speech, noise), (validation_speech, validation_noise) = counts("--validation-speech-share", "0.3")
    assert speech + validation_speech == 40 and 5 < validation_speech < 20
    assert noise + validation_noise == 30 and 0 < validation_noise < 10
    training, validation = counts("--validation-noise-share", "0")  # all noise in both, speakers apart
    assert training[1] == validation[1] == 30
    assert training[0] + validation[0] == 40
    assert train.main(mixed_command(unmixed, tmp_path / "run", "--validation-speech-share", "0")) == 1
    assert "with a share of 0.0: one part would be empty" in capfd.readouterr().err


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
        training, validation = mixed_sources(args, 1024)
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
    again = mixed_command(unmixed, tmp_path / "default")
    assert train.main(again) == 0
    assert read_losses(tmp_path / "default" / "training_r.log") == losses[0]


def read_losses(path: Path) -> list[str]:
    return [line.split(",")[-2] for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--augment", "reverb"], "unknown augmentation 'reverb': expected one of"),
        (["--warmup-steps", "5"], "warm-up steps belong to the cosine schedule"),
        (["--segment-seconds", "0.001"], "segments of 0.001 s hold not one shift"),
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
        assert train.main([*command, *more]) == 1
        assert message in capfd.readouterr().err
        assert not (tmp_path / "run").exists()


def test_training_mixes_in_rooms(tmp_path: Path) -> None:
    """`--rir` and its flags reach the mixer that is trained on; validation stays as it is without them."""
    rir = ["--rir", str(response_folder(tmp_path / "rir")), "--room-target", "early", "--reverberant-share", "0.9"]
    speech = tmp_path / "speech"
    speech.mkdir()
    for index in range(60):  # enough speakers and kinds to divide by hashes
        soundfile.write(speech / f"a{index}_0.wav", speech_like(2000, index), 16000)
    command = ["--run-name", "r", "--speech", str(speech), "--noise", str(speech)]
    sources = [mixed_sources(train.parse([*command, *more]), 8000) for more in ([], rir)]
    (dry, _), (wet, validation) = ([source.mixer for source in pair] for pair in sources)
    assert dry.rooms is None and validation.rooms is None
    assert len(wet.rooms.responses) == 3 and wet.room_target == "early" and wet.reverberant_share == 0.9
    assert any(not np.array_equal(dry.draw(rng(s))[0], wet.draw(rng(s))[0]) for s in range(10))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
