"""Reports of scores without recordings, for the tests of pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def report_of(names: Sequence[str], scores: Sequence[dict[str, dict[str, float]]], **columns: Sequence[Any]) -> dict:
    """A report as `dtln score --json` writes it: each file with its scores, and with what the columns say of it."""
    files = [{"file": name, "scores": of_file, "findings": []} for name, of_file in zip(names, scores, strict=True)]
    for key, values in columns.items():
        for file, value in zip(files, values, strict=True):
            file[key] = value
    return {"settings": {}, "files": files, "left_out": [], "failed": []}
