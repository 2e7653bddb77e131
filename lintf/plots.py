"""One figure style, one definition of an error band, and the figures that several pages share."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

# Okabe and Ito's colours without black and yellow: told apart with any colour vision, on white and on black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
STYLE = {
    "figure.dpi": 110,
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
}


def style() -> None:
    """Set the book's figure style for this process. The background stays opaque and white: the book's dark mode
    inverts the pictures, and notebooks elsewhere have no dark mode of their own."""
    plt.rcParams.update(STYLE)
    plt.rcParams["svg.hashsalt"] = "lintf"  # the same figure, byte for byte


def panels(columns: int, rows: int = 1, width: float = 3.4, height: float = 2.8, **kwargs: object) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels, each of the given size in inches, and its axes as (rows, columns)."""
    return plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **kwargs)


def band(ax: Axes, x: Tensor, ys: Tensor, label: str, **kwargs: object) -> None:
    """The one error band of the book, for ys (seeds, T): the line is the mean over the seeds, the band runs from the
    smallest to the largest of them. `legend` says so."""
    ys = np.asarray(ys)
    (line,) = ax.plot(x, ys.mean(0), label=label, **kwargs)
    if len(ys) > 1:
        ax.fill_between(x, ys.min(0), ys.max(0), color=line.get_color(), alpha=0.25, linewidth=0)


def legend(ax: Axes, seeds: int, **kwargs: object) -> None:
    """A legend that names the band."""
    ax.legend(title=f"line: mean, band: range of {seeds} seeds" if seeds > 1 else None, title_fontsize=8, **kwargs)


def heatmap(ax: Axes, M: Tensor, title: str, limit: float | None = None) -> None:
    """A small matrix with its numbers; blue is negative, red positive, and white 0. limit: the value of the full
    colours (the largest entry unless given)."""
    M = np.asarray(M)
    limit = limit or float(np.abs(M).max()) or 1.0
    sns.heatmap(
        M, ax=ax, cmap="RdBu_r", vmin=-limit, vmax=limit, annot=True, fmt=".2f", annot_kws={"size": 8},
        square=True, cbar=False, linewidths=1, xticklabels=False, yticklabels=False,
    )  # fmt: skip
    ax.set_title(title)
