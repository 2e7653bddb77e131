"""Leave in the pages what belongs there: `make tidy` brings twins into step, and drops outputs and
what editors add.

JupyterLab and Colab write into a notebook when a cell ran, which cells are folded, and whose
account it was.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat

CELL = {"tags", "mystnb"}  # the metadata that a page needs
LAYOUT = {"lines_to_next_cell"}  # jupytext's own: blank lines in the .py twin behind a function
NOTEBOOK = {
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
}
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def foreign(notebook: nbformat.NotebookNode) -> set[str]:
    """The names of metadata that do not belong into a page."""
    names = {name for cell in notebook.cells for name in cell.metadata if name not in CELL | LAYOUT}
    names |= {name for name in notebook.metadata if name not in NOTEBOOK}
    header = {
        name: value
        for name, value in notebook.metadata.get("jupytext", {}).items()
        if name == "formats"
    }
    if (
        header != NOTEBOOK["jupytext"]
        or notebook.metadata.get("kernelspec") != NOTEBOOK["kernelspec"]
    ):
        names.add("the kernel's or jupytext's own")
    return names


def tidy(page: Path) -> None:
    """Make both twins what the newer of them says, without anything foreign."""
    twin = page.with_suffix(".py")
    subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--sync", str(page)], check=True)
    before = nbformat.read(page, as_version=4)
    ran = any(cell.get("outputs") or cell.get("execution_count") for cell in before.cells)
    if not (ran or foreign(before) or foreign(jupytext.read(twin))):
        return
    for cell in before.cells:
        kept = {k: v for k, v in cell.metadata.items() if k in CELL | LAYOUT}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    before.metadata = nbformat.from_dict(NOTEBOOK)
    jupytext.write(before, twin, fmt="py:percent")
    nbformat.write(before, page)


def main(pages: Sequence[str]) -> None:
    for page in map(Path, pages) if pages else sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        tidy(page)


if __name__ == "__main__":
    main(sys.argv[1:])
