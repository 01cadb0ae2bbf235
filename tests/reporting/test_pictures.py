"""docs/make_report_pictures.py: the pictures of docs/report.md, drawn from two pairs."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(monkeypatch):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("make_report_pictures", ROOT / "docs" / "make_report_pictures.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    return module


def test_pictures_show_charts_and_spectrograms(pictures, chromium, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    for package in ("h5py", "onnxruntime", "pesq", "pystoi", "scipy"):
        pytest.importorskip(package)
    for kind in ("noisy", "clean"):
        (tmp_path / kind).mkdir()
        for path in sorted((ROOT / "audio_samples" / kind).glob("*.wav"))[:2]:
            shutil.copy(path, tmp_path / kind)
    out = tmp_path / "images"
    assert pictures.main(["--pairs", str(tmp_path), "-o", str(out)]) == 0
    assert capsys.readouterr().out.count("wrote ") == 2
    shots = {name: np.asarray(image.open(out / name).convert("RGB")).astype(int) for name in pictures.PARTS}
    assert sorted(path.name for path in out.iterdir()) == sorted(shots)
    assert {name: shot.shape for name, shot in shots.items()} == {
        name: (height, pictures.WIDTH, 3) for name, (_, _, height, _) in pictures.PARTS.items()
    }

    def share(shot: np.ndarray, *colour: int) -> float:
        """The share of pixels that have a colour, but for what WebP loses."""
        return float(np.mean(np.abs(shot - colour).max(axis=-1) < 40))

    charts, opened = shots["report_charts.webp"], shots["report_file.webp"]
    assert share(charts, 255, 255, 255) > 0.5  # the ground of the light page
    assert min(share(charts, 0, 114, 178), share(charts, 213, 94, 0)) > 1e-4  # lines and points of either system
    assert share(opened, 255, 255, 255) < 0.05 and np.median(opened) < 60  # the dark one
    below = opened[opened.shape[0] // 2 :].reshape(-1, 3)
    assert len(np.unique(below, axis=0)) > 25_000  # spectrograms have many colours, text and charts few
