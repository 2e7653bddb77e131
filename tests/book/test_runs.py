"""The stored runs as the built book uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lintf.training import measured, store

USED = Path(__file__).parents[2] / "_build" / "runs.txt"

pytestmark = pytest.mark.browser


def test_every_stored_run_is_used_by_a_page():
    assert USED.exists(), "the book is not built: run `make book`"
    lines = (line.split() for line in USED.read_text(encoding="utf-8").splitlines())
    pages = {file: names for file, *names in lines}
    assert "?" not in pages, f"not noted what {pages['?']} used: remove _build, `make book`"
    files = [*store.runs(), *measured.results()]
    stored = {file.relative_to(store.folder()).as_posix() for file in files}
    unused = sorted(stored - set(pages))
    assert unused == [], "no page asks for these any more: delete them, or say why they stay"
