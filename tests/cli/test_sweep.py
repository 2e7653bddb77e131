"""From a name and a grid to cells, their results and the table. Cells run here;
tests/cli/test_cluster.py has Dask."""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from distributed.protocol import deserialize, serialize

from lintf.__main__ import main
from lintf.checks import UsageError
from lintf.cli import cells, cluster, grid, notebook, sweep
from lintf.cli.cells import PageCell, Result, TrainingCell
from lintf.cli.table import Table
from lintf.models.linear import LinearTransformer
from lintf.pages import parameters
from lintf.tasks.linear import LinearRegression
from lintf.training import store, versions
from lintf.training.fit import TrainConfig, fit
from lintf.training.run import Run

PLAN = """
from dataclasses import replace
from lintf import LinearTransformer
from lintf import LinearRegression
from lintf import TrainConfig

model, task = LinearTransformer(d=3, n_layer=2), LinearRegression(N=6, d=3)

def plan(iters, N=6, alg="adam", lr=0.01):
    return model, replace(task, N=N), TrainConfig(lr=lr, max_iters=iters, B=9, alg=alg)

def by_seed(iters=5):
    return model, lambda seed: replace(task, N=4 + seed), TrainConfig(lr=0.01, max_iters=iters, B=9)

def pair():
    return model, task

number = 3
"""
PAGE = {
    "title": "# A page of its own",
    "parameters": "n = 2  # how many\nN = 5  # examples\nloops = 4\nT = 3\n"
    "seeds = [0, 1]  # a list\nnote = 'x'",
    "check": "from lintf.pages import parameters\n"
    "parameters.check_parameters('N > loops', 'len(note) < 9')",
    "train": (
        "from lintf import LinearTransformer\nfrom lintf import LinearRegression\n"
        "from lintf import TrainConfig, fit\nfrom lintf import claim\n"
        "fit(LinearTransformer(d=3, n_layer=1), LinearRegression(N=N, d=3), "
        "TrainConfig(lr=0.01, max_iters=n, B=9), seeds)\n"
        "from lintf.pages.tolerances import every\n"
        "claim('own-claim', 'It is so', against='7', measured=str(N), holds=every(N == 7))\n"
        "assert note != 'stop', 'it was to stop'"
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch, runs) -> Path:
    """A folder with a plan and a page, the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.py").write_text(PLAN)
    new = nbformat.v4
    parts = [
        new.new_markdown_cell(PAGE["title"]),
        new.new_code_cell(PAGE["parameters"], metadata={"tags": ["parameters"]}),
        new.new_code_cell(PAGE["check"]),
        new.new_code_cell(PAGE["train"]),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new.new_notebook(cells=parts, metadata=kernel), tmp_path / "own.ipynb")
    return tmp_path


@pytest.fixture
def at_once(monkeypatch):
    """Cells are run one after the other, in this process."""
    monkeypatch.setattr(
        cluster, "connect", lambda *_: nullcontext(SimpleNamespace(nthreads=lambda: {"here": 1}))
    )
    monkeypatch.setattr(
        cluster, "run", lambda _, __, todo: ((i, cell.work()) for i, cell in enumerate(todo))
    )


def of(name, *texts):
    return sweep.cells(name, grid.axes(texts))


def rows(name="cells"):
    with open(f"out/{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


# ---- cells of a function


def test_cells_of_a_function(here):
    """The function's own defaults, the grid's values, a seed to each cell."""
    found = of("plan.py:plan", "iters=5,6", "N=7", "seeds=0,3")
    assert [cell.parameters for cell in found] == [
        {"iters": iters, "N": 7, "seeds": seed} for iters in (5, 6) for seed in (0, 3)
    ]
    model, task = LinearTransformer(d=3, n_layer=2), LinearRegression(N=7, d=3)
    runs = [
        Run(model, task, TrainConfig(lr=0.01, max_iters=i, B=9), s) for i in (5, 6) for s in (0, 3)
    ]
    assert [cell.run for cell in found] == runs
    assert [cell.file(Path("out")) for cell in found] == [run.path for run in runs]
    assert len({cell.key for cell in found}) == 4
    assert deserialize(*serialize(found)) == found


def test_a_function_of_a_module_and_without_seeds(here, monkeypatch):
    monkeypatch.syspath_prepend(here)
    (cell,) = of("plan:plan", "iters=5")
    assert cell.run.seed == 0
    assert of("plan.py:plan", "iters=5") == [cell]


def test_a_law_may_depend_on_the_seed(here):
    assert [cell.run.task.N for cell in of("plan.py:by_seed", "seeds=0:2")] == [4, 5, 6]


@pytest.mark.parametrize(
    ("name", "texts", "said"),
    [
        ("plan.py:plan", ["N=4"], "plan.py:plan needs iters: give -p iters=VALUES"),
        (
            "plan.py:plan",
            ["iter=4"],
            "unknown parameter 'iter'; the nearest is iters; plan.py:plan has iters, N, alg, ",
        ),
        ("plan.py:plan", ["iters=5,-1"], "iters=-1: max_iters must be an integer"),
        ("plan.py:plan", ["iters=5", "alg=adam,adma"], "iters=5 alg=adma: "),
        ("plan.py:plan", ["iters=five"], "iters=five: "),
        (
            "plan.py:plan",
            ["iters=5", "seeds=0,-1"],
            "iters=5 seeds=-1: each of seeds must be an integer",
        ),
        (
            "plan.py:plan",
            ["iters=5", "seeds=[0]"],
            "iters=5 seeds=[0]: each of seeds must be an integer",
        ),
        ("plan.py:pair", ["seeds=0"], "seeds=0: not enough values to unpack"),
        (
            "plan.py:number",
            ["seeds=0"],
            "plan.py:number must be a function that returns (model, task, training), got 3",
        ),
        ("plan.py:nothing", ["seeds=0"], "plan.py:nothing: no such function ("),
        ("nowhere.py:plan", ["seeds=0"], "nowhere.py:plan: no such function ("),
        ("no.such.module:plan", ["seeds=0"], "no.such.module:plan: no such function ("),
        ("wrong.py:plan", ["seeds=0"], "wrong.py:plan: no such function ("),
        ("faulty.py:plan", ["N=4"], "N=4: NameError: name 'nothing' is not defined"),
        ("undefined.py:plan", ["N=4"], "undefined.py:plan: no such function (NameError: "),
        (":plan", ["seeds=0"], ":plan: no such function ("),
        ("plan.py:", ["seeds=0"], "plan.py:: no such function ("),
    ],
    ids=str,
)
def test_a_function_that_will_not_do(here, name, texts, said):
    (here / "wrong.py").write_text("def plan(:")
    (here / "faulty.py").write_text("def plan(N):\n    return nothing\n")
    (here / "undefined.py").write_text("nothing\n")
    with pytest.raises(UsageError) as caught:
        of(name, *texts)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


# ---- cells of a stored run


def test_cells_of_a_stored_run(here):
    """Its configuration, other values for fields of the model, the task or the training."""
    (first,) = of("plan.py:plan", "iters=5", "seeds=4")
    first.work()
    (same,) = of("linear-L2", "max_iters=5")
    assert same.config == first.config
    found = of(first.own, "max_iters=5,7", "N=8", "seeds=1")
    assert [(c.run.training.max_iters, c.run.task.N, c.run.seed) for c in found] == [
        (5, 8, 1),
        (7, 8, 1),
    ]
    assert found[0].run.model == first.run.model


def test_seeds_of_one_configuration_are_one(here):
    for cell in of("plan.py:plan", "iters=5", "seeds=0:2"):
        cell.work()
    assert len(of("linear-L2", "lr=0.1,0.2")) == 2


def test_a_stored_run_that_will_not_do(here):
    with pytest.raises(UsageError, match="no stored run in "):
        of("linear-L2", "lr=0.1")
    for cell in of("plan.py:plan", "iters=5,6"):
        cell.work()
    with pytest.raises(
        UsageError, match="'linear-L2' could be one of 2 configurations of stored runs"
    ):
        of("linear-L2", "lr=0.1")
    with pytest.raises(
        UsageError, match="unknown parameter 'max_iter'; the nearest is max_iters; linear-L2-"
    ):
        of("linear-L2-normal-N6-d3-adam-lr0.01-B9-T5", "max_iter=3")
    with pytest.raises(UsageError, match="'lniear'"):
        of("lniear", "lr=0.1")


# ---- cells of a page


def test_cells_of_a_page(here):
    """A single value for a parameter that is a list on the page is a list of one."""
    found = of("own.ipynb", "n=3:4", "seeds=0,[0,1]", "note=y")
    assert [cell.parameters for cell in found] == [
        {"n": n, "seeds": seeds, "note": "y"} for n in (3, 4) for seeds in ([0], [0, 1])
    ]
    assert {cell.source for cell in found} == {(here / "own.ipynb").read_text()}
    assert len({cell.key for cell in found}) == 4
    assert all(
        cell.page == "own" and cell.file(Path("out")) == Path(f"out/{cell.key}.ipynb")
        for cell in found
    )
    assert deserialize(*serialize(found)) == found


def test_every_page_takes_its_own_values():
    """One parameter after the other."""
    for page in notebook.pages():
        written = parameters.assigned(notebook.parameters_source(page))
        for name, value in written.items():
            default = ast.literal_eval(value)
            (cell,) = of(page.stem, f"{name}={default!r}")
            assert (cell.page, cell.parameters) == (page.stem, {name: default})


OWN = """import numpy as np
n = 2 ** 3
seeds = list(range(n - 5))
N = seeds[-1] + 5
rate = np.pi  # known to the page alone
T = lambda: 0
a, b = 1, 2
n_layer: int = max(1, 2)
"""


def test_parameters_may_be_expressions(here, at_once):
    """Those that Python's own numbers and lists give are known, and so are the rules about them;
    the page itself says whether the others will do."""
    cells = json.loads((here / "own.ipynb").read_text())
    cells["cells"][1]["source"] = OWN
    (here / "own.ipynb").write_text(json.dumps(cells))
    assert notebook.defaults(here / "own.ipynb") == {
        "n": 8,
        "seeds": [0, 1, 2],
        "N": 7,
        "a": 1,
        "b": 2,
        "n_layer": 2,
    }
    (cell,) = of("own.ipynb", "n=3")
    assert cell.parameters == {"n": 3}
    assert [cell.parameters for cell in of("own.ipynb", "seeds=4,5")] == [
        {"seeds": [4]},
        {"seeds": [5]},
    ]
    assert [cell.parameters["rate"] for cell in of("own.ipynb", "rate=1,x")] == [1, "x"]
    for text, said in (
        ("n=0", "n=0: n must be an integer"),
        ("loops=1", "unknown parameter 'loops'"),
    ):
        with pytest.raises(UsageError, match=said):
            of("own.ipynb", text)


def test_a_notebook_that_checks_nothing_is_held_to_no_rules(here):
    """N may be something else there than on the pages of the book; and a check not written out is
    the page's."""
    cells = json.loads((here / "own.ipynb").read_text())
    cells["cells"][1]["source"] = "n = -1\nN = 0.5\nnote = 'x'"
    cells["cells"][2]["source"] = ""
    (here / "own.ipynb").write_text(json.dumps(cells))
    assert [cell.parameters for cell in of("own.ipynb", "N=0.25,-3")] == [{"N": 0.25}, {"N": -3}]
    cells["cells"][1]["source"] = "n = 1\nN = 5\nnote = 'x'"
    cells["cells"][2]["source"] = (
        "asked = 'N > n'\nparameters.check_parameters(asked, *[asked], f'{asked}')"
    )
    (here / "own.ipynb").write_text(json.dumps(cells))
    assert [cell.parameters for cell in of("own.ipynb", "N=2")] == [{"N": 2}]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        # A relation that cannot be asked of it.
        (["note=5"], "note=5: TypeError: object of type 'int' has no len()"),
        (["nn=3"], "unknown parameter 'nn'; the nearest is n; own has n, N, loops, T, seeds, note"),
        (["n=3,0"], "n=0: n must be an integer"),
        (["N=5:80:x2", "n=x"], "N=5 n=x: n must be an integer"),
        (["seeds=-1"], "seeds=-1: seeds[0] must be an integer"),
        (["loops=2,5"], "loops=2: T <= loops must hold, got T = 3, loops = 2"),  # of all pages
        (["N=4"], "N=4: N > loops must hold, got N = 4, loops = 4"),  # of this one
        (["note=too-long-a-note"], "note=too-long-a-note: len(note) < 9 must hold"),
    ],
    ids=str,
)
def test_values_that_a_page_would_refuse(here, texts, said):
    """Before any of them is run."""
    with pytest.raises(UsageError) as caught:
        of("own.ipynb", *texts)
    assert str(caught.value).startswith(said)


def test_a_page_in_this_process(here):
    """What it claims, its notebook, its runs; and its error, with the notebook up to there."""
    good, bad = of("own.ipynb", "N=7", "note=x,stop", "seeds=[0,1]")
    result = good.work()
    assert (result.ok, result.detail) == (True, "1 of 1 claims hold")
    assert [c["key"] for c in cells.claims(result.notebook)] == ["own-claim"]
    assert len(list(store.runs())) == 2
    out = here / "out"
    assert good.stored(out) is None
    good.keep(result, out)
    assert good.stored(out) == Result(True, "1 of 1 claims hold", result.notebook)
    failed = bad.work()
    assert not failed.ok
    assert failed.detail.endswith("of own failed: AssertionError: it was to stop")
    bad.keep(failed, out)
    assert bad.stored(out) is None
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"{good.key}.ipynb", f"{bad.key}.failed.ipynb"]
    )
    for damaged in (
        "",
        "{",
        "[]",
        '{"cells": 3}',
        '{"cells": [{"outputs": [{"metadata": {"lintf_claim": {}}}]}]}',
    ):
        good.file(out).write_text(damaged)
        assert good.stored(out) is None


def test_another_page_or_package_is_another_cell(here, monkeypatch):
    """Only a notebook of the same page, parameters and code counts as stored."""
    cell = PageCell({"n": 1}, "own", "{}")
    others = [
        PageCell({"n": 2}, "own", "{}"),
        PageCell({"n": 1}, "own", "{ }"),
        PageCell({"n": 1}, "other", "{}"),
    ]
    assert len({c.key for c in (cell, *others)}) == 4
    before = cell.key
    monkeypatch.setattr(cells, "around_pages", lambda: "changed")
    assert cell.key != before


# ---- trainings as cells


def test_a_training_cell(here):
    (cell,) = of("plan.py:plan", "iters=5")
    out = here / "out"
    assert cell.stored(out) is None
    result = cell.work()
    record = store.load(cell.run.path)
    assert result == Result(True, f"loss {float(record.tensors['loss'][-1]):.3g}")
    assert cell.stored(out) == result
    fit(cell.run.model, cell.run.task, cell.run.training, progress=False)  # is the same run
    assert list(store.runs()) == [cell.run.path]


def test_runs_that_come_back_are_kept_in_their_folder_and_nowhere_else(here, runs, monkeypatch):
    """Whatever name a worker gives them."""
    (cell,) = of("plan.py:plan", "iters=5")
    with monkeypatch.context() as patch:
        patch.setenv("LINTF_RUNS", "there")
        cell.work()
        record = store.load(cell.run.path)
    assert cell.stored(here) is None
    cell.keep(Result(True, "", runs={f"../../{cell.own}": record}), here)
    assert list(store.runs()) == [cell.run.path]
    assert os.listdir(runs) == [cell.run.path.parent.name]
    assert cell.stored(here).ok


# ---- the table


def test_the_table_has_a_row_for_every_cell(here):
    out = here / "out"
    todo = of("plan.py:plan", "iters=5:8")
    todo[0].work()
    table = Table(out, todo)
    assert table.look() == [1, 2, 3]
    table.add(
        1, Result(False, "it has, so to say, failed", begun=1.5, seconds=2.25, worker="tcp://one")
    )
    table.add(3, Result(True, "loss 1"))
    assert table.failed == 1
    assert table.summary() == "2 of 4 cells done, 1 failed"
    assert list(table.failures()) == ["failed:", "  iters=6: it has, so to say, failed", ""]
    table.write()
    found = rows()
    assert list(found[0]) == [
        "iters",
        "status",
        "found",
        "result",
        "begun",
        "seconds",
        "worker",
        "file",
    ]
    assert [(row["iters"], row["status"], row["found"]) for row in found] == [
        ("5", "ok", "stored"),
        ("6", "failed", "new"),
        ("7", "not run", ""),
        ("8", "ok", "new"),
    ]
    assert [found[1][n] for n in ("result", "begun", "seconds", "worker")] == [
        "it has, so to say, failed",
        "1.50",
        "2.25",
        "tcp://one",
    ]
    assert [row["file"] for row in found] == [cell.own for cell in todo]
    assert [path.name for path in out.iterdir()] == ["cells.csv"]


def test_claims_of_pages_are_a_table_of_their_own(here):
    claim = {"key": "a-b", "published": "1, 2", "measured": "3", "holds": False}
    text = json.dumps({"cells": [{}, {"outputs": [{}, {"metadata": {"lintf_claim": claim}}]}]})
    table = Table(here / "out", [PageCell({"n": n}, "own", "{}") for n in (1, 2)])
    table.add(0, Result(True, "", text))
    table.add(1, Result(False, "", text))  # what a page claims that failed does not count
    table.write()
    assert rows("claims") == [
        {"n": "1", "claim": "a-b", "published": "1, 2", "measured": "3", "holds": "False"}
    ]


def test_a_file_is_replaced_as_a_whole(here, monkeypatch):
    cells.replace_text(here / "deep" / "a.csv", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", None)
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        with pytest.raises(OSError, match="no room"):
            cells.replace_text(here / "deep" / "a.csv", "new")
    assert [(path.name, path.read_text()) for path in (here / "deep").iterdir()] == [
        ("a.csv", "old")
    ]


# ---- the command


def test_a_sweep_says_what_comes_of_each_cell(here, at_once, capsys):
    line = ["sweep", "plan.py:plan", "-p", "iters=5,6", "--out", "out"]
    assert main(line) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[:2] == ["2 cells: 0 stored, 2 to run", "1 workers"]
    assert [row.split(": loss")[0] for row in lines[2:4]] == ["ok   iters=5", "ok   iters=6"]
    assert lines[4:] == ["2 of 2 cells done, 0 failed; out/cells.csv"]
    assert main([*line[:-2], "--out", "out"]) == 0
    assert capsys.readouterr().out.startswith("2 cells: 2 stored, 0 to run\n2 of 2 ")


def test_the_folder_has_the_name_of_what_is_swept(here, at_once):
    assert main(["sweep", "plan.py:plan", "-p", "iters=5"]) == 0
    assert (here / "sweep-plan-py-plan" / "cells.csv").is_file()


def test_cells_that_fail_are_listed_and_the_exit_code_says_so(here, at_once, capsys):
    line = [
        "sweep",
        "plan.py:plan",
        "-p",
        "iters=40",
        "-p",
        "alg=sgd",
        "-p",
        "lr=0.001,1e6",
        "--out",
        "out",
    ]
    for found in ("new", "stored"):
        assert main(line) == 1
        out = capsys.readouterr().out
        assert "failed:\n  iters=40 alg=sgd lr=1000000.0: training diverged at step " in out
        assert out.endswith("1 of 2 cells done, 1 failed; out/cells.csv\n")
        assert [(row["status"], row["found"]) for row in rows()] == [
            ("ok", found),
            ("failed", found),
        ]


def test_what_cannot_be_kept_has_failed(here, at_once, capsys, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(TrainingCell, "keep", full)
    assert main(["sweep", "plan.py:plan", "-p", "iters=5", "--out", "out"]) == 1
    assert "  iters=5: found, but not kept: no space left\n" in capsys.readouterr().out


def test_ctrl_c_leaves_a_table(here, at_once, capsys, monkeypatch):
    work = TrainingCell.work

    def stopped(cell):
        if cell.parameters["iters"] == 6:
            raise KeyboardInterrupt
        return work(cell)

    monkeypatch.setattr(TrainingCell, "work", stopped)
    assert main(["sweep", "plan.py:plan", "-p", "iters=5:7", "--out", "out"]) == 130
    said = "stopped; 1 of 3 cells done, 0 failed, and the same command goes on from there\n"
    assert capsys.readouterr().err == said
    assert [row["status"] for row in rows()] == ["ok", "not run", "not run"]


def test_a_damaged_run_is_named(here, at_once, capsys):
    (cell,) = of("plan.py:plan", "iters=5")
    cell.work()
    cell.run.path.write_bytes(b"nothing")
    assert main(["sweep", "plan.py:plan", "-p", "iters=5", "--out", "out"]) == 1
    assert capsys.readouterr().err.startswith(f"error: {cell.run.path}: not a readable lintf run")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan.py:plan"], "the grid is empty: give at least one -p NAME=VALUES"),
        (
            ["plan.py:plan", "-p", "iters=4:1"],
            "-p iters=4:1: 4:1 has no values; a range is FIRST:LAST, ",
        ),
        (["plan.py:plan", "-p", "iters"], "-p must be key=value, got 'iters'"),
        (["own.ipynb", "-p", "nn=1"], "unknown parameter 'nn'; the nearest is n; own has "),
        (["own.ipynb", "-p", "n=0"], "n=0: n must be an integer"),
        (["08_lost", "-p", "d=1"], "no stored run in "),
        (["nowhere.ipynb", "-p", "d=1"], "no page 'nowhere.ipynb'"),
        (["newton", "-p", "d=1"], "'newton' could be 13_newton_regression, "),
        (
            ["plan.py:plan", "-p", "iters=5", "--out", "plan.py"],
            "--out plan.py: no such folder can be made (",
        ),
        (
            ["plan.py:plan", "-p", "iters=5", "--scheduler", "tcp://a:1", "--jobs", "2"],
            "--jobs is about workers on this machine, and --scheduler has its own: give one "
            "of the two",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_line(here, capsys, monkeypatch, words, said):
    monkeypatch.setattr(cluster, "connect", lambda *_: pytest.fail("workers were to start"))
    assert main(["sweep", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
    assert not list(here.glob("sweep-*"))


@pytest.mark.parametrize("absent", ["dask", "distributed"])
def test_without_dask_one_line_says_so(here, capsys, monkeypatch, absent):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == absent else find(name)
    )
    assert main(["sweep", "plan.py:plan", "-p", "iters=5"]) == 2
    said = f"error: sweep needs {absent}, which is not installed: pip install '.[cluster]'\n"
    assert capsys.readouterr().err == said


# ---- versions


def test_versions_and_their_differences():
    here = versions.versions()
    assert set(here) == {"python", "lintf", "sources of lintf", *versions.LIBRARIES}
    assert versions.differences(here, dict(here)) == ""
    there = here | {"torch": "1.0", "numpy": "1.0"}
    assert versions.differences({"torch": "2.0", "numpy": "1.0"}, {"torch": "1.0"}) == (
        "torch 1.0 instead of 2.0, numpy unknown instead of 1.0"
    )
    assert versions.differences(here, there).count(" instead of ") == 2
    assert "+" not in here["torch"]  # of a build for a GPU, say


def test_any_file_of_the_package_changes_the_sources(tmp_path, monkeypatch):
    package = tmp_path / "lintf"
    (package / "data").mkdir(parents=True)
    (package / "more.cpp").write_text("b")
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    digests = []
    for name, text in (
        ("a.py", "a"),
        ("more.cpp", "c"),
        ("new.h", ""),
        ("a.py", "a#"),
        ("data/x.txt", "x\ny"),
    ):
        (package / name).write_text(text)
        digests.append(versions.sources.__wrapped__())
    assert len(set(digests)) == 5
    (package / "data" / "x.txt").write_bytes(b"x\r\ny")  # as Git may have it on Windows
    (package / "built.so").write_text("")
    assert versions.sources.__wrapped__() == digests[-1]
