"""Figures: what is drawn is what was given, and the legend says what the band is."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lintf.pages import plots

mpl.use("Agg")
plt = plots.plt


@pytest.fixture(autouse=True)
def own_settings():
    """Every test starts with matplotlib's settings and leaves no figure open."""
    with mpl.rc_context():
        yield
    plt.close("all")


def ys(seeds, steps=7):
    return torch.rand(seeds, steps, generator=torch.Generator().manual_seed(0)) + 0.1


def test_panels_have_the_size_asked_for():
    figure, axes = plots.panels(2, 3, width=2.0, height=1.5)
    assert axes.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == (6.0, 3.0)
    assert plots.panels(1)[1].shape == (1, 1)


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcd", "abcde"])
def test_a_grid_has_a_titled_panel_for_each_name(names):
    """Two in a row; a panel below or to the left names the axis for it."""
    axes = plots.grid(list(names), height=1.5, xlabel="step", ylabel="loss", yscale="log")
    rows = (len(names) + 1) // 2
    assert tuple(plt.gcf().get_size_inches()) == (5.0, 1.5 * rows)
    assert list(axes) == list(names)
    assert [ax.axison for ax in plt.gcf().axes] == [True] * len(names) + [False] * (
        2 * rows - len(names)
    )
    for i, (name, ax) in enumerate(axes.items()):
        assert (ax.get_title(), ax.get_yscale()) == (name, "log")
        assert ax.get_xlabel() == ("step" if i + 2 >= len(names) else "")
        assert ax.get_ylabel() == ("loss" if i % 2 == 0 else "")


def test_a_band_is_the_mean_and_range_over_the_seeds():
    _, axes = plots.panels(1)
    ax, x, values = axes[0, 0], torch.arange(7) * 3, ys(4)
    plots.band(ax, x, values, "Adam")
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_xdata(), x)
    for t, y in enumerate(line.get_ydata()):
        assert y == pytest.approx(sum(values[:, t].tolist()) / 4, rel=1e-6)
    (area,) = ax.collections
    drawn = {(float(a), round(float(b), 5)) for a, b in area.get_paths()[0].vertices}
    for t in range(7):
        column = values[:, t].tolist()
        assert (3.0 * t, round(min(column), 5)) in drawn
        assert (3.0 * t, round(max(column), 5)) in drawn
    np.testing.assert_allclose(area.get_facecolor()[0, :3], to_rgb(line.get_color()))


def test_the_legend_names_the_band():
    _, axes = plots.panels(1, 2)
    plots.band(axes[0, 0], range(7), ys(3), "Adam")
    plots.legend(axes[0, 0], 3)
    assert axes[0, 0].get_legend().get_title().get_text() == "line: mean, band: range of 3 seeds"
    assert [t.get_text() for t in axes[0, 0].get_legend().get_texts()] == ["Adam"]


def test_a_shared_legend_is_that_of_one_panel():
    """And names the band as the legend of one panel does."""
    figure, axes = plots.panels(2, 2, width=2.5, height=2.4)
    for label in ("SGD", "Adam"):
        plots.band(axes[0, 0], range(7), ys(3), label)
    plots.band(axes[1, 1], range(7), ys(3), "another")
    plots.shared_legend(axes[0, 0], 3)
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["SGD", "Adam"]
    assert [h.get_color() for h in legend.legend_handles] == [
        line.get_color() for line in axes[0, 0].lines
    ]
    assert legend.get_title().get_text() == "line: mean, band: range of 3 seeds"
    assert all(ax.get_legend() is None for ax in axes.flat)


def test_a_shared_legend_without_bands_has_the_title_given():
    for title in (None, "depth"):
        figure, axes = plots.panels(1, 2)
        plots.band(axes[0, 0], range(7), ys(1), "Adam")
        plots.shared_legend(axes[0, 0], title=title)
        shown = figure.legends[0].get_title()
        assert (shown.get_text(), shown.get_visible()) == (title or "", title is not None)


@pytest.mark.parametrize("ncols", [1, 2, 4])
def test_a_shared_legend_stands_below_all_panels(ncols):
    """Within the figure, in so many columns, and none of them hides an axis label."""
    plots.style()
    figure, axes = plots.panels(2, 2, width=2.5, height=2.4)
    for ax in axes.flat:
        for label in "abcd":
            plots.band(ax, range(7), ys(3), label)
        ax.set(xlabel="training step", ylabel="loss")
    plots.shared_legend(axes[0, 0], 3, ncols=ncols)
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.y0 <= box.y0 < box.y1 <= min(ax.get_tightbbox().y0 for ax in axes.flat)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert (box.x0 + box.x1) / 2 == pytest.approx(figure.bbox.width / 2, rel=0.01)
    lefts = {round(t.get_window_extent().x0) for t in figure.legends[0].get_texts()}
    assert len(lefts) == ncols


@pytest.mark.parametrize("panels", [3, 5])
def test_a_shared_legend_takes_the_place_that_a_grid_leaves_empty(panels):
    axes = plots.grid([str(i) for i in range(panels)])
    plots.band(axes["0"], range(7), ys(3), "Adam")
    plots.shared_legend(axes["0"], 3)
    figure = plt.gcf()
    assert not figure.legends
    legend = figure.axes[-1].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["Adam"]
    figure.canvas.draw()
    hole, box = figure.axes[-1].get_window_extent(), legend.get_window_extent()
    assert hole.x0 - 30 < box.x0 < box.x1 < figure.bbox.x1
    assert hole.y0 < box.y0 < box.y1 < hole.y1


def test_panels_can_have_other_titles_than_their_names():
    axes = plots.grid(["a", "b"], titles={"a": "in words"}, ylabel="loss")
    assert {name: ax.get_title() for name, ax in axes.items()} == {"a": "in words", "b": "b"}


def test_ticks_of_a_short_logarithmic_axis_are_plain_numbers():
    _, ((ax,),) = plots.panels()
    ax.plot([0, 1], [0.12, 0.7])
    ax.set(yscale="log")
    plots.ticks(ax.yaxis)
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    shown = [t.get_text() for t in ax.get_yticklabels() if low <= t.get_position()[1] <= high]
    assert shown == ["0.2", "0.5"]
    assert {t.get_text() for t in ax.get_yticklabels(minor=True)} <= {""}


def test_curves_are_bands_with_their_limits_under_one_legend():
    x = torch.arange(4)
    ys = {
        name: torch.rand(3, 4, generator=torch.Generator().manual_seed(i))
        for i, name in enumerate("ab")
    }
    panels = {"one": {"a": (x, ys["a"]), "b": (x, ys["b"])}, "two": {"a": (x, ys["b"])}}
    plots.curves(panels, 3, [0.25, 0.75], "limit", xlabel="step", ylim=(0, 2))
    figure = plots.plt.gcf()
    for ax, (title, level) in zip(figure.axes, (("one", 0.25), ("two", 0.75)), strict=True):
        *lines, limit = ax.lines
        assert (ax.get_title(), ax.get_xlabel(), ax.get_ylim()) == (title, "step", (0, 2))
        assert list(limit.get_ydata()) == [level, level]
        assert [line.get_label() for line in ax.lines] == [*panels[title], "limit"]
        for line, (_, expected) in zip(lines, panels[title].values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), expected.mean(0))
        assert len(ax.collections) == len(lines)
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "line: mean, band: range of 3 seeds"
    plots.curves({"only": panels["two"]}, 1)
    assert [line.get_label() for line in plots.plt.gcf().axes[0].lines] == ["a"]


def test_a_wider_reach_makes_a_heatmap_lighter():
    shades = []
    for reach in (1.3, 2.0):
        _, ((ax,),) = plots.panels()
        plots.heatmap(ax, torch.tensor([[1.0, 0.5]]), "M", reach=reach)
        ax.figure.canvas.draw()
        shades.append(ax.collections[0].get_facecolors()[:, :3].mean(1))
    assert (shades[1] > shades[0]).all()


def test_one_seed_has_a_line_and_no_band():
    _, axes = plots.panels()
    plots.band(axes[0, 0], range(7), ys(1), "Adam", color="C1", linestyle="--")
    plots.legend(axes[0, 0], 1)
    assert not axes[0, 0].get_legend().get_title().get_visible()
    assert not axes[0, 0].collections
    assert axes[0, 0].lines[0].get_linestyle() == "--"


def test_a_heatmap_shows_its_numbers():
    _, axes = plots.panels(1)
    M = torch.tensor([[-0.71, -0.004], [0.35, 1.5]])
    plots.heatmap(axes[0, 0], M, "$B_0$")
    assert [t.get_text() for t in axes[0, 0].texts] == ["-0.71", "0.00", "0.35", "1.50"]
    assert axes[0, 0].get_title() == "$B_0$"


def test_large_numbers_fit_their_cell():
    _, axes = plots.panels(1)
    plots.heatmap(axes[0, 0], torch.tensor([[-120.05, 99.994], [0.0, -0.001]]), "")
    assert [t.get_text() for t in axes[0, 0].texts] == ["-120", "100", "0.00", "0.00"]


def colours(ax):
    """Of the cells in reading order, as (r, g, b)."""
    mesh = ax.collections[0]
    mesh.update_scalarmappable()
    return mesh.get_facecolor()[:, :3]


def test_the_numbers_of_a_heatmap_can_be_read_on_every_colour():
    """Contrast of at least 3.8 to 1, by WCAG's formula."""

    def luminance(rgb):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    _, axes = plots.panels()
    plots.heatmap(axes[0, 0], torch.linspace(-1, 1, 201).view(3, 67), "", reach=1.0)
    (mesh,) = axes[0, 0].collections
    assert len(axes[0, 0].texts) == 201
    assert len({text.get_color() for text in axes[0, 0].texts}) == 2
    for text, shade in zip(axes[0, 0].texts, mesh.get_facecolors(), strict=True):
        dark, light = sorted((luminance(to_rgb(text.get_color())), luminance(shade[:3])))
        assert (light + 0.05) / (dark + 0.05) >= 3.8
    plt.close()


def test_heatmap_colours_are_symmetric_around_0():
    _, axes = plots.panels()
    plots.heatmap(axes[0, 0], torch.tensor([[-1.0, 0.0, 0.5]]), "")
    low, high = axes[0, 0].collections[0].get_clim()
    assert low == -high <= -1.0
    negative, zero, positive = colours(axes[0, 0])
    assert negative[2] > negative[0] + 0.2  # blue
    assert positive[0] > positive[2] + 0.2  # red
    assert zero.min() > 0.95  # white


def test_a_heatmap_of_zeros_is_white():
    _, axes = plots.panels(1)
    plots.heatmap(axes[0, 0], torch.zeros(2, 3), "")
    assert colours(axes[0, 0]).min() > 0.95


def test_a_trained_parameter_can_be_drawn():
    """Tensors come with gradients, in float64, or not contiguous."""
    _, axes = plots.panels(1)
    M = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    plots.heatmap(axes[0, 0], M.T, "")
    plots.band(axes[0, 0], torch.arange(2), M, "x")
    assert len(axes[0, 0].texts) == 6


def test_a_row_of_matrices_for_each_name():
    P, Q = torch.rand(2, 2, 2), torch.rand(3, 2, 2)
    plots.matrices({"Q": Q, "P": P})
    axes = np.array(plt.gcf().axes).reshape(2, 3).T
    for layer in range(3):
        for ax, M in zip(axes[layer], (Q, P), strict=True):
            numbers = [t.get_text() for t in ax.texts]
            if M is P and layer == 2:
                assert not numbers
                assert not ax.axison
            else:
                assert numbers == [f"{v:.2f}" for v in M[layer].flatten().tolist()]
                assert f"_{layer}$" in ax.get_title()


def test_a_figure_of_many_panels_is_drawn_once(monkeypatch):
    """Whatever the number of panels: to draw it once for each would make its cost grow with their
    square."""
    drawn = []
    draw = Figure.draw
    monkeypatch.setattr(
        Figure, "draw", lambda self, renderer: (drawn.append(self), draw(self, renderer))[1]
    )
    x, values = torch.arange(7), ys(2)
    many = [str(i) for i in range(12)]
    matrices, steps = torch.rand(12, 2, 2), torch.rand(2, 7, 12, 2, 2)
    for function in (
        lambda: plots.matrices({"Q": matrices, "P": matrices}),
        lambda: plots.curves({name: {"a": (x, values)} for name in many}, 2),
        lambda: plots.maps(dict.fromkeys(many, values), 3, ("x", range(7)), ("y", range(2)), "z"),
        lambda: plots.distances(plots.panels()[1][0, 0], x, {"Q": steps, "P": steps}),
        lambda: [
            plots.legend(ax, 2) for ax in plots.grid(many).values() if ax.plot(x, x, label="a")
        ],
    ):
        function()
        assert len(drawn) == 0
        plt.gcf().canvas.draw()
        assert len(drawn) == 1
        drawn.clear()


def test_a_third_matrix_has_dashes_of_its_own_and_a_fourth_is_refused():
    M = torch.rand(2, 7, 1, 3, 3)
    _, axes = plots.panels()
    plots.distances(axes[0, 0], torch.arange(7), {"Q": M, "P": M + 1, "whitened Q": M + 2})
    assert [line.get_linestyle() for line in axes[0, 0].lines] == ["-", "--", ":"]
    (legend,) = axes[0, 0].figure.legends
    assert [t.get_text()[:5] for t in legend.get_texts()] == [
        "$Q_0$",
        "$P_0$",
        r"$(UD)"[:5],
    ]
    for columns in ({}, dict.fromkeys("abcd", M)):
        with pytest.raises(
            ValueError, match=rf"columns must be 1 to 3 matrices, got {len(columns)}"
        ):
            plots.distances(axes[0, 0], torch.arange(7), columns)


def test_distances_are_means_over_the_seeds():
    """Of the distance, not the distance of the mean."""
    g = torch.Generator().manual_seed(0)
    P, Q = torch.randn(2, 6, 2, 4, 4, generator=g), torch.randn(2, 6, 3, 4, 4, generator=g)
    _, axes = plots.panels()
    plots.distances(axes[0, 0], torch.arange(6), {"Q": Q, "P": P})
    drawn = {line.get_label(): line.get_ydata() for line in axes[0, 0].lines}
    assert sorted(drawn) == ["$P_0$", "$P_1$", "$Q_0$", "$Q_1$", "$Q_2$"]
    for name, y in drawn.items():
        M = (P if name[1] == "P" else Q)[:, :, int(name[3])]
        for t in range(6):
            distances = [
                float(
                    (m - m.trace() / 4 * torch.eye(4)).square().sum().sqrt()
                    / m.square().sum().sqrt()
                )
                for m in M[:, t]
            ]
            assert y[t] == pytest.approx(sum(distances) / 2, rel=1e-5)
    assert axes[0, 0].get_xlabel() == "training step"
    assert axes[0, 0].get_ylabel()


def test_style_sets_the_palette_and_stays_opaque():
    plots.style()
    _, axes = plots.panels(1)
    for _ in plots.PALETTE:
        plots.band(axes[0, 0], range(7), ys(1), "x")
    assert [line.get_color() for line in axes[0, 0].lines] == list(plots.PALETTE)
    assert to_rgb(plt.rcParams["figure.facecolor"]) == to_rgb(
        plt.rcParams["savefig.facecolor"].replace("auto", "white")
    )
    assert not plt.rcParams["savefig.transparent"]


FOREIGN = {
    "text.usetex": True,
    "font.family": ["serif"],
    "font.size": 17.0,
    "savefig.dpi": 31.0,
    "savefig.transparent": True,
    "savefig.bbox": "tight",
    "axes.facecolor": "black",
    "axes.formatter.use_locale": True,
    "figure.facecolor": "red",
    "figure.autolayout": False,
    "lines.marker": "o",
    "legend.loc": "upper left",
    "image.cmap": "jet",
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "mine",
    "figure.max_open_warning": 1,
}


def test_the_users_own_settings_do_not_reach_a_figure():
    """The backend stays: it is how the figure comes to the screen."""
    files = []
    for foreign in ({}, FOREIGN):
        mpl.rcParams.update(foreign)
        plots.style()
        figure, axes = plots.panels(1, 2)
        plots.band(axes[0, 0], range(7), ys(3), "Adam")
        plots.legend(axes[0, 0], 3)
        plots.heatmap(axes[0, 1], ys(3, 3), "$B_0$")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        files.append(buffer.getvalue())
        assert mpl.get_backend().lower() == "agg"
    assert files[0] == files[1]
    assert mpl.rcParams["savefig.dpi"] == "figure"


def test_the_same_figure_is_the_same_file():
    plots.style()
    files = []
    for _ in range(2):
        figure, axes = plots.panels(1, 2)
        plots.band(axes[0, 0], range(7), ys(3), "Adam")
        plots.heatmap(axes[0, 1], ys(3, 3), "$B_0$")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        files.append(buffer.getvalue())
    assert files[0] == files[1]
    assert len(files[0]) > 1000


def test_maps_have_a_panel_each_one_scale_and_crosses_for_what_is_infinite():
    values = torch.tensor([[0.0, 1.0, torch.inf], [2.0, 3.0, 4.0]])
    names = ["a", "b", "c", "d"]
    plots.maps(
        dict.fromkeys(names, values),
        2,
        ("$N$", [5, 10, 20]),
        ("$L$", [1, 2]),
        "log loss",
        vmin=0,
        vmax=6,
    )
    *panels, bar = plt.gcf().axes
    assert [ax.get_title() for ax in panels] == names
    assert bar.get_xlabel() == "log loss"
    for ax in panels:
        (image,), (crosses,) = ax.get_images(), ax.get_lines()
        assert image.get_clim() == (0, 6)
        assert np.array_equal(image.get_array().filled(np.inf), values.numpy())
        assert crosses.get_xydata().tolist() == [[2, 0]]
        assert [t.get_text() for t in ax.get_xticklabels()] == ["5", "10", "20"]
    assert [ax.get_xlabel() for ax in panels] == ["", "", "$N$", "$N$"]
    assert [ax.get_ylabel() for ax in panels] == ["$L$", "", "$L$", ""]
