"""Figures to play with where no kernel runs: lintf_play.js computes what Python computes, and
what it shows can be moved, read and heard."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from lintf.pages import play, widgets

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book" / "_static"
sys.path.append(str(ROOT / "tests" / "pages"))
import test_widgets  # noqa: E402  (how to get the controls of a page stands there)

mpl.use("Agg")
PLAYED = [page for page in test_widgets.PAGES if "play.Figure(" in page.read_text()]

pytestmark = pytest.mark.browser


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A tab that reaches nothing, and fails the test for what went wrong in it."""
    context = browser.new_context(viewport={"width": 800, "height": 900})
    page, wrong = context.new_page(), []
    context.route("**/*", lambda route: (wrong.append(route.request.url), route.abort()))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.add_script_tag(path=STATIC / "lintf_play.js")
    yield page
    context.close()
    assert wrong == []


def specification(made: widgets.Controls) -> dict:
    """What the page of the book gets of a figure, as it arrives there."""
    return json.loads(json.dumps(made._repr_mimebundle_()[play.MIME]))


def assert_same(found: object, expected: object, name: str) -> None:
    """The browser's numbers are Python's to five digits, with none where Python has none."""
    expected = play.plain(name, expected)
    if isinstance(expected, str):
        assert found == expected, name
        return
    ours, theirs = np.asarray(expected, float), np.asarray(found, float)
    theirs[~np.isfinite(theirs)] = np.nan
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-9, equal_nan=True, err_msg=name)


@pytest.mark.parametrize("page", PLAYED, ids=lambda page: page.stem)
def test_the_numbers_in_the_browser_are_pythons(tab, page, monkeypatch):
    """Each control through its range, then all corners."""
    monkeypatch.chdir(page.parent)
    figures = [f for f in test_widgets.made_by(page) if isinstance(f, play.Figure)]
    assert figures
    for made in figures:
        tab.evaluate("figure => { window.figure = figure }", specification(made))
        for values in test_widgets.settings(made):
            # JSON has no NaN.
            text = tab.evaluate(
                "v => JSON.stringify(lintfPlay.formulas[figure.formula](v, figure.data))", values
            )
            found, expected = json.loads(text), made.function(**values)
            assert set(found) == set(expected)
            for name, value in expected.items():
                assert_same(found[name], value, f"{made.formula}: {name} at {values}")
