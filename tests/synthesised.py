"""Runs of synthesize_training_data.py on a small corpus, and what they wrote."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from training_pairs import speech_like

from dtln.commands import synthesize

STEP = 1 / 32768  # of 16-bit samples
SPEAKERS, UTTERANCES, NOISES = 6, 3, 7


def write_corpus(folder: Path) -> Path:
    """Writes `speech` of six speakers, in sub-folders, one at 8 kHz, and `noise`, flac and wav, some of two channels.

    Returns the folder.
    """
    rng = np.random.default_rng(1)
    for speaker in range(SPEAKERS):
        (folder / "speech" / f"set{speaker % 2}").mkdir(parents=True, exist_ok=True)
        for utterance in range(UTTERANCES):
            length = int(rng.integers(9000, 15000))
            path = folder / "speech" / f"set{speaker % 2}" / f"who{speaker}_{utterance}.wav"
            soundfile.write(path, speech_like(length, 10 * speaker + utterance), 8000 if speaker == 3 else 16000)
    (folder / "noise").mkdir()
    for index in range(NOISES):
        noise = 0.05 * (1 + index) * rng.standard_normal((int(rng.integers(8000, 20000)), 1 + index % 2))
        soundfile.write(folder / "noise" / f"hum{index}_0.{'flac' if index % 2 else 'wav'}", noise.clip(-1, 1), 16000)
    return folder


def arguments(corpus: Path, output: Path, *more: object) -> list[str]:
    """A command line for ten pairs of two seconds; what is in `more` comes later and so wins."""
    folders = ["--speech", corpus / "speech", "--noise", corpus / "noise", "--output", output]
    return [*map(str, folders), "--count", "10", "--seconds", "2", *map(str, more)]


def make(corpus: Path, output: Path, *more: object) -> list[dict[str, str]]:
    """Synthesizes and returns the rows of the manifest."""
    assert synthesize.main(arguments(corpus, output, *more)) == 0
    return manifest(output)


def manifest(output: Path) -> list[dict[str, str]]:
    with open(output / "manifest.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def contents(output: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in sorted(output.rglob("*")) if p.is_file()}


def pair_of(output: Path, row: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    noisy, clean = (soundfile.read(output / row[kind])[0] for kind in ("noisy", "clean"))
    return noisy, clean
