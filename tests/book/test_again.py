"""A page that is run twice gives the same outputs, figures byte for byte. The built book holds the
first run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

import nbclient
import nbformat
import pytest
from jupyter_cache import get_cache

ROOT = Path(__file__).parents[2]
CACHES = ROOT / "_build" / ".jupyter_cache"
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEASURED = re.compile(r" *\d+ ms a step")  # the only times that pages take

pytestmark = pytest.mark.faults


def outputs(notebook: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """(cell's source, kind, content) of all that a page shows, without times and widgets (their
    numbers are random)."""
    found = []
    for cell in notebook.cells:
        outs = cell.get("outputs", [])
        # It may come in any pieces.
        printed = "".join(out.text for out in outs if out.output_type == "stream")
        for data in (
            {"printed": printed},
            *(out.data for out in outs if out.output_type != "stream"),
        ):
            found += [
                (cell.source, kind, data[kind]) for kind in sorted(data) if "widget" not in kind
            ]
    return [(source, kind, MEASURED.sub("", str(content))) for source, kind, content in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_second_run_gives_the_same(page):
    (folder,) = CACHES.iterdir()  # of the last `make book`
    now = nbformat.read(page, as_version=4)
    # Raises KeyError if the book has another page.
    before = get_cache(folder).merge_match_into_notebook(now)[1]
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
        nbclient.execute(now, cwd=str(page.parent), timeout=600)
    first, second = outputs(before), outputs(now)
    assert any(kind == "image/svg+xml" for _, kind, _ in first)
    assert [out[:2] for out in first] == [out[:2] for out in second]
    assert [
        (a[0], a[1], a[2][:300], b[2][:300]) for a, b in zip(first, second, strict=True) if a != b
    ] == []
