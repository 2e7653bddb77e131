"""Colours: readable on white and on dark, and never alone in telling methods apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lintf.pages import looks


def contrast(one: str, other: str) -> float:
    """By WCAG's formula, from 1 to 21."""

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_black_and_white():
    assert contrast("black", "white") == pytest.approx(21)


@pytest.mark.parametrize("colour", [*looks.PALETTE, looks.INK, looks.QUIET])
def test_every_colour_is_readable_on_both_grounds(colour):
    assert contrast(colour, looks.GROUND) >= 3
    assert contrast(looks.on_dark(colour), looks.DARK_GROUND) >= 3


def test_the_colours_of_time_are_seen_on_both_grounds():
    """They are not exchanged: a caption names them."""
    for share in np.linspace(0, 1, 21):
        colour = looks.TIME(share)[:3]
        assert min(contrast(colour, "white"), contrast(colour, looks.DARK_GROUND)) >= 3


def test_each_palette_has_as_many_different_colours():
    assert len(set(looks.PALETTE)) == len(set(looks.PALETTE_ON_DARK)) == len(looks.PALETTE) == 6


def test_no_look_differs_from_another_by_its_colour_alone():
    for (one, a), (other, b) in combinations(looks.LOOKS.items(), 2):
        assert a[1] != b[1], f"{one} and {other} have the same dashes"
        assert a[2] != b[2], f"{one} and {other} have the same markers"
    assert len(set(map(str, looks.DASHES))) == len(looks.DASHES) == len(looks.PALETTE)
    assert len(set(looks.MARKERS)) == len(looks.MARKERS) == len(looks.PALETTE)


@pytest.mark.parametrize("method", [*looks.LOOKS, *looks.ALSO])
def test_a_look_can_be_drawn(method):
    colour, _, marker = looks.LOOKS[looks.ALSO.get(method, method)]
    (line,) = Figure().subplots().plot([0, 1], **looks.look(method, points=True))
    assert (line.get_color(), line.get_marker()) == (colour, marker)
    (line,) = Figure().subplots().plot([0, 1], **looks.look(method))
    assert line.get_marker() == "None"


def test_changes_take_the_place_of_what_the_table_says():
    look = looks.look("SGD", points=True, ls="-", ms=2)
    assert (look["linestyle"], look["markersize"], look["marker"]) == ("-", 2, "s")
    assert "ls" not in look


def test_a_method_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"method must be one of .*did you mean 'Newton'"):
        looks.look("Newtn")


def test_on_dark_greys_change_places():
    assert looks.on_dark("#ffffff") == looks.DARK_GROUND
    assert looks.on_dark("#000000") == "#EBEBEB"
    steps = [int(looks.on_dark(f"#{v:02x}{v:02x}{v:02x}")[1:3], 16) for v in range(256)]
    assert steps == sorted(steps, reverse=True)


def test_a_colour_without_meaning_is_refused():
    with pytest.raises(ValueError, match=r"colour must be grey or one of .*, got #FF0000"):
        looks.on_dark("#ff0000")


def test_curves_that_stand_for_no_method_have_colours_and_markers_of_their_own():
    found = [looks.nth(i) for i in range(len(looks.MARKERS))]
    assert [look["color"] for look in found] == [f"C{i}" for i in range(len(found))]
    assert [look["marker"] for look in found] == list(looks.MARKERS)
    assert looks.nth(len(looks.MARKERS), ls=":")["marker"] == looks.MARKERS[0]
