"""The still picture of a figure to play with, as matplotlib draws it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lintf.pages import looks, plots


def style(look: str | int) -> dict[str, object]:
    """Returns colour and dash of a method's curve, or of the one of this number."""
    if isinstance(look, str):
        return looks.look(look)
    return {"color": looks.PALETTE[look], "linestyle": looks.DASHES[look]}


def three_digits(value: float | str) -> str:
    """Returns a number with three digits, as lintf_play.js writes it; a text as it is."""
    if isinstance(value, str):
        return value
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


def curves(ax: Axes, panel: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Draws a panel of curves.

    ax: where.
    panel: with "curves", complete.
    found: the numbers that it asks for, by name.
    """
    for area in panel["areas"]:
        x, y = found[area["x"]], found[area["y"]]
        base = max(0.0, panel["ylim"][0])
        ax.fill_between(x, y, base, color="0.85", label=area["name"])
    for curve in panel["curves"]:
        label = curve["name"] or None
        if curve["value"]:
            label += f": {three_digits(found[curve['value']])}"
        look = style(curve["look"])
        x, y = found[curve["x"]], found[curve["y"]]
        ax.plot(x, y, label=label, **look)
        if curve["dot"]:
            ax.plot(found[curve["dot"]], found[curve["value"]], "o", color=look["color"])
    for mark in panel["marks"]:
        at = mark["at"] if isinstance(mark["at"], int | float) else found[mark["at"]]
        line = ax.axhline if mark["across"] else ax.axvline
        line(at, label=mark["name"] or None, **looks.look("guide", linewidth=1))
    for key in ("xlabel", "ylabel", "xscale", "yscale", "xlim", "ylim"):
        ax.set(**{key: panel[key]})
    # A name that stands below a panel above is not repeated.
    told = set()
    for part in ax.get_figure(root=True).subfigs:
        for box in part.legends:
            told |= {text.get_text() for text in box.texts}
    handles, names = ax.get_legend_handles_labels()
    new = [(handle, name) for handle, name in zip(handles, names, strict=True) if name not in told]
    if new:
        handles, names = zip(*new, strict=True)
        ax.figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8)


def cells(ax: Axes, panel: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Draws a panel of squares with their colours and, where its columns have names, numbers.

    ax, found: as for `curves`.
    panel: with "cells", complete.
    """
    values = np.asarray(found[panel["cells"]], dtype=float)
    shades = np.asarray(found[panel["shade"] or panel["cells"]], dtype=float)
    shades = shades / panel["limit"]
    origin = "lower" if panel["up"] else "upper"
    ax.imshow(shades, cmap="RdBu_r", vmin=-1, vmax=1, origin=origin)
    for (i, j), value in np.ndenumerate(values):
        number = f"{value:.{panel['digits']}f}" if np.isfinite(value) else "×"
        colour = "white" if abs(shades[i, j]) > 0.55 else "0.15"
        if panel["columns"]:
            ax.text(j, i, number, ha="center", va="center", color=colour, fontsize=8)
    plots.keep(ax)
    title = panel["title"]
    if panel["value"]:
        title += f" {three_digits(found[panel['value']])}"
    ax.set_title(title, fontsize=8)
    ax.set(xlabel=panel["xlabel"], ylabel=panel["ylabel"])
    ax.grid(visible=False)
    columns, rows = panel["columns"] or [], panel["rows"] or []
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
