"""List the models: which are there, where they lie, and whether a runtime for them is installed.

%(prog)s
%(prog)s -m FOLDER --json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtln.errors import EXTRAS, install_line
from dtln.formats import EXPORT_KINDS, MODEL_DIR, available_kinds, default_kind


def parse(argv: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-m", "--model-dir", type=Path, default=MODEL_DIR, metavar="DIR",
        help="list the models in this folder and its sub-folders, or this one (default: the included models)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def describe(folder: Path) -> dict[str, Any]:
    """The weights and exports in one folder, and the kind that is taken where none is asked for."""
    kinds = available_kinds(folder)
    return {
        "folder": str(folder),
        "weights": [{"file": path.name, "bytes": size_of(path)} for path in sorted(folder.glob("*.h5"))],
        "default": default_kind(folder) if kinds else None,
        "exports": [
            {
                "kind": name,
                "title": EXPORT_KINDS[name].title,
                "files": [path.name for path in EXPORT_KINDS[name].found(folder)],
                "bytes": sum(size_of(path) for path in EXPORT_KINDS[name].found(folder)),
                "runtime": EXPORT_KINDS[name].installed_runtime(),
            }
            for name in kinds
        ],
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The description for people."""
    text = [found["folder"]]
    for weights in found["weights"]:
        text.append(f"  {weights['file']:20}  {'weights':20} {weights['bytes'] / 1e6:5.1f} MB")
    for export in found["exports"]:
        kind, runtime = export["kind"], export["runtime"]
        if runtime is None:
            wanted = next(package for package in EXPORT_KINDS[kind].runtimes if package in EXTRAS)
            runs = f"cannot run here: {install_line(wanted)}"
        else:
            runs = f"runs on {runtime}{', the default' if kind == found['default'] else ''}"
        text.append(f"  {kind:20}  {export['title']:20} {export['bytes'] / 1e6:5.1f} MB  {runs}")
    return text


def main(argv: Sequence[str] | None = None, prog: str = "dtln models") -> int:
    args = parse(argv, prog)
    exports = {path for kind in EXPORT_KINDS.values() for path in kind.found(args.model_dir)}
    folders = [args.model_dir, *sorted(path for path in set(args.model_dir.glob("*")) - exports if path.is_dir())]
    found = [models for models in map(describe, folders) if models["weights"] or models["exports"]]
    if args.json:
        print(json.dumps(found, indent=2))
    elif found:
        print("\n".join(line for models in found for line in lines(models)))
    else:
        print(f"{args.model_dir}: holds neither weights nor exports")
    return 0 if found else 1
