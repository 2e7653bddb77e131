"""Drawings for dark pages, thumbnails, and the schematics of the book."""

from __future__ import annotations

import importlib.util
import io
import re
from math import sqrt
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
import torch
from matplotlib.figure import Figure

from lintf.pages import looks, plots

ROOT = Path(__file__).parents[2]


def loaded(path: str):
    """A file of the book as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIGURES, SCHEMATICS = loaded("book/_ext/lintf_figures.py"), loaded("book/schematics.py")


def svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def heatmap() -> str:
    figure = Figure()
    plots.heatmap(figure.subplots(), torch.tensor([[-1.0, 0.0], [0.5, 1.0]]), "M")
    return svg(figure)


# --- figures for dark pages ----------------------------------------------------------------------


@pytest.mark.parametrize("colour", [*looks.PALETTE, "#333333", "#e6e6e6"])
def test_a_line_has_its_partner(colour):
    figure = Figure()
    figure.subplots().plot([0, 1], color=colour)
    light = svg(figure)
    dark = FIGURES.dark(light)
    assert f"stroke: {colour.lower()}" in light
    assert f"stroke: {colour.lower()}" not in dark.lower()
    assert f"stroke: {looks.on_dark(colour)}" in dark


def test_the_ground_is_gone_and_letters_are_light():
    figure = Figure()
    figure.subplots().set(xlabel="step")
    root = ElementTree.fromstring(FIGURES.dark(svg(figure)))
    assert root.get("fill") == looks.on_dark("#000000")
    (drawn,) = (group for group in root if group.get("id") == "figure_1")
    assert [group.get("id") for group in drawn] == ["axes_1"]


def test_colours_that_stand_for_values_stay():
    """And the numbers on them; the lines between the cells become those of the ground."""
    light, dark = heatmap(), FIGURES.dark(heatmap())
    shades = re.findall(r"fill: (#[0-9a-f]{6}); stroke: #ffffff", light)
    assert len(set(shades)) == 4
    assert re.findall(rf"fill: (#[0-9a-f]{{6}}); stroke: {looks.DARK_GROUND}", dark) == shades
    numbers = re.findall(r'id="kept-0-[1-4]"', light)
    assert len(numbers) == 4
    for name in ("262626", "ffffff"):
        assert f"fill: #{name}" in dark


def test_a_colour_without_meaning_stops_the_build():
    figure = Figure()
    figure.subplots().plot([0, 1], color="red")
    with pytest.raises(ValueError, match=r"colour must be grey or one of"):
        FIGURES.dark(svg(figure))


def test_the_same_figure_has_the_same_partner():
    with mpl.rc_context():
        plots.style()
        assert FIGURES.dark(heatmap()) == FIGURES.dark(heatmap())


def test_the_size_on_the_page():
    assert FIGURES.size(svg(Figure(figsize=(5, 3)))) == (576, 346)
    assert FIGURES.size(SCHEMATICS.drawn("loop", "light"))[0] == 600


def test_a_thumbnail_is_the_first_panel_without_words():
    figure = Figure(figsize=(5, 4))
    upper, lower = figure.subplots(2)
    upper.plot([0, 1], color=looks.PALETTE[0], linewidth=1.5, label="a")
    upper.set(title="title", xlabel="step")
    upper.legend()
    lower.plot([0, 1], color=looks.PALETTE[1])
    small = FIGURES.first_panel(svg(figure))
    root = ElementTree.fromstring(small)
    assert looks.PALETTE[0].lower() in small
    assert looks.PALETTE[1].lower() not in small
    for part in ("matplotlib.axis", "legend", "text_"):
        assert f'id="{part}' not in small
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    box = upper.get_position()
    assert width == pytest.approx(72 * 5 * box.width + 6, abs=0.2)
    assert height == pytest.approx(72 * 4 * box.height + 6, abs=0.2)


# --- schematics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", SCHEMATICS.DRAWINGS)
def test_the_kept_drawing_is_what_the_code_draws(name, theme):
    kept = (SCHEMATICS.STATIC / f"{name}-{theme}.svg").read_text(encoding="utf-8")
    assert kept == SCHEMATICS.drawn(name, theme), "run python book/schematics.py"
    root = ElementTree.fromstring(kept)
    assert float(root.get("width")) == SCHEMATICS.WIDTH


@pytest.mark.parametrize("name", SCHEMATICS.DRAWINGS)
def test_a_drawing_for_dark_pages_has_no_colour_of_the_light_one(name):
    dark = SCHEMATICS.drawn(name, "dark")
    for colour in (*looks.PALETTE, SCHEMATICS.INK, SCHEMATICS.PALE):
        assert f'"{colour}"' not in dark


def test_layers_are_computed_as_a_transformer_does():
    """Against the layer of Notation with matrices, in two directions."""
    S = torch.diag(torch.tensor(SCHEMATICS.EIGENVALUES, dtype=torch.float64))
    E = X = torch.eye(2, dtype=torch.float64)  # error and inputs, as maps
    for (a, b), (ts, rs) in zip(SCHEMATICS.LAYERS, SCHEMATICS.stages()[1:], strict=True):
        E, X = (torch.eye(2) - a * X @ S @ X.T) @ E, (torch.eye(2) - a * b * X @ S @ X.T) @ X
        assert rs == pytest.approx(E.diagonal().tolist(), rel=1e-12)
        assert ts == pytest.approx((X @ S @ X.T).diagonal().tolist(), rel=1e-12)


def test_ellipses_and_bars_have_the_sizes_of_their_numbers():
    drawing = SCHEMATICS.drawn("layer", "light")
    found = [
        tuple(map(float, pair)) for pair in re.findall(r'rx="([\d.]+)" ry="([\d.]+)"', drawing)
    ]
    for (ts, _), pair in zip(SCHEMATICS.stages(), found, strict=True):
        assert pair == pytest.approx([46 * sqrt(t) for t in ts], abs=0.05)


def test_softmax_weights_are_positive_and_sum_to_one():
    marks, _ = SCHEMATICS.attention()
    bars = re.findall(r'height="([\d.]+)"[^>]*fill="#D55E00"', "".join(marks))
    assert sum(map(float, bars[-5:])) / 55 == pytest.approx(1, abs=1e-4)
