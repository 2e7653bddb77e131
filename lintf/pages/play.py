"""A figure to play with in the built book, too, where no kernel runs.

Its numbers come from a formula that exists twice: as a function of the page, and in
book/_static/lintf_play.js. What both draw of them is said once, as panels of curves or of squares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from numbers import Real

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np

from lintf.analysis import isotropic
from lintf.pages import looks, stills, widgets

MIME = "application/vnd.lintf.play+json"
DIGITS = 10  # of the data
NEEDED = {"curves": {"xlabel", "ylabel", "xlim", "ylim"}, "cells": {"title", "tips", "limit"}}
# What a panel, a curve and a mark are unless they say it; what they leave out otherwise is None.
CURVES = {
    "xscale": "linear",
    "yscale": "linear",
    "areas": [],
    "marks": [],
    "height": 1,
}
CELLS = {
    "shade": None,
    "value": None,
    "rows": None,
    "columns": None,
    "up": False,
    "digits": 2,
    "xlabel": "",
    "ylabel": "",
    "largest": 130,
    "flat": 1,
}
CURVE = {"name": "", "look": "guide", "value": None, "dot": None}
MARK = {"name": "", "across": False}
WIDTH = 2  # of a curve in the browser, in pixels
# Strokes and gaps of matplotlib's dashes, in widths of the line.
DASHES = {"-": [], "--": [3.7, 1.6], "-.": [6.4, 1.6, 1, 1.6], ":": [1, 1.65]}


def spectrum_data(N: int, d: int, rare: float = 0.0, largest: float = 0.0) -> dict[str, object]:
    """Returns the data of formulas that integrate over the eigenvalues t of S / N, by name: t,
    their weights w, the density rho as a share of its peak, the peak, d, and the cut: the largest
    that is not rarer than `rare`.

    N, d, rare: as for `isotropic.spectrum`.
    largest: up to where there are eigenvalues beyond the cut, too.
    """
    t, w = isotropic.spectrum(N, d)
    rho = np.interp(t, *isotropic.density(N, d))
    cut = float(isotropic.spectrum(N, d, rare)[0].max())
    kept = (w > 1e-40) & (t <= max(cut, largest))
    return {
        "t": t[kept],
        "w": w[kept],
        "rho": rho[kept] / rho.max(),
        "peak": rho.max(),
        "d": d,
        "cut": cut,
    }


def several(curves: Mapping[str, str | int], **keys: str) -> list[dict[str, object]]:
    """Returns the curves of a panel that differ by a number only.

    curves: the name of each curve, and its look.
    keys: what a curve has besides, such as y="error {}", with the curve's number, from 0, in place
        of the braces.
    """
    found = []
    for i, (name, look) in enumerate(curves.items()):
        own = {key: text.format(i) for key, text in keys.items()}
        found.append({"name": name, "look": look} | own)
    return found


def plain(name: str, value: object) -> object:
    """Returns numbers, arrays of them, texts, and lists of all these as JSON has them: numbers with
    ten digits, and None where there is no finite one. Raises ValueError for anything else."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(name, one) for one in value]
    if isinstance(value, str):
        return value
    if not isinstance(value, Real):
        raise ValueError(f"{name} must be numbers or texts, got {value!r}")
    if not np.isfinite(value):
        return None
    value = float(value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.{DIGITS}g}")


class Figure(widgets.Controls):
    """Widgets, and the figure that a formula and its panels make of their values.

    Besides what `widgets.Controls` shows, it carries all that lintf_play.js needs to draw it
    without a kernel.
    """

    def __init__(
        self,
        formula: str,
        function: Callable[..., Mapping[str, object]],
        data: Mapping[str, object],
        panels: Sequence[Mapping[str, object]],
        title: Sequence[tuple[str, str]] = (),
        buttons: Mapping[str, Mapping[str, object]] | None = None,
        run: str | None = None,
        chosen: Sequence[int] = (0, 0),
        **controls: ipywidgets.ValueWidget,
    ) -> None:
        """Arguments:

        formula: its name in lintf_play.js.
        function: the same formula: it gets the values of the controls by name, and returns numbers
            and arrays by name.
        data: numbers, arrays and texts by name that do not change; lintf_play.js gets these.
        panels: each with "curves" or with "cells", as the functions below draw them. What a curve
            draws is named by a key of the data or of what the formula returns; its look is that of
            a method, as for `looks.look`, or the number of a curve that stands for none.
        title: texts, each with the key of the number that follows it, or "" for none.
        buttons: the values of controls that a button sets, by its name; None is no button.
        run: a control that a button moves from its first value to its last; None is no button.
        chosen: row and column of the square that is chosen at first.
        controls: sliders and choices of `widgets`.
        Raises ValueError for what cannot be drawn.
        """
        self.formula, self.function, self.data = formula, function, dict(data)
        self.title, self.run, self.chosen = [*title], run, [*chosen]
        self.panels = [_completed(panel) for panel in panels]
        self.buttons = {
            name: {key: _index(controls, key, value) for key, value in wanted.items()}
            for name, wanted in (buttons or {}).items()
        }
        if run is not None:
            _index(controls, run, controls[run].value if run in controls else None)
        super().__init__(self._paint, **controls)

    def numbers(self, **values: object) -> dict[str, object]:
        """Returns the data, and what the formula makes of these values. Raises ValueError where a
        panel asks for what is in neither."""
        found = self.data | dict(self.function(**values))
        asked = {key for _, key in self.title if key}
        for panel in self.panels:
            parts = [*panel.get("curves", []), *panel.get("areas", []), *panel.get("marks", [])]
            named = [part.get(key) for part in parts for key in ("x", "y", "at", "value", "dot")]
            named += [panel.get("cells"), panel.get("shade"), panel.get("value")]
            asked |= {key for key in named if isinstance(key, str)}
            asked |= {key for _, key in panel.get("tips", [])}
        if missing := sorted(asked - set(found)):
            raise ValueError(
                f"the panels ask for {', '.join(missing)}; there is {', '.join(found)}"
            )
        return found

    def _paint(self, **values: object) -> None:
        """Draws the still picture."""
        found = self.numbers(**values)
        # Squares stand side by side, and every panel of curves has a row of its own.
        rows = [[*row] for _, row in groupby(self.panels, lambda p: "cells" in p or id(p))]
        heights = [2.0 if "cells" in row[0] else 3.4 * row[0]["height"] for row in rows]
        figure = plt.figure(figsize=(5, sum(heights)))
        parts = figure.subfigures(len(rows), squeeze=False, height_ratios=heights)[:, 0]
        for part, row in zip(parts, rows, strict=True):
            axes = part.subplots(1, len(row), squeeze=False)[0]
            for ax, panel in zip(axes, row, strict=True):
                paint = stills.cells if "cells" in panel else stills.curves
                paint(ax, panel, found)
        words = []
        for text, key in self.title:
            words.append(f"{text} {stills.three_digits(found[key])}" if key else text)
        figure.suptitle(", ".join(words), fontsize=10)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        controls = {}
        for name, widget in self.widgets.items():
            names, values = zip(*widget.options, strict=True)
            kind = "choice" if isinstance(widget, ipywidgets.ToggleButtons) else "slider"
            controls[name] = {
                "kind": kind,
                "label": widget.description,
                "names": names,
                "values": values,
                "start": values.index(widget.value),
            }
        made = {
            "formula": self.formula,
            "controls": controls,
            "panels": [_with_strokes(panel) for panel in self.panels],
            "title": self.title,
            "buttons": self.buttons,
            "run": self.run,
            "chosen": self.chosen,
            "data": {name: plain(name, value) for name, value in self.data.items()},
        }
        return super()._repr_mimebundle_() | {MIME: json.loads(json.dumps(made))}


def _completed(panel: Mapping[str, object]) -> dict[str, object]:
    """Returns a panel with all that it leaves out. Raises ValueError for what it must not leave
    out, and for what it cannot have."""
    kinds = [kind for kind in NEEDED if kind in panel]
    if len(kinds) != 1:
        raise ValueError(f'a panel must have either "curves" or "cells", got {sorted(panel)}')
    needed, known = NEEDED[kinds[0]], CURVES if kinds == ["curves"] else CELLS
    if missing := sorted(needed - set(panel)):
        raise ValueError(f"a panel with {kinds[0]} must have {', '.join(missing)}")
    if unknown := sorted(set(panel) - needed - set(known) - {*kinds}):
        raise ValueError(f"a panel with {kinds[0]} cannot have {', '.join(unknown)}")
    made = known | dict(panel)
    if kinds == ["curves"]:
        made |= {"curves": [CURVE | curve for curve in panel["curves"]]}
        made |= {"marks": [MARK | mark for mark in made["marks"]]}
    return made


def _with_strokes(panel: Mapping[str, object]) -> dict[str, object]:
    """Returns a panel with the looks of its curves as CSS has them: a colour on white, one on dark,
    and the dashes in pixels."""
    if "curves" not in panel:
        return dict(panel)
    curves = []
    for curve in panel["curves"]:
        style = stills.style(curve["look"])
        dash = style["linestyle"]
        lengths = DASHES[dash] if isinstance(dash, str) else dash[1]
        drawn = {"light": style["color"], "dark": looks.on_dark(style["color"])}
        drawn["dash"] = [WIDTH * length for length in lengths]
        curves.append({key: curve[key] for key in curve if key != "look"} | drawn)
    return dict(panel) | {"curves": curves}


def _index(controls: Mapping[str, ipywidgets.ValueWidget], name: str, value: object) -> int:
    """Returns the place of a value among those of a control."""
    if name not in controls:
        raise ValueError(f"a button moves {name}; there is {', '.join(controls)}")
    values = [one for _, one in controls[name].options]
    if value not in values:
        raise ValueError(f"{name} must be one of {values}, got {value!r}")
    return values.index(value)
