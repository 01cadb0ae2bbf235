"""Scores that were written before: read, joined where they are parts of one system, and matched between systems."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from dtln.audio.folders import fileid_of, stem_of
from dtln.errors import SettingsError
from dtln.scoring.metrics import DNSMOS_METRICS, METRICS
from dtln.shards import Shard

__all__ = ["CLEAN", "HEADINGS", "NOISY", "Match", "System", "WrittenFile", "match", "read_scores", "system_of"]

NOISY, CLEAN = "noisy", "clean"  # signals beside the one that a system is judged by
OWN = ("enhanced", "input")  # names of that one
HEADINGS = METRICS | DNSMOS_METRICS
SETTINGS_THAT_COUNT = ("reference", "align", "sample_rate")
PACKAGES_THAT_COUNT = ("pesq", "pystoi", "speechmos")
TELLING = ("snr_db", "si_sdr_db")  # of noisy recordings; no package has a part in them
# dB by which these may differ between two reports of one noisy recording. Another resampler, or 16 bits at -50 dBFS,
# moves them by up to 0.004, two decimals by 0.005. Other recordings of exactly the same SNR differ in SI-SDR by more
# than 0.01 in 62 of 100 cases (2016 pairs of 64 recordings), so that a set of ten will hardly pass.
SAME_SNR = 0.01
HIGHEST_SNR = 40.0  # dB; what is above counts as this, as infinity does: 16 bits are noise there


@dataclass(frozen=True)
class WrittenFile:
    """What was written of one recording."""

    name: str  # below its folder
    origin: Path  # the scores that tell of it
    signal: str  # what they call the recording that the system is judged by
    own: Mapping[str, float]  # its scores, by metric; nan where they are not finite
    noisy: Mapping[str, float]  # those of the noisy recording; {} where it was not scored
    input_snr: float | None = None  # dB
    sound: Mapping[str, str] = field(default_factory=dict)  # signal -> recording as written, also "clean"; {} of a CSV
    seconds: float = 0.0
    findings: tuple[str, ...] = ()  # what spoils the scores


@dataclass(frozen=True)
class System:
    """A denoiser, or what else was scored; path: of its scores, or of the first part of them."""

    name: str
    path: Path
    files: tuple[WrittenFile, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # flags that scored it; {} of a CSV
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # setting or package -> what its parts have there
    apart: tuple[str, ...] = ()  # what has no scores, and why


@dataclass(frozen=True)
class Match:
    """Systems side by side.

    files: of each system by the name that the same file has in the first; those which only others have keep theirs.
    shared: names of files that all have, in the order of the first. metrics: that all of these have. notes: what makes
    the systems less comparable, in words.
    """

    systems: tuple[System, ...]
    files: tuple[Mapping[str, WrittenFile], ...]
    shared: tuple[str, ...]
    metrics: tuple[str, ...]
    notes: tuple[str, ...]


# ----------------------------------------------------------------------------------------------------------------------
# One file of scores
# ----------------------------------------------------------------------------------------------------------------------


def read_scores(path: Path, name: str | None = None) -> System:
    """Reads what --json or --csv of `dtln score` and `dtln enhance` wrote; name: of the system, else the file's name.

    Raises SettingsError for a file that cannot be read, or that holds something else.
    """
    wanted = "Expected what --json or --csv of `dtln score` wrote"
    if path.is_dir():
        raise SettingsError(f"{path}: is a folder. {wanted}: `dtln score {path} --reference CLEAN --json scores.json`.")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # line breaks in names as they are
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}). {wanted}; check the path.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is no text in UTF-8. {wanted}; let spreadsheets save CSV in UTF-8.") from error
    try:
        report = json.loads(text) if text.lstrip().startswith("{") else _report_of_table(text)
        return system_of(name or path.stem, report, path)
    except SettingsError:
        raise
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError, csv.Error) as error:
        found = f" ({error})" if isinstance(error, ValueError) else ""
        raise SettingsError(f"{path}: holds no scores{found}. {wanted}.") from error


def system_of(name: str, report: Mapping[str, Any], path: Path = Path()) -> System:
    """The system of a report as `dtln.evaluation.scores.scores_report` makes it, which is or would be in `path`.

    Raises SettingsError where a file has no name or comes twice; AttributeError, KeyError, TypeError or ValueError
    where it is no such report.
    """
    files: dict[str, WrittenFile] = {}
    for entry in report["files"]:
        file = entry["file"]
        if not isinstance(file, str) or not PurePath(file).name:
            raise SettingsError(f"{path}: has scores of {file!r}. Expected a name of a file in each row; mend it.")
        if file in files:
            raise SettingsError(f"{path}: has {file} twice. Expected each file once; remove one of the two.")
        scores = {
            signal: {key: math.nan if value is None else float(value) for key, value in of_signal.items()}
            for signal, of_signal in entry["scores"].items()
        }
        signal = next((signal for signal in OWN if scores.get(signal)), None)
        if signal:
            noisy, sound = scores.get(NOISY, {}), {**entry.get("signals", {}), CLEAN: entry.get("clean")}
            snr, seconds = (
                float(value) if (value := entry.get(key)) is not None else math.nan
                for key in ("input_snr_db", "seconds")
            )
            if math.isnan(snr) and math.isnan(noisy.get("snr_db", 0.0)):  # as measured: infinite
                snr = math.inf
            files[file] = WrittenFile(
                file,
                path,
                signal,
                scores[signal],
                noisy,
                None if math.isnan(snr) else snr,
                {key: str(recording) for key, recording in sound.items() if recording},
                seconds if math.isfinite(seconds) else 0.0,
                tuple(map(str, entry.get("findings", ()))),
            )
    settings, versions = report.get("settings", {}), report.get("versions", {})
    told = {key: settings.get(key) for key in SETTINGS_THAT_COUNT}
    if (reference := told["reference"]) and os.path.exists(place := path_from(reference, path.parent)):
        told["reference"] = os.path.realpath(place)  # however it was written
    told["shard"] = None if (shard := settings.get("shard")) is None else Shard.parse(shard)
    told |= {key: versions.get(key) for key in PACKAGES_THAT_COUNT}
    apart = [f"{how}: {line}" for how in ("left out", "failed") for line in report.get(how.replace(" ", "_"), ())]
    for job in report.get("denoised", ()):
        if job["status"] == "failed":
            apart.append(f"failed: {job['reason']}")
        elif job["status"] == "denoised" and job["seconds"] == 0:
            apart.append(f"left out: {job['source']}: holds no samples")
    return System(
        name,
        path,
        tuple(files.values()),
        settings,
        {key: () if value is None else (str(value),) for key, value in told.items()},
        tuple(apart),
    )


def path_from(text: str, folder: Path) -> Path:
    """Where something of a report in `folder` lies: seen from there, or from a folder above it, or else from here.

    Here comes last, because another experiment here may have recordings of the same names.
    """
    starts = (folder, *folder.absolute().parents, Path())
    return next((start / text for start in starts if os.path.exists(start / text)), folder / text)


def _report_of_table(text: str) -> dict[str, Any]:
    """What `write_csv` wrote, as a report; also as spreadsheets save that: semicolons or tabs, commas in numbers.

    Rows without content are passed over. Raises ValueError for a table without the column `file`, or a row with fewer
    or more cells than headings.
    """
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)

    def number(cell: str) -> float | None:
        return float(cell if delimiter == "," else cell.replace(",", ".")) if cell else None

    files: list[dict[str, Any]] = []
    headings, *table = [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)] or [[]]
    if "file" not in headings:
        raise ValueError("neither JSON nor a table with the column file")
    name = headings.index("file")
    snr = headings.index("input_snr_db") if "input_snr_db" in headings else None
    if snr != name + 1 and any(f"input_{key}" in headings for key in HEADINGS if key != "snr_db"):
        snr = None  # but the SNR of the recording "input"; what was mixed stands beside the name
    for cells in filter(any, table):
        if len(cells) != len(headings):
            raise ValueError(
                f"a row begins with {cells[0]!r} and has {len(cells)} cells under {len(headings)} headings"
            )
        file = re.sub(  # bytes that are no text, see `write_csv`
            r"\\udc([89a-f][0-9a-f])", lambda byte: chr(0xDC00 + int(byte[1], 16)), cells[name]
        )
        files.append({"file": file, "input_snr_db": None if snr is None else number(cells[snr]), "scores": {}})
        for place, (column, cell) in enumerate(zip(headings, cells, strict=True)):
            signal, _, key = column.partition("_")
            if place not in (name, snr):
                files[-1]["scores"].setdefault(signal, {})[key] = number(cell)
    return {"files": files}


# ----------------------------------------------------------------------------------------------------------------------
# Several
# ----------------------------------------------------------------------------------------------------------------------


def match(systems: Sequence[System]) -> Match:
    """Systems side by side: those of one name joined, as --shard makes them, and the same files found in all of them.

    A file is that of the first system with the same name, else with the same name but for the extension, else with the
    same `fileid_N`. Raises SettingsError for a system without scores, where parts of one system have a file in common,
    where systems share no files or no metrics, or where files that belong together come from different noisy
    recordings.
    """
    systems = _joined(systems)
    if empty := next((system for system in systems if not system.files), None):
        raise SettingsError(
            f"{empty.path}: holds the scores of no file. Score some recordings first, with `dtln score`."
        )
    first = {file.name: file for file in systems[0].files}
    files = (first, *(_by_names_of(first, system.files) for system in systems[1:]))
    for own in files[1:]:
        _require_same_noisy(first, own)
    names = ", ".join(system.name for system in systems)
    shared = tuple(name for name in first if all(name in own for own in files))
    if not shared:
        raise SettingsError(
            f"{names} have no file in common: {', '.join(system.files[0].name for system in systems)}, for example. "
            "Expected the same names or the same fileid_N. Score the same recordings."
        )
    known = {key for own in files for name in shared for key in own[name].own}
    metrics = tuple(key for key in HEADINGS if all(key in own[name].own for own in files for name in shared))
    if not metrics:
        raise SettingsError(f"{names} have no metric in common. Score the same recordings with the same flags.")
    lost = [HEADINGS[key] for key in HEADINGS if key in known and key not in metrics]
    notes = [
        *_notes(systems),
        *([f"left out, because not all files have such scores: {', '.join(lost)}"] if lost else []),
    ]
    return Match(tuple(systems), files, shared, metrics, tuple(notes))


def _joined(systems: Sequence[System]) -> list[System]:
    """One system of each name. Raises SettingsError where two of one name have a file in common."""
    found: dict[str, System] = {}
    for part in systems:
        whole = found.get(part.name)
        if whole is None:
            found[part.name] = part
            continue
        known = {file.name: file for file in whole.files}
        if twice := next((file for file in part.files if file.name in known), None):
            raise SettingsError(
                f"{twice.origin} and {known[twice.name].origin}: both are called {part.name}, and both have "
                f"{twice.name}. Give different systems different names, NAME=FILE (after --compare in `dtln report`); "
                "parts of one system have no file in common."
            )
        found[part.name] = replace(
            whole,
            files=whole.files + part.files,
            told={key: tuple(dict.fromkeys(told + part.told[key])) for key, told in whole.told.items()},
            apart=whole.apart + part.apart,
        )
    return list(found.values())


def _by_names_of(first: Mapping[str, WrittenFile], files: Sequence[WrittenFile]) -> dict[str, WrittenFile]:
    """Files of another system by the names that they have in the first, those that it lacks by their own."""
    found: dict[str, WrittenFile] = {}
    left = {file.name: file for file in files}
    for key in (str, stem_of, fileid_of):
        here, there = _once(key, first), _once(key, (file.name for file in files))
        for value, name in here.items():
            if there.get(value) in left:
                found[name] = left.pop(there[value])
    return found | left


def _once(key: Callable[[str], Any], names: Iterable[str]) -> dict[Any, str]:
    """Names by a key of theirs, where only one has it."""
    found: dict[Any, list[str]] = {}
    for name in names:
        found.setdefault(key(name), []).append(name)
    return {value: alike[0] for value, alike in found.items() if value is not None and len(alike) == 1}


def _require_same_noisy(first: Mapping[str, WrittenFile], other: Mapping[str, WrittenFile]) -> None:
    """Raises SettingsError where a file has other scores of its noisy recording than in the first system."""

    def heard(file: WrittenFile, key: str) -> float:
        value = file.noisy[key]
        return min(value, HIGHEST_SNR) if math.isfinite(value) else HIGHEST_SNR

    for name, file in other.items():
        for key in TELLING:
            if name not in first or key not in file.noisy or key not in first[name].noisy:
                continue
            here, there = heard(first[name], key), heard(file, key)
            if abs(here - there) > SAME_SNR:
                raise SettingsError(
                    f"{file.origin}: the noisy recording of {file.name} has {there:.2f} {HEADINGS[key]}, in "
                    f"{first[name].origin} {here:.2f}. Expected scores of the same noisy and clean recordings; score "
                    "one of the systems again."
                )


def _notes(systems: Sequence[System]) -> Iterator[str]:
    """What was scored in different ways, or not all of it, in words."""
    for system in systems:
        shards = system.told.get("shard", ())
        if shards and len(shards) < (count := Shard.parse(shards[0]).count):
            yield f"of {system.name}, {len(shards)} of {count} parts are here: {', '.join(shards)}"
    for key in (*SETTINGS_THAT_COUNT, *PACKAGES_THAT_COUNT):
        values = {system.name: system.told[key] for system in systems if system.told.get(key)}
        if len({text for told in values.values() for text in told}) > 1:
            told = ", ".join(f"{' and '.join(texts)} ({name})" for name, texts in values.items())
            yield f"the scores were made with different {key}: {told}"
