"""The scores of one or several systems as one table: which files they share, and where their sound lies."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dtln.errors import SettingsError
from dtln.reporting.written import CLEAN, HEADINGS, NOISY, Match, System, WrittenFile, match, path_from

__all__ = ["Table", "combine"]


@dataclass(frozen=True)
class Table:
    """The files that all systems have, one row each; the columns have equal lengths (N,).

    names: below the folder. snrs: input SNR in dB, or None where it is not known of each. scores: signal -> metric ->
    scores, nan where they are not finite; the signals are "noisy", where it was scored, and each system. sound: signal
    -> recordings, also of "clean". findings: what spoils scores, by row. apart: what is not in the table, in words.
    notes: what makes the systems less comparable, and whose sound is not known.
    """

    names: list[str]
    snrs: list[float] | None
    systems: list[str]
    metrics: list[str]
    scores: dict[str, dict[str, list[float]]]
    sound: dict[str, list[Path | None]]
    findings: list[list[str]]
    seconds: list[float]
    apart: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def has_noisy(self) -> bool:
        return NOISY in self.scores


def combine(systems: Sequence[System]) -> Table:
    """The scores of systems as one table, in the order of the first one's files.

    Raises SettingsError as `match`, and for a system with the name of another signal.
    """
    found = match(systems)
    names = [system.name for system in found.systems]
    if taken := next((name for name in names if name in (NOISY, CLEAN)), None):
        raise SettingsError(f"{taken}: is the name of another signal. Expected another one for each system.")
    rows = [[files[name] for files in found.files] for name in found.shared]
    first = [row[0] for row in rows]
    columns = {name: [row[index].own for row in rows] for index, name in enumerate(names)}
    sound = {name: [_sound([row[i]], row[i].signal) for row in rows] for i, name in enumerate(names)}
    if all(file.noisy for file in first):
        columns = {NOISY: [file.noisy for file in first]} | columns
        sound = {NOISY: [_sound(row, NOISY) for row in rows]} | sound
    sound[CLEAN] = [_sound(row, CLEAN) for row in rows]
    snrs = [file.input_snr for file in first if file.input_snr is not None]
    silent = [system.name for system in found.systems if not any(file.sound for file in system.files)]
    notes = [
        f"there is no sound of {name}: a CSV does not say where recordings lie. What --json writes does"
        for name in silent
    ]
    for key in found.metrics:
        finite = sum(all(math.isfinite(file.own[key]) for file in row) for row in rows)
        if finite < len(rows):
            notes.append(f"means of {HEADINGS[key]} are over {finite} of {len(rows)} files; the others are not finite")
    recordings = [path for paths in sound.values() for path in paths if path]
    if gone := [path for path in recordings if not os.path.exists(path)]:
        notes.append(
            f"{len(gone)} of {len(recordings)} recordings are not where the scores say, {gone[0]} for example: make "
            "the page in the folder in which they were scored"
        )
    return Table(
        names=[file.name for file in first],
        snrs=snrs if len(snrs) == len(first) else None,
        systems=names,
        metrics=list(found.metrics),
        scores={
            signal: {key: [scores.get(key, math.nan) for scores in rows] for key in found.metrics}
            for signal, rows in columns.items()
        },
        sound={signal: paths for signal, paths in sound.items() if any(paths)},
        findings=[_findings(names, row) for row in rows],
        seconds=[max(file.seconds for file in row) for row in rows],
        apart=_apart(found),
        notes=[*found.notes, *notes],
    )


def _sound(files: Sequence[WrittenFile], signal: str) -> Path | None:
    """Where a recording lies, as the first of the files says that tells of it."""
    return next((path_from(file.sound[signal], file.origin.parent) for file in files if signal in file.sound), None)


def _findings(names: Sequence[str], row: Sequence[WrittenFile]) -> list[str]:
    """What was found in the files of a row, each once; of several systems with the name before it."""
    told = [
        words if len(names) == 1 else f"{name}: {words}"
        for name, file in zip(names, row, strict=True)
        for words in file.findings
    ]
    return list(dict.fromkeys(told))


def _apart(found: Match) -> list[str]:
    """What is not in the table, in words: files that failed or were left out, and those that not all systems have."""
    words = []
    for system, files in zip(found.systems, found.files, strict=True):
        before = f"{system.name}: " if len(found.systems) > 1 else ""
        words += [f"{before}{line}" for line in system.apart]
        alone = files.keys() - set(found.shared)
        words += [f"{before}not in every system: {file.name}" for name, file in files.items() if name in alone]
    return words
