"""docs/make_live_pictures.py: draws what a session has written; the session itself is what tests/live tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from snapshots import beginning, later

from dtln.live.controls import Controls
from dtln.live.report import Series, report_json, write_report
from dtln.live.status import status_line

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def pictures(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(DOCS))
    spec = importlib.util.spec_from_file_location("make_live_pictures", DOCS / "make_live_pictures.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    return module


def test_pictures_of_an_invented_session(pictures, tmp_path):
    counters, first = beginning()
    series, course, output, last = Series(first), [], "running\r\n", first
    for second in range(1, pictures.SECONDS):
        before, last = last, later(counters, second, input_db=-20, output_db=-20 - second / 4)
        series.add(last)
        output += f"\r{status_line(before, last, Controls())}"
        course.append((float(second), output))
    write_report(tmp_path / "live.json", report_json(first, last, series))
    pictures.film(course, tmp_path / "status.gif")
    pictures.plot(tmp_path / "live.json", tmp_path / "session.png")
    with Image.open(tmp_path / "status.gif") as film:
        assert film.n_frames > 5  # equal ones are one
        assert (np.asarray(film.convert("L")) > 150).sum() > 500  # there is text
    with Image.open(tmp_path / "session.png") as drawing:
        assert drawing.size == (900, 520)
    assert sum((tmp_path / name).stat().st_size for name in ("status.gif", "session.png")) < 150_000


def test_what_the_session_hears(pictures):
    heard = pictures.noisy_samples()
    assert len(heard) == pictures.SECONDS * 16000 and heard.dtype == np.float32 and 0.1 < np.abs(heard).max() <= 1


def test_pictures_in_the_docs_are_small():
    sizes = [(DOCS / "images" / name).stat().st_size for name in ("live_status.gif", "live_session.png")]
    assert sum(sizes) < 150_000
