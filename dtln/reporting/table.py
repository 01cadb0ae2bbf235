"""The scores of one or several systems as one table: which files they share, and where their sound lies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from dtln.audio.folders import fileid_of
from dtln.errors import SettingsError
from dtln.scoring.metrics import DNSMOS_METRICS, METRICS

__all__ = ["NOISY", "System", "Table", "combine", "read_scores"]

NOISY, CLEAN = "noisy", "clean"  # signals; every other one is a system by its name
HEADINGS = METRICS | DNSMOS_METRICS
DETERMINISTIC = ("si_sdr_db", "snr_db", "pesq_wb")  # ESTOI draws random numbers
TOLERANCE = 1e-3  # of noisy scores that two systems should share; reports keep all digits


@dataclass(frozen=True)
class System:
    """What denoised: its name, what `dtln score --json` wrote of it, and the folder that relative paths start from."""

    name: str
    report: Mapping[str, Any]
    folder: Path = Path()

    def path(self, text: str | None) -> Path | None:
        """Where a recording of the report lies: seen from here, or else from the report's folder."""
        if not text:
            return None
        here = Path(text)
        return here if here.is_absolute() or here.exists() else self.folder / here


@dataclass(frozen=True)
class Table:
    """The files that all systems have, one row each; the columns have equal lengths (N,).

    names: below the folder. snrs: input SNR in dB, or None where it is not known of each. scores: signal -> metric ->
    scores, nan where they are not finite; the signals are "noisy", where it was scored, and each system. sound: signal
    -> recordings, also of "clean". findings: what spoils scores, by row. apart: what is not in the table, in words.
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

    @property
    def has_noisy(self) -> bool:
        return NOISY in self.scores


def read_scores(path: Path) -> dict[str, Any]:
    """What `dtln score --json` or `dtln enhance --json` wrote. Raises SettingsError where a file is something else."""
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SettingsError(f"{path}: is no JSON ({error}). Expected what `dtln score --json` writes.") from error
    files = report.get("files") if isinstance(report, dict) else None
    if not isinstance(files, list) or not all(map(_is_scored, files)):
        raise SettingsError(f"{path}: holds no scores of files. Expected what `dtln score --json` writes.")
    if not files:
        raise SettingsError(f"{path}: no file could be scored. Expected the scores of one at least.")
    return report


def _is_scored(file: object) -> bool:
    """Whether an entry of a report has the name of a file, and scores that are numbers or null."""
    if not isinstance(file, dict) or not isinstance(name := file.get("file"), str) or not PurePath(name).name:
        return False
    scores = file.get("scores")
    if not isinstance(scores, dict) or not scores or not all(isinstance(of, dict) for of in scores.values()):
        return False
    values = [
        file.get("input_snr_db"),
        file.get("seconds"),
        *(value for of in scores.values() for value in of.values()),
    ]
    return all(value is None or isinstance(value, (int, float)) for value in values)


def combine(systems: Sequence[System]) -> Table:
    """The scores of systems as one table, in the order of the first one's files.

    Files belong together if their names below their folders are equal, extensions aside, or if they carry the same
    `fileid_N`. Raises SettingsError where names of systems are not apart, where systems share no files or no metrics,
    or where their noisy files have other scores, so that they cannot be compared.
    """
    names = [system.name for system in systems]
    taken = [name for name in names if names.count(name) > 1 or name in (NOISY, CLEAN)]
    if taken:
        raise SettingsError(f"{taken[0]}: is the name of two signals. Expected another one for each system.")
    by_key = [_files_by_key(system) for system in systems]
    shared = [key for key in by_key[0] if all(key in files for files in by_key)]
    if not shared:
        raise SettingsError(
            f"{names[0]} and {names[1]} share no files: {next(iter(by_key[0]))} and {next(iter(by_key[1]))}, for "
            "example. Expected the same names, or the same fileid_N."
        )
    rows = [[files[key] for files in by_key] for key in shared]
    first = [row[0] for row in rows]
    has_noisy = all(NOISY in file["scores"] for file in first)
    metrics = [key for key in HEADINGS if all(key in _own_scores(file) for row in rows for file in row)]
    if not metrics:
        raise SettingsError(f"{' and '.join(names)} share no metrics. Expected scores of the same flags.")
    if has_noisy:
        for name, index in zip(names[1:], range(1, len(systems)), strict=True):
            _require_same_noisy(names[0], name, [(row[0], row[index]) for row in rows])
    scores = {name: _columns([_own_scores(row[i]) for row in rows], metrics) for i, name in enumerate(names)}
    sound = {s.name: [s.path(_own_path(row[i])) for row in rows] for i, s in enumerate(systems)}
    if has_noisy:
        scores = {NOISY: _columns([file["scores"][NOISY] for file in first], metrics)} | scores
        sound = {NOISY: [systems[0].path(file.get("signals", {}).get(NOISY)) for file in first]} | sound
    sound[CLEAN] = [systems[0].path(file.get("clean")) for file in first]
    snrs = [float(file["input_snr_db"]) for file in first if file.get("input_snr_db") is not None]
    return Table(
        names=[file["file"] for file in first],
        snrs=snrs if len(snrs) == len(first) else None,
        systems=names,
        metrics=metrics,
        scores=scores,
        sound={signal: paths for signal, paths in sound.items() if any(paths)},
        findings=[_findings(names, row) for row in rows],
        seconds=[float(file.get("seconds") or 0.0) for file in first],
        apart=_apart(systems, by_key, set(shared)),
    )


def _files_by_key(system: System) -> dict[str, Mapping[str, Any]]:
    """The files of a system by what makes them the same file elsewhere: the fileid, else the name."""
    whole = [file["file"] for file in system.report["files"]]
    names = [PurePath(name).with_suffix("").as_posix() for name in whole]
    if len(set(names)) < len(names):  # a.wav and a.flac in one folder
        names = whole
    ids = [fileid_of(name) for name in whole]
    unique = None not in ids and len(set(ids)) == len(ids)
    keys = [f"fileid_{fileid}" for fileid in ids] if unique else names
    return dict(zip(keys, system.report["files"], strict=True))


def _own_scores(file: Mapping[str, Any]) -> Mapping[str, float | None]:
    """The scores of the recording that a file of a report is about: "enhanced", or "input" alone."""
    return list(file["scores"].values())[-1]


def _own_path(file: Mapping[str, Any]) -> str | None:
    return next(reversed([*file.get("signals", {}).values()]), None)


def _columns(rows: Sequence[Mapping[str, float | None]], metrics: Sequence[str]) -> dict[str, list[float]]:
    return {
        key: [math.nan if (value := row.get(key)) is None else float(value) for row in rows]
        for key in metrics
    }  # fmt: skip


def _require_same_noisy(first: str, other: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Raises SettingsError where two systems have other scores of a noisy file."""
    for own, file in pairs:
        known, found = own["scores"][NOISY], file["scores"].get(NOISY, {})
        for key in DETERMINISTIC:
            a, b = known.get(key), found.get(key)
            if a is not None and b is not None and abs(a - b) > TOLERANCE:
                raise SettingsError(
                    f"{own['file']}: the noisy file has {a:.3f} {HEADINGS[key]} in the scores of {first}, {b:.3f} in "
                    f"those of {other}. Expected the same noisy and clean recordings; score one of them again."
                )


def _findings(names: Sequence[str], row: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was found in the files of a row, each once; of several systems with the name before it."""
    found: dict[str, None] = {}
    for name, file in zip(names, row, strict=True):
        for words in file.get("findings", ()):
            found[words if len(names) == 1 else f"{name}: {words}"] = None
    return list(found)


def _apart(systems: Sequence[System], by_key: Sequence[Mapping[str, Any]], shared: set[str]) -> list[str]:
    """What is not in the table, in words: files that failed or were left out, and those that not all systems have."""
    words = []
    for system, files in zip(systems, by_key, strict=True):
        before = f"{system.name}: " if len(systems) > 1 else ""
        words += [f"{before}left out: {line}" for line in system.report.get("left_out", ())]
        words += [f"{before}failed: {line}" for line in system.report.get("failed", ())]
        alone = [file["file"] for key, file in files.items() if key not in shared]
        words += [f"{before}not in every system: {name}" for name in alone]
    return words
