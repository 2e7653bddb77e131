"""python -m lintf: what it says, its exit codes, and pages run from the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from multiprocessing import active_children
from pathlib import Path

import nbformat
import pytest
import torch
from terminal import reading

import lintf
from lintf.__main__ import PIPE_CLOSED, main
from lintf.checks import UsageError
from lintf.cli import execute, listing, notebook
from lintf.models.linear import LinearTransformer
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.linear import LinearRegression
from lintf.training import store
from lintf.training.fit import TrainConfig, fit
from lintf.training.verify import Outcome, verify
from lintf.training.workers import DIED, verify_all

ROOT = Path(__file__).parents[2]
MODEL = LinearTransformer(d=3, n_layer=2, init_std=0.1)
TASK, TOKENS = LinearRegression(N=6, d=3), ConditionedRegression(N=6, d=3)
TRAINING = TrainConfig(lr=0.01, max_iters=40, B=20)


def make(training=TRAINING, seeds=(0,), model=MODEL, task=TASK):
    """Train and store; the paths of all stored runs."""
    fit(model, task, training, seeds, progress=False, device="cpu")
    return list(store.runs())


def alter(path, name, where, factor):
    """Store the run again, one number changed, with a digest that fits."""
    record = store.load(path)
    tensors = {n: t.clone() for n, t in record.tensors.items()}
    tensors[name][where] *= factor
    store.save(path, store.Record(record.config, tensors, record.meta))


# ---- commands


def test_help_and_version(capsys):
    assert main([]) == 2
    assert "usage: python -m lintf" in capsys.readouterr().err
    for command in ("list", "run", "sweep", "verify", "reproduce"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        out = " ".join(capsys.readouterr().out.split())
        assert f"Example: python -m lintf {command}" in out
        assert "Exit codes: 0" in out
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"lintf {lintf.__version__}\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            ["verfy"],
            "unknown command 'verfy'; the nearest is verify; there are list, run, sweep, "
            "verify, reproduce",
        ),
        (["verify", "a", "b"], "unrecognized arguments: b"),
        (["verify", "--fast"], "unrecognized arguments: --fast"),
        (["verify", "--jobs", "0"], "--jobs: must be a whole number from 1, got '0'"),
        (
            ["verify", "--sample", "2026-02-30"],
            "--sample: must be a date such as 2026-11-29, got '2026-02-30'",
        ),
        (["verify", "--sample", "adam"], "--sample: must be a date such as 2026-11-29, got 'adam'"),
        (["run"], "required: name"),
    ],
    ids=" ".join,
)
def test_wrong_commands_are_refused(capsys, wrong, said):
    with pytest.raises(SystemExit) as stopped:
        main(wrong)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: python -m lintf")
    assert said in error


@pytest.mark.parametrize("command", ["list", "verify", "reproduce"])
def test_an_unknown_name_suggests_the_nearest(runs, capsys, command):
    (path,) = make()
    assert main([command, path.name.replace("adam", "adan")]) == 2
    error = capsys.readouterr().err
    assert "adan" in error
    assert f"the nearest is {path.name}" in error
    assert str(runs) in error
    assert main([command, "linaer"]) == 2
    assert capsys.readouterr().err.endswith("'linaer' in its name; the nearest is linear\n")


@pytest.mark.parametrize("command", ["verify", "reproduce"])
def test_a_page_is_no_run(runs, capsys, command):
    make()
    for name in ("08", "08_loss"):
        assert main([command, name]) == 2
        assert capsys.readouterr().err.endswith("for the page: python -m lintf run 08_loss\n")


def test_a_key_by_chance_is_no_name(runs, capsys):
    """The hexadecimal key at the end of a name is not searched, but a whole name is found."""
    (path,) = make()
    key = path.stem.rpartition("-")[2]
    assert main(["verify", key[2:]]) == 2
    capsys.readouterr()
    assert main(["verify", path.name]) == 0
    assert main(["verify", path.stem]) == 0


@pytest.mark.parametrize("command", ["verify", "reproduce"])
def test_an_empty_folder_is_said(runs, capsys, command):
    assert main([command]) == 2
    assert capsys.readouterr().err == f"error: no stored run in {runs}\n"
    assert main(["list"]) == 0
    assert f"no stored runs in {runs}" in capsys.readouterr().out


# ---- list


def test_the_overview_shows_pages_and_families_of_runs(runs, capsys):
    make(seeds=(0, 1))
    paths = make(training=replace(TRAINING, max_iters=60, lr=1e-5), seeds=(0,))
    make(model=replace(MODEL, attention="relu"), task=TOKENS)
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 80
    assert f"{'08_loss':24} Adam against SGD" in lines
    cells = [re.split(r"\s{2,}", line) for line in lines]
    family = "LinearTransformer-LinearRegression"
    (group,) = [row for row in cells if row[0] == family]
    kilobytes = f"{sum(p.stat().st_size for p in paths) / 1000:.0f} kB"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert re.fullmatch(r"\d+ s", group.pop(6))
    assert group == [family, "3", "2", "40..60", "20", kilobytes, "cpu", today]
    (tokens,) = [row for row in cells if row[0] == "LinearTransformer-ConditionedRegression"]
    assert tokens[1:5] == ["1", "1", "40", "20"]
    (total,) = [row for row in cells if row[0] == "total"]
    assert total[1:3] == ["4", "2"]


def test_a_family_names_its_runs(runs, capsys):
    paths = make(seeds=(0, 1))
    make(model=replace(MODEL, attention="relu"), task=TOKENS)
    assert {path.parent.name for path in paths} == {"LinearTransformer-LinearRegression"}
    assert main(["list", "LinearTransformer-LinearRegression"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[:-1]] == [
        p.name for p in paths
    ]


def test_single_runs_are_listed_with_how_they_were_made(runs, capsys):
    make(seeds=(0, 1))
    assert main(["list", "linear-L2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for path, line in zip(store.runs(), lines, strict=False):
        assert line.startswith(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, ")
        assert " s for 2 seeds on cpu" in line
        assert f"torch {torch.__version__}, made 2" in line
    assert lines[2].startswith("2 runs, ")


def test_a_run_without_a_date_says_so(runs, capsys):
    """Older runs have none, and a file's own date is that of a clone."""
    (path,) = make()
    record = store.load(path)
    store.save(
        path,
        store.Record(
            record.config, record.tensors, {k: v for k, v in record.meta.items() if k != "made"}
        ),
    )
    main(["list", "linear-L2"])
    assert "made -\n" in capsys.readouterr().out
    main(["list"])
    assert re.search(
        r"^LinearTransformer-LinearRegression .* -$", capsys.readouterr().out, re.MULTILINE
    )


def test_a_page_is_listed_with_its_parameters(runs, capsys):
    make()
    assert main(["list", "08"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "08_loss: Adam against SGD"
    assert any(line.startswith("  max_iters = 10_000  # ") for line in lines)
    assert not any("safetensors" in line for line in lines)


@pytest.mark.parametrize(("command", "code"), [("list", 1), ("verify", 1), ("reproduce", 1)])
def test_a_damaged_run_is_named(runs, capsys, command, code):
    """And the other one is still verified."""
    paths = make(seeds=(0, 1))
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    assert main([command, *(["--jobs", "1"] if command == "verify" else [])]) == code
    said = capsys.readouterr()
    assert paths[0].name in said.out + said.err
    if command != "list":
        assert f"FAIL {paths[0].name}: " in said.out
        assert f"ok   {paths[1].name}: " in said.out


# ---- verify and reproduce


def test_verify_says_what_came_out(runs, capsys):
    paths = make(seeds=(0, 1))
    assert main(["verify", "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert [line[:5] for line in said.out.splitlines()] == ["ok   ", "ok   ", "2 of "]
    assert said.err == ""  # no bar where there is no terminal
    alter(paths[0], "loss", 3, 1.01)
    assert main(["verify", "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert f"FAIL {paths[0].name}: " in out
    assert f"ok   {paths[1].name}: " in out
    assert "1 of 2 runs came out as stored" in out


def test_a_sample_of_what_the_book_stores_has_every_kind_each_day_and_every_run_in_seven():
    def kinds(paths):
        return {
            (path.parent.name, config["model"]["kind"], config["task"]["kind"])
            for path, config in paths
        }

    configs = {path: store.load(path).config for path in store.runs()}
    seen: set[Path] = set()
    for days in range(7):
        chosen = listing.sample(configs, date(2026, 11, 29) + timedelta(days))
        assert kinds((path, configs[path]) for path in chosen) == kinds(configs.items())
        assert 0.1 < len(chosen) / len(configs) < 0.2  # a seventh, and one of each small group
        assert chosen == sorted(set(chosen))
        seen.update(chosen)
    assert seen == set(configs)


def test_verify_takes_the_sample_of_a_day(runs, capsys):
    """Of seven runs alike it is one's turn, or two's, or one is taken: what is left out is not
    looked at."""
    paths = make(seeds=range(7))
    chosen = listing.sample(paths, date(2026, 11, 30))
    assert 1 <= len(chosen) < 7
    for path in set(paths) - set(chosen):
        path.write_bytes(b"nothing")
    assert main(["verify", "linear", "--jobs", "1", "--sample", "2026-11-30"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert (
        first
        == f"sample of 2026-11-30: {len(chosen)} of 7 runs; all: python -m lintf verify linear"
    )
    assert [line.split()[1] for line in lines[:-1]] == [f"{path.name}:" for path in chosen]
    before = date.today()
    main(["verify", "--jobs", "1", "--sample"])
    days = (before, date.today())  # midnight may come between
    assert capsys.readouterr().out.startswith(tuple(f"sample of {day}: " for day in days))


def test_two_processes_say_the_same_in_the_same_order_and_what_dead_ones_had_has_failed(
    runs, tmp_path
):
    """Who reads a pipe to which nobody writes is at work until it is killed."""
    paths = make(seeds=range(7))
    alter(paths[2], "P", 4, 1.01)
    paths[4].write_bytes(b"nothing")
    alone = list(map(verify, paths))
    assert [outcome.ok for outcome in alone] == [True, True, False, True, False, True, True]
    pipes = [tmp_path / "one.safetensors", tmp_path / "other.safetensors"]
    for pipe in pipes:
        os.mkfifo(pipe)
    with closing(verify_all([*paths, *pipes, *paths[:3]], jobs=2)) as outcomes:
        assert [next(outcomes) for _ in paths] == alone
        ends = [os.open(pipe, os.O_WRONLY) for pipe in pipes]  # once both read
        for process in active_children():
            os.kill(process.pid, signal.SIGKILL)
        rest = list(outcomes)
    for end in ends:
        os.close(end)
    assert rest == [*(Outcome(pipe, False, DIED) for pipe in pipes), *alone[:3]]
    assert active_children() == []


def test_reproduce_says_what_came_out(runs, capsys):
    paths = make(seeds=(0, 1))
    assert main(["reproduce", "seed1"]) == 0
    said = capsys.readouterr()
    assert f"ok   {paths[1].name}: " in said.out
    assert paths[0].name not in said.out
    assert "1 of 1 runs came out as stored" in said.out
    assert said.err == ""
    alter(paths[1], "Q", -1, 2.0)
    assert main(["reproduce"]) == 1


def test_a_run_that_diverges_now_fails(runs, capsys, monkeypatch):
    """With verify and with reproduce."""
    (path,) = make()
    loss = LinearTransformer.loss
    monkeypatch.setattr(LinearTransformer, "loss", lambda *args: loss(*args) * float("nan"))
    for command in ("verify", "reproduce"):
        assert main([command]) == 1
        out = capsys.readouterr().out
        assert f"FAIL {path.name}: " in out
        assert "diverged" in out


def test_ctrl_c_has_its_own_code(runs, capsys, monkeypatch):
    make()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lintf.training.verify.fit", interrupted)
    for command in ("verify", "reproduce"):
        assert main([command]) == 130
        assert capsys.readouterr().err == "stopped\n"


def test_as_a_program(runs):
    (path,) = make()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "lintf", "verify"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"ok   {path.name}")
    assert done.stderr == ""


def test_a_reader_that_goes_ends_it_quietly(runs):
    make()
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "lintf", "list"]
    done = subprocess.run(
        line, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "")


def test_a_terminal_shows_how_much_is_left(runs):
    make(seeds=range(3))
    main_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "lintf", "reproduce"]
    reader, read = reading(main_end)
    done = subprocess.run(
        line, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True, check=False
    )
    os.close(terminal)
    reader.join()
    os.close(main_end)
    shown = b"".join(read).decode()
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    assert "0 of 3 runs |" in shown
    assert re.search(r"3 of 3 runs \|.*<00:00", shown)
    assert "40/40" in shown  # the training's own bar


# ---- run

PAGE = {
    "title": "# A page of its own",
    "parameters": "n = 2  # how many\nrate = 0.1  # a number\nseeds = [0, 1]  # a list",
    "show": "print(n + 1, rate, seeds)",
    "train": (
        "from lintf import LinearTransformer\nfrom lintf import LinearRegression\n"
        "from lintf import TrainConfig, fit\n"
        "fit(LinearTransformer(d=3, n_layer=1), LinearRegression(N=4, d=3), "
        "TrainConfig(lr=rate, max_iters=n, B=9));"
    ),
}


@pytest.fixture
def page(tmp_path, monkeypatch, runs):
    """A small notebook in a folder of its own; the current folder is another one."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    new = nbformat.v4
    cells = [
        new.new_markdown_cell(PAGE["title"]),
        new.new_code_cell(PAGE["parameters"], metadata={"tags": ["parameters"]}),
        new.new_code_cell(PAGE["show"]),
        new.new_code_cell(PAGE["train"]),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "pages" / "own.ipynb"
    nbformat.write(new.new_notebook(cells=cells, metadata=kernel), path)
    return path


def outputs(path):
    """What a notebook printed, stream by stream."""
    cells = nbformat.read(path, as_version=4).cells
    found = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return {
        name: "".join(o.text for o in found if o.get("name") == name)
        for name in ("stdout", "stderr")
    }


def test_a_page_runs_with_its_parameters(page, tmp_path, runs, capsys, monkeypatch):
    """Progress of cells and of the training, the result here, the run stored."""
    (tmp_path / "more.yaml").write_text("n: 5\nrate: 0.01\n")
    monkeypatch.setenv("LINTF_RUNS", "../runs")  # for the page, too, seen from the current folder
    assert main(["run", str(page), "-f", "../more.yaml", "-p", "n=30", "-p", "seeds=[7]"]) == 0
    done = capsys.readouterr()
    assert re.fullmatch(r"own ran in \d+ s: own.out.ipynb\n", done.out)
    assert "/5 [" in done.err  # cells: the page's four and the injected one
    assert "30/30 [" in done.err
    assert "\r" not in done.err
    said = outputs(Path("own.out.ipynb"))
    assert said["stdout"].startswith("31 0.01 [7]\n")
    assert said["stderr"].count("\n") == 1  # of a training's bar its last state
    assert len(list(runs.rglob("linear-L1-*.safetensors"))) == 1
    assert [p.name for p in (tmp_path / "pages").iterdir()] == ["own.ipynb"]
    assert "LINTF_PROGRESS" not in os.environ


def test_a_cell_that_fails_keeps_what_came_before(page, capsys):
    # Of an earlier run: is replaced.
    Path("own.out.ipynb").write_text(json.dumps({"metadata": {"papermill": {}}}))
    assert main(["run", str(page), "-p", "n=-3"]) == 1
    error = capsys.readouterr().err
    assert "error: In [4] of own failed: ValueError: max_iters must be an integer" in error
    assert error.endswith("The notebook up to there: own.out.ipynb\n")
    assert outputs(Path("own.out.ipynb"))["stdout"].startswith("-2 0.1 [0, 1]")


def test_ctrl_c_keeps_what_was_computed(page):
    # Room for so many steps.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    line = [sys.executable, "-m", "lintf", "run", str(page), "-p", "n=100000000"]
    with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while "loss=" not in (shown := process.stderr.readline()):
            assert shown, "it ended before the training began"
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == 130
    assert error.endswith("stopped; the notebook up to there: own.out.ipynb\n")
    assert "Traceback" not in error
    assert outputs(Path("own.out.ipynb"))["stdout"].startswith("100000001 0.1 [0, 1]")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-p", "rat=0.5"], "unknown parameter 'rat'; the nearest is rate; own has n, rate, seeds"),
        (["-p", "n"], "-p must be key=value, got 'n'"),
        (["-p", "2=n"], "-p must be key=value, got '2=n'"),
        (["-p", "seeds=[0, 1"], "-p seeds=[0, 1: not a Python value"),
        (["-f", "nothing.yaml"], "-f nothing.yaml: cannot be read"),
        (["-f", "list.yaml"], "-f list.yaml: must hold lines 'name: value', got '[1, 2]'"),
        (["-f", "wrong.yaml"], "-f wrong.yaml: cannot be read (ScannerError: "),
        (["-f", "bytes.yaml"], "-f bytes.yaml: cannot be read (UnicodeDecodeError: "),
        (["-f", "itself.yaml"], "-f itself.yaml: n: a value must be made of None, True, "),
        (["-f", "keys.yaml"], "-f keys.yaml: n: a value must be made of None, True, "),
        (["-f", ".."], "-f ..: cannot be read (IsADirectoryError: "),
        (["-p", "n="], "-p n=: a value is missing"),
        (["-o", "a.txt"], "-o must end in .ipynb, got 'a.txt'"),
        (["-o", "nowhere/a.ipynb"], "-o nowhere/a.ipynb: there is no folder"),
        (["-o", "../pages/own.ipynb"], "is there and is not the result of an earlier run"),
        (
            ["-o", str(ROOT / "notebooks" / "08_loss.ipynb")],
            "is there and is not the result of an earlier run",
        ),
    ],
    ids=lambda value: " ".join(value).replace(str(ROOT), "") if isinstance(value, list) else "",
)
def test_wrong_input_is_refused_before_a_kernel_starts(page, capsys, monkeypatch, options, said):
    monkeypatch.setattr(execute, "run", lambda *_: pytest.fail("a kernel was to start"))
    Path("list.yaml").write_text("[1, 2]")
    Path("wrong.yaml").write_text("n: 'a\n")
    Path("bytes.yaml").write_bytes(b"n: \xff\n")
    Path("itself.yaml").write_text("n: &a [*a]\n")
    Path("keys.yaml").write_text("n: {1: 2}\n")
    before = page.read_bytes()
    assert main(["run", str(page), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert page.read_bytes() == before


def test_without_papermill_one_line_says_so(page, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "papermill" else find(name)
    )
    assert main(["run", str(page)]) == 2
    assert capsys.readouterr().err.startswith(
        "error: run needs papermill, which is not installed: pip install "
    )


@pytest.mark.parametrize(
    "name", ["8", "08", "loss", "LOSS", "08_loss", "08_loss.ipynb", "notebooks/08_loss.py"]
)
def test_a_page_has_many_names(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    assert notebook.find(name) == ROOT / "notebooks" / "08_loss.ipynb"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("newton", "'newton' could be 13_newton_regression, 14_newton_function, "),
        ("8los", "no page '8los'; the nearest is 08_loss; the pages are 01_simple_demo, "),
        ("99", "no page '99'; the pages are "),
        ("rotatoin", "the nearest is 02_rotation_adam"),
        ("nowhere/mine.ipynb", "no page 'nowhere/mine.ipynb'; "),
    ],
)
def test_an_unknown_page_suggests_the_nearest(name, said):
    with pytest.raises(UsageError) as caught:
        notebook.find(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("1e-3", 1e-3),
        ("[1e-3, 2.5E2]", [1e-3, 250.0]),
        ("None", None),
        ("True", True),
        ("sphere", "sphere"),
        ("'1e-3'", "1e-3"),
        ("normal N=20", "normal N=20"),
        ("cuda:0", "cuda:0"),
        ("1:30", "1:30"),  # in YAML 90
        ("010", "010"),  # in YAML 8
        ("yes", "yes"),  # in YAML True, as the next
        ("true", "true"),
        ("null", "null"),
        ("2026-01-02", "2026-01-02"),
        (" 1_000 ", 1000),
        ("0x10", 16),
        ("{'a': [1, (2.5, None)]}", {"a": [1, (2.5, None)]}),
        ("''", ""),
        ("9" * 5000, "9" * 5000),  # too long for Python to read
    ],
    ids=lambda value: repr(value)[:30],
)
def test_values_are_those_of_python_and_else_words(text, value):
    given = notebook.read_parameters([f"x={text}"])
    assert given == {"x": value}
    assert type(given["x"]) is type(value)


def test_a_file_means_what_it_means_to_papermill(tmp_path):
    """YAML 1.1, in which 1:30 is a time and yes is True; what -p says counts more."""
    (tmp_path / "a.yaml").write_text("a: 1:30\nb: yes\nc: 2026-01-02\nd: 1e-3\ne: 010\nf: [1, x]\n")
    given = notebook.read_parameters(["f=[2]", "g=1"], [str(tmp_path / "a.yaml")])
    assert given == {"a": 90, "b": True, "c": "2026-01-02", "d": "1e-3", "e": 8, "f": [2], "g": 1}


def test_every_page_has_a_title_and_parameters():
    assert notebook.pages()
    for path in notebook.pages():
        assert len(notebook.title(path)) > 5
        assert " = " in notebook.parameters_source(path)


def test_a_damaged_result_is_not_overwritten(page):
    Path("own.out.ipynb").write_text("{")
    with pytest.raises(UsageError, match="not the result of an earlier run"):
        notebook.check_run(page, Path("own.out.ipynb"), {})
    Path("own.out.ipynb").write_text(json.dumps({"metadata": {"papermill": {}}, "cells": []}))
    notebook.check_run(page, Path("own.out.ipynb"), {})
