"""What is to be done with a file, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtln.audio.headers import SampleFormat

NAMES_SHOWN = 10  # files listed under one heading of the summary; failures are listed all


@dataclass(frozen=True)
class Job:
    """One recording: where it lies, where it goes, in which sample format."""

    source: Path
    target: Path
    sample_format: SampleFormat | None  # None: the header could not be read
    converted_from: SampleFormat | None = None  # the input's format where it cannot be written


@dataclass(frozen=True)
class Pair:
    """One recording to be scored, maybe beside the noisy one it came from, maybe against a clean one."""

    name: str  # below its folder
    signals: tuple[tuple[str, Path], ...]  # ("noisy", path), ("enhanced", path); or ("input", path) alone
    clean: Path | None
    known_snr: float | None = None  # of the noisy recording, dB, where a manifest or the names tell it

    @property
    def source(self) -> Path:
        """The recording that the pair is about."""
        return self.signals[-1][1]


@dataclass(frozen=True)
class Outcome:
    """What became of a job; `failure` is a reason that names the file, None where it succeeded."""

    job: Job | Pair
    failure: str | None = None
    seconds: float = 0.0  # of audio
    empty: bool = False
    clipped: int = 0  # samples
    scores: dict[str, dict[str, float]] | None = None  # "noisy" and "enhanced" -> metric -> score
    excluded: str | None = None  # why no metric is defined for it
    findings: tuple[tuple[str, str], ...] = ()  # (kind, words that name the file) of what spoils the scores


def print_files(title: str, lines: Sequence[str]) -> None:
    """Prints how many files the title says something about, and the first of them; nothing where there are none."""
    if lines:
        print(f"{count(len(lines), 'file')} {title}:")
        print("\n".join(f"  {line}" for line in lines[:NAMES_SHOWN]))
        if len(lines) > NAMES_SHOWN:
            print(f"  and {len(lines) - NAMES_SHOWN} more")


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
