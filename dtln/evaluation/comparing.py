"""Scores that were written before, of several systems: compared, and what is printed and written of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dtln.errors import SettingsError, count, one_line
from dtln.evaluation.scores import json_values, save_json
from dtln.reporting.written import System, match
from dtln.scoring.comparison import FEW_FILES, Comparison, compare, comparison_lines
from dtln.scoring.input_snr import bins_by_snr
from dtln.scoring.means import CONFIDENCE, Mean, table_lines

__all__ = ["compare_scores", "print_comparison", "write_comparison"]


def compare_scores(systems: Sequence[System]) -> tuple[Comparison, dict[str, Comparison], list[str]]:
    """(over all files, by input SNR, notes): the others against the first, on the files that all have scores of.

    By input SNR: of the bins with two files at least, if there are several and all SNRs are known. Notes say what makes
    scores less comparable. Raises SettingsError as `match`, and where all scores are those of one system.
    """
    found = match(systems)
    if len(found.systems) < 2:
        raise SettingsError(f"all scores are those of {systems[0].name}. Expected two systems: NAME=FILE OTHER=FILE.")

    def compared(names: Sequence[str] = ()) -> Comparison:
        return compare(
            {
                system.name: {
                    name: {key: value for key, value in files[name].own.items() if key in found.metrics}
                    for name in names or files
                }
                for system, files in zip(found.systems, found.files, strict=True)
            }
        )

    known = [[snr for files in found.files if (snr := files[name].input_snr) is not None] for name in found.shared]
    snrs = [of_file[0] for of_file in known if of_file]
    bins = bins_by_snr(snrs) if len(snrs) == len(found.shared) else {}
    by_snr = {
        label: compared([found.shared[index] for index in indices])
        for label, indices in bins.items()
        if len(bins) > 1 and len(indices) > 1
    }
    return compared(), by_snr, list(found.notes)


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

    def interval(mean: Mean) -> dict[str, float]:
        return {"mean": mean.mean, "low": mean.low, "high": mean.high, "files": mean.files}

    def as_values(comparison: Comparison) -> dict[str, Any]:
        return {
            "files": comparison.files,
            "missing": comparison.missing,
            "means": {name: {key: interval(mean) for key, mean in of.items()} for name, of in comparison.means.items()},
            "differences": [
                asdict(difference) | {"mean": interval(difference.mean)} for difference in comparison.differences
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
    save_json(path, json_values(report))
    print(f"comparison written to {path}")
