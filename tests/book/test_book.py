"""The notebooks, and what the book is built from. Small books are built in a temporary folder."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import jupytext
import nbformat
import pytest
import yaml
from matplotlib.figure import Figure
from pybtex.database import Entry, parse_file
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[2]
EXTENSIONS = ROOT / "book" / "_ext"
TAGS = {"parameters", "show", "hide-cell", "remove-cell"}
sys.path.insert(0, str(EXTENSIONS))

import lintf_book  # noqa: E402
import lintf_ledger  # noqa: E402
import tidy  # noqa: E402

from lintf.cli import notebook as programs  # noqa: E402
from lintf.pages import looks, parameters  # noqa: E402
from lintf.pages.claims import PUBLISHED, VERDICTS, Claim  # noqa: E402
from lintf.training import store  # noqa: E402

PAGES = programs.pages()  # other notebooks may lie beside them

pytestmark = pytest.mark.book
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@cache
def read(page: Path) -> nbformat.NotebookNode:
    """A notebook, without the cell that makes it run in Colab: the book does not show it. Read
    once, never changed."""
    notebook = nbformat.read(page, as_version=4)
    notebook.cells = [
        cell for cell in notebook.cells if "remove-cell" not in cell.metadata.get("tags", [])
    ]
    return notebook


def code(page: Path) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in read(page).cells if cell.cell_type == "code"]


def lines(cell: nbformat.NotebookNode) -> int:
    """The number of non-blank lines of a cell."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def words(cell: nbformat.NotebookNode) -> int:
    """The words of a text cell, without display maths, links' addresses and HTML tags."""
    text = re.sub(r"\$\$.*?\$\$", " ", cell.source, flags=re.DOTALL)
    return len(re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text).split())


# --- the notebooks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "preset", sorted((ROOT / "presets").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_a_preset_gives_parameters_of_its_page(preset):
    page = ROOT / "notebooks" / f"{preset.stem}.ipynb"
    (cell,) = (cell for cell in code(page) if "parameters" in cell.metadata.get("tags", []))
    given = yaml.safe_load(preset.read_text())
    assert given
    assert set(given) <= set(parameters.assigned(cell.source))
    if preset.parent.name == "paper":
        own = {
            name: ast.literal_eval(value)
            for name, value in parameters.assigned(cell.source).items()
        }
        assert all(own[name] != value for name, value in given.items()), (
            "what the page has as it stands needs no preset"
        )


def test_every_page_has_its_twin():
    assert PAGES
    assert {p.stem for p in PAGES} == {p.stem for p in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}


@each_page
def test_twins_are_in_step(page):
    def content(notebook):
        return [(c.cell_type, c.source, dict(c.metadata)) for c in notebook.cells]

    twin = page.with_suffix(".py")
    assert content(jupytext.read(twin)) == content(nbformat.read(page, as_version=4)), (
        "run: make tidy"
    )


@each_page
def test_twins_carry_nothing_of_their_editors(page):
    """Neither when a cell ran, nor which is folded, nor whose account it was."""
    for notebook in (nbformat.read(page, as_version=4), jupytext.read(page.with_suffix(".py"))):
        assert tidy.foreign(notebook) == set(), "run: make tidy"


LEFT_BEHIND = {
    "JupyterLab": (
        {"execution": {"iopub.execute_input": "2030-01-02"}, "collapsed": True, "scrolled": False},
        {},
    ),
    "Colab": (
        {
            "executionInfo": {"user": {"displayName": "Ann", "userId": "0815"}},
            "outputId": "ab12",
            "id": "Xy",
        },
        {
            "colab": {"provenance": [], "name": "01"},
            "accelerator": "GPU",
            "language_info": {"version": "3.12"},
        },
    ),
    "a kernel of one's own": (
        {"editable": True},
        {"kernelspec": {"name": "ann", "display_name": "Ann"}},
    ),
}


@pytest.mark.parametrize("editor", LEFT_BEHIND)
@pytest.mark.parametrize("synced", [False, True])
def test_what_editors_leave_behind_is_refused_and_goes_by_the_advice(tmp_path, editor, synced):
    """Whichever twin it has reached. Nothing else of the page changes."""
    before = {}
    for path in (PAGES[0].with_suffix(".py"), PAGES[0]):
        before[path.suffix] = path.read_bytes()
        (tmp_path / path.name).write_bytes(before[path.suffix])
    page = tmp_path / PAGES[0].name
    of_cell, of_notebook = LEFT_BEHIND[editor]
    notebook = nbformat.read(page, as_version=4)
    notebook.cells[1].metadata.update(of_cell)
    notebook.cells[2].update(execution_count=7)
    notebook.metadata.update(of_notebook)
    nbformat.write(notebook, page)
    if synced:
        subprocess.run(
            [sys.executable, "-m", "jupytext", "--quiet", "--sync", str(page)], check=True
        )
    assert tidy.foreign(nbformat.read(page, as_version=4))
    tidy.main([str(page)])
    assert {path.suffix: path.read_bytes() for path in tmp_path.iterdir()} == before


@each_page
def test_no_outputs_are_kept(page):
    for cell in code(page):
        assert cell.outputs == []
        assert cell.execution_count is None


@each_page
def test_parameters_are_one_cell_of_literals_with_reasons(page):
    cells = code(page)
    places = [i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(places) == 1
    source = cells[places[0]].source
    for node in ast.parse(source).body:
        assert isinstance(node, ast.Assign)
        assert isinstance(node.targets[0], ast.Name)
        ast.literal_eval(node.value)  # raises for anything but a literal
        assert " # " in source.splitlines()[node.end_lineno - 1], (
            f"no reason for {ast.unparse(node)}"
        )
    first_after = cells[places[0] + 1].source
    assert first_after.startswith("parameters.check_parameters("), (
        "the next cell must check the parameters"
    )


@each_page
def test_cells_are_short(page):
    lengths = [lines(cell) for cell in code(page)]
    assert max(lengths) <= 25
    assert statistics.median(lengths) <= 8


@each_page
def test_tags_hide_nothing_but_solutions_and_the_cell_for_colab(page):
    for cell in nbformat.read(page, as_version=4).cells:
        assert set(cell.metadata.get("tags", [])) <= TAGS


def figures(page: Path) -> dict[str, nbformat.NotebookNode]:
    """The cells of a notebook that draw a figure, by its name."""
    cells = [cell for cell in code(page) if "mystnb" in cell.metadata]
    return {cell.metadata["mystnb"]["figure"]["name"]: cell for cell in cells}


@each_page
def test_figures_have_captions_and_alt_text(page):
    assert figures(page)
    for name, cell in figures(page).items():
        options = cell.metadata["mystnb"]
        assert set(options) == {"figure", "image"}
        assert options["figure"]["caption"]
        assert name.startswith("fig-")
        assert len(options["image"]["alt"]) >= 30, "say what the picture shows"


def called(page: Path, cell: nbformat.NotebookNode) -> set[str]:
    """What a cell calls, and what the page's own functions that it calls call in turn."""

    def names(tree: ast.AST) -> set[str]:
        return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    found = names(ast.parse(cell.source))
    for other in code(page):
        for node in ast.walk(ast.parse(other.source)):
            if isinstance(node, ast.FunctionDef) and node.name in found:
                found |= names(node)
    return found


# The functions of plots that draw the book's band.
BANDS = {"plots.band", "plots.curves", "plots.distances"}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


@each_page
def test_a_caption_says_scale_band_and_seeds(page):
    # By figure: its caption, and those of the figures above that it refers to.
    said: dict[str, str] = {}
    (stated,) = (cell for cell in code(page) if "parameters" in cell.metadata.get("tags", []))
    values = {
        name: ast.literal_eval(value) for name, value in parameters.assigned(stated.source).items()
    }
    counts = {
        len(value) for name, value in values.items() if "seeds" in name and isinstance(value, list)
    }
    for name, cell in figures(page).items():
        caption = cell.metadata["mystnb"]["figure"]["caption"]
        others = re.findall(r"\{numref\}`([^`]+)`", caption)
        assert set(others) <= set(said), (
            f"{name} refers to a figure that is not above it on the page"
        )
        said[name] = " ".join([caption, *(said[other] for other in others)])
        assert re.search(r"\bd = \d|\bany d\b|\d (fresh )?(tokens|sentences)\b", said[name]), (
            f"{name}: at which scale?"
        )
        assert re.search(r"\bseeds?\b|computed exactly", said[name]), (
            f"{name}: which seeds, or no randomness?"
        )
        drawn = called(page, cell)
        if drawn & BANDS:
            assert "band: smallest to largest" in caption, f"{name}: what is the band?"
        if any(function.endswith(".errorbar") for function in drawn):
            assert re.search(r"Bars: \d+ percent intervals", caption), f"{name}: what are the bars?"
        for letter, number in re.findall(r"\b([dN]) = (\d+)", caption):
            assert values.get(letter, int(number)) == int(number), (
                f"{name}: {letter} is {values[letter]} on the page"
            )
        for word in re.findall(r"(\w+) seeds", caption):
            if word in NUMBERS and counts:
                assert NUMBERS[word] in counts, f"{name}: the page has {counts} seeds"


@each_page
def test_text_leads_and_carries_the_page(page):
    cells = read(page).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    first = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    assert sum(words(cell) for cell in cells[:first]) <= 280, "code within the first 280 words"
    kinds = [cell.cell_type for cell in cells]
    assert not any(kinds[i : i + 3] == ["code"] * 3 for i in range(len(kinds))), (
        "three code cells in a row"
    )
    imports = cells[first].source.splitlines()
    assert sum(line.startswith(("import ", "from ")) for line in imports) <= 12


@each_page
def test_prose_and_code_are_in_proportion(page):
    cells = read(page).cells
    ratio = sum(words(c) for c in cells if c.cell_type == "markdown") / sum(
        lines(c) for c in code(page)
    )
    assert 7 <= ratio <= 14, f"{ratio:.1f} words of prose per line of code"


@each_page
def test_two_exercises_with_tested_solutions(page):
    cells = read(page).cells
    headings = re.findall(r"\*\*Exercise \d+\.", "\n".join(c.source for c in cells))
    solutions = [c for c in cells if "hide-cell" in c.metadata.get("tags", [])]
    assert len(headings) == 2
    assert len(solutions) == 2
    assert all("expect(" in cell.source for cell in solutions)
    assert all("assert " not in cell.source for cell in code(page)), (
        "it would stop who changes a parameter"
    )


@each_page
def test_the_answer_stands_first_and_exercises_last(page):
    cells = read(page).cells
    first = cells[0].source.split("\n\n")
    assert first[1].startswith("> **In short.** "), "the result goes before the question"
    assert first[2].startswith("**Question.** ")
    box = " ".join(re.sub(r"^> ?", "", first[1], flags=re.MULTILINE).split())
    assert 25 <= len(box.split()) <= 110
    assert re.search(r" \*About [^*]*(second|minute)s?; [^*]+\.\*$", box), (
        "the last sentence says the time and the scale: *About 6 seconds; at the paper's scale.*"
    )
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings[-2:] == ["References", "Exercises"]


@each_page
def test_numbers_that_the_text_tells_stand_in_it(page):
    """`told` compares them with what was measured."""
    text = " ".join(prose()[page.stem].replace("> ", "").split())
    for node in ast.walk(ast.parse("\n".join(cell.source for cell in code(page)))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "told":
            phrase, says = node.args[0].value, ast.literal_eval(node.args[1])
            assert phrase in text, f"the text does not say {phrase!r}"
            assert isinstance(says, int | float)


@each_page
def test_at_most_two_cells_of_a_page_are_shown_unfolded(page):
    shown = [cell for cell in code(page) if "show" in cell.metadata.get("tags", [])]
    assert len(shown) <= 2
    assert all("parameters" not in cell.metadata["tags"] for cell in shown)


@cache
def prose() -> dict[str, str]:
    """The text of every page of the book, of notebooks with their captions."""
    found = {path.stem: path.read_text() for path in (ROOT / "book").glob("*.md")}
    for page in PAGES:
        texts = [cell.source for cell in read(page).cells if cell.cell_type == "markdown"]
        texts += [cell.metadata["mystnb"]["figure"]["caption"] for cell in figures(page).values()]
        found[page.stem] = "\n\n".join(texts)
    return found


def test_equations_are_numbered_and_references_to_them_lead_somewhere():
    labels: list[str] = []
    for name, text in prose().items():
        shown = re.findall(r"^ *\$\$\n.*?^ *\$\$([^\n]*)$", text, flags=re.MULTILINE | re.DOTALL)
        for after in shown:
            assert re.fullmatch(r" \(eq-[a-z-]+\)", after), f"{name}: an equation without a label"
            labels.append(after[2:-1])
    assert len(set(labels)) == len(labels) > 40
    for name, text in prose().items():
        assert set(re.findall(r"\{eq\}`([^`]+)`", text)) <= set(labels), name


def test_references_to_figures_lead_somewhere():
    names = [name for page in PAGES for name in figures(page)]
    assert len(set(names)) == len(names)
    for name, text in prose().items():
        assert set(re.findall(r"\{numref\}`([^`]+)`", text)) <= set(names), name


# --- the bibliography ----------------------------------------------------------------------------

ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")


def letters(title: str) -> str:
    """A title's letters, without TeX and capitals."""
    return re.sub(r"[^a-z]", "", re.sub(r"\\\W", "", title).lower())


@cache
def entries() -> dict[str, Entry]:
    """The entries of the bibliography, by their titles' letters."""
    found = parse_file(str(ROOT / "book" / "references.bib")).entries.values()
    assert len({letters(e.fields["title"]) for e in found}) == len(found), "a paper is listed twice"
    return {letters(entry.fields["title"]): entry for entry in found}


def references(page: Path) -> list[str]:
    """The items of a page's list of references."""
    (cell,) = (cell for cell in read(page).cells if "## References" in cell.source)
    section = cell.source.partition("## References")[2].partition("\n## ")[0]
    return [" ".join(item.split()) for item in section.split("\n- ")[1:]]


def test_entries_of_the_bibliography_are_complete():
    for entry in entries().values():
        assert entry.persons["author"]
        assert {"title", "year"} <= set(entry.fields)
        assert {"booktitle", "journal", "publisher"} & set(entry.fields), entry.key
        assert "url" in entry.fields or {"volume", "pages"} <= set(entry.fields), (
            f"where is {entry.key} found?"
        )
    addresses = [entry.fields["url"] for entry in entries().values() if "url" in entry.fields]
    assert len(set(addresses)) == len(addresses)


@each_page
def test_references_of_a_page_are_those_of_the_bibliography(page):
    known = entries()
    assert references(page)
    for item in references(page):
        title, rest = re.search(r"\*(.+?)\*(.*)", item).groups()
        entry = known[letters(title)]
        assert entry.persons["author"][0].last_names[-1] in item
        assert entry.fields["year"] in re.findall(r"(?<![\d.:/])\d{4}(?![\d]|\.\d)", rest)
        for number in ARXIV.findall(item):
            assert entry.fields["url"] == f"https://arxiv.org/abs/{number}"


def test_every_paper_that_is_named_is_in_the_bibliography_and_the_other_way_round():
    years = {
        e.fields["url"].split("/")[-1]: e.fields["year"]
        for e in entries().values()
        if "url" in e.fields
    }
    named = {
        letters(re.search(r"\*(.+?)\*", item)[1]) for page in PAGES for item in references(page)
    }
    cited: set[str] = set()  # by a {cite} role
    for name, text in prose().items():
        cited.update(
            key for keys in re.findall(r"\{cite:\w\}`([^`]+)`", text) for key in keys.split(",")
        )
        for year, number in re.findall(
            r"(?<![\d.])(\d{4})\]\(https://arxiv\.org/abs/([\d.]+)\)", text
        ):
            assert years[number] == year, f"{name}: {number} is of {years[number]}"
    for page in PAGES:
        assert set(ARXIV.findall(page.with_suffix(".py").read_text())) <= set(years), page.stem
    assert cited <= {entry.key for entry in entries().values()}
    for title, entry in entries().items():
        assert title in named or entry.key in cited, f"no page names {entry.key}"
    assert ":all:" in (ROOT / "book" / "bibliography.md").read_text()


def test_no_helper_is_defined_twice():
    places = [(page.stem, "\n".join(cell.source for cell in code(page))) for page in PAGES]
    places += [("lintf", path.read_text()) for path in (ROOT / "lintf").rglob("*.py")]
    owners: dict[str, set[str]] = {}
    for place, source in places:
        for name in defs(source):
            owners.setdefault(name, set()).add(place)
    assert {name: found for name, found in owners.items() if len(found) > 1} == {}


def defs(source: str) -> set[str]:
    """The functions and classes that a source defines. Methods belong to their classes: `draw` is
    that of a task."""
    nodes = list(ast.walk(ast.parse(source)))
    methods = {part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body}
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name for node in nodes if isinstance(node, kinds) and node not in methods}


# --- the claims ----------------------------------------------------------------------------------


def calls(page: Path) -> list[dict[str, ast.expr]]:
    """The arguments of every claim of a page, by name."""
    names = ("key", "statement", "source")
    found = []
    for cell in code(page):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "claim":
                arguments = {word.arg: word.value for word in node.keywords}
                found.append(dict(zip(names, node.args, strict=False)) | arguments)
    return found


@each_page
def test_no_claim_holds_by_a_bare_number(page):
    """0 and 1 are no tolerances: nothing, all, and places in a list."""
    for arguments in calls(page):
        for node in ast.walk(arguments.get("holds", ast.Pass())):
            bare = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
            assert not bare or node.value in (0, 1), (
                f"{ast.unparse(arguments['key'])}: {node.value} in holds=; use a rule of "
                "lintf/pages/tolerances.py"
            )


@each_page
def test_a_published_number_has_quantity_unit_and_place(page):
    for arguments in calls(page):
        if "published" not in arguments:
            assert "against" in arguments
            continue
        assert "source" in arguments
        text = ast.unparse(arguments["published"])
        assert not re.search(r"\d", text) or PUBLISHED.search(text), (
            f"{ast.unparse(arguments['key'])}: 'quantity: value [unit]', not {text}"
        )


@pytest.mark.parametrize("name", ["README.md", "book/welcome.md"])
def test_the_totals_that_are_told_are_those_of_the_pages(name):
    verdicts = [v for page in PAGES for v in lintf_ledger.written_claims(page).values()]
    told = {verdict: f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS}
    told["all"] = f"{len(verdicts)} claims"
    text = " ".join((ROOT / name).read_text().replace("**", "").split())
    assert not {k: words for k, words in told.items() if words not in text}


# --- the configuration ---------------------------------------------------------------------------


def load(name: str) -> dict:
    """A YAML file of the book."""
    return yaml.safe_load((ROOT / name).read_text())


def test_every_page_is_in_the_contents_and_in_the_gallery():
    files = [chapter["file"] for part in load("_toc.yml")["parts"] for chapter in part["chapters"]]
    welcome = (ROOT / "book" / "welcome.md").read_text()
    gallery = yaml.safe_load(re.search(r"```\{gallery\}\n(.*?)```", welcome, flags=re.DOTALL)[1])
    assert list(gallery) == [page.stem for page in PAGES]
    for page in PAGES:
        assert f"notebooks/{page.stem}" in files
        assert gallery[page.stem]["figure"] in figures(page)
        assert len(gallery[page.stem]["text"]) <= 130, "one line of text"
    assert [file for file in files if file.startswith("notebooks/")] == [
        f"notebooks/{p.stem}" for p in PAGES
    ]
    assert "book/ledger" in files
    assert "```{ledger}" in (ROOT / "book" / "ledger.md").read_text()


def test_a_warning_or_an_error_on_a_page_stops_the_build():
    execute = load("_config.yml")["execute"]
    assert execute["stderr_output"] == "warn"
    assert execute["allow_errors"] is False
    assert execute["raise_on_error"] is True
    assert "jupyter-book build -W" in (ROOT / "Makefile").read_text()


def test_the_continuous_check_is_make_test():
    commands = (ROOT / ".ci" / "run").read_text().strip().splitlines()
    assert commands[-1] == "make test"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# --- where the repository is ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "remote", "url"),
    [
        ("o/n", None, "https://github.com/o/n"),
        ("o/n", "https://github.com/other/one.git\n", "https://github.com/o/n"),
        (None, "https://github.com/o/n.git\n", "https://github.com/o/n"),
        (None, "https://github.com/o/my.name\n", "https://github.com/o/my.name"),
        (None, "https://someone@github.com/o/n\n", "https://github.com/o/n"),
        (None, "git@github.com:o/n.git\n", "https://github.com/o/n"),
        (None, "ssh://git@github.com/o/n.git\n", "https://github.com/o/n"),
        (None, "https://example.org/o/n.git\n", None),
        (None, "https://notgithub.com/o/n.git\n", None),
        (None, "/some/folder\n", None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_repository_address(name, remote, url):
    assert lintf_book.repository(name, remote) == url


def test_a_malformed_repository_name_is_refused():
    with pytest.raises(ExtensionError, match="owner/name"):
        lintf_book.repository("https://github.com/o/n", None)


# --- small books ---------------------------------------------------------------------------------

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = [
    "myst_nb", "sphinx_external_toc", "lintf_book", "lintf_figures", "lintf_gallery",
    "lintf_ledger",
]
external_toc_exclude_missing = True
html_theme = "sphinx_book_theme"
nb_execution_mode = {mode!r}
nb_output_stderr = "warn"
exclude_patterns = ["out"]
"""


def small_book(folder: Path, notebooks: dict[str, nbformat.NotebookNode], mode: str) -> None:
    """A book of these notebooks; its ledger is read before any of them."""
    (folder / "notebooks").mkdir(exist_ok=True)
    list_pages(folder, notebooks)
    (folder / "conf.py").write_text(CONF.format(extensions=str(EXTENSIONS), mode=mode))
    (folder / "a_ledger.md").write_text("# Ledger\n\n```{ledger}\nWhat the list is.\n```\n")
    (folder / "index.md").write_text("# Book\n")
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


def list_pages(folder: Path, names: Iterable[str]) -> None:
    """Write the contents: the ledger, then these pages."""
    files = ["a_ledger", *(f"notebooks/{name}" for name in names)]
    (folder / "_toc.yml").write_text(
        "root: index\nentries:\n" + "".join(f"- file: {file}\n" for file in files)
    )


def notebook(*sources: str, outputs: list | None = None) -> nbformat.NotebookNode:
    """A notebook with a title and code cells; the outputs belong to the last one."""
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("# A page"), *(v4.new_code_cell(source) for source in sources)]
    if outputs:
        cells[-1].outputs = outputs
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def glued(key: str, statement: str, **more: str) -> nbformat.NotebookNode:
    """The output that a claim leaves in a notebook."""
    fields = {
        "statement": statement,
        "measured": "5.2",
        "source": "2306.00297, Fig. 1",
        "published": "5.3",
        "quantity": "loss",
        "unit": "squared error",
        "holds": "why" not in more,
        "rule": "width of a line",
    }
    if "against" in more:
        fields |= dict.fromkeys(("source", "published", "quantity", "unit"))
    _, fields = Claim(key=key, **fields | more)._repr_mimebundle_()
    metadata = {"scrapbook": {"name": key, "mime_prefix": ""}, **fields}
    return nbformat.v4.new_output("display_data", data={"text/plain": statement}, metadata=metadata)


def build(folder: Path, repository: str = "", *options: str) -> subprocess.CompletedProcess[str]:
    """Build the book in this folder, with warnings as errors."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        *options,
        str(folder),
        str(folder / "out" / "html"),
    ]
    environment = {
        **os.environ,
        "GITHUB_REPOSITORY": repository,
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_ledger_has_every_claim_and_pages_have_launch_buttons(tmp_path):
    one = notebook("claim('one-loss', ...)", outputs=[glued("one-loss", "the loss is small")])
    both = [
        glued("two-mean", "the mean agrees"),
        glued("two-tail", "the tail agrees", scale="100 steps"),
    ]
    two = notebook("claims.claim('two-mean', ...)\nclaim('two-tail', ...)", outputs=both)
    others = [
        glued("three-lost", "it is lost", why="Nobody knows."),
        glued("three-apart", "it is apart", missing="Their model."),
        glued("three-ours", "it is ours", against="the exact optimum"),
    ]
    three = notebook(
        "for key in 'lost', 'apart', 'ours':\n"
        "    claim('three-lost', ...); claim('three-apart', ...); claim('three-ours', ...)",
        outputs=others,
    )
    small_book(tmp_path, {"01_one": one, "02_two": two, "03_three": three}, "off")
    result = build(tmp_path, "o/n")
    assert result.returncode == 0, result.stderr
    ledger = (tmp_path / "out" / "html" / "a_ledger.html").read_text()
    totals, text, table = (
        ledger.index(mark) for mark in ("lintf-totals", "What the list is.", "lintf-ledger")
    )
    assert totals < text < table, "the ledger opens with its totals"
    words = re.sub(r"<[^>]*>", " ", ledger[totals:text]).split()
    assert words[-7:] == ["2", "1", "1", "1", "5", "1", "6"]
    heads = "Reproduced Reproduced at a smaller scale Not reproduced Not comparable"
    heads += " All published Ours All"
    assert heads in " ".join(words)
    for link in (
        "01_one.html#claim-one-loss",
        "02_two.html#claim-two-mean",
        "02_two.html#claim-two-tail",
    ):
        assert f'href="notebooks/{link}"' in ledger
    for text in (
        "the loss is small",
        "the mean agrees",
        "the tail agrees",
        "loss: 5.3 [squared error]",
        'href="https://arxiv.org/abs/2306.00297">Fig. 1 of 2306.00297</a>',
        "5.2",
        ": 100 steps (width of a line)",
        ": Nobody knows. (width of a line)",
        ": Their model.",
        "the exact optimum",
    ):
        assert text in ledger
    page = (tmp_path / "out" / "html" / "notebooks" / "02_two.html").read_text()
    assert "https://colab.research.google.com/github/o/n/blob/main/notebooks/02_two.ipynb" in page
    assert "https://mybinder.org/v2/gh/o/n/main?urlpath=lab/tree/notebooks/02_two.ipynb" in page


def test_without_a_repository_there_are_no_buttons(tmp_path):
    one = notebook("claim('one-loss', ...)", outputs=[glued("one-loss", "the loss is small")])
    small_book(tmp_path, {"01_one": one}, "off")
    result = build(tmp_path)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "out" / "html" / "notebooks" / "01_one.html").read_text()
    for absent in ("colab", "mybinder", "github.com", "launch-buttons"):
        assert absent not in page


@pytest.mark.parametrize(
    ("source", "outputs", "message"),
    [
        (
            "if False:\n    claim('one-loss', ...)",
            [],
            "has claim 'one-loss', but running it did not glue it",
        ),
        ("print(1)", [glued("one-loss", "small")], "glued 'one-loss' without a claim() call"),
        ("print(1)", [], "notebooks/01_one makes no claim"),
        ("claim(f'one-{name}', ...)", [], "the first argument of claim() must be a literal key"),
    ],
)
def test_an_incomplete_ledger_stops_the_build(tmp_path, source, outputs, message):
    small_book(tmp_path, {"01_one": notebook(source, outputs=outputs)}, "off")
    result = build(tmp_path)
    assert result.returncode != 0
    assert message in result.stderr


def test_two_pages_may_not_share_a_claim(tmp_path):
    page = notebook("claim('one-loss', ...)", outputs=[glued("one-loss", "small")])
    small_book(tmp_path, {"01_one": page, "02_two": page}, "off")
    result = build(tmp_path)
    assert result.returncode != 0
    assert "claim 'one-loss' is made by notebooks/01_one and by notebooks/02_two" in result.stderr


REAL = """from lintf import claim
from lintf.pages import tolerances
value = open("../runs/value.txt").read()
holds = tolerances.every({holds})
claim("one-value", "the value is a number", against="any", measured=value, holds=holds)
"""


def test_a_change_outside_the_cells_runs_the_page_again(tmp_path):
    small_book(tmp_path, {"01_one": notebook(REAL.format(holds=True))}, "cache")
    (tmp_path / "runs").mkdir()
    page = tmp_path / "out" / "html" / "notebooks" / "01_one.html"
    ledger = tmp_path / "out" / "html" / "a_ledger.html"
    caches = tmp_path / "out" / ".jupyter_cache"
    value = tmp_path / "runs" / "value.txt"

    value.write_text("1.25")
    first = build(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "1.25" in page.read_text()
    assert "1.25" in ledger.read_text()

    again = build(tmp_path, "", "-E")  # every page is read, none is run
    assert "Using cached notebook" in again.stdout
    assert "Executing notebook" not in again.stdout

    value.write_text("2.75")
    changed = build(tmp_path)
    assert changed.returncode == 0, changed.stderr
    assert "2.75" in page.read_text()
    assert "2.75" in ledger.read_text()
    assert len(list(caches.iterdir())) == 1


FINDS = """from lintf import claim
from lintf.pages.tolerances import every
from lintf.training import store
for name in {names}:
    assert store.find(store.path_of(name, {{"name": name}}))
claim({key!r}, "the runs are there", against="none", measured="all", holds=every(True))
"""


def test_the_build_notes_which_page_used_which_run(tmp_path, runs):
    files = {}
    for name in ("one", "two", "three"):
        path = store.path_of(name, {"name": name})
        store.save(path, store.Record({"name": name}, {}, {}))
        files[name] = path.name

    def used(second: tuple[str, ...]) -> tuple[dict[str, str], int]:
        """The runs and their pages, where the second page finds these; how many pages were run."""
        pages = {
            "01_one": notebook(FINDS.format(names=("one",), key="one-x")),
            "02_two": notebook(FINDS.format(names=second, key="two-x")),
        }
        small_book(tmp_path, pages, "cache")
        ran = succeeds(tmp_path).count("Executing: ")
        lines = (tmp_path / "out" / "runs.txt").read_text().splitlines()
        return dict(line.split(" ", 1) for line in lines), ran

    first = {files["one"]: "01_one 02_two", files["two"]: "02_two"}
    assert used(("one", "two")) == (first, 2)
    assert used(("three",)) == ({files["one"]: "01_one", files["three"]: "02_two"}, 1)
    assert used(("one", "two")) == (first, 0), "what is noted belongs to the outputs in the cache"
    for trace in (tmp_path / "out" / ".jupyter_cache").glob("*/traces/*"):
        trace.unlink()
    assert used(("one", "two")) == ({"?": "01_one 02_two"}, 0)


def test_a_claim_that_does_not_hold_stops_the_build(tmp_path):
    small_book(tmp_path, {"01_one": notebook(REAL.format(holds=False))}, "cache")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "value.txt").write_text("1.25")
    result = build(
        tmp_path, "", "-D", "nb_execution_show_tb=1", "-D", "nb_execution_raise_on_error=1"
    )
    assert result.returncode != 0
    assert (
        "claim 'one-value' does not hold: the value is a number. Beside: any. Measured: 1.25."
        in result.stderr
    )


def test_a_build_with_warnings_fails_again(tmp_path):
    warn = [
        nbformat.v4.new_output("stream", name="stderr", text="careful"),
        glued("one-loss", "small"),
    ]
    small_book(tmp_path, {"01_one": notebook("claim('one-loss', ...)", outputs=warn)}, "off")
    for _ in range(2):
        result = build(tmp_path)
        assert result.returncode != 0
        assert "stderr was found in the cell outputs" in result.stderr


# --- what an earlier build has left, and what is not the book's ---

CLAIM = """from lintf import claim
from lintf.pages.tolerances import every
claim({key!r}, "the value is a number", against="any", measured="1", holds=every(True))"""


def two_pages(folder: Path, *sources: str) -> Path:
    """A book of two pages that are run, the first also with these sources; built once. Its pages in
    HTML."""
    pages = {name: notebook(CLAIM.format(key=f"{name[3:]}-x")) for name in ("01_one", "02_two")}
    pages["01_one"].cells[1:1] = notebook(*sources).cells[1:]
    small_book(folder, pages, "cache")
    succeeds(folder)
    return folder / "out" / "html" / "notebooks"


def succeeds(folder: Path) -> str:
    """Build the book; what was said."""
    result = build(folder)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_a_page_that_was_renamed_leaves_nothing(tmp_path):
    html = two_pages(tmp_path)
    assert "02_two.html" in (html / "01_one.html").read_text()
    (tmp_path / "notebooks" / "02_two.ipynb").rename(tmp_path / "notebooks" / "03_three.ipynb")
    list_pages(tmp_path, ["01_one", "03_three"])
    succeeds(tmp_path)
    assert {path.name for path in html.iterdir()} == {"01_one.html", "03_three.html"}
    assert list((tmp_path / "out").rglob("*02_two*")) == []
    for page in (html / "01_one.html", html.parent / "a_ledger.html", html.parent / "index.html"):
        assert "03_three.html" in page.read_text()
        assert "02_two" not in page.read_text()


def test_a_page_that_was_deleted_leaves_nothing(tmp_path):
    html = two_pages(tmp_path)
    (tmp_path / "notebooks" / "02_two.ipynb").unlink()
    list_pages(tmp_path, ["01_one"])
    succeeds(tmp_path)
    assert list((tmp_path / "out").rglob("*02_two*")) == []
    for page in (html / "01_one.html", html.parent / "a_ledger.html", html.parent / "index.html"):
        assert "02_two" not in page.read_text()


def test_a_checkout_that_was_moved_is_built_without_running_its_pages_again(tmp_path):
    (tmp_path / "old").mkdir()
    two_pages(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    said = succeeds(tmp_path / "new")
    assert said.count("Using cached notebook") == 2
    assert "Executing" not in said


def test_notebooks_that_are_not_in_the_contents_are_not_run(tmp_path):
    (tmp_path / "notebooks").mkdir()
    mark = tmp_path / "was-run"
    for name in ("Untitled", "01_one.out", "99_scratch"):
        nbformat.write(
            notebook(f"open({str(mark)!r}, 'w')"), tmp_path / "notebooks" / f"{name}.ipynb"
        )
    two_pages(tmp_path)
    assert not mark.exists()


def executed_page(folder: Path) -> Path:
    """The file of the only page in a new cache."""
    page = folder / "page.ipynb"
    nbformat.write(notebook("1"), page)
    lintf_book.get_cache(str(folder / "cache")).cache_notebook_file(page, check_validity=False)
    return next(folder.glob("cache/executed/*/base.ipynb"))


@pytest.mark.parametrize("damage", ["text", "empty", "half", "no tables", "no page", "half a page"])
def test_a_damaged_cache_is_begun_anew_and_said(tmp_path, monkeypatch, damage):
    page, cache = executed_page(tmp_path), str(tmp_path / "cache")
    said: list[str] = []
    monkeypatch.setattr(lintf_book.LOGGER, "info", said.append)
    assert len(lintf_book.open_cache(cache).list_cache_records()) == 1
    assert not said
    broken = page if "page" in damage else tmp_path / "cache" / "global.db"
    whole = broken.read_bytes()
    broken.unlink()
    if damage == "no tables":
        sqlite3.connect(broken).execute("CREATE TABLE other (x)").connection.close()
    elif damage != "no page":
        broken.write_bytes(
            {"text": b"no database", "empty": b""}.get(damage, whole[: len(whole) // 2])
        )
    assert lintf_book.open_cache(cache).list_cache_records() == []
    (line,) = said
    assert line.startswith("The cache of executed pages is damaged and begun anew (")
    assert line.endswith(cache)
    assert "\n" not in line


def test_a_book_with_a_damaged_cache_is_built(tmp_path):
    html = two_pages(tmp_path)
    (database,) = (tmp_path / "out" / ".jupyter_cache").glob("*/global.db")
    database.write_bytes(b"no database")
    (html / "01_one.html").unlink()
    result = build(tmp_path, "", "-E")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("is damaged and begun anew") == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "the value is a number" in (html / "01_one.html").read_text()


def test_no_more_pages_run_at_once_than_this_process_may_use_cores(tmp_path, monkeypatch):
    seen = []

    class Pool(contextlib.nullcontext):
        def __init__(self, processes):
            super().__init__(self)
            seen.append(processes)

        def map(self, *_, **__):
            pass

    app = SimpleNamespace(config=SimpleNamespace(nb_execution_mode="cache", nb_execution_timeout=1))
    app.config.nb_execution_cache_path = str(tmp_path / "cache")
    for i in range(5):
        nbformat.write(notebook(f"{i}"), tmp_path / f"{i}.ipynb")
    env = SimpleNamespace(doc2path=lambda name: str(tmp_path / f"{name}.ipynb"))
    monkeypatch.setattr(lintf_book.multiprocessing, "Pool", Pool)
    monkeypatch.setattr(lintf_book.multiprocessing, "log_to_stderr", lambda level: None)
    for cores in (2, 64):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False
        )
        lintf_book.run_pages(app, env, [str(i) for i in range(5)])
    assert seen == [2, 5]


def test_the_users_own_settings_do_not_reach_a_page(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "profile_default" / "startup").mkdir(parents=True)
    (home / "matplotlibrc").write_text("text.usetex: True\n")
    (home / "profile_default" / "startup" / "00.py").write_text("import torch\nleak = 1\n")
    (home / "profile_default" / "ipython_config.py").write_text(
        "c.InteractiveShell.ast_node_interactivity = 'all'\n"
    )
    for name in ("IPYTHONDIR", "MPLCONFIGDIR", "MATPLOTLIBRC"):
        monkeypatch.setenv(name, str(home))
    book = tmp_path / "book"
    book.mkdir()
    html = two_pages(
        book,
        "import matplotlib\nprint('usetex', matplotlib.rcParams['text.usetex'])",
        "print('leak', 'leak' in globals())",
        "'fir' + 'st'\n'second'",
    )
    text = re.sub(r"<[^>]*>", "", (html / "01_one.html").read_text())
    assert "usetex False" in text
    assert "leak False" in text
    assert "second" in text
    assert "first" not in text


# --- the gallery ---------------------------------------------------------------------------------


def painted(key: str, name: str) -> nbformat.NotebookNode:
    """A notebook with one claim and one figure, a line in a panel."""
    svg, drawing = io.StringIO(), Figure()
    drawing.subplots().plot([0, 1], color=looks.PALETTE[0], linewidth=1.5)
    drawing.savefig(svg, format="svg", metadata={"Date": None})
    page = notebook(f"claim({key!r}, ...)", outputs=[glued(key, "small")])
    figure = {
        "figure": {"caption": "A figure.", "name": name},
        "image": {"alt": "A rising line."},
    }
    cell = nbformat.v4.new_code_cell("draw()", metadata={"mystnb": figure})
    data = {"image/svg+xml": svg.getvalue()}
    cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
    page.cells.append(cell)
    return page


def with_gallery(folder: Path, lines: str) -> subprocess.CompletedProcess[str]:
    """A book of two pages, one with a figure and one without, and this gallery."""
    plain = notebook("claim('two-loss', ...)", outputs=[glued("two-loss", "small")])
    small_book(folder, {"01_one": painted("one-loss", "fig-one"), "02_two": plain}, "off")
    with (folder / "index.md").open("a") as file:
        file.write(f"\n```{{gallery}}\n{lines}```\n")
    return build(folder)


def test_the_gallery_shows_what_the_pages_drew(tmp_path):
    small_book(tmp_path, {"01_one": painted("one-loss", "fig-one")}, "off")
    with (tmp_path / "index.md").open("a") as file:
        file.write("\n```{gallery}\n01_one: {figure: fig-one, text: A line with $x$.}\n```\n")
    result = build(tmp_path)
    assert result.returncode == 0, result.stderr
    front = (tmp_path / "out" / "html" / "index.html").read_text()
    (card,) = re.findall(r'<ul class="lintf-gallery[^>]*>.*?</ul>', front, flags=re.DOTALL)
    assert 'href="notebooks/01_one.html">A page</a>' in card
    assert card.count('alt="A rising line."') == 2
    assert "A line with" in card
    light, dark = (
        (tmp_path / "out" / "html" / file).read_text()
        for file in re.findall(r'src="([^"]+)"', card)
    )
    assert f"stroke: {looks.PALETTE[0].lower()}; stroke-width: 3" in light
    assert f"stroke: {looks.PALETTE_ON_DARK[0]}; stroke-width: 3" in dark
    for small in (light, dark):
        assert "matplotlib.axis" not in small, "ticks and labels that nobody could read"


def test_a_page_shows_each_figure_for_light_and_for_dark(tmp_path):
    small_book(tmp_path, {"01_one": painted("one-loss", "fig-one")}, "off")
    result = build(tmp_path)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "out" / "html" / "notebooks" / "01_one.html").read_text()
    images = re.findall(r'<img [^>]*alt="A rising line."[^>]*>', page)
    assert len(images) == 2
    for image, theme, colour in zip(
        images, ("light", "dark"), (looks.PALETTE[0].lower(), looks.PALETTE_ON_DARK[0]), strict=True
    ):
        assert f"only-{theme}" in image
        for part in (r'loading="lazy"', r'width="\d+"', r'height="\d+"'):
            assert re.search(part, image), "the page would jump while it loads"
        file = re.search(r'src="\.\./([^"]+)"', image)[1]
        assert f"stroke: {colour}" in (tmp_path / "out" / "html" / file).read_text()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "01_one: {figure: fig-one, text: A}\n",
            "gallery: these have a line or a page, but not both: ['02_two']",
        ),
        (
            "01_one: {figure: fig-one, text: A}\n02_two: {figure: fig-two, text: B}\n",
            "gallery: notebooks/02_two has no figure 'fig-two'; it has none",
        ),
    ],
)
def test_an_incomplete_gallery_stops_the_build(tmp_path, lines, message):
    result = with_gallery(tmp_path, lines)
    assert result.returncode != 0
    assert message in result.stderr


# --- fresh outputs -------------------------------------------------------------------------------


def tree(folder: Path, files: dict[str, str]) -> str:
    """The digest of a folder with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return lintf_book.digest(folder)


def test_the_digest_sees_names_and_contents(tmp_path):
    start = {"lintf/a.py": "1", "lintf/sub/b.cpp": "2", "runs/r.json": "3", "requirements.txt": "4"}
    start |= {"benchmarks/sub/c.csv": "5"}
    seen = [tree(tmp_path, start)]
    assert tree(tmp_path, start) == seen[0]
    for change in (
        {"lintf/a.py": "x"},
        {"lintf/sub/b.cpp": "x"},
        {"runs/new.json": ""},
        {"requirements.txt": "x"},
        {"benchmarks/sub/c.csv": "x"},
    ):
        seen.append(tree(tmp_path, change))
    (tmp_path / "runs" / "r.json").rename(tmp_path / "runs" / "other.json")
    seen.append(lintf_book.digest(tmp_path))
    assert len(set(seen)) == len(seen)


def test_the_digest_leaves_out_what_is_derived(tmp_path):
    start = tree(tmp_path, {"lintf/a.py": "1", "runs/r.json": "3"})
    derived = {
        "lintf/__pycache__/a.pyc": "",
        "lintf/kernel.so": "",
        "runs/.part": "",
        "book/x.md": "",
        "lintf/.k/x": "",
    }
    assert tree(tmp_path, derived) == start


def test_the_keys_of_a_page_are_found(tmp_path):
    page = tmp_path / "page.ipynb"
    page.write_text(
        json.dumps(
            notebook("claim('a-b')", "x = 1", "for _ in x:\n    claims.claim('c-d', missing='x')")
        )
    )
    assert lintf_ledger.written_claims(page) == {"a-b": "reproduced", "c-d": "not comparable"}


# --- the findings --------------------------------------------------------------------------------


def test_findings_are_sorted_by_their_verdicts_and_lead_to_their_cells(tmp_path):
    outputs = [
        glued("one-ours", "it is ours", against="the exact optimum"),
        glued("one-loss", "the loss is small"),
        glued("one-lost", "it is lost", why="Nobody knows."),
    ]
    source = "claim('one-ours', ...); claim('one-loss', ...); claim('one-lost', ...)"
    small_book(tmp_path, {"01_one": notebook(source, outputs=outputs)}, "off")
    conf = (tmp_path / "conf.py").read_text()
    (tmp_path / "conf.py").write_text(
        conf.replace('"lintf_book"', '"lintf_book", "lintf_findings"')
    )
    text = "# Book\n\n```{findings}\none-ours\none-lost\none-loss\n```\n"
    (tmp_path / "index.md").write_text(text)
    result = build(tmp_path)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "out" / "html" / "index.html").read_text()
    places = [
        page.index(mark)
        for mark in (
            "<strong>Came back</strong>",
            'href="notebooks/01_one.html#claim-one-loss"',
            "<strong>Did not come back</strong>",
            'href="notebooks/01_one.html#claim-one-lost"',
            "<strong>New here</strong>",
            'href="notebooks/01_one.html#claim-one-ours"',
        )
    ]
    assert places == sorted(places)
    words = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert (
        "the loss is small : measured 5.2; published loss: 5.3 [squared error] reproduced" in words
    )
    assert "it is ours : measured 5.2; held against the exact optimum ours" in words

    (tmp_path / "index.md").write_text(text.replace("one-lost", "one-typo"))
    result = build(tmp_path)
    assert result.returncode != 0
    assert "index: no page makes the claims one-typo" in result.stderr


def test_coverage_shows_pages_with_their_verdicts_and_what_is_not_there(tmp_path):
    outputs = [glued("one-loss", "small"), glued("one-lost", "lost", why="Nobody knows.")]
    source = "claim('one-loss', ...); claim('one-lost', ...)"
    small_book(tmp_path, {"01_one": notebook(source, outputs=outputs)}, "off")
    conf = (tmp_path / "conf.py").read_text()
    conf = conf.replace('"lintf_book"', '"lintf_book", "lintf_findings"')
    (tmp_path / "conf.py").write_text(conf)
    entries = (
        "- what: Fig. 1, the loss\n  claims: one-loss one-lost\n  left: the other half\n"
        "- what: Fig. 2\n  not: it takes a year\n"
    )
    (tmp_path / "index.md").write_text(f"# Book\n\n```{{coverage}}\n{entries}```\n")
    result = build(tmp_path)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "out" / "html" / "index.html").read_text()
    table = page[page.index("lintf-coverage") :]
    assert table.count('href="notebooks/01_one.html"') == 1
    assert 'href="notebooks/01_one.html#claim-one-lost"' in table
    words = " ".join(re.sub(r"<[^>]*>", " ", table).split())
    assert "Fig. 1, the loss 01 reproduced ; not reproduced . Left out: the other half" in words
    assert "Fig. 2 – not in the book: it takes a year" in words

    wrong = entries.replace("  not:", "  note:")
    (tmp_path / "index.md").write_text(f"# Book\n\n```{{coverage}}\n{wrong}```\n")
    result = build(tmp_path)
    assert result.returncode != 0
    assert "an entry has what, and claims or not" in result.stderr
