"""Imports between the rooms of the package point one way, as read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "DTLN_model")
STOREYS = [  # from below; a room imports itself and rooms of lower storeys
    ("dtln", "dtln.facts", "dtln.errors", "dtln.files", "dtln.choices", "dtln.machine", "dtln.shards", "dtln.terminal"),
    ("dtln.blocks", "dtln.formats", "dtln.interrupts"),
    ("dtln.audio", "dtln.weights", "dtln.pool", "dtln.scoring"),
    ("dtln.streaming", "dtln.mixing", "dtln.plotting", "dtln.cluster", "dtln.reporting"),
    ("dtln.export", "dtln.training"),
    ("DTLN_model",),
    ("dtln.api", "dtln.evaluation", "dtln.synthesis", "dtln.gpu", "dtln.live"),
    ("dtln.commands",),
    ("dtln.__main__", *SCRIPTS),
    ("research",),
]
STOREY_OF = {room: height for height, rooms in enumerate(STOREYS) for room in rooms}


def room_of(module: str) -> str:
    """`dtln.ROOM` of a module in it, else the name before the first dot."""
    return ".".join(module.split(".")[: 2 if module.startswith("dtln.") else 1])


def imports_of(node: ast.AST, inside_functions: bool) -> Iterator[str]:
    """Names that code imports, but for those that only type checkers read; of `from a import b`: a and a.b."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (name.name for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module and not child.level, f"relative import in line {child.lineno}: give the whole name"
            yield from (child.module, *(f"{child.module}.{name.name}" for name in child.names))
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif inside_functions or not isinstance(child, ast.FunctionDef):
            yield from imports_of(child, inside_functions)


def modules() -> dict[str, ast.Module]:
    """The code of the scripts, DTLN_model.py, dtln and research, by the names under which it is imported."""
    paths = [*ROOT.glob("*.py"), *(ROOT / "dtln").rglob("*.py"), *(ROOT / "research").rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for path, name in names.items()}


MODULES = modules()


@pytest.mark.parametrize("room", sorted({room_of(module) for module in MODULES}))
def test_rooms_import_lower_ones_alone(room: str) -> None:
    assert room in STOREY_OF, f"{room} has no storey: enter it in STOREYS"
    wrong = {
        f"{module} imports {name}"
        for module, tree in MODULES.items()
        if room_of(module) == room
        for name in imports_of(tree, inside_functions=True)
        if room_of(name) in STOREY_OF and room_of(name) != room and STOREY_OF[room_of(name)] >= STOREY_OF[room]
    }
    assert not wrong


def test_no_module_is_in_a_circle_while_it_loads() -> None:
    graph = {
        module: {name for name in imports_of(tree, inside_functions=False) if name in MODULES and name != module}
        for module, tree in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_nothing_that_is_installed_imports_what_is_not() -> None:
    for module, tree in MODULES.items():
        if not module.startswith("research"):
            named = {name.split(".")[0] for name in imports_of(tree, inside_functions=True)}
            assert not named & {"research", "benchmarks", "tests"}, module


def test_both_ways_to_import_are_found() -> None:
    code = "if TYPE_CHECKING:\n import a\nimport b.c\nfrom d import e\ndef f():\n  from g import h\n"
    assert [*imports_of(ast.parse(code), inside_functions=True)] == ["b.c", "d", "d.e", "g", "g.h"]
    assert [*imports_of(ast.parse(code), inside_functions=False)] == ["b.c", "d", "d.e"]
