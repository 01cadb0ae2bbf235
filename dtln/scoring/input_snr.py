"""The SNR of noisy files, from names or a manifest, and bins of it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from dtln.errors import SettingsError

BIN_WIDTH = 5  # dB


def snr_from_name(name: str) -> float | None:
    """The SNR in dB in a name of the DNS-Challenge (`..._snr-5_tl-20_fileid_3.wav`: -5), or None."""
    found = re.search(r"(?<![A-Za-z])snr_?(-?\d+(?:\.\d+)?)", PurePath(name).stem, re.IGNORECASE)
    return float(found[1]) if found else None


def read_manifest(path: str | Path, files: Sequence[Sequence[str]]) -> list[float]:
    """The SNR in dB of each file from a table with a line of headings, split by commas, semicolons or tabs.

    Columns: `noisy`, `file` or `name`, and `snr_db` or `snr`. files: for each file the names, paths below their
    folders, under which the table may list it. A row fits if its path is equal, whatever the extension, or if its bare
    name is equal and unique. Raises SettingsError if the table cannot be read or used, or lacks a file.
    """
    import csv

    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{path}: cannot be read as a manifest ({reason}). Expected a CSV table.") from error
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    table = csv.DictReader(lines, delimiter=delimiter)
    headings = table.fieldnames or []
    name_column = next((column for column in ("noisy", "file", "name") if column in headings), None)
    snr_column = next((column for column in ("snr_db", "snr") if column in headings), None)
    if name_column is None or snr_column is None:
        raise SettingsError(
            f"{path}: has the columns {', '.join(headings) or '(none)'}. Expected noisy, file or name, "
            "and snr_db or snr."
        )
    rows: dict[str, set[float]] = {}
    for row in table:
        try:
            value = float(row[snr_column])
        except (TypeError, ValueError):
            value = math.nan
        if math.isnan(value):
            raise SettingsError(
                f"{path}: line {table.line_num} has {row[snr_column]!r} as {snr_column}. Expected a number in dB."
            )
        name = PurePath((row[name_column] or "").replace("\\", "/"))
        for key in {name.with_suffix("").as_posix() if name.name else "", name.stem}:
            rows.setdefault(key, set()).add(value)
    snrs: list[float] = []
    for names in files:
        keys = [PurePath(name).with_suffix("").as_posix() for name in names]
        keys += [PurePath(name).stem for name in names]
        found = next((rows[key] for key in keys if key in rows), None)
        if found is None or len(found) > 1:
            what = "does not name" if found is None else f"gives several values of {snr_column} for"
            raise SettingsError(f"{path}: {what} {names[0]}. Expected one row for each file; add or mend it.")
        snrs += found
    return snrs


def bins_by_snr(snrs: Sequence[float], width: int = BIN_WIDTH) -> dict[str, list[int]]:
    """Indices of files by input SNR, ascending: "-2.5 to 2.5 dB" begins at -2.5 and ends below 2.5; inf comes last.

    Edges lie half-way between nominal SNRs, around which the measured ones scatter: between multiples of 5 dB, but on
    them where the SNRs gather around 2.5, 7.5, ... dB, as those of the test set of VoiceBank-DEMAND do.
    """
    phases = [2 * math.pi * (value % width) / width for value in snrs if math.isfinite(value)]
    between = bool(phases) and sum(map(math.cos, phases)) / len(phases) < -0.5  # 1 for multiples, 0 for any values
    shift = 0.0 if between else width / 2
    starts: dict[float, list[int]] = {}
    for index, value in enumerate(snrs):
        start = math.floor((value + shift) / width) * width - shift if math.isfinite(value) else value
        starts.setdefault(start, []).append(index)
    return {
        f"{start:g} to {start + width:g} dB" if math.isfinite(start) else f"{start} dB": starts[start]
        for start in sorted(starts)
    }
