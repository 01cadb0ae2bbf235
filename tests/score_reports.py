"""Reports of scores without recordings, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtln.evaluation.scores import Pair, ScoredFile, write_csv, write_json


def report_of(names: Sequence[str], scores: Sequence[dict[str, dict[str, float]]], **columns: Sequence[Any]) -> dict:
    """A report as `dtln score --json` writes it: each file with its scores, and with what the columns say of it."""
    files = [{"file": name, "scores": of_file, "findings": []} for name, of_file in zip(names, scores, strict=True)]
    for key, values in columns.items():
        for file, value in zip(files, values, strict=True):
            file[key] = value
    return {"settings": {}, "files": files, "left_out": [], "failed": []}


def write_scores(
    path: Path,
    gains: Sequence[float],
    snrs: Sequence[float] | None = None,
    file_name: str = "mix_{}.wav",
    settings: dict[str, object] | None = None,
) -> Path:
    """Writes a report as `dtln score` does, from gains of the enhanced files in dB: `path`, and a CSV beside it."""
    files = []
    for index, gain in enumerate(gains):
        snr = (index % 4) * 5.0 if snrs is None else snrs[index]
        scores = {"noisy": {"snr_db": snr, "si_sdr_db": snr}, "enhanced": {"snr_db": snr + gain, "si_sdr_db": gain}}
        pair = Pair(file_name.format(index), {"enhanced": path.with_name("x.wav")}, None, snr)
        files.append(ScoredFile(pair, scores=scores))
    write_json(path, files, {"reference": "CLEAN", "align": False} | (settings or {}))
    write_csv(path.with_suffix(".csv"), files)
    return path
