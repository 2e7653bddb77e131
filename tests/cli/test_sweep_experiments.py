"""Whatever `fit` takes, `sweep` takes: the same configurations, however the user's file is
written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import sweep_experiments
import torch

from lintf.checks import UsageError
from lintf.cli import grid, sweep
from lintf.training import store
from lintf.training.fit import fit
from lintf.training.run import Run


def of(name, *texts):
    return sweep.cells(name, grid.axes(texts))


@pytest.fixture
def here(tmp_path, monkeypatch, runs) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", sweep_experiments.EXPERIMENTS)
def test_what_fit_takes_sweep_takes(here, monkeypatch, case):
    """The cell is the very run that `fit` stores: its name, its configuration, and every number in
    it."""
    (cell,) = of(f"{sweep_experiments.__file__}:experiment", f"case={case!r}", "seeds=1")
    model, task, training = sweep_experiments.EXPERIMENTS[case]
    run = Run(model, task(1) if callable(task) else task, training, 1)
    assert cell.file(here) == run.path
    assert cell.run.config == run.config
    assert cell.work().ok
    with monkeypatch.context() as patch:
        patch.setenv("LINTF_RUNS", str(here / "alone"))
        fit(model, task, training, (1,), progress=False)
        alone = store.load(run.path)
    found = store.load(cell.file(here))
    assert found.config == alone.config
    assert found.tensors.keys() == alone.tensors.keys()
    assert all(torch.equal(found.tensors[name], t) for name, t in alone.tensors.items())


def test_a_task_must_not_be_a_class(here):
    """As for `fit`: called with the seed, it would take that for N."""
    (here / "plan.py").write_text(
        "from sweep_experiments import *\nmodel, _, config = EXPERIMENTS['adam']\n"
        "def plan():\n    return model, LinearRegression, config\n"
    )
    with pytest.raises(
        UsageError,
        match="task must be a law of prompts or a function from the seed to one, got the cl",
    ):
        of("plan.py:plan", "seeds=3")


# ---- a file of one's own

PLAN = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from lintf import LinearTransformer
from lintf import LinearRegression
from lintf import TrainConfig

@dataclass(frozen=True)
class Scale:
    d: int = D
    name: ClassVar[str] = "small"

def plan(N, scale=Scale(), **more):
    later = more.pop("lazily", False)
    if later:
        import beside
        N = beside.N
    config = TrainConfig(lr=0.01, max_iters=3, B=6, **more)
    return LinearTransformer(d=scale.d), LinearRegression(N=N, d=scale.d), config
"""


def write(path: Path, D: object = 3) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(PLAN.replace("= D", f"= {D}"))
    return path


def test_a_dataclass_with_postponed_annotations(here):
    write(here / "plan.py")
    (cell,) = of("plan.py:plan", "N=5")
    assert (cell.run.task.N, cell.run.task.d) == (5, 3)


@pytest.mark.parametrize("stem", ["json", "torch", "lintf", "types", "two words", "2nd", "a.b"])
def test_a_file_may_have_the_name_of_a_module(here, stem):
    """And neither takes the place of the other."""
    installed = sys.modules.get(stem)
    write(here / f"{stem}.py")
    (cell,) = of(f"{stem}.py:plan", "N=5")
    assert cell.run.task.N == 5
    assert sys.modules.get(stem) is installed


def test_two_files_of_one_stem_are_two(here):
    for d in (3, 4):
        write(here / str(d) / "plan.py", d)
    assert [of(f"{d}/plan.py:plan", "N=5")[0].run.task.d for d in (3, 4, 3)] == [3, 4, 3]


def test_a_file_may_import_what_stands_beside_it(here, monkeypatch):
    """At once, and when the function is called."""
    folder = here / "deep"
    path = write(folder / "plan.py", "beside.d")
    path.write_text(path.read_text().replace("\n@data", "\nimport beside\n\n@data"))
    (folder / "beside.py").write_text("d = 4\nN = 9\n")
    before = list(sys.path)
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    (cell,) = of("deep/plan.py:plan", "N=5", "lazily=True")
    assert (cell.run.task.d, cell.run.task.N) == (4, 9)
    assert sys.path == before
    del sys.modules["beside"]


def test_a_function_may_take_any_parameters(here):
    write(here / "plan.py")
    (cell,) = of("plan.py:plan", "N=5", "record_every=2")
    assert cell.run.training.record_every == 2
    (here / "plan.py").write_text(
        (here / "plan.py").read_text().replace("def plan(N", "def plan(*_, N")
    )
    assert of("plan.py:plan", "N=5")[0].run.task.N == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys\nsys.exit(3)", "plan.py:plan: no such function (SystemExit: 3)"),
        ("def plan(N):\n    raise SystemExit", "N=5: SystemExit"),
        ("def plan(N):\n    raise RuntimeError('one\\n  two')", "N=5: RuntimeError: one two"),
        ("def plan(N):\n    raise ValueError('one\\n  two')", "N=5: one two"),
        (
            "plan = dict",
            "plan.py:plan: its parameters are not known (ValueError: no signature found",
        ),
        (
            "def plan(a, /, N):\n    pass",
            "N=5: TypeError: plan() missing 1 required positional argument: 'a'",
        ),
        ("def plan(N, flag=False):\n    pass", "flag must be True or False, got 'false'"),
    ],
    ids=str,
)
def test_a_file_that_will_not_do_is_said_in_one_line(here, text, said):
    (here / "plan.py").write_text(text)
    with pytest.raises(UsageError) as caught:
        of("plan.py:plan", "N=5", *(["flag=false"] if "flag" in text else []))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert str(here / "plan.py") not in sys.modules or "exit(3)" not in text
