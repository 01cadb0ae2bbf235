"""The output folder of a synthesis: settings, journal and manifest."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

from dtln.errors import SettingsError
from dtln.shards import Shard
from dtln.synthesis.pairs import COLUMNS, Row
from dtln.synthesis.settings import SETTINGS_NAME, Settings, read_settings

MANIFESTS, JOURNALS = "manifest*.csv", "unfinished*.jsonl"  # of the whole, or of shards


def manifest_of(output: Path, shard: Shard | None) -> Path:
    """The manifest of a run: manifest.csv, or manifest-03-of-12.csv, so that names are in the order of the shards."""
    return output / f"manifest{_ending(shard)}.csv"


def journal_of(output: Path, shard: Shard | None) -> Path:
    """The rows of a run that is not finished."""
    return output / f"unfinished{_ending(shard)}.jsonl"


def _ending(shard: Shard | None) -> str:
    return f"-{shard.number:0{len(str(shard.count))}d}-of-{shard.count}" if shard else ""


def open_output(
    output: Path, settings: Settings, fingerprint: str, resume: bool, shard: Shard | None = None
) -> dict[int, Row]:
    """Makes the folder with its settings, or checks that it was begun with the same; returns the pairs that it holds.

    A shard takes a folder that another one began; of its own pairs it returns those that are there. Raises
    SettingsError, which names what differs.
    """
    from dtln.files import complete_file, sweep_partials

    stored_settings = output / SETTINGS_NAME
    current = {**asdict(settings), "recordings": fingerprint}
    begun_before = stored_settings.is_file() if shard else resume and output.exists() and any(output.iterdir())
    if not begun_before:
        for part in ("training", "validation") if settings.validation_share else ("training",):
            for kind in ("noisy", "clean"):
                (output / part / kind).mkdir(parents=True, exist_ok=True)
        with complete_file(stored_settings) as partial:
            partial.write_text(json.dumps(current, indent=2) + "\n", encoding="utf-8")
        if not shard:
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
    for folder in (output, *output.glob("*/noisy"), *output.glob("*/clean")):
        sweep_partials(folder)  # of runs that were killed
    if shard and not resume:
        return {}
    return finished_rows(output, shard.range(settings.total) if shard else range(settings.total))


def _plain(value: object) -> object:
    """A setting as it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value


def check_output(output: Path, settings: Settings, resume: bool, shard: Shard | None = None) -> None:
    """Raises SettingsError for a folder that is a file, holds other files, or lies inside a folder that is read.

    The files of other shards, and what they are just making, are no other files.
    """
    if output.exists() and not output.is_dir():
        raise SettingsError(f"{output}: is a file. Expected a folder to write to; choose another name.")
    for flag in ("speech", "noise", "rir"):
        folder = getattr(settings, flag)
        if folder and (Path(folder) == output.resolve() or Path(folder) in output.resolve().parents):
            raise SettingsError(f"{output}: is the --{flag} folder or lies inside it. Expected a folder apart from it.")
    if not output.exists() or not any(output.iterdir()):
        return
    if shard and not resume and not any(path(output, shard).exists() for path in (manifest_of, journal_of)):
        ours = ("training", "validation", SETTINGS_NAME)
        names = [path.name for path in output.iterdir() if not path.name.startswith(".")]
        if all(name in ours or fnmatch(name, MANIFESTS) or fnmatch(name, JOURNALS) for name in names):
            return
    if not resume:
        raise SettingsError(
            f"{output}: is not empty. Expected a new or empty folder; choose another one, or say --resume to go on "
            "where an earlier run stopped."
        )
    if not (output / SETTINGS_NAME).is_file():
        raise SettingsError(f"{output}: holds no {SETTINGS_NAME}. Expected a folder that this script began.")


def finished_rows(output: Path, wanted: range) -> dict[int, Row]:
    """The rows of the wanted pairs that exist, by index: from manifests, and from journals of stopped runs."""
    rows: list[Row] = []
    for manifest in sorted(output.glob(MANIFESTS)):
        with open(manifest, newline="", encoding="utf-8") as stream:
            rows += csv.DictReader(stream)
    for journal in sorted(output.glob(JOURNALS)):
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the line at which the run was stopped
                continue
    rows = [row for row in rows if int(row["fileid"]) in wanted]
    present = [row for row in rows if all((output / row[kind]).is_file() for kind in ("noisy", "clean"))]
    return {int(row["fileid"]): row for row in present}


def write_manifest(output: Path, rows: Mapping[int, Row], shard: Shard | None = None) -> None:
    """Writes all rows, in the order of their ids, and removes the journal; without a shard, those of shards, too."""
    from dtln.files import complete_file

    with (
        complete_file(manifest_of(output, shard)) as partial,
        open(partial, "w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows[index] for index in sorted(rows))
    journal_of(output, shard).unlink(missing_ok=True)
    for path in () if shard else (*output.glob(MANIFESTS), *output.glob(JOURNALS)):
        if path != manifest_of(output, None):
            path.unlink()
