"""Claims and the check of a page's parameters."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lintf.pages import claims, parameters
from lintf.pages.claims import claim, expect

GOOD = {
    "key": "demo-loss",
    "statement": "the loss is small",
    "source": "Figure 1",
    "published": "~1.3e-3",
    "measured": 0.00123456,
    "holds": True,
}


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
    assert fields["measured"] == "0.001235"
    assert fields["scale"] == "100 steps instead of 10 000"
    assert "smaller scale" in data["text/html"]
    assert 'id="claim-demo-loss"' in data["text/html"]


def test_without_mystnb_the_row_is_shown_as_text(monkeypatch, capsys):
    monkeypatch.setattr(claims, "glue", None)
    claim(**GOOD)
    shown = capsys.readouterr().out
    for part in ("reproduced", "the loss is small", "~1.3e-3", "Figure 1", "0.001235"):
        assert part in shown


def test_html_is_escaped(glued):
    claim(**GOOD | {"statement": "a < b & c"})
    assert "a &lt; b &amp; c" in glued[0][1].html()


def test_a_claim_that_does_not_hold_is_shown_and_raises(glued):
    with pytest.raises(AssertionError, match=r"'demo-loss' does not hold.*~1\.3e-3.*0\.001235"):
        claim(**GOOD | {"holds": np.bool_(False)})
    assert glued[0][1].verdict == "does not hold with these parameters"


def test_what_does_not_come_back_is_shown_with_the_reason(glued):
    """No error: the row says so, in words, in colour and in what the ledger reads."""
    claim(**GOOD | {"holds": np.bool_(False)}, why="their P is < 0")
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
    claim(**GOOD | {"holds": False}, why="their P is 0", scale="fewer steps")
    shown = capsys.readouterr().out
    for part in ("not reproduced", "their P is 0", "fewer steps"):
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
        (True, None, "reproduced"),
        (False, None, "does not hold with these parameters"),
        (False, "their P is 0", "not reproduced"),
        (True, "their P is 0", "holds with these parameters"),
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


@pytest.mark.parametrize("holds", [None, 1, 0.0, "yes", np.array([True, False])])
def test_holds_must_be_a_bool(holds):
    with pytest.raises(TypeError, match="holds must be True or False"):
        claim(**GOOD | {"holds": holds})


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
