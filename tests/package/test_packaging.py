"""pyproject.toml: what the extras, the environments for conda and the wheel hold."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import dtln
from dtln.errors import EXTRAS
from dtln.formats import EXPORT_KINDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WHEEL_LIMIT = 30e6  # bytes
DISTRIBUTIONS = {"debian": "python-debian"}  # whose name is not that of the module


def extra(*names: str) -> set[str]:
    """The requirements of extras, with those of the extras that they name; without the base."""
    found = set()
    for name in names:
        for requirement in PROJECT["optional-dependencies"][name]:
            own = re.fullmatch(r"dtln\[(.*)\]", requirement)
            found |= extra(*own[1].split(",")) if own else {requirement}
    return found


def packages(requirements: set[str]) -> set[str]:
    """The names in requirements."""
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("eval_env.yml", ("eval", "score", "convert")),
        ("tflite_env.yml", ("tflite",)),
        ("train_env.yml", ("train", "synthesis")),
    ],
)
def test_conda_environments_hold_the_extras(file, extras):
    environment = yaml.safe_load((ROOT / file).read_text())
    python, *_, pip = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert len(pip["pip"]) == len(set(pip["pip"]))
    assert set(pip["pip"]) == extra(*extras) | set(PROJECT["dependencies"])
    assert ("c-compiler" in environment["dependencies"]) == ("pesq" in packages(extra(*extras)))


def test_extras_that_error_messages_name_bring_the_package():
    for module, name in EXTRAS.items():
        assert DISTRIBUTIONS.get(module, module.replace("_", "-").lower()) in packages(extra(name)), module


def test_denoising_needs_neither_tensorflow_nor_a_compiler():
    for name in ("eval", "live", "tflite", "onnx"):
        assert not packages(extra(name)) & {"tensorflow", "keras", "pesq", "librosa", "torch"}
    assert packages(set(PROJECT["dependencies"])) == {"numpy"}
    assert packages(extra("live")) == {"sounddevice", "ai-edge-litert"}


def test_extra_for_tests_brings_every_other_one():
    others = set(PROJECT["optional-dependencies"]) - {"test", "dev"}
    assert extra(*others) < extra("test") < extra("dev")


def test_one_requirement_per_package():
    """The same lower limit wherever a package stands."""
    requirements = extra(*PROJECT["optional-dependencies"]) | set(PROJECT["dependencies"])
    assert len(requirements) == len(packages(requirements))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the sdist, as pip and package indices get it."""
    pytest.importorskip("hatchling", reason="building without a package index needs hatchling")
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
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dtln").rglob("*.py")}
    assert modules | {"DTLN_model.py", "dtln/py.typed"} <= names
    top = {name.split("/")[0] for name in names}
    assert top == {"dtln", "DTLN_model.py", f"dtln-{dtln.__version__}.dist-info"}
    models = {name.removeprefix("dtln/pretrained_model/") for name in names if name.startswith("dtln/pretrained_model")}
    for kind in EXPORT_KINDS.values():
        assert all(any(name.split("/")[0] == file for name in models) for file in kind.files), kind.name
    assert {"model.h5", "README.md", "ATTRIBUTION_esc50.txt", "ATTRIBUTION_debian.txt"} <= models
    assert not [name for name in models if "norm" in name]
