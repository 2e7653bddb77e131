"""A page that is run twice gives the same outputs, figures byte for byte. The built book holds the first run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
EXECUTED = ROOT / "_build" / "jupyter_execute" / "notebooks"
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEASURED = re.compile(r"\d+ ms a step")  # the only times that pages take

pytestmark = pytest.mark.again


def outputs(notebook: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """(cell's source, kind, content) of all that a page shows, without times and widgets (their numbers are random)."""
    found = []
    for cell in notebook.cells:
        for out in cell.get("outputs", []):
            data = {"stream": out.get("text", "")} if out.output_type == "stream" else out.data
            found += [
                (cell.source, kind, MEASURED.sub("", str(data[kind]))) for kind in sorted(data) if "widget" not in kind
            ]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_second_run_gives_the_same(page):
    before = nbformat.read(EXECUTED / page.name, as_version=4)
    now = nbformat.read(page, as_version=4)
    assert [c.source for c in now.cells] == [c.source for c in before.cells], "the book is not the one of these pages"
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
        nbclient.execute(now, cwd=str(page.parent), timeout=600)
    first, second = outputs(before), outputs(now)
    assert any(kind == "image/png" for _, kind, _ in first)
    assert [out[:2] for out in first] == [out[:2] for out in second]
    assert [(a[0], a[1], a[2][:300], b[2][:300]) for a, b in zip(first, second, strict=True) if a != b] == []
