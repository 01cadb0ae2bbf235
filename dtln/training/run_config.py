"""Settings of a training in a file: config.json, which a run leaves behind, and recipes, which have the same form.

    {"about": "in words", "arguments": {"batch_size": 8, ...}, "versions": {"keras": "3.13.0", ...}}

The arguments are flags of run_training.py, by name; `about` and `versions` are for readers alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtln.errors import SettingsError
from dtln.files import complete_file, included_folder

__all__ = ["CONFIG_NAME", "RECIPE_DIR", "find_config", "read_run_config", "write_run_config"]

CONFIG_NAME = "config.json"
KEYS = ("about", "arguments", "versions")
VERSIONS_OF = ("keras", "numpy", "tensorflow", "torch", "jax")  # noted where they are loaded


RECIPE_DIR = included_folder("recipes")


def find_config(name: str) -> Path:
    """The path of a file with settings: `name` itself or, if it is a bare word, the included recipe of that name."""
    path, recipe = Path(name), RECIPE_DIR / f"{name}.json"
    return recipe if path.name == name and not path.exists() and recipe.is_file() else path


def read_run_config(path: Path) -> dict[str, Any]:
    """The arguments in a file with settings. Raises SettingsError, which names the file."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        recipes = ", ".join(sorted(file.stem for file in RECIPE_DIR.glob("*.json")))
        raise SettingsError(
            f"{path}: cannot be taken as settings ({error.strerror}). Expected the config.json of a run, a recipe's "
            f"path, or the name of an included one ({recipes})."
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"{path}: cannot be taken as settings (no JSON: {error}). Expected the config.json of a run, or a recipe."
        ) from error
    if not isinstance(stored, dict) or not isinstance(stored.get("arguments"), dict):
        raise SettingsError(
            f'{path}: cannot be taken as settings (no "arguments"). Expected the config.json of a run, or a recipe.'
        )
    for key in stored:
        if key not in KEYS:
            raise SettingsError(f"{path}: unknown key {key!r}. Expected {', '.join(KEYS)}.")
    return stored["arguments"]


def write_run_config(run_dir: Path, arguments: Mapping[str, Any]) -> None:
    """Writes config.json, from which a run can be repeated: its arguments, with absolute paths, and the versions."""
    import platform
    import sys

    from dtln import __version__

    versions = {"python": platform.python_version(), "dtln": __version__}
    versions |= {name: sys.modules[name].__version__ for name in VERSIONS_OF if name in sys.modules}
    if "keras" in sys.modules:
        versions["backend"] = sys.modules["keras"].backend.backend()
    with complete_file(run_dir / CONFIG_NAME) as partial:
        stored = {"arguments": dict(arguments), "versions": versions}
        text = json.dumps(stored, indent=2, ensure_ascii=False, default=lambda path: str(path.resolve()))
        partial.write_text(text + "\n", encoding="utf-8")
