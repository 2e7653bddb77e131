"""A figure to play with in the built book, too, where no kernel runs.

Its numbers come from a formula that exists twice: as a function of the page, and in
book/_static/play.js. What both draw of them is said once, as panels of curves or of squares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lintf.analysis import isotropic
from lintf.pages import widgets

MIME = "application/vnd.lintf.play+json"
DIGITS = 10  # of the data
NEEDED = {"curves": {"xlabel", "ylabel", "xlim", "ylim"}, "cells": {"title", "tips", "limit"}}
# What a panel, a curve and a mark are unless they say it; what they leave out otherwise is None.
CURVES = {"xscale": "linear", "yscale": "linear", "areas": [], "marks": [], "height": 1}
CELLS = {"shade": None, "value": None, "rows": None, "columns": None, "up": False, "digits": 2}
CELLS |= {"xlabel": "", "ylabel": "", "largest": 130, "flat": 1}
CURVE = {"name": "", "x": "x", "dash": "-", "colour": None, "value": None, "dot": False}
MARK = {"name": "", "across": False}


def eigenvalues(N: int, d: int, rare: float = 0.0, largest: float = 0.0) -> dict[str, object]:
    """Returns the data of formulas that integrate over the eigenvalues t of S / N, by name: t, their
    weights w, the density rho as a share of its peak, the peak, d, and the cut: the largest that is
    not rarer than `rare`.

    N, d, rare: as for `isotropic.spectrum`.
    largest: up to where there are eigenvalues beyond the cut, too.
    """
    t, w = isotropic.spectrum(N, d)
    rho = np.interp(t, *isotropic.density(N, d))
    cut = float(isotropic.spectrum(N, d, rare)[0].max())
    kept = (w > 1e-17) & (t <= max(cut, largest))
    found = {"t": t[kept], "w": w[kept], "rho": rho[kept] / rho.max(), "peak": rho.max()}
    return {**found, "d": d, "cut": cut}


def plain(name: str, value: object) -> object:
    """Returns numbers of any kind and shape, or texts, as JSON has them: with ten digits, and None
    where there is no finite number. Raises ValueError for anything else."""
    if isinstance(value, str) or (
        isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    ):
        return value
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers in rows of equal length, or texts") from None
    return _rounded(array.tolist())


def _rounded(value: float | list) -> float | int | list | None:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if not np.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.{DIGITS}g}")


def short(value: float) -> str:
    """Returns a number with three digits, as play.js writes it."""
    if not np.isfinite(value):
        return "none"
    digits, _, power = f"{value:.2e}".partition("e")
    if float(value).is_integer() and abs(value) < 1e5:
        text = f"{value:.0f}"
    elif -3 <= int(power) < 5:
        text = f"{value:.{max(0, 2 - int(power))}f}"
    else:
        raised = f"$10^{{{int(power)}}}$"
        text = raised if float(digits) == 1 else f"{float(digits):g}·{raised}"
    return text.replace("-", "−") if text[0] == "-" else text


class Figure(widgets.Controls):
    """Widgets, and the figure that a formula and its panels make of their values.

    Besides what `widgets.Controls` shows, it carries all that play.js needs to draw it without a
    kernel.
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

        formula: its name in play.js.
        function: the same formula: it gets the values of the controls by name, and returns numbers
            and arrays by name.
        data: numbers, arrays and texts by name that do not change; play.js gets these.
        panels: each with "curves" or with "cells", as the functions below draw them. What a curve
            draws is named by a key of the data or of what the formula returns.
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
            named = [part.get(key) for part in parts for key in ("x", "y", "at", "value")]
            named += [panel.get("cells"), panel.get("shade"), panel.get("value")]
            asked |= {key for key in named if isinstance(key, str)}
            asked |= {key for _, key in panel.get("tips", [])}
        if missing := sorted(asked - set(found)):
            raise ValueError(f"the panels ask for {', '.join(missing)}; there is {', '.join(found)}")
        return found

    def _paint(self, **values: object) -> None:
        """Draws the still picture."""
        found = self.numbers(**values)
        rows = [[*row] for _, row in groupby(self.panels, lambda p: "cells" in p or id(p))]
        heights = [2.0 if "cells" in row[0] else 3.4 * row[0]["height"] for row in rows]
        figure = plt.figure(figsize=(5, sum(heights)))
        parts = figure.subfigures(len(rows), squeeze=False, height_ratios=heights)[:, 0]
        for part, row in zip(parts, rows, strict=True):
            for ax, panel in zip(part.subplots(1, len(row), squeeze=False)[0], row, strict=True):
                (_paint_cells if "cells" in panel else _paint_curves)(ax, panel, found)
        words = [f"{text} {short(found[key])}" if key else text for text, key in self.title]
        figure.suptitle(", ".join(words), fontsize=10)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        controls = {}
        for name, widget in self.widgets.items():
            names, values = zip(*widget.options, strict=True)
            kind = "choice" if isinstance(widget, ipywidgets.ToggleButtons) else "slider"
            controls[name] = {"kind": kind, "label": widget.description, "names": names}
            controls[name] |= {"values": values, "start": values.index(widget.value)}
        made = {"formula": self.formula, "controls": controls, "panels": self.panels}
        made |= {key: getattr(self, key) for key in ("title", "buttons", "run", "chosen")}
        made["data"] = {name: plain(name, value) for name, value in self.data.items()}
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


def _index(controls: Mapping[str, ipywidgets.ValueWidget], name: str, value: object) -> int:
    """Returns the place of a value among those of a control."""
    if name not in controls:
        raise ValueError(f"a button moves {name}; there is {', '.join(controls)}")
    values = [one for _, one in controls[name].options]
    if value not in values:
        raise ValueError(f"{name} must be one of {values}, got {value!r}")
    return values.index(value)


def _paint_curves(ax: Axes, panel: Mapping[str, object], found: Mapping[str, object]) -> None:
    for area in panel["areas"]:
        base = max(0.0, panel["ylim"][0])
        ax.fill_between(found[area["x"]], found[area["y"]], base, color="0.85", label=area["name"])
    for curve in panel["curves"]:
        value = f": {short(found[curve['value']])}" if curve["value"] else ""
        colour = "0.4" if curve["colour"] is None else f"C{curve['colour']}"
        marker = "o" if curve["dot"] else ""
        label = curve["name"] + value if curve["name"] else None
        x, y = found[curve["x"]], found[curve["y"]]
        ax.plot(x, y, curve["dash"], marker=marker, color=colour, label=label)
    for mark in panel["marks"]:
        at = mark["at"] if isinstance(mark["at"], int | float) else found[mark["at"]]
        line = ax.axhline if mark["across"] else ax.axvline
        line(at, color="0.4", linestyle=":", linewidth=1, label=mark["name"] or None)
    ax.set(**{key: panel[key] for key in ("xlabel", "ylabel", "xscale", "yscale", "xlim", "ylim")})
    whole = ax.figure.figure
    told = {t.get_text() for part in whole.subfigs for box in part.legends for t in box.texts}
    entries = zip(*ax.get_legend_handles_labels(), strict=True)
    if new := [(handle, name) for handle, name in entries if name not in told]:
        ax.figure.legend(*zip(*new, strict=True), loc="outside lower center", ncols=2, fontsize=8)


def _paint_cells(ax: Axes, panel: Mapping[str, object], found: Mapping[str, object]) -> None:
    values = np.asarray(found[panel["cells"]], dtype=float)
    shades = np.asarray(found[panel["shade"] or panel["cells"]], dtype=float) / panel["limit"]
    ax.imshow(shades, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower" if panel["up"] else "upper")
    for (i, j), value in np.ndenumerate(values):
        number = f"{value:.{panel['digits']}f}" if np.isfinite(value) else "×"
        colour = "white" if abs(shades[i, j]) > 0.55 else "0.15"
        if panel["columns"]:
            ax.text(j, i, number, ha="center", va="center", color=colour, fontsize=8)
    value = f" {short(found[panel['value']])}" if panel["value"] else ""
    ax.set_title(panel["title"] + value, fontsize=8)
    ax.set(xlabel=panel["xlabel"], ylabel=panel["ylabel"])
    ax.grid(visible=False)
    ax.set_xticks(range(len(panel["columns"] or [])), panel["columns"] or [])
    ax.set_yticks(range(len(panel["rows"] or [])), panel["rows"] or [])
