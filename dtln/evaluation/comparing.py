"""Scores that were written before, of several systems: read, brought together file by file, compared."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from dtln.audio.folders import fileid_of
from dtln.errors import SettingsError, one_line
from dtln.evaluation.denoising import count
from dtln.evaluation.scores import NAMES
from dtln.files import complete_file
from dtln.scoring.comparison import FEW_FILES, Comparison, compare, comparison_lines
from dtln.scoring.input_snr import bins_by_snr
from dtln.scoring.means import CONFIDENCE, Mean, table_lines

__all__ = ["WrittenScores", "compare_scores", "print_comparison", "read_scores", "write_comparison"]

DENOISED_SIGNALS = ("enhanced", "input")  # of what is written of a file, the one that a system is judged by
SAME_SNR = 0.05  # dB by which the SNR of one noisy recording may differ between two reports: rounding, resampling
SETTINGS_THAT_COUNT = ("reference", "align", "sample_rate")
PACKAGES_THAT_COUNT = ("pesq", "pystoi", "speechmos")


@dataclass(frozen=True)
class WrittenScores:
    """The scores of one system as `dtln score` or `dtln enhance` wrote them."""

    name: str
    path: Path
    scores: Mapping[str, Mapping[str, float]]  # file -> metric -> score, nan where it is infinite
    input_snrs: Mapping[str, float] = field(default_factory=dict)  # file -> dB, where they are known
    noisy_snrs: Mapping[str, float] = field(default_factory=dict)  # file -> dB, as measured
    facts: Mapping[str, object] = field(default_factory=dict)  # settings and versions; {} of a CSV


def read_scores(path: Path, name: str | None = None) -> WrittenScores:
    """Reads what --json or --csv of `dtln score` and `dtln enhance` wrote; name: of the system, else the file's name.

    Raises SettingsError for a file that cannot be read, or that holds something else or no scores.
    """
    if path.is_dir():
        raise SettingsError(
            f"{path}: is a folder. Expected scores: write them with "
            f"`dtln score {path} --reference CLEAN --json {path.name}.json`."
        )
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    try:
        rows, facts = _rows_of_json(text) if text.lstrip().startswith("{") else (_rows_of_csv(text), {})
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise SettingsError(
            f"{path}: holds no scores. Expected a file that --json or --csv of `dtln score` wrote."
        ) from error
    scores, input_snrs, noisy_snrs = {}, {}, {}
    for file, snr, signals in rows:
        if not isinstance(file, str) or not PurePath(file).name:
            raise SettingsError(f"{path}: has scores of {file!r}. Expected a name of a file in each row; mend it.")
        if file in scores:
            raise SettingsError(f"{path}: has {file} twice. Expected each file once; remove one of the two.")
        of_system = next((signals[signal] for signal in DENOISED_SIGNALS if signal in signals), None)
        if of_system:
            scores[file] = of_system
            if snr is not None:
                input_snrs[file] = snr
            if "snr_db" in signals.get("noisy", {}):
                noisy_snrs[file] = signals["noisy"]["snr_db"]
    if not scores:
        raise SettingsError(f"{path}: holds the scores of no file. Score some recordings first, with `dtln score`.")
    return WrittenScores(name or path.stem, path, scores, input_snrs, noisy_snrs, facts)


Row = tuple[str, float | None, dict[str, dict[str, float]]]  # file, input SNR, signal -> metric -> score


def _rows_of_json(text: str) -> tuple[list[Row], dict[str, object]]:
    """(rows, facts) of what `write_json` wrote."""
    import json

    report = json.loads(text)
    rows = [
        (
            file["file"],
            None if file["input_snr_db"] is None else float(file["input_snr_db"]),
            {
                signal: {key: math.nan if value is None else float(value) for key, value in of_signal.items()}
                for signal, of_signal in file["scores"].items()
            },
        )
        for file in report["files"]
    ]
    facts = {name: report["settings"].get(name) for name in SETTINGS_THAT_COUNT}
    return rows, facts | {name: report["versions"].get(name) for name in PACKAGES_THAT_COUNT}


def _rows_of_csv(text: str) -> list[Row]:
    """The rows of what `write_csv` wrote, and as spreadsheets save that: with semicolons or tabs, commas in numbers.

    Rows without content are passed over. Raises ValueError for a row with fewer or more cells than headings.
    """
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)

    def number(cell: str) -> float:
        return float(cell if delimiter == "," else cell.replace(",", ".")) if cell else math.nan

    rows: list[Row] = []
    for cells in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
        if None in cells or None in cells.values():
            raise ValueError(f"other cells than headings in the row of {cells.get('file')}")
        if not any(cells.values()):
            continue
        signals: dict[str, dict[str, float]] = {}
        for column, cell in cells.items():
            signal, _, key = column.partition("_")
            if column not in ("file", "input_snr_db"):
                signals.setdefault(signal, {})[key] = number(cell)
        snr = cells.get("input_snr_db")
        file = re.sub(
            r"\\udc([89a-f][0-9a-f])", lambda byte: chr(0xDC00 + int(byte[1], 16)), cells["file"]
        )  # see NAMES
        rows.append((file, number(snr) if snr else None, signals))
    return rows


def compare_scores(systems: Sequence[WrittenScores]) -> tuple[Comparison, dict[str, Comparison], list[str]]:
    """(over all files, by input SNR, notes): the others against the first, on the files that all have scores of.

    Files belong together if their names are equal, whatever the extension, or, where no names are, by their fileid_N.
    By input SNR: of the bins with two files at least, if there are several and all SNRs are known. Notes say what makes
    scores less comparable. Systems of one name are parts of one, as --shard makes them. Raises SettingsError where such
    parts have a file in common, where systems share no files or metrics, or where files of one name come from different
    noisy recordings.
    """
    systems = _with_equal_names(_joined(systems))
    _require_same_noisy(systems)
    if len(systems) < 2:
        raise SettingsError(f"all scores are those of {systems[0].name}. Expected two systems: NAME=FILE OTHER=FILE.")
    try:
        whole = compare({system.name: system.scores for system in systems})
    except ValueError as error:
        raise SettingsError(f"{error}. Score the same recordings with the same flags.") from error
    snrs: list[float] = []
    for file in whole.files:
        snrs += [system.input_snrs[file] for system in systems if file in system.input_snrs][:1]
    bins = bins_by_snr(snrs) if len(snrs) == len(whole.files) else {}
    by_snr = {
        label: compare(
            {s.name: {whole.files[index]: s.scores[whole.files[index]] for index in indices} for s in systems}
        )
        for label, indices in bins.items()
        if len(bins) > 1 and len(indices) > 1
    }
    notes = []
    for key in (*SETTINGS_THAT_COUNT, *PACKAGES_THAT_COUNT):
        values = {system.name: system.facts[key] for system in systems if system.facts.get(key) is not None}
        if len(set(map(str, values.values()))) > 1 or any(isinstance(value, tuple) for value in values.values()):
            told = ", ".join(
                f"{' and '.join(map(str, value)) if isinstance(value, tuple) else value} ({name})"
                for name, value in values.items()
            )
            notes.append(f"the scores were made with different {key}: {told}")
    return whole, by_snr, notes


def _joined(systems: Sequence[WrittenScores]) -> list[WrittenScores]:
    """One of each name. Raises SettingsError where two of one name have a file in common."""
    found: dict[str, WrittenScores] = {}
    for part in systems:
        whole = found.setdefault(part.name, part)
        if whole is part:
            continue
        if twice := next((file for file in part.scores if file in whole.scores), None):
            raise SettingsError(
                f"{part.path} and {whole.path}: both are called {part.name}, and both have {twice}. Give different "
                "systems different names, NAME=FILE; parts of one system have no file in common."
            )
        found[part.name] = replace(
            whole,
            scores={**whole.scores, **part.scores},
            input_snrs={**whole.input_snrs, **part.input_snrs},
            noisy_snrs={**whole.noisy_snrs, **part.noisy_snrs},
            facts=_joined_facts(whole.facts, part.facts),
        )
    return list(found.values())


def _joined_facts(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    """The facts of two parts of a system; of those that differ a tuple."""
    joined: dict[str, object] = {}
    for key in {**one, **other}:
        told: list[object] = []
        for value in (one.get(key), other.get(key)):
            told += [fact for fact in (value if isinstance(value, tuple) else (value,)) if fact is not None]
        different = tuple({str(fact): fact for fact in told}.values())
        joined[key] = different if len(different) > 1 else next(iter(different), None)
    return joined


def _with_equal_names(systems: Sequence[WrittenScores]) -> list[WrittenScores]:
    """The systems with one name for each file: that of the first system without its extension, or its fileid."""

    def stem(file: str) -> str:
        return PurePath(file).with_suffix("").as_posix()

    def fileid(file: str) -> str:
        found = fileid_of(file)
        return stem(file) if found is None else f"fileid_{found}"

    for key in (stem, fileid):
        keys = [{key(file) for file in system.scores} for system in systems]
        unique = all(len(k) == len(system.scores) for k, system in zip(keys, systems, strict=True))
        if unique and set.intersection(*keys):
            return [
                replace(
                    system,
                    scores={key(file): scores for file, scores in system.scores.items()},
                    input_snrs={key(file): snr for file, snr in system.input_snrs.items()},
                    noisy_snrs={key(file): snr for file, snr in system.noisy_snrs.items()},
                )
                for system in systems
            ]
    return list(systems)


def _require_same_noisy(systems: Sequence[WrittenScores]) -> None:
    """Raises SettingsError where the noisy recordings of one name have different SNRs."""
    first, *others = systems
    for other in others:
        for file, snr in first.noisy_snrs.items():
            other_snr = other.noisy_snrs.get(file, snr)
            if abs(other_snr - snr) > SAME_SNR:
                raise SettingsError(
                    f"{other.path}: the noisy recording {file} has an SNR of {other_snr:.2f} dB, in {first.path} one "
                    f"of {snr:.2f} dB. Expected scores of the same recordings."
                )


def print_comparison(whole: Comparison, by_snr: Mapping[str, Comparison], notes: Sequence[str]) -> None:
    """Prints means, differences with verdicts, differences by input SNR, what is missing, and the notes."""
    print(f"means over {count(len(whole.files), 'file')}, with 95 % intervals:")
    print("\n".join(table_lines(whole.means)))
    print("\n".join(comparison_lines(whole)))
    others = list(dict.fromkeys(difference.other for difference in whole.differences))
    for other in others if by_snr else ():
        print(f"{other} - {whole.first} by input SNR, with 95 % intervals, without verdicts:")
        rows: dict[str, dict[str, Mean]] = {
            f"{label}, {count(len(comparison.files), 'file')}": {
                difference.metric: difference.mean
                for difference in comparison.differences
                if difference.other == other and difference.mean.files
            }
            for label, comparison in by_snr.items()
        }
        print("\n".join(table_lines(rows)))
    if whole.few:
        print(f'fewer than {FEW_FILES} files: only differences of the size under "findable" would be found; score more')
    for name, files in whole.missing.items():
        shown = ", ".join(files[:3]) + (" ..." if len(files) > 3 else "")
        print(f"{name} lacks {count(len(files), 'file')}, left out of all: {one_line(shown)}")
    for note in notes:
        print(f"note: {note}")


def write_comparison(path: Path, whole: Comparison, by_snr: Mapping[str, Comparison], notes: Sequence[str]) -> None:
    """Writes a comparison as JSON: means, differences, verdicts, also by input SNR; null is what is not finite."""
    import json

    def plain(value: Any) -> Any:
        if isinstance(value, Mean):
            value = {"mean": value.mean, "low": value.low, "high": value.high, "files": value.files}
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def as_values(comparison: Comparison) -> dict[str, Any]:
        return {
            "files": list(comparison.files),
            "missing": plain(comparison.missing),
            "means": plain(comparison.means),
            "differences": [
                plain(asdict(difference) | {"mean": difference.mean}) for difference in comparison.differences
            ],
        }

    report = {
        "first": whole.first,
        "confidence": CONFIDENCE,
        "interval": "Student's t over the differences, of each by itself",
        "verdicts": "paired t-test, Holm's correction over all differences",
        "notes": list(notes),
        **as_values(whole),
        "by_input_snr": {label: as_values(comparison) for label, comparison in by_snr.items()},
    }
    with complete_file(path) as part:
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        part.write_text(text, encoding="utf-8", errors=NAMES)
    print(f"comparison written to {path}")
