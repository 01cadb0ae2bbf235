"""The README: its commands, word for word, on a copy of the project as it would be cloned."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from environments import NETWORK_FAILURES

from dtln.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def commands() -> list[str]:
    """The commands of the README's bash blocks, continuation lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").strip().splitlines()]


def clone_of(repository: Path, folder: Path) -> Path:
    """A clone made by the README's command from `repository`, which stands for its address; with what is not committed.

    Skips the test where this is no git checkout.
    """
    tracked = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("this is no git checkout: which files belong to the project is not known")
    copy = folder / "copy"
    for name in tracked.stdout.splitlines():
        if (repository / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, copy / name)
    for command in ("init --quiet", "add --all --force", "-c user.name=A -c user.email=a@b commit --quiet -m copy"):
        subprocess.run(["git", *command.split()], cwd=copy, check=True)
    command = commands()[0]
    assert command.startswith("git clone --depth 1 URL ")
    subprocess.run(command.replace("URL", copy.as_uri()), shell=True, cwd=folder, check=True, capture_output=True)
    return folder / "dtln"


@pytest.mark.slow
def test_first_command_denoises_real_speech(tmp_path):
    clone = clone_of(ROOT, tmp_path)
    command = commands()[1]
    assert "run_evaluation.py" in command
    environment = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false"}  # nothing is to be compiled
    run = subprocess.run(command, shell=True, cwd=clone, env=environment, capture_output=True, text=True)
    if run.returncode and any(words in run.stderr for words in NETWORK_FAILURES):
        pytest.skip("packages cannot be installed: no package index was reached")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    noisy_files = sorted(p for p in (clone / "audio_samples" / "noisy").rglob("*") if p.suffix in (".wav", ".flac"))
    assert len(noisy_files) >= 3
    for noisy_file in noisy_files:
        relative = noisy_file.relative_to(clone / "audio_samples" / "noisy")
        noisy, _ = soundfile.read(noisy_file)
        denoised, rate = soundfile.read(clone / "denoised" / relative)
        assert rate == 16000 and len(denoised) > 16000
        clean_file = clone / "audio_samples" / "clean" / relative
        if clean_file.exists() and noisy.shape == denoised.shape:
            clean, _ = soundfile.read(clean_file)
            before, after = (np.sum((clean - x) ** 2) for x in (noisy, denoised))
            assert after < 0.6 * before, relative  # more than 2 dB of SNR gained


def test_second_command_is_what_ci_runs():
    assert commands()[2] in (ROOT / ".ci" / "run").read_text()


def test_commands_on_the_samples_run(tmp_path, monkeypatch, capsys):
    """Those that the README's reader can run at once: `dtln enhance` and `dtln score`, one after the other."""
    shutil.copytree(ROOT / "audio_samples", tmp_path / "audio_samples")
    monkeypatch.chdir(tmp_path)
    run = [command for command in commands() if command.startswith(("dtln enhance", "dtln score"))]
    for command in run:
        assert main(shlex.split(command)[1:]) == 0, command
    assert len(run) == 5 and len(list((tmp_path / "quiet").rglob("*.*"))) == 6
    stereo = soundfile.info(tmp_path / "quiet_stereo" / "any_format" / "reader_water_10dB.flac")
    assert (stereo.channels, stereo.samplerate) == (2, 44100)
    assert "SI-SDR" in capsys.readouterr().out and (tmp_path / "scores.csv").stat().st_size > 500
    assert len(json.loads((tmp_path / "scores.json").read_text())["files"]) == 6


def test_pictures_are_there_and_small():
    pictures = re.findall(r"!\[.*\]\((.*)\)", (ROOT / "README.md").read_text())
    assert len(pictures) == 2
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 200_000


def test_every_script_named_in_the_readme_exists():
    text = (ROOT / "README.md").read_text()
    for name in set(re.findall(r"(?<![\w/])([\w/]+\.(?:py|yml))\b", text)):
        assert (ROOT / name).exists(), name
