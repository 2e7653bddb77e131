"""What a colour means: one look for each method, the same on every page, on white and on dark.

Blue is the network that a page trains, and Adam, which trains it; vermilion is SGD, and the other
network where a page has two. What networks are compared with has the other colours. No look differs
from another by its colour alone.
"""

from __future__ import annotations

from cycler import cycler
from matplotlib.cbook import normalize_kwargs
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

from lintf.checks import check_choice

# Blue, vermilion, green and pink of Okabe and Ito, a plum and a brown: at least 3 to 1 on white,
# and told apart with any colour vision. Each has a partner of the same name for a dark ground.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#4B1D6B", "#6B4A00")
PALETTE_ON_DARK = ("#8FC3FA", "#E08126", "#2FA67D", "#C94B90", "#A673E8", "#FCDB80")
INK = "#333333"  # what is exact: optima, bounds, the true answer
QUIET = "#707070"  # what only guides the eye
GROUND, DARK_GROUND = "#FFFFFF", "#121212"  # of a page, light and dark
INK_ON_DARK = 235  # what black becomes, of 255

BLUE, VERMILION, GREEN, PINK, PLUM, BROWN = PALETTE
# Lengths of strokes and gaps, in widths of the line.
DASH_DOT_DOT = (0, (4, 1.2, 1, 1.2, 1, 1.2))
LONG_SHORT, SHORT, LONG = (0, (7, 1.5, 2.5, 1.5)), (0, (2, 1)), (0, (9, 2.5))
# Of curves that stand for no method: the same order of dashes as of colours, and of markers.
DASHES = ("-", "--", "-.", ":", LONG_SHORT, DASH_DOT_DOT)
MARKERS = ("o", "s", "^", "D", "v", "P")
# Of time: every shade is seen on white and on a dark ground.
TIME = LinearSegmentedColormap.from_list("time", ["#2E7FD1", "#A865C9", "#E0662A"])
STYLE = {
    "axes.formatter.min_exponent": 1,  # a short logarithmic axis says 2, 3, 6 for 2·10⁰ and so on
    "figure.dpi": 140,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE, linestyle=DASHES),
    "legend.frameon": False,
    "legend.handlelength": 2.8,  # long enough for the dashes
    "lines.linewidth": 1.6,
    "svg.hashsalt": "lintf",  # the same figure, byte for byte
    "svg.fonttype": "path",  # letters as outlines: alike everywhere, whatever fonts there are
    "figure.max_open_warning": 20,  # matplotlib counts it among what belongs to the backend
}
# Of a notebook's pictures: no date, all of the figure, and what is rasterised as sharp as a screen.
PICTURE = {"metadata": {"Date": None}, "bbox_inches": None, "dpi": 220}
LOOKS = {  # colour, dash, marker
    "Adam": (BLUE, "-", "o"),
    "SGD": (VERMILION, "--", "s"),
    "gradient descent": (GREEN, "-.", "^"),
    "preconditioned": (PLUM, LONG_SHORT, "v"),
    "Newton": (PINK, DASH_DOT_DOT, "D"),
    "least squares": (BROWN, SHORT, "P"),
    "ridge": (PINK, (0, (1, 1)), "d"),
    "best": (INK, ":", "X"),
    "bound": (INK, LONG, "_"),
    "guide": (QUIET, (0, (1, 2.5)), ""),
}
ALSO = {  # what pages call them
    "adam": "Adam",
    "trained": "Adam",
    "transformer": "Adam",
    "network": "Adam",
    "sgd": "SGD",
    "trained too": "SGD",
    "GD": "gradient descent",
    "preconditioned GD": "preconditioned",
    "best of its form": "best",
    "limit": "best",
}


def look(method: str, points: bool = False, **changes: object) -> dict[str, object]:
    """Returns how a method is drawn, as keywords for `Axes.plot`.

    method: one of LOOKS or ALSO: "trained" is the network of the page, "trained too" another one;
        "best" is the exact optimum of a network's form, "bound" what nothing can pass, "guide" a
        line that only helps the eye.
    points: whether there is a marker for each value, where values are few.
    changes: take the place of what the table says, such as linestyle="", or are added to it.
    """
    check_choice("method", method, [*LOOKS, *ALSO])
    colour, dash, marker = LOOKS[ALSO.get(method, method)]
    found: dict[str, object] = {"color": colour, "linestyle": dash}
    if points:
        found |= {"marker": marker, "markersize": 4}
    return found | normalize_kwargs(changes, Line2D)  # ls is linestyle


def nth(i: int, **changes: object) -> dict[str, object]:
    """Returns the look of the i-th of curves that stand for no method: a colour and a marker.

    i: from 0.
    changes: as for `look`.
    """
    marker = MARKERS[i % len(MARKERS)]
    found = {"color": f"C{i}", "marker": marker, "markersize": 4}
    return found | normalize_kwargs(changes, Line2D)


def on_dark(colour: str) -> str:
    """Returns what a colour of a figure becomes on a dark ground: "#rrggbb". Colours of the palette
    have their partners, and greys change places, white with the ground of the page. Raises
    ValueError for a colour that is neither: it has no meaning in this book."""
    colour = colour.upper()
    if colour in PALETTE:
        return PALETTE_ON_DARK[PALETTE.index(colour)]
    red, green, blue = colour[1:3], colour[3:5], colour[5:7]
    if not red == green == blue:
        raise ValueError(f"colour must be grey or one of {', '.join(PALETTE)}, got {colour}")
    ground = int(DARK_GROUND[1:3], 16)
    level = round(INK_ON_DARK + (ground - INK_ON_DARK) * int(red, 16) / 255)
    return f"#{level:02X}{level:02X}{level:02X}"
