"""The rooms of the package and their one direction: what may import what, imports for type checkers
included."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lintf"
FLOORS = (
    {"checks"},
    {"kernel"},
    {"tasks"},
    {"models"},
    {"training", "analysis"},
    {"experiments"},
    {"pages"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in FILES}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_file_is_in_a_room():
    assert {room(module) for module in FILES if module != "lintf"} == set(FLOOR)


@pytest.mark.parametrize("module", [module for module in FILES if module != "lintf"])
def test_imports_go_down(module):
    for other in imported(FILES[module]) - {"lintf"}:
        down = FLOOR[room(other)] < FLOOR[room(module)] or room(other) == room(module)
        assert down, f"{module} imports {other}, which is not below it"


def test_there_is_no_circle():
    graph = {module: imported(path) - {module} for module, path in FILES.items()}
    for module in graph:  # a package's own file is loaded with any file of it, and may import these
        graph[module] = {other for other in graph[module] if not module.startswith(f"{other}.")}
    list(TopologicalSorter(graph).static_order())


def test_nothing_below_the_pages_draws():
    for module, path in FILES.items():
        if module == "lintf" or FLOOR[room(module)] >= FLOOR["pages"]:
            continue
        names = {
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        names |= {
            a.name
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Import)
            for a in n.names
        }
        roots = {name.partition(".")[0] for name in names if name}
        assert not roots & {"matplotlib", "IPython", "seaborn", "ipywidgets"}, module


@pytest.mark.parametrize("module", ["lintf", "lintf.checks", "lintf.cli.values", "lintf.cli.grid"])
def test_what_reads_text_loads_no_torch(module):
    code = (
        f"import sys, {module}; assert 'torch' not in sys.modules, sorted(m for m in "
        "sys.modules if 'lintf' in m)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_exports_what_pages_begin_with():
    import lintf

    for name, place in lintf.PUBLIC.items():
        found = getattr(lintf, name)
        assert found.__module__ == f"lintf.{place}", name
    assert set(lintf.__all__) <= set(dir(lintf))
    with pytest.raises(AttributeError, match="module 'lintf' has no attribute 'fti'"):
        lintf.fti  # noqa: B018
