"""Imports point one way, from scripts down to facts, and light rooms stay light: read off the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Floors from below. A file may import, also inside a function, from its own room and from every floor below its own.
FLOORS = (
    {"dtln.facts", "dtln.errors", "dtln.choices", "dtln.files", "dtln.machine", "dtln.pool", "dtln"},
    {"dtln.formats", "dtln.blocks"},
    {"dtln.scoring", "dtln.audio", "dtln.weights"},
    {"dtln.mixing", "dtln.streaming"},
    {"dtln.export", "dtln.training"},
    {"DTLN_model"},
    {"dtln.evaluation", "dtln.synthesis", "dtln.gpu", "dtln.live", "dtln.api"},
    {"dtln.commands"},
    {"dtln.__main__", "scripts"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted([*ROOT.glob("*.py"), *(ROOT / "dtln").rglob("*.py")])


def room_of(module: str) -> str:
    """`dtln.audio.reading` -> `dtln.audio`; a script is in the room `scripts`."""
    parts = module.split(".")
    if parts[0] == "dtln":
        return ".".join(parts[:2])
    return module if module == "DTLN_model" else "scripts"


def imports_of(file: Path) -> Iterator[str]:
    """Our own modules that a file imports when it runs, not those that only type checkers see."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports by full names only"
            module = node.module or ""
            # `from dtln.audio import reading` names a module, `from dtln.audio import read_audio` a function
            named = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if (ROOT / f"{name.replace('.', '/')}.py").exists() else module for name in named]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("dtln", "DTLN_model"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_point_down(file: Path) -> None:
    module = file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    room = room_of(module)
    assert room in FLOOR_OF, f"{room} has no floor: add it to FLOORS"
    for imported in imports_of(file):
        other = room_of(imported)
        assert other in FLOOR_OF, f"{other} has no floor: add it to FLOORS"
        assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{module} imports {imported}, which stands above it"


def test_no_circles_between_modules() -> None:
    """Also inside a room: no module reaches itself through what it imports when it is loaded or run."""
    names = {file: file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in FILES}
    arrows = {name.removesuffix(".__init__"): set(imports_of(file)) for file, name in names.items()}
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"imports in a circle: {' -> '.join([*path, module])}"
        if module not in finished:
            for other in sorted(arrows.get(module, ())):
                visit(other, (*path, module))
            finished.add(module)

    for module in sorted(arrows):
        visit(module, ())


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
    assert len(list(ROOT.glob("*.py"))) <= 12


def tracked(file: Path) -> bool:
    """Whether a file belongs to the project: not to a virtual environment or a build beside it."""
    return not any(part.startswith((".", "build", "dist", "models_")) for part in file.relative_to(ROOT).parts)
