"""Every command, whatever it finds in notebooks/, in runs/ and in its environment: the right exit
code, one clear line, no traceback, and nothing half-made left behind."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lintf.__main__ import main
from lintf.cli import execute, notebook
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.training import progress, store
from lintf.training.fit import TrainConfig, fit

ROOT = Path(__file__).parents[2]
RUN = "linear-L1-normal-N4-d3-adam-lr0.01-B6-T3-seed0-0123456789ab.safetensors"
PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}


def write(
    path: Path, parameters: str = "n = 2", then: str = "print(n)", **metadata: object
) -> Path:
    """A notebook with these two cells."""
    new = nbformat.v4
    cells = [
        new.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new.new_code_cell(then),
    ]
    # Which need not be valid.
    path.write_text(json.dumps(new.new_notebook(cells=cells) | {"metadata": metadata}))
    return path


def store_one() -> None:
    """One small run, in runs/."""
    training = TrainConfig(lr=0.01, max_iters=3, B=6)
    fit(LinearTransformer(d=3, n_layer=1), LinearRegression(N=4, d=3), training, progress=False)


@pytest.fixture
def here(tmp_path, monkeypatch, runs) -> Path:
    """The current folder, with a plan; no page and no run anywhere."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(notebook, "FOLDER", tmp_path / "notebooks")
    return tmp_path / "here"


def check(capsys, code: int, said: str, *line: str) -> None:
    """The command ends with this code and with one line that says this."""
    assert main(line) == code
    found = capsys.readouterr()
    lines = [text for text in found.err.splitlines() if text.startswith("error: ")]
    assert len(lines) == 1, found.err
    assert said in lines[0]
    assert "Traceback" not in found.err + found.out


# ---- notebooks/


def loop(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(path)


def text(content: str):
    def make(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    return make


def no_folder(path: Path) -> None:
    assert not path.parent.exists()


NO_PAGE = {
    "missing": no_folder,
    "empty": lambda path: path.parent.mkdir(),
    "a file": lambda path: path.parent.write_text(""),
    "a loop": lambda path: loop(path.parent),
    "a folder with a page's name": lambda path: path.mkdir(parents=True),
    "a page that is a loop": loop,
}
NO_NOTEBOOK = {
    "nothing": text(""),
    "not JSON": text("{"),
    "a list": text("[]"),
    "no cells": text("{}"),
    "cells that are none": text('{"cells": [3]}'),
    "cells that are a word": text('{"cells": "ab"}'),
    "format 3": text('{"worksheets": [{"cells": []}]}'),
    "deep": text("[" * 100_000),
    "bytes": lambda path: (path.parent.mkdir(), path.write_bytes(b"\xff\xfe\x00")),
}


@pytest.mark.parametrize("state", NO_PAGE)
def test_without_pages(here, capsys, state):
    NO_PAGE[state](notebook.FOLDER / "01_one.ipynb")
    assert main(["list"]) == 0
    assert capsys.readouterr().out == f"no stored runs in {store.folder()}\n"
    check(capsys, 2, "no page '01': ", "run", "01")
    for command in ("list", "verify", "reproduce"):
        check(capsys, 2, "no stored run in ", command, "01")
    check(capsys, 2, "no stored run in ", "sweep", "01", "-p", "n=1")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("state", NO_NOTEBOOK)
def test_a_page_that_is_no_notebook(here, capsys, state):
    """It is named by every command that needs it."""
    path = notebook.FOLDER / "01_one.ipynb"
    NO_NOTEBOOK[state](path)
    for line in (
        ["list"],
        ["list", "01"],
        ["run", "01"],
        ["run", str(path)],
        ["sweep", "one", "-p", "n=1"],
    ):
        check(capsys, 2, f"{path}: ", *line)
    check(capsys, 2, "no stored run in ", "verify", "01")
    assert list(here.iterdir()) == []


def test_a_page_without_heading_and_without_cells(here, capsys):
    notebook.FOLDER.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[]), notebook.FOLDER / "01_empty.ipynb")
    write(notebook.FOLDER / "02_code.ipynb")
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"{'01_empty':24} 01_empty",
        f"{'02_code':24} 02_code",
    ]
    check(capsys, 2, "unknown parameter 'n'; 01_empty has no parameters", "run", "01", "-p", "n=1")
    check(
        capsys, 2, "unknown parameter 'n'; 01_empty has no parameters", "sweep", "01", "-p", "n=1"
    )
    assert main(["run", "01"]) == 0
    assert (here / "01_empty.out.ipynb").is_file()  # nothing is what it computes


# ---- the kernel


@pytest.mark.parametrize(
    "kernelspec",
    [PYTHON, {**PYTHON, "name": "conda-env-ml-py"}, {"name": "ir", "display_name": "?"}, {}, None],
    ids=["python3", "another environment's", "unknown", "empty", "none"],
)
def test_a_page_runs_in_this_python_whatever_kernel_it_names(
    here, capsys, monkeypatch, tmp_path, kernelspec
):
    """Also where the user has installed a kernel of the same name for a Python that is gone."""
    broken = tmp_path / "jupyter" / "kernels" / "python3"
    broken.mkdir(parents=True)
    argv = [
        str(tmp_path / "gone" / "python"),
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]
    (broken / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "x", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    before = dict(os.environ)
    then = "import sys, os, lintf\nprint(sys.executable, os.getcwd(), lintf.__file__, n, m)"
    page = write(
        tmp_path / "own.ipynb",
        "n = 2\nm = 3",
        then,
        **({} if kernelspec is None else {"kernelspec": kernelspec}),
    )
    assert main(["run", str(page), "-p", "n=7", "-p", "m=(1, [None])"]) == 0, (
        capsys.readouterr().err
    )
    (said,) = nbformat.read(here / "own.out.ipynb", as_version=4).cells[-1].outputs
    expected = f"{sys.executable} {tmp_path} {ROOT / 'lintf' / '__init__.py'} 7 [1, [None]]\n"
    assert said.text == expected
    assert dict(os.environ) == before
    assert Path.cwd() == here


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}},
        {"language_info": {"name": "R"}},
    ],
    ids=["kernelspec", "language_info"],
)
def test_another_language_is_refused(here, capsys, tmp_path, metadata):
    page = write(tmp_path / "own.ipynb", **metadata)
    check(capsys, 2, "own.ipynb is in the language R; only Python can be run", "run", str(page))
    check(capsys, 2, "own.ipynb is in the language R", "sweep", str(page), "-p", "n=1")
    assert list(here.iterdir()) == []


def test_braces_in_a_path_are_braces(here, capsys, tmp_path):
    (tmp_path / "a{n}").mkdir()
    page = write(tmp_path / "a{n}" / "own{m}.ipynb", kernelspec=PYTHON)
    assert main(["run", str(page), "-p", "n=3"]) == 0, capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["own{m}.out.ipynb"]


def fails(error: Exception):
    def call(*_: object, **__: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        (
            "nbclient.NotebookClient.setup_kernel",
            RuntimeError("Kernel didn't respond\nin 60 s"),
            "respond in 60 s)",
        ),
        (
            "jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec",
            KeyError("python3"),
            "(KeyError: 'python3')",
        ),
        (
            "papermill.iorw.LocalHandler.write",
            OSError(30, "Read-only file system", "x"),
            "Read-only file system",
        ),
        (
            "papermill.execute.load_notebook_node",
            ValueError("no notebook"),
            "(ValueError: no notebook)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stops_a_page_before_its_first_cell_leaves_nothing(
    here, capsys, tmp_path, monkeypatch, where, error, said
):
    page = write(tmp_path / "own.ipynb", kernelspec=PYTHON)
    monkeypatch.setattr(where, fails(error))
    check(capsys, 1, "own could not be run (", "run", str(page))
    assert main(["run", str(page)]) == 1
    assert said in capsys.readouterr().err
    assert list(here.iterdir()) == []
    error.with_traceback(None)  # nothing holds the bar of the page that failed
    gc.collect()
    assert capsys.readouterr().err == ""


def test_a_result_that_is_a_loop(here, capsys, tmp_path):
    page = write(tmp_path / "own.ipynb", kernelspec=PYTHON)
    loop(here / "own.out.ipynb")
    check(capsys, 1, "Too many levels of symbolic links", "run", str(page))


def test_an_earlier_result_stays_where_it_cannot_be_replaced(here, capsys, tmp_path, monkeypatch):
    page = write(tmp_path / "own.ipynb", kernelspec=PYTHON)
    assert main(["run", str(page)]) == 0
    before = (here / "own.out.ipynb").read_bytes()
    monkeypatch.setattr(
        "papermill.iorw.LocalHandler.write", fails(PermissionError(13, "Permission denied", "x"))
    )
    assert main(["run", str(page)]) == 1
    assert (here / "own.out.ipynb").read_bytes() == before


# ---- runs/


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(), id="a folder"),
        pytest.param(lambda path: path.write_text(""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\0" * 100), id="zeros"),
        pytest.param(lambda path: path.symlink_to(path), id="a loop"),
        pytest.param(lambda path: path.symlink_to("nowhere"), id="a link to nothing"),
    ],
)
def test_a_run_that_is_none(here, runs, capsys, make):
    """The others are verified all the same."""
    store_one()
    make(runs / RUN)
    for line in (["list"], ["list", "linear"], ["sweep", "linear-L1", "-p", "N=3"]):
        check(capsys, 1, RUN, *line)
    for line in (["verify", "--jobs", "1"], ["verify", "--jobs", "2"], ["reproduce"]):
        assert main(line) == 1
        found = capsys.readouterr()
        assert f"FAIL {RUN}: " in found.out
        assert found.out.count("ok   linear-L1") == 1
        assert found.err == ""


def test_a_run_that_does_not_say_how_it_was_made(here, runs, capsys):
    store_one()
    (path,) = store.runs()
    record = store.load(path)
    store.save(path, store.Record(record.config, record.tensors, {}))
    for line in (["list"], ["list", "linear"]):
        check(capsys, 1, f"{path}: does not say its device, members, path, seconds", *line)


PLAN = """
from lintf import LinearTransformer
from lintf import LinearRegression
from lintf import TrainConfig
def plan(N):
    config = TrainConfig(lr=0.01, max_iters=3, B=6)
    return LinearTransformer(d=3), LinearRegression(N=N, d=3), config
"""


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        pytest.param(lambda path: path.write_text(""), 2, "no runs can be kept in ", id="a file"),
        pytest.param(
            lambda path: path.symlink_to(path), 1, "Too many levels of symbolic links", id="a loop"
        ),
    ],
)
def test_runs_that_is_no_folder(here, runs, capsys, monkeypatch, make, code, said):
    """Found before any worker starts."""
    monkeypatch.setattr(
        "lintf.cli.cluster.connect", lambda *_: pytest.fail("workers were to start")
    )
    make(runs)
    (here / "plan.py").write_text(PLAN)
    assert main(["list"]) == 0
    assert capsys.readouterr().out == f"no stored runs in {runs}\n"
    for command in ("verify", "reproduce"):
        check(capsys, 2, f"no stored run in {runs}", command)
    check(capsys, code, said, "sweep", "plan.py:plan", "-p", "N=3")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")]
)
def test_a_disk_that_takes_nothing(here, capsys, monkeypatch, error):
    """Where the table cannot be written, no worker starts."""
    monkeypatch.setattr(
        "lintf.cli.cluster.connect", lambda *_: pytest.fail("workers were to start")
    )
    (here / "plan.py").write_text(PLAN)
    monkeypatch.setattr("lintf.cli.table.replace_text", fails(error))
    check(
        capsys,
        2,
        "--out out: cannot be written to (",
        "sweep",
        "plan.py:plan",
        "-p",
        "N=3",
        "--out",
        "out",
    )


def test_a_folder_that_may_not_be_read(here, capsys, monkeypatch):
    """Whatever the command was about to do."""
    error = PermissionError(13, "Permission denied", "runs")
    monkeypatch.setattr(store, "runs", fails(error))
    monkeypatch.setattr(notebook, "pages", fails(error))
    for line in (
        ["list"],
        ["list", "01"],
        ["run", "01"],
        ["sweep", "01", "-p", "n=1"],
        ["verify"],
        ["reproduce"],
    ):
        check(capsys, 1, "PermissionError: [Errno 13] Permission denied: 'runs'", *line)


# ---- the environment


def program(*line: str, **environment: str) -> subprocess.CompletedProcess:
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "lintf", *line], env=given, capture_output=True, check=False
    )


def test_a_title_that_the_terminal_cannot_write(here, tmp_path):
    """It is shown with the numbers of the letters that are not there."""
    shutil.copytree(
        ROOT / "lintf", tmp_path / "far" / "lintf", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "far" / "notebooks").mkdir()
    new = nbformat.v4
    page = new.new_notebook(cells=[new.new_markdown_cell("# Schrödinger’s λ")])
    nbformat.write(page, tmp_path / "far" / "notebooks" / "01_one.ipynb")
    done = program("list", PYTHONPATH=str(tmp_path / "far"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (
        done.stdout.splitlines()[0] == b"01_one                   Schr\\xf6dinger\\u2019s \\u03bb"
    )


@pytest.mark.parametrize("columns", ["0", "1", "-3", "x"])
def test_a_terminal_without_width(here, tmp_path, capsys, monkeypatch, columns):
    """Neither the help nor a page's progress needs room. Both look at COLUMNS when they write."""
    monkeypatch.setenv("COLUMNS", columns)
    for line in (["--help"], ["run", "--help"], ["sweep", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(line)
        said = capsys.readouterr()
        assert (stopped.value.code, said.err) == (0, "")
        assert "usage: python -m lintf" in said.out
    page = write(
        tmp_path / "own.ipynb",
        then="from tqdm import tqdm\nfor _ in tqdm(range(3)): pass",
        kernelspec=PYTHON,
    )
    assert main(["run", str(page)]) == 0
    assert "own: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    "environment",
    [
        {"TQDM_DISABLE": "1"},
        {"TQDM_FILE": "x", "TQDM_ASCII": "1", "TQDM_NCOLS": "0", "TQDM_POSITION": "3"},
    ],
    ids=["off", "others"],
)
def test_settings_of_tqdm(here, runs, environment):
    """It reads them when it is imported, so in a process of its own."""
    store_one()
    done = program("reproduce", **environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_setting_that_tqdm_cannot_use_is_named(here):
    done = program("list", TQDM_MININTERVAL="often")
    assert done.returncode == 1
    said = (
        "error: tqdm cannot use TQDM_MININTERVAL=often of the environment (could not "
        "convert string to float: 'often')"
    )
    assert done.stderr.decode() == f"{said}\n"


# ---- words that are no truth values


@pytest.mark.parametrize("word", ["true", "false", "yes", "no", "TRUE"])
def test_a_word_for_a_truth_value_is_refused(here, capsys, tmp_path, monkeypatch, word):
    """Every word counts as true. Without any check of the page's own, and before a kernel
    starts."""
    page = write(tmp_path / "own.ipynb", "flag = False\nrate = None\nname = 'x'", kernelspec=PYTHON)
    monkeypatch.setattr(execute, "run", lambda *_: pytest.fail("a kernel was to start"))
    for command in ("run", "sweep"):
        check(
            capsys,
            2,
            f"flag must be True or False, got '{word}'",
            command,
            str(page),
            "-p",
            f"flag={word}",
        )
        check(
            capsys,
            2,
            "rate is the word 'null'; nothing is None in Python",
            command,
            str(page),
            "-p",
            "rate=null",
        )


# ---- silence


def test_who_works_for_long_says_so(monkeypatch, capsys):
    """A page in its second cell, and runs that are counted; not while something else speaks."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    screen, count = progress.Screen("08_loss"), progress.Count("runs", 3)
    screen.still()  # the kernel starts
    screen.begin(cell=None, cell_index=3)
    now = 60.0
    screen.begin(cell=None, cell_index=5)
    screen.write("step 7\n")
    now = 110.0
    screen.still()
    count.add(False, "linear-L1: no")
    now = 181.0
    screen.still()
    count.still()
    screen.still()
    count.still()
    said = capsys.readouterr()
    assert (
        said.err == "step 7\n08_loss: In [2] at work for 2 min\n1 of 3 runs, 1 failed after 3 min\n"
    )
    assert said.out == "FAIL linear-L1: no\n"


def test_a_clock_runs_until_the_block_ends():
    calls = []
    with progress.every(0.001, lambda: calls.append(1)):
        while len(calls) < 3:
            pass
    number = len(calls)
    with progress.every(1000, lambda: calls.append(2)):
        pass
    assert len(calls) == number
