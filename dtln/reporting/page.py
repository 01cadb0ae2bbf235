"""The page: one HTML file with its data, styles and scripts inside."""

from __future__ import annotations

import hashlib
import html
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dtln.errors import SettingsError, one_line, require_place
from dtln.files import complete_file
from dtln.pool import run_all
from dtln.reporting.sound import LONGEST_SECONDS, Clips, links, read_clips, worst_and_best
from dtln.reporting.statistics import by_input_snr, differences, means, verdicts
from dtln.reporting.table import Table, combine
from dtln.reporting.written import HEADINGS, System

__all__ = ["ReportSettings", "require_page_name", "write_report"]

HERE = Path(__file__).resolve().parent
SCRIPTS = ("state.js", "charts.js", "table.js", "listening.js", "blind.js", "start.js")  # they use those before them
LIBRARIES = ("chart.umd.min.js", "wavesurfer.min.js", "wavesurfer.spectrogram.min.js")
RANKING = ("si_sdr_db", "pesq_wb", "stoi_percent", "dnsmos_ovrl")  # the metric that a page shows first, if it is there
DIGITS = 5  # of each score


@dataclass(frozen=True)
class ReportSettings:
    """What a page holds besides scores.

    embed: of how many of the worst files and of the best ones the sound is in the page. files: the sound of every file
    is copied into a folder beside the page. title: of the page; None: one with the names of the systems. jobs: threads.
    """

    embed: int = 5
    files: bool = False
    title: str | None = None
    jobs: int | None = None


DEFAULTS = ReportSettings()


def require_page_name(path: Path) -> None:
    """Raises SettingsError where no browser would open a page of that name, and as `require_place`, before work."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"{path}: is no name of a page. Expected one that ends in .html; browsers go by that.")
    require_place(path)


def write_report(path: Path, systems: Sequence[System], settings: ReportSettings = DEFAULTS) -> Table:
    """Writes the page, and with `files` the folder NAME_files beside it; returns what it shows.

    Raises as `combine` and `require_page_name`, and OSError where the page cannot be written.
    """
    require_page_name(path)
    table = combine(systems)
    metric = next((key for key in RANKING if key in table.metrics), table.metrics[0])
    rows = range(len(table.names)) if settings.files else worst_and_best(table, metric, settings.embed)
    if not table.sound:
        rows = []
    folder = path.with_name(f"{path.stem}_files")
    data = page_data(table, metric, settings.title or _title(table), path.parent)
    if settings.files and rows:
        data["folder"] = folder.name
        folder.mkdir(exist_ok=True)
        _delete_scripts(folder, set(rows))
    read = partial(_read_row, table, folder if settings.files else None, data["id"])
    workers = settings.jobs or os.cpu_count() or 1
    done = run_all(read, rows, workers, "copying sound", lambda row, _: Clips(row, {})) if rows else []
    data["embedded"] = sorted(clips.row for clips in done if any("flac" in clip for clip in clips.signals.values()))
    scripts = [] if settings.files else [_sound_element(clips) for clips in done if clips.signals]
    text = page_text(data, scripts)
    with complete_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return table


def _read_row(table: Table, folder: Path | None, page: str, row: int) -> Clips:
    """The clips of a row; where there is a folder, they are written to it and are empty here."""
    clips = read_clips({signal: paths[row] for signal, paths in table.sound.items()}, row)
    if folder is None:
        return clips
    with complete_file(folder / f"{row}.js") as part:
        part.write_text(f"soundArrived({json.dumps(page)}, {row}, {_json(clips.signals)});\n", encoding="ascii")
    return Clips(row, {}, clips.seconds)


def _delete_scripts(folder: Path, kept: set[int]) -> None:
    """Deletes from the folder what an earlier page of more files had there."""
    for script in folder.glob("*.js"):
        if re.fullmatch(r"\d+", script.stem) and int(script.stem) not in kept:
            script.unlink()


def page_data(table: Table, metric: str, title: str, folder: Path) -> dict[str, Any]:
    """What the scripts of the page work on, ready for JSON; folder: where the page lies."""
    data: dict[str, Any] = {
        "title": title,
        "metric": metric,
        "metrics": {key: HEADINGS[key] for key in table.metrics},
        "systems": table.systems,
        "names": [_shown(name) for name in table.names],
        "snrs": table.snrs and [_number(snr) for snr in table.snrs],
        "seconds": [round(seconds, 1) for seconds in table.seconds],
        "scores": {
            signal: {key: [_number(value) for value in values] for key, values in columns.items()}
            for signal, columns in table.scores.items()
        },
        "findings": {row: [_shown(words) for words in found] for row, found in enumerate(table.findings) if found},
        "links": {signal: links(paths, folder) for signal, paths in table.sound.items()},
        "means": means(table),
        "differences": differences(table),
        "verdicts": verdicts(table),
        "bins": by_input_snr(table),
        "apart": [_shown(words) for words in table.apart],
        "notes": [_shown(words) for words in table.notes],
        "longest_seconds": LONGEST_SECONDS,
        "folder": None,
        "embedded": [],
    }
    data["id"] = hashlib.sha256(_json(data).encode()).hexdigest()[:16]  # answers of a listening test go by it
    return data


def page_text(data: dict[str, Any], sounds: Sequence[str] = ()) -> str:
    """The HTML of a page; sounds: elements that hold the sound of rows."""
    page, libraries = HERE / "page", HERE / "libraries"
    licences = [path.read_text(encoding="utf-8") for path in sorted(libraries.glob("*.LICENSE"))]
    code = [re.sub(r"//# sourceMappingURL=.*", "", _text(libraries / name)) for name in LIBRARIES]
    code += [_text(page / name) for name in SCRIPTS]
    parts = {
        "TITLE": html.escape(_shown(data["title"])),
        "LICENCES": "\n".join(licences).replace("--", "- -"),
        "STYLE": _text(page / "page.css"),
        "DATA": _json(data),
        "SOUNDS": "\n".join(sounds),
        "SCRIPTS": "\n".join(f"<script>\n{text}\n</script>" for text in code),
    }
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], _text(page / "page.html"))


def _title(table: Table) -> str:
    return f"Scores of {', '.join(table.systems)}" if len(table.systems) > 1 else "Scores"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _sound_element(clips: Clips) -> str:
    return f'<script type="application/json" id="sound-{clips.row}">{_json(clips.signals)}</script>'


def _json(value: Any) -> str:
    """JSON in ASCII that may stand in an element of a page: no `<` ends it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _shown(text: str) -> str:
    """A name or a message as people see it: bytes that are no text, and what breaks or turns lines, become escapes."""
    return one_line(text.encode("utf-8", "backslashreplace").decode())
