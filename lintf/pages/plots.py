"""One figure style, one definition of an error band, and the figures that several pages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib_inline.backend_inline import set_matplotlib_formats
from torch import Tensor

from lintf.analysis.theory import distance_to_identity
from lintf.pages.looks import DASHES, INK, MARKERS, PALETTE, PICTURE, QUIET, STYLE, TIME, look, nth

__all__ = [
    "DASHES",
    "INK",
    "MARKERS",
    "PALETTE",
    "QUIET",
    "TIME",
    "look",
    "nth",
]  # of looks.py, for pages

NAMES = {  # of matrices, # for the layer
    "Q": "$Q_#$ (paper: $A_#$)",
    "P": "$P_#$ (paper: $B_#$)",
    "whitened Q": r"$(UD)^\top Q_#\, (UD)$",
}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green, blue, as WCAG weighs them


def style() -> None:
    """Sets the book's figure style for this process, whatever settings of matplotlib the user has;
    only the backend stays. A notebook shows SVG. The background is opaque and white: the book draws
    its own pictures for dark pages, and notebooks elsewhere have none."""
    mpl.rcdefaults()
    plt.rcParams.update(STYLE)
    # The notebook draws what it shows: pyplot need not draw each figure before that.
    if "inline" in mpl.get_backend():
        plt.switch_backend(mpl.get_backend())
        plt.uninstall_repl_displayhook()
        set_matplotlib_formats("svg", **PICTURE)


def panels(
    rows: int = 1, columns: int = 1, width: float = 5.0, height: float = 3.2, **kwargs: object
) -> tuple[Figure, np.ndarray]:
    """Returns a figure of rows x columns panels and its axes as (rows, columns).

    rows, columns: how many panels there are.
    width, height: of one panel, in inches; up to 5 in all columns, the letters of a figure stay
        readable on a phone.
    kwargs: for `plt.subplots`.
    """
    return plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, **kwargs
    )


def grid(
    names: Sequence[str],
    height: float = 2.4,
    titles: Mapping[str, str] = MappingProxyType({}),
    **labels: object,
) -> dict[str, Axes]:
    """Returns small panels, two in a row, one for each name, which is its title: name -> axes. Only
    the outer panels name their axes. Of an odd number the last place is for the legend.

    names: of the panels.
    height: of one panel, in inches.
    titles: name -> its title, where that is another.
    labels: for `Axes.set`.
    """
    _, axes = panels(-(-len(names) // 2), 2, width=2.5, height=height)
    for i, ax in enumerate(axes.flat):
        if i >= len(names):
            ax.set_axis_off()
            continue
        inner = {"xlabel": i < len(names) - 2, "ylabel": i % 2 == 1}
        ax.set(title=titles.get(names[i], names[i]))
        ax.set(**{k: v for k, v in labels.items() if not inner.get(k)})
    return dict(zip(names, axes.flat, strict=False))


def ticks(axis: Axis, steps: Sequence[float] = (1, 2, 5)) -> None:
    """Writes the numbers of a logarithmic axis plainly, with these steps in each power of ten: for
    axes too short for powers of ten alone."""
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def band(ax: Axes, x: Tensor, ys: Tensor, label: str, **kwargs: object) -> None:
    """Draws the one error band of the book: the line is the mean over the seeds, the band runs from
    the smallest to the largest of them. `legend` says so.

    ax: where.
    x, ys: (T,) and (seeds, T).
    label: the line's name in the legend.
    kwargs: for `Axes.plot`.
    """
    ys = ys.detach().cpu().numpy()
    (line,) = ax.plot(x, ys.mean(0), label=label, **kwargs)
    if len(ys) > 1:
        ax.fill_between(x, ys.min(0), ys.max(0), color=line.get_color(), alpha=0.25, linewidth=0)


def legend(ax: Axes, seeds: int = 1, title: str | None = None, **kwargs: object) -> None:
    """Draws a legend that names the band.

    ax: where.
    seeds: how many a band is of; there is none for 1.
    title: takes the place of the band's name where there is no band; None is no title.
    kwargs: for `Axes.legend`.
    """
    if seeds > 1:
        title = f"line: mean, band: range of {seeds} seeds"
    ax.legend(title=title, title_fontsize=8, **kwargs)


def shared_legend(ax: Axes, seeds: int = 1, title: str | None = None, ncols: int = 2) -> None:
    """Draws the legend of one panel in the place that a grid of panels leaves empty, else below all
    of them: for panels too small to hold one.

    ax: the panel.
    seeds, title: as for `legend`.
    ncols: how many entries stand side by side below the panels.
    """
    if seeds > 1:
        title = f"line: mean, band: range of {seeds} seeds"
    empty = [other for other in ax.figure.axes if not other.axison]
    if empty:
        where, place = empty[0], {"loc": "center", "ncols": 1}
    else:
        where, place = ax.figure, {"loc": "outside lower center", "ncols": ncols}
    where.legend(
        *ax.get_legend_handles_labels(), title=title, title_fontsize=8, fontsize=8, **place
    )


def curves(
    panels: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]],
    seeds: int,
    limits: Sequence[float] = (),
    limit: str = "",
    looks: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    **labels: object,
) -> None:
    """Draws small panels with one legend.

    panels: title -> name -> (x, ys (seeds, T)).
    seeds: how many a band is of.
    limits, limit: heights of lines, one for each panel or none, and their name.
    looks: name -> keywords for `band`, as from `look`; names without one go through the palette.
    labels: for `grid`.
    """
    axes = grid(list(panels), **labels)
    for i, (title, ax) in enumerate(axes.items()):
        for name, (x, ys) in panels[title].items():
            band(ax, x, ys, name, **looks.get(name, {}))
        if len(limits):
            ax.axhline(limits[i], label=limit, **look("bound", linewidth=1.2))
    shared_legend(ax, seeds)


def keep(ax: Axes, numbers: bool = True) -> None:
    """Marks the colours that stand for values, and the numbers on them: the book leaves them as
    they are on a dark page, where words such as "white" must hold too.

    ax: the panel, with all that it shows.
    numbers: whether its texts stand on these colours.
    """
    panel = ax.get_figure(root=True).axes.index(ax)
    for i, artist in enumerate([*ax.collections, *(ax.texts if numbers else ())]):
        artist.set_gid(f"kept-{panel}-{i}")


def heatmap(ax: Axes, M: Tensor, title: str, reach: float = 1.3, size: float = 9) -> None:
    """Draws a small matrix with its numbers; blue is negative, red positive, white 0.

    ax: where.
    M: (rows, columns).
    title: that of the panel.
    reach: the darkest colour is for so many times the largest |entry|. Where most entries are
        large, a larger reach keeps the figure calm.
    size: of the numbers, in points.
    """
    M = M.detach().cpu().numpy()
    limit = reach * float(np.abs(M).max()) or 1.0  # the darkest colours would swallow the numbers
    # What fits a cell: five characters.
    numbers = np.where(np.abs(M) < 9.995, np.char.mod("%.2f", M), np.char.mod("%.1f", M))
    numbers = np.where(np.abs(M) < 99.95, numbers, np.char.mod("%.0f", M))
    numbers = np.char.replace(numbers, "-0.00", "0.00")
    # Not seaborn's heatmap, which draws the whole figure once for each panel.
    mesh = ax.pcolormesh(M, cmap="RdBu_r", vmin=-limit, vmax=limit, linewidth=1, edgecolor="white")
    mesh.update_scalarmappable()
    shades = mesh.get_facecolors()[:, :3]
    luminance = (
        np.where(shades <= 0.03928, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4) @ LUMINANCE
    )
    for (row, column), number, light in zip(
        np.ndindex(M.shape), numbers.flat, luminance, strict=True
    ):
        # The one with more contrast: at least 3.8 to 1.
        colour = "0.15" if light > 0.22 else "white"
        ax.text(column + 0.5, row + 0.5, number, color=colour, size=size, ha="center", va="center")
    keep(ax)
    ax.set(xlim=(0, M.shape[1]), ylim=(M.shape[0], 0), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    ax.set_title(title)


def matrices(rows: Mapping[str, Tensor]) -> None:
    """Draws matrices (layers, d, d) as heatmaps: a row for each of the given ones, named as in
    NAMES, a column per layer. Where a row is shorter, its last place says what the colours mean."""
    columns = max(map(len, rows.values()))
    width = 5 / max(columns, 2)
    _, axes = panels(len(rows), columns, width=width, height=width + 0.25)
    for row, (name, matrices) in zip(axes, rows.items(), strict=True):
        for layer, ax in enumerate(row):
            if layer < len(matrices):
                title = NAMES[name].replace("#", str(layer))
                heatmap(ax, matrices[layer], title, size=4.4 * width)
            else:
                ax.set_axis_off()
                key(ax)


def key(ax: Axes) -> None:
    """Draws what the colours of heatmaps mean, in a place that they leave empty."""
    inside = ax.inset_axes((0.1, 0.45, 0.8, 0.12))
    shades = np.linspace(-1 / 1.3, 1 / 1.3, 101)[None]
    inside.pcolormesh(shades, cmap="RdBu_r", vmin=-1, vmax=1, rasterized=True)
    inside.set_xticks([0, 50.5, 101], ["$-$max", "0", "max"], fontsize=8)
    inside.set(yticks=[])
    inside.grid(visible=False)


def distances(ax: Axes, steps: Tensor, columns: Mapping[str, Tensor]) -> None:
    """Draws the distance to identity over time of one to three matrices (seeds, T, layers, d, d),
    named as in NAMES; the second are dashed, the third dotted. A layer has its colour and its
    marker. Raises ValueError for more."""
    kinds = ("-", "--", ":")
    if not 1 <= len(columns) <= len(kinds):
        raise ValueError(
            f"columns must be 1 to {len(kinds)} matrices, got {len(columns)}: {', '.join(columns)}"
        )
    for dash, (name, matrices) in zip(kinds, columns.items(), strict=False):
        for layer in range(matrices.shape[2]):
            label = NAMES[name].partition(" (paper")[0].replace("#", str(layer))
            way = nth(layer, markevery=(0.02 + 0.03 * layer, 0.15), linestyle=dash)
            band(ax, steps, distance_to_identity(matrices[:, :, layer]), label, **way)
    ax.set(xlabel="training step", ylabel="distance to identity", yscale="log")
    if not ax.figure.legends:  # one for all panels
        shared_legend(ax, len(matrices), ncols=len(columns))


def maps(
    panels_of: Mapping[str, Tensor],
    columns: int,
    x: tuple[str, Sequence],
    y: tuple[str, Sequence],
    label: str,
    **shades: object,
) -> None:
    """Draws small panels of colours with one colour bar; infinite values are crossed out.

    panels_of: title -> values (len(y[1]), len(x[1])).
    columns: how many panels stand side by side.
    x, y: the name of each axis, and the values along it.
    label: what the colours are.
    shades: for `Axes.imshow`.
    """
    rows = -(-len(panels_of) // columns)
    fig, axes = panels(rows, columns, 5 / columns, 4.2 / rows)
    for i, (ax, (title, values)) in enumerate(zip(axes.flat, panels_of.items(), strict=True)):
        # Not resampled: cells have sharp edges at any size.
        image = ax.imshow(
            values.numpy(), origin="lower", aspect="auto", interpolation="none", **shades
        )
        down, right = np.nonzero(np.isinf(values.numpy()))
        ax.plot(right, down, "kx", markersize=5)
        ax.set_title(title, fontsize=8)
        ax.set_xticks(range(len(x[1])), x[1], fontsize=7)
        ax.set_yticks(range(len(y[1])), y[1], fontsize=7)
        ax.set_xlabel(x[0] if i >= len(panels_of) - columns else "", fontsize=8)
        ax.set_ylabel(y[0] if i % columns == 0 else "", fontsize=8)
        ax.grid(False)
    fig.colorbar(image, ax=axes, location="bottom", aspect=40, pad=0.02).set_label(
        label, fontsize=8
    )
