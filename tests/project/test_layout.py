"""What keeps the project easy to read and quick to start: short files, few at the root, light imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", ["dtln", "dtln.streaming", "dtln.api"])
def test_light_modules_load_no_framework(module: str) -> None:
    code = f"import sys, {module}; print({{'tensorflow', 'keras', 'librosa', 'torch', 'soundfile'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_files_are_short_enough_to_read() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in ROOT.rglob("*.py") if tracked(file)}
    long = {file.relative_to(ROOT).as_posix(): n for file, n in lengths.items() if n > 800}
    assert set(long) <= {"DTLN_model.py"}, long
    assert long.get("DTLN_model.py", 0) <= 1500
    assert len(list(ROOT.glob("*.py"))) <= 13  # the model, nine scripts, and three names that are published


def tracked(file: Path) -> bool:
    """Whether a file belongs to the project: not to a virtual environment or a build beside it."""
    return not any(part.startswith((".", "build", "dist", "models_")) for part in file.relative_to(ROOT).parts)


def test_what_workflows_test_is_there():
    named = {
        name for path in ROOT.glob(".github/workflows/*.yml") for name in re.findall(r"tests/[\w/.]+", path.read_text())
    }
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
