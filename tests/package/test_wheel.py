"""The wheel: what it holds, and what it does where nothing else is, in the oldest and the newest Python."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from environments import make_environment, python_with
from signals import speech_like

import dtln
from dtln.formats import EXPORT_KINDS

ROOT = Path(__file__).resolve().parents[2]
WHEEL_LIMIT = 30e6  # bytes

DENOISE = """
import sys
import dtln, soundfile
samples, rate = soundfile.read("noisy.wav")
soundfile.write("library.wav", dtln.denoise(samples, rate), rate, subtype="FLOAT")
assert not {"tensorflow", "keras", "librosa"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the sdist, as a package index would get it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (path,) = folder.glob("*.whl")
    assert path.name == f"dtln-{dtln.__version__}-py3-none-any.whl"
    return path


def test_wheel_holds_the_package_and_the_default_models(wheel):
    assert wheel.stat().st_size < WHEEL_LIMIT
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"dtln/recipes/{path.name}" for path in (ROOT / "recipes").iterdir()} <= names
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dtln").rglob("*.py")}
    assert modules | {"DTLN_model.py", "dtln/py.typed"} <= names
    reporting = (path for path in (ROOT / "dtln" / "reporting").rglob("*") if path.is_file())
    assert {path.relative_to(ROOT).as_posix() for path in reporting if "__pycache__" not in path.parts} <= names
    top = {name.split("/")[0] for name in names}
    assert top == {"dtln", "DTLN_model.py", f"dtln-{dtln.__version__}.dist-info"}
    models = {name.removeprefix("dtln/pretrained_model/") for name in names if name.startswith("dtln/pretrained_model")}
    for kind in EXPORT_KINDS.values():
        assert all(any(name.split("/")[0] == file for name in models) for file in kind.files), kind.name
    attributions = {path.name for path in (ROOT / "pretrained_model").glob("ATTRIBUTION_*.txt")}
    assert attributions and {"model.h5", "README.md"} | attributions <= models
    assert not [name for name in models if "norm" in name]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_wheel_denoises_from_an_empty_folder(wheel, tmp_path, monkeypatch, version):
    python = python_with([version])
    if python is None:
        pytest.skip(f"Python {version} is not here")
    monkeypatch.setenv("CC", "/bin/false")  # nothing may be compiled
    inside = make_environment(tmp_path / "environment", [f"{wheel}[eval,live]"], python)
    folder = tmp_path / "empty"
    folder.mkdir()
    soundfile.write(folder / "noisy.wav", speech_like(48000), 16000, subtype="FLOAT")

    def run(*command: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(inside.parent / command[0]), *command[1:]], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("dtln", "enhance", "noisy.wav", "-o", "out.wav")
    run("python", "-c", DENOISE)
    ours, library = (soundfile.read(folder / name)[0] for name in ("out.wav", "library.wav"))
    assert len(ours) == 48000 and np.std(ours) > 1e-3
    np.testing.assert_allclose(library, ours, rtol=0, atol=1e-4)
    assert "tensorflow" not in run("python", "-m", "pip", "list", "--format=freeze")
    assert run("dtln", "--version") == run("python", "-m", "dtln", "--version") == f"dtln {dtln.__version__}\n"
    assert "site-packages/dtln/pretrained_model" in run("dtln", "models").replace("\\", "/")
    run("dtln", "benchmark", "--blocks", "5")
    assert 'needs the package keras, which is not installed: pip install "dtln[convert]"' in run(
        "dtln", "convert", "-m", "model.h5", "-t", "exports", status=1
    )
