"""pyproject.toml: what the extras and the environments for conda hold."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from dtln.errors import EXTRAS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {"debian": "python-debian", "yaml": "pyyaml"}  # whose name is not that of the module


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


def test_error_messages_name_the_extras_that_bring_a_package():
    uses = set(PROJECT["optional-dependencies"]) - {"bench", "docs", "test", "dev"}
    for module, extras in EXTRAS.items():
        package = DISTRIBUTIONS.get(module, module.replace("_", "-").lower())
        bringing = {name for name in uses if package in packages(extra(name))} or {"bench"}
        assert set(extras) == bringing, module


def test_denoising_needs_neither_tensorflow_nor_a_compiler():
    for name in ("eval", "live", "tflite", "onnx"):
        assert not packages(extra(name)) & {"tensorflow", "keras", "pesq", "librosa", "torch"}
    assert packages(set(PROJECT["dependencies"])) == {"numpy"}
    assert packages(extra("live")) == {"sounddevice", "soxr", "ai-edge-litert"}


def test_extra_for_tests_brings_every_other_one():
    others = set(PROJECT["optional-dependencies"]) - {"test", "dev", "ray"}  # that has an environment of its own
    assert extra(*others) < extra("test") < extra("dev")


def test_one_requirement_per_package():
    """The same lower limit wherever a package stands."""
    requirements = extra(*PROJECT["optional-dependencies"]) | set(PROJECT["dependencies"])
    assert len(requirements) == len(packages(requirements))
