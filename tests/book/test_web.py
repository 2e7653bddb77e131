"""The web side of the book: what the extensions fold, shorten and add, without a browser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from docutils import nodes

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))

import lintf_folds
import lintf_slim
import lintf_text
import lintf_web

pytestmark = pytest.mark.book


def cell(source: str, *tags: str, said: str | None = None) -> nodes.container:
    """A cell as MyST-NB makes it."""
    made = nodes.container("", nb_element="cell_code", cell_metadata={"tags": list(tags)})
    code = nodes.container("", nb_element="cell_code_source")
    made += code
    code += nodes.literal_block("", source)
    if said is not None:
        output = nodes.container("", nb_element="cell_code_output")
        output += nodes.literal_block("", said, classes=["output", "stream"])
        made += output
    return made


@pytest.mark.parametrize(
    ("tags", "folded"), [((), True), (("parameters",), False), (("show",), False)]
)
def test_code_is_folded_unless_a_tag_says_otherwise(tags, folded):
    made = cell("x = 1\n\ny = 2", *tags)
    lintf_folds.fold(made)
    assert (made.get("hide_mode") == "input") is folded
    if folded:
        assert made["prompt_show"] == "Show code (2 lines)"


def test_a_solution_stays_as_it_is():
    made = cell("x = 1", "hide-cell")
    made["hide_mode"] = "all"
    lintf_folds.fold(made)
    assert made["hide_mode"] == "all"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("3 of 3 runs loaded from runs/\n", None),
        ("3 of 3 runs loaded from runs/\nloss 1\n", "loss 1"),
        ("2 of 3 runs loaded from runs/", "2 of 3 runs loaded from runs/"),
    ],
)
def test_only_lines_that_say_all_was_stored_are_left_out(said, left):
    made = cell("fit()", said=said)
    lintf_folds.drop_loaded(made)
    assert (None if len(made.children) == 1 else made.children[1].astext()) == left


def test_the_style_sheet_keeps_what_is_used():
    text = """/* .gone */ .used, .gone > a { color: red } .gone { x: y } a:not(.gone) { x: y }
    @media (max-width: 1px) { .gone { x: y } .used { x: "}" } } @media print { .gone { x: y } }
    .fa-sun:before { content: "x" } @font-face { font-family: "Font Awesome"; }"""
    slim = lintf_slim.slim(text, {"used", "fa-sun"})
    assert ".used{color: red}" in slim
    assert "a:not(.gone){x: y}" in slim
    assert '@media (max-width: 1px){.used{x: "}"}}' in slim
    for gone in (".gone >", "print", "fa-sun", "Font Awesome", "/*"):
        assert gone not in slim


def test_a_number_on_arxiv_is_one_word():
    words = lintf_text.Search({}).split("Fig. 4 of 2306.00297, and 12.5")
    assert words == ["Fig", "4", "of", "2306.00297", "and", "12", "5"]


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        (None, ""),
        ("https://github.com/Ann/book", "https://ann.github.io/book/"),
        ("https://github.com/ann/ann.github.io", "https://ann.github.io/"),
    ],
)
def test_where_the_book_is_shown(repository, address):
    assert lintf_web.pages_address(repository) == address


def test_a_description_ends_at_a_word():
    assert lintf_web.shortened("short") == "short"
    assert lintf_web.shortened("one two three", 8) == "one two…"


def test_the_sitemap_names_every_page():
    text = lintf_web.sitemap("https://ann.github.io/book/", ["book/a", "notebooks/b"])
    assert text.count("<loc>") == 2
    assert "<loc>https://ann.github.io/book/notebooks/b.html</loc>" in text
