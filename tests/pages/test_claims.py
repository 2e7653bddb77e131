"""Claims, their sources, and the check of a page's parameters."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lintf.pages import claims, parameters, sources
from lintf.pages.claims import claim, expect, told
from lintf.pages.tolerances import Check

HOLDS, FAILS = Check(True, "width of a line"), Check(False, "width of a line")
GOOD = {
    "key": "demo-loss",
    "statement": "the loss is small",
    "source": "2306.00297, Fig. 1",
    "published": "test loss: ~1.3e-3 [squared error]",
    "measured": 0.00123456,
    "holds": HOLDS,
}
OURS = {k: v for k, v in GOOD.items() if k not in ("source", "published")} | {"against": "0.0012"}
APART = {k: v for k, v in GOOD.items() if k != "holds"} | {"missing": "another model"}


@pytest.fixture(autouse=True)
def glued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, claims.Claim]]:
    """No claims made yet; what is glued goes into the list, as in a notebook."""
    kept: list[tuple[str, claims.Claim]] = []
    monkeypatch.setattr(claims, "_made", {})
    monkeypatch.setenv("LINTF_STRICT", "1")
    monkeypatch.setattr(claims, "get_ipython", lambda: SimpleNamespace())
    monkeypatch.setattr(claims, "glue", lambda key, row: kept.append((key, row)))
    return kept


def test_a_claim_is_glued_with_all_its_fields(glued):
    claim(**GOOD, scale="100 steps instead of 10 000")
    ((key, row),) = glued
    data, metadata = row._repr_mimebundle_()
    fields = metadata["lintf_claim"]
    assert key == fields["key"] == "demo-loss"
    assert fields["published"] == "~1.3e-3"
    assert fields["quantity"] == "test loss"
    assert fields["unit"] == "squared error"
    assert fields["rule"] == "width of a line"
    assert fields["measured"] == "0.001235"
    assert fields["scale"] == "100 steps instead of 10 000"
    assert "smaller scale" in data["text/html"]
    assert 'id="claim-demo-loss"' in data["text/html"]


def test_without_mystnb_the_row_is_shown_as_text(monkeypatch, capsys):
    monkeypatch.setattr(claims, "glue", None)
    claim(**GOOD)
    shown = capsys.readouterr().out
    for part in (
        "[reproduced]",
        "the loss is small",
        "test loss: ~1.3e-3 [squared error]",
        "Fig. 1 of 2306.00297",
        "0.001235",
        "width of a line",
    ):
        assert part in shown


def test_html_is_escaped(glued):
    claim(**GOOD | {"statement": "a < b & c"})
    assert "a &lt; b &amp; c" in glued[0][1].html()


def test_a_claim_that_does_not_hold_is_shown_and_raises(glued):
    with pytest.raises(AssertionError, match=r"'demo-loss' does not hold.*~1\.3e-3.*0\.001235"):
        claim(**GOOD | {"holds": FAILS})
    assert glued[0][1].verdict == "does not hold with these parameters"


def test_what_does_not_come_back_is_shown_with_the_reason(glued):
    """No error: the row says so, in words, in colour and in what the ledger reads."""
    claim(**GOOD | {"holds": FAILS}, why="their P is < 0")
    ((key, row),) = glued
    assert key == "demo-loss"
    assert row.verdict == "not reproduced"
    data, metadata = row._repr_mimebundle_()
    assert metadata["lintf_claim"]["why"] == "their P is < 0"
    assert metadata["lintf_claim"]["holds"] is False
    assert "[not reproduced] the loss is small" in data["text/plain"]
    assert "why        their P is < 0" in data["text/plain"]
    assert "not reproduced</b>" in data["text/html"]
    assert "their P is &lt; 0" in data["text/html"]
    assert claims.OTHER_COLOUR in data["text/html"]


def test_a_reason_is_shown_without_mystnb_too(monkeypatch, capsys):
    monkeypatch.setattr(claims, "glue", None)
    claim(**GOOD | {"holds": FAILS}, why="their P is 0")
    shown = capsys.readouterr().out
    for part in ("not reproduced", "their P is 0"):
        assert part in shown


def test_a_reason_for_what_holds_is_out_of_date(glued):
    with pytest.raises(AssertionError, match=r"'demo-loss' holds.*out of date.*their P is 0"):
        claim(**GOOD, why="their P is 0")
    row = glued[0][1]
    assert row.verdict == "holds with these parameters"
    assert "their P is 0" not in repr(row) + row.html()


@pytest.mark.parametrize("setting", [None, "", "0"])
@pytest.mark.parametrize(
    ("holds", "why", "verdict"),
    [
        (HOLDS, None, "reproduced"),
        (FAILS, None, "does not hold with these parameters"),
        (FAILS, "their P is 0", "not reproduced"),
        (HOLDS, "their P is 0", "holds with these parameters"),
    ],
)
def test_where_it_is_not_strict_the_verdict_is_shown_and_nothing_stops(
    monkeypatch, capsys, setting, holds, why, verdict
):
    monkeypatch.delenv("LINTF_STRICT")
    if setting is not None:
        monkeypatch.setenv("LINTF_STRICT", setting)
    monkeypatch.setattr(claims, "glue", None)
    claim(**GOOD | {"holds": holds}, why=why)
    assert f"[{verdict}]" in capsys.readouterr().out


def test_a_solution_insists_only_where_it_is_strict(monkeypatch, capsys):
    expect(True)
    with pytest.raises(AssertionError, match="must hold"):
        expect(False)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("LINTF_STRICT", "0")
    expect(np.bool_(False))
    assert capsys.readouterr().out == "With these parameters the result is another one.\n"


@pytest.mark.parametrize("value", ["true", "yes", "2", " 1"])
@pytest.mark.parametrize("call", [lambda: claim(**GOOD), lambda: expect(True)])
def test_strict_is_0_or_1(monkeypatch, value, call):
    monkeypatch.setenv("LINTF_STRICT", value)
    with pytest.raises(ValueError, match=f"LINTF_STRICT must be 1, 0 or empty, got {value!r}"):
        call()


def test_without_a_reason_nothing_is_said_of_one(glued):
    claim(**GOOD)
    row = glued[0][1]
    assert row.why is None
    assert "why" not in repr(row)


@pytest.mark.parametrize("holds", [None, True, 1, 0.0, "yes", np.array([True, False])])
def test_holds_must_name_its_rule(holds):
    with pytest.raises(TypeError, match="holds must be a rule"):
        claim(**GOOD | {"holds": holds})


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (GOOD, "reproduced"),
        (GOOD | {"scale": "100 steps"}, "reproduced at a smaller scale"),
        (GOOD | {"holds": FAILS, "why": "their P is 0"}, "not reproduced"),
        (APART, "not comparable"),
        (OURS, "ours"),
        (OURS | {"scale": "one training"}, "ours"),
        (OURS | {"source": "2306.00297, Theorem 1"}, "ours"),
    ],
)
def test_the_five_verdicts(glued, arguments, verdict):
    claim(**arguments)
    row = glued[0][1]
    assert row.verdict == verdict == claims.verdict_of(arguments)
    assert verdict in claims.VERDICTS
    assert f"background:{claims.VERDICTS[verdict]};color:#fff" in row.html()
    assert f">{verdict}</b>" in row.html()
    assert row._repr_mimebundle_()[1]["lintf_claim"]["verdict"] == verdict


def luminance(colour: str) -> float:
    """The relative luminance of a colour such as "#147a45", as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", claims.VERDICTS.values())
def test_a_verdict_is_read_in_white_on_its_colour(colour):
    """The badge has a ground of its own, so this holds on light pages and on dark ones."""
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_ours_says_what_it_is_held_against_and_the_others_what_was_published(glued):
    claim(**OURS)
    claim(**APART | {"key": "demo-other"})
    (_, ours), (_, apart) = glued
    assert "against    0.0012" in repr(ours)
    assert "held against <b>0.0012</b>" in ours.html()
    assert "missing    another model" in repr(apart)
    assert "Missing: another model" in apart.html()


@pytest.mark.parametrize("name", ["source", "published"])
def test_a_published_result_has_a_place_and_a_value(name):
    with pytest.raises(ValueError, match="source= and published=, one of ours against="):
        claim(**GOOD | {name: None})


@pytest.mark.parametrize("extra", [{"against": "0.1"}, {"against": "0.1", "published": None}])
def test_a_result_is_published_or_ours(extra):
    if extra.get("published", "") is None:
        claim(**GOOD | extra)  # ours, with the place of what it is held against
    else:
        with pytest.raises(ValueError, match="source= and published=, one of ours against="):
            claim(**GOOD | extra)


@pytest.mark.parametrize("published", ["1.3e-3", "test loss: 1.3e-3", "1.3e-3 [squared error]"])
def test_a_published_number_has_quantity_and_unit(published):
    with pytest.raises(ValueError, match="a published number has quantity and unit"):
        claim(**GOOD | {"published": published})


def test_a_published_statement_needs_neither(glued):
    claim(**GOOD | {"published": "it falls"})
    assert glued[0][1].beside == "it falls"


@pytest.mark.parametrize(
    "pair", [{"scale": "small", "why": "x"}, {"scale": "small", "missing": "x"}]
)
def test_what_is_smaller_is_not_called_not_reproduced(pair):
    with pytest.raises(ValueError, match="only one may be given"):
        claim(**GOOD | {"holds": FAILS} | pair)


@pytest.mark.parametrize("name", ["scale", "why", "missing"])
def test_reasons_are_sentences(name):
    with pytest.raises(ValueError, match=f"{name} must be a sentence"):
        claim(**GOOD | {name: " "})


def test_what_is_not_comparable_does_not_hold_or_fail():
    with pytest.raises(ValueError, match="does not hold or fail"):
        claim(**APART | {"holds": HOLDS})


@pytest.mark.parametrize("reason", [{"why": "x"}, {"missing": "x"}])
def test_ours_needs_no_excuse(reason):
    with pytest.raises(ValueError, match="are for published results"):
        claim(**OURS | reason)


# --- sources -------------------------------------------------------------------------------------


def test_a_source_is_a_link_for_each_of_its_parts():
    code = "chengxiang/LinearTransformer"
    found = sources.links(f"2306.00297, Fig. 4; {code}, a page.ipynb; {code}, README")
    assert found == [
        ("Fig. 4 of 2306.00297", "https://arxiv.org/abs/2306.00297"),
        (f"a page.ipynb of {code}", f"https://github.com/{code}/blob/HEAD/a%20page.ipynb"),
        (f"README of {code}", f"https://github.com/{code}"),
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a paper, Fig. 4", "unknown source 'a paper'"),
        ("2306.00297", "must name a figure, table, section, theorem or file"),
        ("2306.00297, the figure for the loss", "must name a figure"),
    ],
)
def test_a_source_names_a_known_paper_and_a_place(source, message):
    with pytest.raises(ValueError, match=message):
        claim(**GOOD | {"source": source})


@pytest.mark.parametrize("key", ["", "loss", "Demo-loss", "demo_loss", "demo-", "demo loss", 3])
def test_keys_have_a_page_and_a_slug(key):
    with pytest.raises(ValueError, match="page-slug"):
        claim(**GOOD | {"key": key})


def test_a_key_stands_for_one_statement(glued):
    claim(**GOOD)
    claim(**GOOD)  # the cell run again
    assert len(glued) == 2
    with pytest.raises(ValueError, match=r"already used for: the loss is small"):
        claim(**GOOD | {"statement": "another one"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("about 5", "about 5"),
        (0.5, "0.5"),
        (np.float64(-7.1234), "-7.123"),
        (10_000, "10000"),
        (1e-5, "1e-05"),
    ],
)
def test_numbers_are_shown_with_four_digits(glued, value, text):
    claim(**GOOD | {"measured": value})
    assert glued[0][1].measured == text


@pytest.mark.parametrize("value", [None, True, [1.0]])
def test_published_and_measured_are_text_or_numbers(value):
    with pytest.raises(TypeError, match="measured must be a string or a number"):
        claim(**GOOD | {"measured": value})


# --- parameters ----------------------------------------------------------------------------------

PARAMETERS = "n_layer = 3  # layers\nlr = 1e-3  # step size\nseeds = [0, 1, 2]  # three runs"


def run_cells(monkeypatch: pytest.MonkeyPatch, *cells: str) -> None:
    """Run the check as the next cell of a notebook in which these cells were run."""
    shell = SimpleNamespace(user_ns={"In": ["", *cells, "parameters.check_parameters()"]})
    monkeypatch.setattr(parameters, "get_ipython", lambda: shell)
    parameters.check_parameters()


def test_outside_a_notebook_there_is_nothing_to_check():
    parameters.check_parameters()


def test_parameters_of_the_page_are_taken(monkeypatch):
    run_cells(monkeypatch, "import torch", PARAMETERS, "# Parameters\nn_layer = 4\n")


def test_a_misspelt_parameter_is_refused(monkeypatch):
    expected = (
        r"unknown parameter 'n_layr' = 4\. Did you mean 'n_layer'\? This page has: "
        r"n_layer, lr, seeds\."
    )
    with pytest.raises(ValueError, match=expected):
        run_cells(monkeypatch, "import torch", PARAMETERS, "# Parameters\nn_layr = 4\n")


def test_an_unlike_name_gets_no_guess(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown parameter 'batch' = 4\. This page has: n_layer"):
        run_cells(monkeypatch, "import torch", PARAMETERS, "# Parameters\nbatch = 4\n")


@pytest.mark.parametrize(
    "cells",
    [
        [PARAMETERS.replace("n_layer", "n_layr")],
        [PARAMETERS, "x = 1", PARAMETERS.replace("n_layer", "n_layr")],  # edited, and run again
        [PARAMETERS + "\nn_layr = 4"],
    ],
)
def test_a_misspelt_name_in_the_readers_own_hand_is_refused(monkeypatch, cells):
    with pytest.raises(
        ValueError, match=r"unknown parameter 'n_layr' = \d\. Did you mean 'n_layer'\?"
    ):
        run_cells(monkeypatch, "import torch", *cells)


def test_a_readers_own_name_is_no_parameter(monkeypatch):
    run_cells(monkeypatch, PARAMETERS + "\nmy_note = 4", "n = 0", PARAMETERS)


@pytest.mark.parametrize(
    "cells",
    [
        ["n_layer, lr = 0, 1e-3\nseeds = [0]"],
        [PARAMETERS, "n_layer = 0"],
        [PARAMETERS, "x = 1", "lr = 1e-3\nseeds = [0]", "n_layer = 0", "y = 2"],
        ["# Parameters\nlr = 1e-3\n", PARAMETERS.replace("3", "0", 1)],  # out of order
    ],
)
def test_what_is_checked_does_not_depend_on_how_the_cells_were_run(monkeypatch, cells):
    space: dict[str, object] = {}
    for cell in cells:
        exec(cell, space)
    shell = SimpleNamespace(user_ns={**space, "In": ["", *cells, "parameters.check_parameters()"]})
    monkeypatch.setattr(parameters, "get_ipython", lambda: shell)
    with pytest.raises(ValueError, match="n_layer must be an integer from 1 to 500, got 0"):
        parameters.check_parameters()


@pytest.mark.parametrize(
    ("says", "inside", "outside"),
    [
        (70, (65, 70, 75), (64.9, 75.1, np.nan, np.inf)),
        (0.13, (0.125, 0.135), (0.1249, 0.1351)),
        (2.5, (2.45, 2.55), (2.44, 2.56)),
        (250, (245, 255), (244, 256)),
        (-3e-5, (-3.5e-5, -2.5e-5), (3e-5,)),
    ],
)
def test_the_text_tells_what_was_measured(monkeypatch, says, inside, outside):
    for value in inside:
        told("words", says, value)
    for value in outside:
        with pytest.raises(AssertionError, match="the text says 'words'"):
            told("words", says, value)
    monkeypatch.setenv("LINTF_STRICT", "0")
    for value in outside:
        told("words", says, value)
