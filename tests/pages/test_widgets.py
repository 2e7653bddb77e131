"""Figures to play with: what a widget says is drawn, and a page without a kernel has a picture."""

from __future__ import annotations

import ast
import dis
import io
import itertools
import re
import symtable
from pathlib import Path
from types import CodeType, FunctionType

import ipywidgets
import matplotlib as mpl
import nbformat
import pytest

from lintf.pages import plots, widgets

mpl.use("Agg")
plt = plots.plt
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MADE = ("widgets.Controls(", "play.Figure(")  # how cells with a control begin
PAGES = sorted(
    page for page in NOTEBOOKS.glob("*.ipynb") if any(call in page.read_text() for call in MADE)
)


@pytest.fixture(autouse=True)
def own_settings():
    """Every test starts with matplotlib's settings, and none leaves a figure open."""
    with mpl.rc_context():
        yield
    assert plt.get_fignums() == []


def parabola(height, dash):
    """A small figure that differs for all values."""
    _, ((ax,),) = plots.panels(width=2, height=1.5)
    ax.plot([0, 1, 2], [0, height, 4 * height], dash)
    ax.set_title(f"{height}")


def controls(draw=parabola):
    return widgets.Controls(
        draw,
        height=widgets.slider("height", [1, 2.5, 4], 1),
        dash=widgets.choice("dash", ["-", ":"], "-"),
    )


def pixels(svg: bytes) -> str:
    """What a picture shows: all but the names of its parts, which count on."""
    return re.sub(r'id="[^"]*"|#[\w]+', "", bytes(svg).decode())


def drawn(**values) -> bytes:
    """The picture of these values, without any widget."""
    buffer = io.BytesIO()
    parabola(**values)
    plt.gcf().savefig(buffer, format="svg", metadata={"Date": None})
    plt.close()
    return buffer.getvalue()


# --- one control ---------------------------------------------------------------------------------


def test_the_picture_is_that_of_the_values_from_the_start():
    made = controls()
    assert pixels(made.picture.value) == pixels(drawn(height=1, dash="-"))
    assert pixels(made.picture.value) != pixels(drawn(height=2.5, dash="-"))


def test_each_change_draws_anew_and_the_latest_values_win():
    made = controls()
    for height, dash in ((4, "-"), (2.5, "-"), (2.5, ":"), (1, ":")):
        made.widgets["height"].value, made.widgets["dash"].value = height, dash
        assert pixels(made.picture.value) == pixels(drawn(height=height, dash=dash))


def test_it_is_shown_as_widgets_or_as_a_picture():
    """Both kinds of front end find theirs: the view of the box that holds every widget, and the
    SVG."""
    made = controls()
    bundle = made._repr_mimebundle_(include=None, exclude=None)
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view == {"version_major": 2, "version_minor": 0, "model_id": made.box.model_id}
    assert {*made.widgets.values(), made.picture, made.message} == set(made.box.children)
    assert bundle["image/svg+xml"].encode() == made.picture.value
    assert bundle["text/plain"] == "Controls(height=1, dash='-')"


def test_names_of_values_are_short():
    made = widgets.slider("rate", [1e-05, 0.30000000000000004, 2], 2)
    assert [name for name, _ in made.options] == ["1e-05", "0.3", "2"]
    assert made.description == "rate"
    assert [name for name, _ in widgets.choice("law", ["I", "gamma"], "I").options] == [
        "I",
        "gamma",
    ]


@pytest.mark.parametrize("widget", [widgets.slider, widgets.choice])
def test_a_start_beside_the_values_is_refused(widget):
    with pytest.raises(ValueError, match=r"lr must start at one of \[1, 2\], got 3"):
        widget("lr", [1, 2], 3)
    with pytest.raises(ValueError, match=r"lr must be a list of at least one, got \[\]"):
        widget("lr", [], 3)


def fails_from_two(height, dash):
    parabola(height, dash)
    if height > 1:
        raise ValueError(f"height must be < 2, got {height} <b>")


def test_an_error_takes_the_place_of_the_picture_until_it_is_gone():
    """A widget's callback has nobody above it: what it raises would be lost. And an old picture
    would be wrong."""
    made = controls(fails_from_two)
    made.widgets["height"].value = 2.5
    assert "ValueError: height must be &lt; 2, got 2.5 &lt;b&gt;" in made.message.value
    assert made.picture.layout.visibility == "hidden"
    made.widgets["height"].value = 1
    assert made.message.value == ""
    assert made.picture.layout.visibility == "visible"


def test_the_first_drawing_fails_aloud():
    with pytest.raises(ValueError, match="height must be < 2"):
        widgets.Controls(
            fails_from_two,
            height=widgets.slider("height", [2], 2),
            dash=widgets.choice("dash", ["-"], "-"),
        )


@pytest.mark.parametrize("figures", [0, 2])
def test_a_drawing_is_one_figure(figures):
    with pytest.raises(ValueError, match=f"draw must make one figure, made {figures}"):
        widgets.Controls(lambda: [plt.figure() for _ in range(figures)])


def test_other_figures_stay_as_they_are():
    mine = plt.figure()
    controls().widgets["height"].value = 4
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


# --- the pages; benchmarks/controls.py measures how soon they answer ------------------------------


def needs_and_gives(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell takes from other cells, and those that it sets or writes into."""
    tables = [symtable.symtable(source, "cell", "exec")]
    here = tables[0].get_symbols()
    gives = {s.get_name() for s in here if s.is_assigned() or s.is_imported()}
    used = {s.get_name() for s in here if s.is_referenced()}
    while tables:
        inner = tables.pop().get_children()
        used |= {s.get_name() for table in inner for s in table.get_symbols() if s.is_global()}
        tables += inner
    nodes = list(ast.walk(ast.parse(source)))
    more = {ast.unparse(node.target) for node in nodes if isinstance(node, ast.AugAssign)}
    into = [n.value for n in nodes if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
    written = {ast.unparse(value) for value in into}
    return used - (gives - more), gives | written


def made_by(page: Path) -> list[widgets.Controls]:
    """The controls of a page, from the cells up to the parameters' check and those that they need:
    others are slow."""
    cells = [
        cell.source for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"
    ]
    setup = next(
        i for i, source in enumerate(cells) if source.startswith("parameters.check_parameters(")
    )
    places = [i for i, source in enumerate(cells) if source.startswith(MADE)]
    needed, chosen = set().union(*(needs_and_gives(cells[i])[0] for i in places)), []
    for i in reversed(range(places[-1])):
        needs, gives = needs_and_gives(cells[i])
        if i not in places and (i <= setup or gives & needed):
            needed |= needs
            chosen.insert(0, i)
    space: dict[str, object] = {"__name__": "__main__"}
    found = []
    for i in sorted([*chosen, *places]):
        if i not in places:
            exec(compile(cells[i], page.name, "exec"), space)
            continue
        plt.close("all")
        found.append(eval(compile(cells[i], page.name, "eval"), space))
        later = set().union(*(needs_and_gives(source)[1] for source in cells[i + 1 :]))
        drawn = getattr(found[-1], "function", found[-1].draw)
        assert later & draws_with(drawn, space) == set(), (
            "after a later cell it would draw something else"
        )
    return found


def draws_with(function: FunctionType, space: dict[str, object]) -> set[str]:
    """The names of a page that a function reads whenever it is called, itself or through functions
    of the page."""
    found, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
        names = {
            step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"
        } - found
        found |= names & set(space)
        functions = [
            space[name] for name in names & set(space) if isinstance(space[name], FunctionType)
        ]
        codes += [f.__code__ for f in functions if f.__globals__ is space]
    return found


def assert_shows_something(made: widgets.Controls) -> None:
    """The picture is not blank, and there is no error. Maps have squares in place of curves."""
    assert made.message.value == ""
    svg = bytes(made.picture.value).decode()
    if "<image " in svg:
        return
    curves = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none', svg)
    assert sum("L" in points for points in curves) >= 2


def values(widget: ipywidgets.ValueWidget) -> list:
    """Up to five values of a widget, its first and its last among them."""
    every = [value for _, value in widget.options]
    return every[:: max(1, len(every) // 4)][:4] + every[-1:]


def settings(made: widgets.Controls) -> list[dict[str, object]]:
    """Each widget through its values while the others stay, then all corners."""
    start = {name: widget.value for name, widget in made.widgets.items()}
    ends = [(values(widget)[0], values(widget)[-1]) for widget in made.widgets.values()]
    alone = [
        start | {name: value} for name, widget in made.widgets.items() for value in values(widget)
    ]
    return alone + [dict(zip(start, corner, strict=True)) for corner in itertools.product(*ends)]


def test_six_pages_have_something_to_play_with():
    assert len(PAGES) >= 6


@pytest.mark.book
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_control_draws_once_for_each_change(page, monkeypatch):
    """Every widget through its range from the start, then all corners: each gives its own
    picture."""
    monkeypatch.chdir(page.parent)
    for made in made_by(page):
        draws_once_for_each_change(made)


def draws_once_for_each_change(made: widgets.Controls) -> None:
    """Moves all of a control's widgets."""
    drawings = []
    assert_shows_something(made)
    draw = made.draw
    made.draw = lambda **values: (drawings.append(values), draw(**values))
    for setting in settings(made):
        for name, value in setting.items():
            before, pictures = len(drawings), made.picture.value
            if made.widgets[name].value != value:
                made.widgets[name].value = value
                assert len(drawings) == before + 1
                assert drawings[-1] == {n: widget.value for n, widget in made.widgets.items()}
                assert made.picture.value != pictures, f"{name} = {value} changes nothing"
        assert_shows_something(made)
