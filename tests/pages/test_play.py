"""Figures to play with in the built book: what they refuse, and what goes into the page."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pytest
import torch

from lintf.analysis import isotropic
from lintf.pages import looks, play, plots, stills, widgets

mpl.use("Agg")
PANEL = {"xlabel": "x", "ylabel": "y", "xlim": (0, 2), "ylim": (0, 9)}
CURVE = {"name": "power", "x": "x", "y": "power", "look": "SGD", "value": "last", "dot": "two"}


def powers(k):
    """A formula with a curve and a number."""
    return {"power": np.arange(3.0) ** k, "last": 2.0**k}


def figure(panel=None, **options):
    """One panel with one slider."""
    panel = PANEL | {"curves": [CURVE]} if panel is None else panel
    data = {"x": [0, 1, 2], "two": 2}
    slider = widgets.slider("power", [1, 2, 3], 2)
    return play.Figure("powers", powers, data, [panel], k=slider, **options)


@pytest.fixture(autouse=True)
def own_settings():
    """Every test starts with matplotlib's settings, and none leaves a figure open."""
    with mpl.rc_context():
        yield
    assert plots.plt.get_fignums() == []


def test_a_page_gets_all_that_is_drawn():
    found = json.loads(json.dumps(figure(run="k")._repr_mimebundle_()[play.MIME]))
    assert found["formula"] == "powers"
    assert found["data"] == {"x": [0, 1, 2], "two": 2}
    assert found["controls"]["k"]["values"] == [1, 2, 3]
    assert found["controls"]["k"]["start"] == 1
    (panel,) = found["panels"]
    (curve,) = panel["curves"]
    vermilion = looks.PALETTE.index(looks.look("SGD")["color"])
    assert curve["light"] == looks.PALETTE[vermilion]
    assert curve["dark"] == looks.PALETTE_ON_DARK[vermilion]
    assert curve["dash"] == [2 * 3.7, 2 * 1.6]


def test_looks_without_a_method_are_those_of_the_palette():
    panel = PANEL | {"curves": [CURVE | {"look": 3}]}
    (curve,) = figure(panel)._repr_mimebundle_()[play.MIME]["panels"][0]["curves"]
    assert curve["light"] == looks.PALETTE[3]
    assert curve["dash"] == [2 * 1, 2 * 1.65]


def test_several_curves_differ_by_their_number():
    assert play.several({"a": "SGD", "b": 0}, x="t", y="r {}", value="here {}") == [
        {"name": "a", "look": "SGD", "x": "t", "y": "r 0", "value": "here 0"},
        {"name": "b", "look": 0, "x": "t", "y": "r 1", "value": "here 1"},
    ]


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        (PANEL, 'either "curves" or "cells"'),
        ({"curves": []}, "must have xlabel, xlim, ylabel, ylim"),
        (PANEL | {"curves": [], "colour": 1}, "cannot have colour"),
        (PANEL | {"curves": [CURVE | {"y": "root"}]}, "ask for root; there is"),
        (PANEL | {"curves": [CURVE | {"look": "blue"}]}, "'blue'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(panel, message):
    with pytest.raises(ValueError, match=message):
        figure(panel)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "step"}, "a button moves step; there is k"),
        ({"buttons": {"Best": {"k": 5}}}, r"k must be one of \[1, 2, 3\], got 5"),
    ],
)
def test_buttons_move_controls_to_their_values(options, message):
    with pytest.raises(ValueError, match=message):
        figure(**options)
    found = figure(buttons={"Best": {"k": 3}})._repr_mimebundle_()[play.MIME]
    assert found["buttons"] == {"Best": {"k": 2}}


def test_numbers_are_plain():
    value = [np.float32(0.1), torch.tensor([1 / 3, torch.nan]), "text", True, np.array([])]
    expected = [0.1000000015, [0.3333333433, None], "text", 1, []]
    assert play.plain("it", value) == expected
    assert play.plain("it", float("inf")) is None
    with pytest.raises(ValueError, match="it must be numbers or texts, got None"):
        play.plain("it", [None])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20, "20"),
        (-0.71432, "−0.714"),
        (0.00114, "0.00114"),
        (1234.5, "1234"),
        (3.21e-7, "3.21·$10^{-7}$"),
        (1e7, "$10^{7}$"),
        (float("nan"), "none"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert stills.three_digits(value) == text


def test_data_of_the_spectrum_integrate():
    """With all that the cut leaves out beyond it, moments are those of the whole spectrum."""
    found = play.spectrum_data(7, 3)
    t, w = isotropic.spectrum(7, 3)
    assert found["w"] @ found["t"] ** 2 == pytest.approx(w @ t**2, rel=1e-12)
    assert found["rho"].max() == 1
    cut = play.spectrum_data(7, 3, rare=1e-3)
    assert cut["cut"] == isotropic.spectrum(7, 3, 1e-3)[0].max()
    assert cut["t"].max() == cut["cut"]
    assert cut["cut"] < play.spectrum_data(7, 3, 1e-3, largest=9.0)["t"].max() <= 9
