"""The output folder of a synthesis: settings, journal and manifest."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from dtln.errors import SettingsError
from dtln.synthesis.pairs import COLUMNS, Row
from dtln.synthesis.settings import SETTINGS_NAME, Settings, read_settings

MANIFEST_NAME, JOURNAL_NAME = "manifest.csv", "unfinished.jsonl"


def open_output(output: Path, settings: Settings, fingerprint: str, resume: bool) -> dict[int, Row]:
    """Makes the folder with its settings, or checks that it was begun with the same; returns the pairs that it holds.

    Raises SettingsError, which names what differs.
    """
    from dtln.files import complete_file

    stored_settings = output / SETTINGS_NAME
    current = {**asdict(settings), "recordings": fingerprint}
    if not resume or not (output.exists() and any(output.iterdir())):
        for part in ("training", "validation") if settings.validation_share else ("training",):
            for kind in ("noisy", "clean"):
                (output / part / kind).mkdir(parents=True, exist_ok=True)
        with complete_file(stored_settings) as partial:
            partial.write_text(json.dumps(current, indent=2) + "\n", encoding="utf-8")
        return {}
    begun = {**asdict(Settings()), **read_settings(stored_settings)}
    differing = [name for name, value in asdict(settings).items() if _plain(begun[name]) != _plain(value)]
    if differing:
        changes = ", ".join(f"{n} {json.dumps(begun[n])} (now {json.dumps(_plain(current[n]))})" for n in differing)
        raise SettingsError(
            f"{output}: was begun with other settings: {changes}. Leave these flags out to go on, or choose another "
            "folder."
        )
    if json.loads(stored_settings.read_text(encoding="utf-8")).get("recordings") != fingerprint:
        raise SettingsError(
            f"{output}: the recordings in {settings.speech}, {settings.noise} or --rir are not those it was begun "
            "with. Expected the same names and lengths; restore them, or choose another folder."
        )
    for leftover in output.glob("*/*/.*.partial.*"):  # of a run that was killed
        leftover.unlink()
    return finished_rows(output)


def _plain(value: object) -> object:
    """A setting as it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value


def check_output(output: Path, settings: Settings, resume: bool) -> None:
    """Raises SettingsError for a folder that is a file, holds other files, or lies inside a folder that is read."""
    if output.exists() and not output.is_dir():
        raise SettingsError(f"{output}: is a file. Expected a folder to write to; choose another name.")
    for flag in ("speech", "noise", "rir"):
        folder = getattr(settings, flag)
        if folder and (Path(folder) == output.resolve() or Path(folder) in output.resolve().parents):
            raise SettingsError(f"{output}: is the --{flag} folder or lies inside it. Expected a folder apart from it.")
    if not output.exists() or not any(output.iterdir()):
        return
    if not resume:
        raise SettingsError(
            f"{output}: is not empty. Expected a new or empty folder; choose another one, or say --resume to go on "
            "where an earlier run stopped."
        )
    if not (output / SETTINGS_NAME).is_file():
        raise SettingsError(f"{output}: holds no {SETTINGS_NAME}. Expected a folder that this script began.")


def finished_rows(output: Path) -> dict[int, Row]:
    """The rows of the pairs that exist, by index: from the manifest, or from the journal of a stopped run."""
    rows: list[Row] = []
    if (output / MANIFEST_NAME).exists():
        with open(output / MANIFEST_NAME, newline="", encoding="utf-8") as stream:
            rows += csv.DictReader(stream)
    if (output / JOURNAL_NAME).exists():
        for line in (output / JOURNAL_NAME).read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the line at which the run was stopped
                continue
    present = [row for row in rows if all((output / row[kind]).is_file() for kind in ("noisy", "clean"))]
    return {int(row["fileid"]): row for row in present}


def write_manifest(output: Path, rows: Mapping[int, Row]) -> None:
    """Writes all rows, in the order of their ids, and removes the journal."""
    from dtln.files import complete_file

    with (
        complete_file(output / MANIFEST_NAME) as partial,
        open(partial, "w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[index] for index in sorted(rows))
    (output / JOURNAL_NAME).unlink(missing_ok=True)
