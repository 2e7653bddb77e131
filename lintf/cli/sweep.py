"""Sweeps: from a name and a grid of parameters to cells."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

from lintf.checks import UsageError, one_line
from lintf.cli import grid, listing, notebook
from lintf.cli.cells import Cell, PageCell, TrainingCell
from lintf.cli.values import check_switches
from lintf.pages import parameters
from lintf.training import store
from lintf.training.run import OfANotebook, Run
from lintf.training.several import Experiment

SEEDS = "seeds"
Axes = Mapping[str, Sequence[object]]


def cells(name: str, axes: Axes) -> list[Cell]:
    """Returns the cells of a grid over the parameters of

    - a page, named as for `notebook.find`;
    - MODULE:FUNCTION or FILE.py:FUNCTION, where the function returns (model, task, training) as
      for `fit`;
    - a stored run, named by a part of its file name: its configuration, in which fields are
      replaced.

    For the last two `seeds` are the seeds of the trainings, one to a cell. Everything is checked
    here, before any work starts. Raises UsageError.
    """
    if ":" in name:
        return list(_function_cells(name, axes))
    if notebook.matching(name) or Path(name).suffix in (".ipynb", ".py"):
        return list(_page_cells(notebook.find(name), axes))
    return list(_run_cells(name, axes))


def _page_cells(page: Path, axes: Axes) -> Iterator[PageCell]:
    """Yields the cells of a page. A parameter that is a list there takes a single value, too:
    seeds=0,1 are two cells with one seed each."""
    notebook.check_language(page)
    names = parameters.assigned(notebook.parameters_source(page))
    notebook.check_names(page.stem, axes, names)
    defaults = notebook.defaults(page)
    # Of the others only the page can say whether they will do.
    known = defaults.keys() | axes.keys()
    if any("check_parameters" in source for source in notebook.code(page)):
        # A worker has its own devices.
        checked = [n for n in names if n in known and n in parameters.RULES and n != "device"]
        relations = _relations(page, known)
    else:  # a notebook of one's own, where the names may mean something else
        checked, relations = [], []
    for given in grid.cells(axes):
        chosen = {
            name: [value]
            if isinstance(defaults.get(name), list) and not isinstance(value, list)
            else value
            for name, value in given.items()
        }
        try:
            check_switches(given, defaults)
            parameters.check_values(defaults | chosen, checked, relations)
        except ValueError as error:
            raise UsageError(f"{grid.label(given)}: {error}") from error
        except Exception as error:  # of a relation that cannot be asked of such a value
            raise UsageError(f"{grid.label(given)}: {one_line(error)}") from error
        yield PageCell(chosen, page.stem, page.read_text(encoding="utf-8"))


def _relations(page: Path, known: Iterable[str]) -> list[str]:
    """Returns what the page asks of these parameters in words, not what it computes later."""
    found = []
    for source in notebook.code(page):
        with suppress(ValueError, SyntaxError):
            found += parameters.relations(source, known)
    return found


def _function_cells(name: str, axes: Axes) -> Iterator[TrainingCell]:
    where, _, attribute = name.rpartition(":")
    with _neighbours(where):
        function = _load(name, where, attribute)
        parameters, open_ended = _parameters(name, function)
        if not open_ended:
            notebook.check_names(name, axes, [*parameters, SEEDS])
        if missing := [
            n
            for n, default in parameters.items()
            if default is inspect.Parameter.empty and n not in axes
        ]:
            raise UsageError(f"{name} needs {', '.join(missing)}: give -p {missing[0]}=VALUES")
        for given in grid.cells(axes):
            check_switches(given, parameters)
            arguments = {n: value for n, value in given.items() if n != SEEDS}
            yield _training(
                given, lambda arguments=arguments: function(**arguments), given.get(SEEDS, 0)
            )


def _parameters(name: str, function: Callable[..., Experiment]) -> tuple[dict[str, object], bool]:
    """Returns the parameters of a function with their defaults, and whether it takes any others."""
    try:
        known = inspect.signature(function).parameters
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name}: its parameters are not known ({one_line(error)})") from error
    named = {
        n: p.default
        for n, p in known.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    return named, any(p.kind is p.VAR_KEYWORD for p in known.values())


def _run_cells(name: str, axes: Axes) -> Iterator[TrainingCell]:
    found = listing.select(name)
    configs = {
        store.canonical(c | {"seed": 0}): c for c in (store.load(path).config for path in found)
    }
    if len(configs) > 1:
        some = ", ".join(path.name for path in found[:3])
        raise UsageError(
            f"{name!r} could be one of {len(configs)} configurations of stored runs ({some}, ...)"
        )
    try:
        run = Run.of(next(iter(configs.values())))
    except OfANotebook as error:
        raise UsageError(f"{found[0].name}: {error}") from error
    parts = (run.model, run.task, run.training)
    known = [{f.name for f in fields(part)} for part in parts]
    notebook.check_names(found[0].name, axes, [*sorted(set().union(*known)), SEEDS])
    for given in grid.cells(axes):
        changes = [{n: value for n, value in given.items() if n in names} for names in known]

        def experiment(changes: list[dict] = changes) -> Experiment:
            return tuple(
                replace(part, **change) for part, change in zip(parts, changes, strict=True)
            )

        yield _training(given, experiment, given.get(SEEDS, run.seed))


def _training(
    given: dict[str, object], experiment: Callable[[], Experiment], seed: object
) -> TrainingCell:
    """Returns a cell, which has of a training what names it in runs/; fields that change nothing,
    as betas of SGD, need not come along. Raises UsageError for what `fit` would refuse."""
    try:
        model, task, training = experiment()
        if isinstance(task, type):
            raise ValueError(
                "task must be a law of prompts or a function from the seed to one, got the "
                f"class {task}"
            )
        run = Run(model, task(seed) if callable(task) else task, training, seed)
        cell = TrainingCell(given, run.config)
        same = cell.run.path == run.path
    except ValueError as error:  # what `fit` would refuse
        raise UsageError(f"{grid.label(given)}: {' '.join(str(error).split())}") from error
    except (Exception, SystemExit) as error:  # of the user's function
        raise UsageError(f"{grid.label(given)}: {one_line(error)}") from error
    if not same:
        raise UsageError(f"{grid.label(given)}: {run.config} cannot be sent to a worker")
    return cell


@contextmanager
def _neighbours(where: str) -> Iterator[None]:
    """Lets a FILE.py import what stands beside it, as if it were run itself."""
    folder = str(Path(where).resolve().parent)
    if not where.endswith(".py"):
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _load(name: str, where: str, attribute: str) -> Callable[..., Experiment]:
    """Returns the function MODULE:FUNCTION or FILE.py:FUNCTION. Raises UsageError."""
    try:
        function = getattr(
            _load_file(where) if where.endswith(".py") else importlib.import_module(where),
            attribute,
        )
    except (Exception, SystemExit) as error:  # it is the user's file
        raise UsageError(f"{name}: no such function ({one_line(error)})") from error
    if not callable(function):
        raise UsageError(
            f"{name} must be a function that returns (model, task, training), got {function!r:.80}"
        )
    return function


def _load_file(where: str) -> ModuleType:
    """Returns the file as a module under its path, a name that no other module has."""
    path = str(Path(where).resolve())
    spec = importlib.util.spec_from_file_location(path, path)
    # Where dataclasses look themselves up.
    module = sys.modules[path] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path]
        raise
    return module
