"""Sweeps: from a name and a grid of parameters to cells, and the table of what became of them."""

from __future__ import annotations

import ast
import csv
import importlib
import importlib.util
import inspect
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from lintf import grid, listing, notebook, pages, store
from lintf.cells import Cell, PageCell, Result, TrainingCell, claims, replace_text
from lintf.member import Member
from lintf.names import WrongInput
from lintf.several import Plan

SEEDS = "seeds"
Axes = Mapping[str, Sequence[object]]


def cells(name: str, axes: Axes) -> list[Cell]:
    """The cells of a grid over the parameters of

    - a page, named as for `notebook.find`;
    - MODULE:FUNCTION or FILE.py:FUNCTION, where the function returns (model, task, training) as for `fit`;
    - a stored run, named by a part of its file name: its configuration, in which fields are replaced.

    For the last two `seeds` are the seeds of the trainings, one to a cell. Everything is checked here, before any work
    starts. Raises WrongInput.
    """
    if ":" in name:
        return list(_function_cells(name, axes))
    if notebook.matching(name) or Path(name).suffix in (".ipynb", ".py"):
        return list(_page_cells(notebook.find(name), axes))
    return list(_run_cells(name, axes))


def label(parameters: Mapping[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in parameters.items())


def _page_cells(page: Path, axes: Axes) -> Iterator[PageCell]:
    """A parameter that is a list on the page takes a single value, too: seeds=0,1 are two cells with one seed each."""
    written = pages.assigned(notebook.parameters_source(page))
    notebook.check_names(page.stem, axes, written)
    defaults = {name: ast.literal_eval(value) for name, value in written.items()}
    checked = [name for name in defaults if name in pages.RULES and name != "device"]  # the worker has its own devices
    relations = [r for source in notebook.code(page) for r in pages.relations(source, defaults)]
    for given in grid.cells(axes):
        chosen = {
            name: [value] if isinstance(defaults[name], list) and not isinstance(value, list) else value
            for name, value in given.items()
        }
        try:
            pages.check_values(defaults | chosen, checked, relations)
        except ValueError as error:
            raise WrongInput(f"{label(given)}: {error}") from error
        yield PageCell(chosen, page.stem, page.read_text(encoding="utf-8"))


def _function_cells(name: str, axes: Axes) -> Iterator[TrainingCell]:
    function = _load(name)
    known = inspect.signature(function).parameters
    notebook.check_names(name, axes, [*known, SEEDS])
    required = [n for n, p in known.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if missing := [n for n in required if n not in axes]:
        raise WrongInput(f"{name} needs {', '.join(missing)}: give -p {missing[0]}=VALUES")
    for given in grid.cells(axes):
        arguments = {n: value for n, value in given.items() if n != SEEDS}
        yield _training(given, lambda arguments=arguments: function(**arguments), given.get(SEEDS, 0))


def _run_cells(name: str, axes: Axes) -> Iterator[TrainingCell]:
    found = listing.select(name)
    configs = {store.canonical(c | {"seed": 0}): c for c in (store.load(path).config for path in found)}
    if len(configs) > 1:
        some = ", ".join(path.name for path in found[:3])
        raise WrongInput(f"{name!r} could be one of {len(configs)} configurations of stored runs ({some}, ...)")
    member = Member.of(next(iter(configs.values())))
    parts = (member.model, member.task, member.training)
    known = [{f.name for f in fields(part)} for part in parts]
    notebook.check_names(found[0].name, axes, [*sorted(set().union(*known)), SEEDS])
    for given in grid.cells(axes):
        changes = [{n: value for n, value in given.items() if n in names} for names in known]

        def plan(changes: list[dict] = changes) -> Plan:
            return tuple(replace(part, **change) for part, change in zip(parts, changes, strict=True))

        yield _training(given, plan, given.get(SEEDS, member.seed))


def _training(given: dict[str, object], plan: Callable[[], Plan], seed: object) -> TrainingCell:
    """Raises WrongInput for what `fit` would refuse."""
    try:
        model, task, training = plan()
        member = Member(model, task(seed) if callable(task) else task, training, seed)
    except ValueError as error:  # what `fit` would refuse
        raise WrongInput(f"{label(given)}: {error}") from error
    except Exception as error:  # of the user's function
        raise WrongInput(f"{label(given)}: {type(error).__name__}: {error}") from error
    cell = TrainingCell(given, member.config)
    if cell.member != member:
        raise WrongInput(f"{label(given)}: {member.config} cannot be sent to a worker")
    return cell


def _load(name: str) -> Callable[..., Plan]:
    """The function MODULE:FUNCTION or FILE.py:FUNCTION. Raises WrongInput."""
    where, _, attribute = name.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        function = getattr(module, attribute)
    except Exception as error:  # it is the user's file
        raise WrongInput(f"{name}: no such function ({type(error).__name__}: {error})") from error
    if not callable(function):
        raise WrongInput(f"{name} must be a function that returns (model, task, training), got {function!r:.80}")
    return function


class Table:
    """cells.csv in a folder: one row for each cell, whatever became of it, and claims.csv with what pages claim."""

    def __init__(self, folder: Path, cells: Sequence[Cell]) -> None:
        self.folder, self.cells = folder, cells
        self.results: dict[int, tuple[str, Result]] = {}  # place of the cell -> stored or new, and its result
        self.claims: dict[int, list[dict]] = {}

    def look(self) -> list[int]:
        """Enter what is stored; the places of the cells that are not. Raises StoreError for a damaged run."""
        for i, cell in enumerate(self.cells):
            if result := cell.stored(self.folder):
                self._enter(i, result, "stored")
        return [i for i in range(len(self.cells)) if i not in self.results]

    def add(self, i: int, result: Result) -> None:
        self._enter(i, result, "new")

    def _enter(self, i: int, result: Result, found: str) -> None:
        """Without notebook and runs, which would fill the memory."""
        if result.ok and result.notebook:
            self.claims[i] = list(claims(result.notebook))
        self.results[i] = found, replace(result, notebook="", runs={})

    @property
    def failed(self) -> int:
        return sum(not result.ok for _, result in self.results.values())

    def failures(self) -> Iterator[str]:
        """Lines: the cells that failed, and why."""
        if self.failed:
            yield "failed:"
            for i, (_, result) in sorted(self.results.items()):
                if not result.ok:
                    yield f"  {label(self.cells[i].parameters)}: {result.detail}"
            yield ""

    def summary(self) -> str:
        return f"{len(self.results) - self.failed} of {len(self.cells)} cells done, {self.failed} failed"

    def write(self) -> None:
        """Both files anew. Raises OSError."""
        names = list(self.cells[0].parameters)
        heads = ["status", "found", "result", "begun", "seconds", "worker", "file"]
        rows, claimed = [], []
        for i, cell in enumerate(self.cells):
            given = list(cell.parameters.values())
            found, result = self.results.get(i, ("", Result(False, "")))
            status = ("ok" if result.ok else "failed") if found else "not run"
            times = [f"{result.begun:.2f}", f"{result.seconds:.2f}"] if result.begun else ["", ""]
            rows.append([*given, status, found, result.detail, *times, result.worker, cell.file(self.folder).name])
            for c in self.claims.get(i, ()):
                claimed.append([*given, c["key"], c["published"], c["measured"], c["holds"]])
        self._write("cells.csv", [*names, *heads], rows)
        if claimed:
            self._write("claims.csv", [*names, "claim", "published", "measured", "holds"], claimed)

    def _write(self, name: str, heads: list[str], rows: list[list[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([heads, *rows])
        replace_text(self.folder / name, text.getvalue())
