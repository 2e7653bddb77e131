"""One figure style, one definition of an error band, and the figures that several pages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lintf.analysis.theory import distance_to_identity

# Okabe and Ito's colours without black and yellow: told apart with any colour vision, on white and
# on black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", ":")
NAMES = {  # of matrices, # for the layer
    "Q": "$Q_#$ (paper: $A_#$)",
    "P": "$P_#$ (paper: $B_#$)",
    "whitened Q": r"$(UD)^\top Q_#\, (UD)$",
}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green, blue, as WCAG weighs them
STYLE = {
    "figure.dpi": 140,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "lintf",  # the same figure, byte for byte
    "figure.max_open_warning": 20,  # matplotlib counts it among what belongs to the backend
}


def style() -> None:
    """Sets the book's figure style for this process, whatever settings of matplotlib the user has;
    only the backend stays. The background is opaque and white: the book's dark mode inverts the
    pictures, and notebooks elsewhere have no dark mode of their own."""
    mpl.rcdefaults()
    plt.rcParams.update(STYLE)
    # The notebook draws what it shows: pyplot need not draw each figure before that.
    if "inline" in mpl.get_backend():
        plt.switch_backend(mpl.get_backend())
        plt.uninstall_repl_displayhook()


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


def grid(names: Sequence[str], height: float = 2.4, **labels: object) -> dict[str, Axes]:
    """Returns small panels, two in a row, one for each name, which is its title: name -> axes. The
    labels are for `Axes.set`; only the outer panels name their axes."""
    _, axes = panels(-(-len(names) // 2), 2, width=2.5, height=height)
    for i, ax in enumerate(axes.flat):
        if i >= len(names):
            ax.set_axis_off()
            continue
        inner = {"xlabel": i < len(names) - 2, "ylabel": i % 2 == 1}
        ax.set(title=names[i], **{k: v for k, v in labels.items() if not inner.get(k)})
    return dict(zip(names, axes.flat, strict=False))


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
    """Draws the legend of one panel below all of them: for panels too small to hold one.

    ax: the panel.
    seeds, title: as for `legend`.
    ncols: how many entries stand side by side.
    """
    if seeds > 1:
        title = f"line: mean, band: range of {seeds} seeds"
    place = {"loc": "outside lower center", "ncols": ncols}
    ax.figure.legend(
        *ax.get_legend_handles_labels(), title=title, title_fontsize=8, fontsize=8, **place
    )


def curves(
    panels: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]],
    seeds: int,
    limits: Sequence[float] = (),
    limit: str = "",
    **labels: object,
) -> None:
    """Draws small panels with one legend.

    panels: title -> name -> (x, ys (seeds, T)).
    seeds: how many a band is of.
    limits, limit: heights of dashed lines, one for each panel or none, and their name.
    labels: for `grid`.
    """
    axes = grid(list(panels), **labels)
    for i, (title, ax) in enumerate(axes.items()):
        for name, (x, ys) in panels[title].items():
            band(ax, x, ys, name)
        if len(limits):
            ax.axhline(limits[i], color="0.3", linestyle="--", label=limit)
    shared_legend(ax, seeds)


def heatmap(ax: Axes, M: Tensor, title: str, reach: float = 1.3) -> None:
    """Draws a small matrix with its numbers; blue is negative, red positive, white 0.

    ax: where.
    M: (rows, columns).
    title: that of the panel.
    reach: the darkest colour is for so many times the largest |entry|. Where most entries are
        large, a larger reach keeps the figure calm, in dark mode too.
    """
    M = M.detach().cpu().numpy()
    limit = reach * float(np.abs(M).max()) or 1.0  # the darkest colours would swallow the numbers
    # What fits a cell.
    numbers = np.where(np.abs(M) < 100, np.char.mod("%.2f", M), np.char.mod("%.0f", M))
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
        ax.text(column + 0.5, row + 0.5, number, color=colour, size=9, ha="center", va="center")
    ax.set(xlim=(0, M.shape[1]), ylim=(M.shape[0], 0), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    ax.set_title(title)


def matrices(columns: Mapping[str, Tensor]) -> None:
    """Draws matrices (layers, d, d) as heatmaps: a column for each of the given ones, named as in
    NAMES, a row per layer."""
    rows = max(map(len, columns.values()))
    _, axes = panels(rows, len(columns), width=2.5, height=2.6)
    for column, (name, matrices) in zip(axes.T, columns.items(), strict=True):
        for layer, ax in enumerate(column):
            if layer < len(matrices):
                heatmap(ax, matrices[layer], NAMES[name].replace("#", str(layer)))
            else:
                ax.set_axis_off()


def distances(ax: Axes, steps: Tensor, columns: Mapping[str, Tensor]) -> None:
    """Draws the distance to identity over time of one to three matrices (seeds, T, layers, d, d),
    named as in NAMES; the second are dashed, the third dotted. Raises ValueError for more."""
    if not 1 <= len(columns) <= len(DASHES):
        raise ValueError(
            f"columns must be 1 to {len(DASHES)} matrices, got {len(columns)}: {', '.join(columns)}"
        )
    for dash, (name, matrices) in zip(DASHES, columns.items(), strict=False):
        for layer in range(matrices.shape[2]):
            label = NAMES[name].partition(" (paper")[0].replace("#", str(layer))
            band(ax, steps, distance_to_identity(matrices[:, :, layer]), label, linestyle=dash)
    ax.set(xlabel="training step", ylabel="distance to identity", yscale="log")
    ax.set_ylim(bottom=ax.get_ylim()[0] / 4)  # room for the legend
    legend(ax, len(matrices), ncols=len(columns))


def maps(
    panels_of: Mapping[str, Tensor],
    columns: int,
    x: tuple[str, Sequence],
    y: tuple[str, Sequence],
    label: str,
    **look,
) -> None:
    """Draws small panels of colours with one colour bar; infinite values are crossed out.

    panels_of: title -> values (len(y[1]), len(x[1])).
    columns: how many panels stand side by side.
    x, y: the name of each axis, and the values along it.
    label: what the colours are.
    look: for `Axes.imshow`.
    """
    rows = -(-len(panels_of) // columns)
    fig, axes = panels(rows, columns, 5 / columns, 4.2 / rows)
    for i, (ax, (title, values)) in enumerate(zip(axes.flat, panels_of.items(), strict=True)):
        image = ax.imshow(values.numpy(), origin="lower", aspect="auto", **look)
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
