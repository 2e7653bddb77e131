"""Sweeps on a real Dask scheduler with two worker processes on loopback, which have lintf/ and
nothing else of the project: what comes back is what each cell gives alone, whatever dies on the
way."""

from __future__ import annotations

import csv
import http.server
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
import torch
import yaml
from dask_preload import CHECKPOINTS, DEADLY, ELSEWHERE, STEP
from distributed import Client
from terminal import reading

from lintf.__main__ import main
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.training import store
from lintf.training.fit import TrainConfig, fit

ROOT = Path(__file__).parents[2]
# A key and a certificate for these tests, good for nothing else.
PEM = Path(__file__).parents[1].joinpath("loopback.pem")
PRELOAD = Path(__file__).parents[1].joinpath("dask_preload.py")
PLAN = """
from lintf import LinearTransformer
from lintf import LinearRegression
from lintf import TrainConfig

def plan(iters, lr=0.01, alg="adam"):
    training = TrainConfig(lr=lr, max_iters=iters, B=20, alg=alg, record_every=10)
    return LinearTransformer(d=3, n_layer=2, init_std=0.1), LinearRegression(N=6, d=3), training
"""
# And not a word more.
STOPPED = r"stopped; \d+ of \d+ cells done, 0 failed, and the same command goes on from there\n"
SWEEP = ["sweep", "plan.py:plan", "--out", "out"]


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def program(*line: str, **options: object) -> Iterator[subprocess.Popen]:
    """A Python program, which at the end is gone with all that it started."""
    process = subprocess.Popen(
        [sys.executable, *line], start_new_session=True, text=True, **options
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


@contextmanager
def scheduler(folder: Path, protocol: str = "tcp") -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of a Dask scheduler, and its process."""
    file = folder / "scheduler.json"
    line = ["-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    line += [
        "--dashboard-address",
        "127.0.0.1:0",
        "--scheduler-file",
        str(file),
        "--protocol",
        protocol,
    ]
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with program(*line, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        until(lambda: file.exists() and file.read_text().endswith("}"))
        yield (
            next(word for word in file.read_text().split('"') if word.startswith(f"{protocol}://")),
            process,
        )


@contextmanager
def worker(
    address: str, folder: Path, package: Path, *options: str, steps: Path | None = None
) -> Iterator[Path]:
    """A Dask worker of one thread with a folder of its own and this copy of lintf/."""
    folder.mkdir()
    environment = {n: value for n, value in os.environ.items() if n != "LINTF_RUNS"}
    environment |= {
        "PYTHONPATH": str(package.parent),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    if steps:
        environment["SWEEP_STEPS"] = str(steps)
        options = (*options, "--preload", str(PRELOAD))
    line = [
        "-m",
        "dask",
        "worker",
        address,
        "--no-dashboard",
        "--memory-limit",
        "0",
        "--local-directory",
        str(folder),
    ]
    line += [
        "--host",
        "127.0.0.1",
        "--dashboard-address",
        "127.0.0.1:0",
        "--nthreads",
        "1",
        *options,
    ]
    with program(
        *line, cwd=folder, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ):
        yield folder


class Cluster:
    def __init__(self, address: str, package: Path, steps: Path) -> None:
        self.address, self.package, self.steps = address, package, steps
        self.client = Client(address)

    def wait(self, workers: int) -> None:
        until(lambda: len(self.client.nthreads()) == workers)

    def done(self) -> list[tuple[int, int, int, int]]:
        """(process, steps in all, seed, step) of every training step that a worker has done."""
        return [tuple(map(int, line.split())) for line in self.steps.read_text().splitlines()]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    folder = tmp_path_factory.mktemp("cluster")
    package = shutil.copytree(
        ROOT / "lintf", folder / "far" / "lintf", ignore=shutil.ignore_patterns("__pycache__")
    )
    steps = folder / "steps"
    steps.touch()
    with (
        scheduler(folder) as (address, _),
        worker(address, folder / "one", package, steps=steps),
        worker(address, folder / "other", package, steps=steps),
    ):
        made = Cluster(address, package, steps)
        with made.client:
            made.wait(2)
            yield made


@pytest.fixture
def ready(two) -> Cluster:
    """Both workers are there, and have done nothing for this test yet."""
    two.wait(2)
    two.steps.write_text("")
    return two


@pytest.fixture
def here(tmp_path, monkeypatch, runs) -> Path:
    """A folder with a plan, the current one. Its runs/ is on the same disk as the workers."""
    (tmp_path / "plan.py").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(two: Cluster, *pairs: str) -> int:
    return main(
        [*SWEEP, *(word for pair in pairs for word in ("-p", pair)), "--scheduler", two.address]
    )


@contextmanager
def caller(address: str, *pairs: str) -> Iterator[subprocess.Popen]:
    """The same in a process of its own."""
    words = [*SWEEP, *(word for pair in pairs for word in ("-p", pair)), "--scheduler", address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with program("-W", "error", "-m", "lintf", *words, env=environment, **pipes) as process:
        yield process


def read(process: subprocess.Popen, ok: int) -> None:
    """Its output, to the line that says that so many cells are done."""
    while ok:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        ok -= line.startswith("ok ")


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread; what goes wrong there goes wrong here."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def table() -> list[dict[str, str]]:
    with open("out/cells.csv", newline="") as file:
        return list(csv.DictReader(file))


def check_alone(monkeypatch, cells: Sequence[tuple[int, int]], alg: str = "adam") -> None:
    """What is stored for (iters, seed) is what `fit` gives here, bit for bit."""
    found = {path.name: store.load(path) for path in store.runs()}
    assert len(found) == len(cells)
    model, task = LinearTransformer(d=3, n_layer=2, init_std=0.1), LinearRegression(N=6, d=3)
    with monkeypatch.context() as patch:
        patch.setenv("LINTF_RUNS", "alone")
        for iters, seed in cells:
            training = TrainConfig(lr=0.01, max_iters=iters, B=20, alg=alg, record_every=10)
            fit(model, task, training, (seed,), progress=False, device="cpu")
        alone = {path.name: store.load(path) for path in store.runs()}
    assert found.keys() == alone.keys()
    for name, record in alone.items():
        assert found[name].config == record.config
        assert found[name].tensors.keys() == record.tensors.keys()
        for key, t in record.tensors.items():
            assert found[name].tensors[key].dtype == t.dtype
            assert torch.equal(found[name].tensors[key], t), (name, key)


# ---- what comes back


@pytest.mark.parametrize("place", [".", ELSEWHERE], ids=["shared disk", "no shared disk"])
def test_results_are_those_of_each_cell_alone(ready, here, monkeypatch, capsys, place):
    """And a second sweep runs nothing."""
    monkeypatch.setenv("LINTF_RUNS", str(here / place / "runs"))
    assert sweep(ready, "iters=20,31", "seeds=0:1") == 0
    out = capsys.readouterr().out
    assert out.startswith("4 cells: 0 stored, 4 to run\n2 workers\n")
    assert out.endswith("4 of 4 cells done, 0 failed; out/cells.csv\n")
    check_alone(monkeypatch, [(iters, seed) for iters in (20, 31) for seed in (0, 1)])
    assert [(row["iters"], row["seeds"], row["status"], row["found"]) for row in table()] == [
        (iters, seed, "ok", "new") for iters in ("20", "31") for seed in ("0", "1")
    ]
    steps, stored = ready.done(), {path: path.stat().st_mtime_ns for path in store.runs()}
    assert sweep(ready, "iters=20,31", "seeds=0:1") == 0
    assert capsys.readouterr().out.startswith("4 cells: 4 stored, 0 to run\n4 of 4 cells done")
    assert ready.done() == steps
    assert {path: path.stat().st_mtime_ns for path in store.runs()} == stored
    assert {row["found"] for row in table()} == {"stored"}


def test_a_page_on_a_worker_without_pages(ready, here, monkeypatch, capsys):
    """Notebook, claims and runs come back to where the worker cannot write."""
    monkeypatch.setenv("LINTF_RUNS", str(here / ELSEWHERE / "runs"))
    tiny = yaml.safe_load((ROOT / "presets" / "smoke" / "26_label_noise.yaml").read_text())
    line = [
        "sweep",
        "26_label_noise",
        "--out",
        "out",
        "--scheduler",
        ready.address,
        "-p",
        "seeds=0,1",
    ]
    for name, value in tiny.items():
        line += [
            "-p",
            f"{name}={[value] if isinstance(value, list) else value}".replace("=[[", "=[").replace(
                "]]", "]"
            ),
        ]
    assert main(line) == 0, capsys.readouterr().err
    assert "2 cells: 0 stored, 2 to run\n2 workers\n" in capsys.readouterr().out
    rows = table()
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert all("claims hold" in row["result"] for row in rows)
    assert all((here / "out" / row["file"]).is_file() for row in rows)
    with open("out/claims.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4
    seeds = Counter(store.load(path).config["seed"] for path in store.runs())
    assert seeds == {0: 4, 1: 4}  # two depths, two noises
    assert main(line) == 0
    assert capsys.readouterr().out.startswith("2 cells: 2 stored, 0 to run\n")


def test_one_diverged_cell_does_not_stop_the_others(ready, here, capsys):
    for found in ("new", "stored"):
        assert sweep(ready, "iters=40", "alg=sgd", "lr=0.001,1e6,0.002") == 1
        out = capsys.readouterr().out
        assert "failed:\n  iters=40 alg=sgd lr=1000000.0: training diverged at step " in out
        assert out.endswith("2 of 3 cells done, 1 failed; out/cells.csv\n")
        assert [(row["status"], row["found"]) for row in table()] == [
            ("ok", found),
            ("failed", found),
            ("ok", found),
        ]
        assert ("0 stored, 3 to run" in out) == (found == "new")


# ---- workers on this machine


def alive(session: int) -> list[str]:
    """The states and command lines of the processes of a session that have not ended."""
    listed = subprocess.run(
        ["ps", "-o", "stat=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


def test_a_terminal_shows_how_much_is_left(here):
    """Without --scheduler: workers here, which are gone afterwards."""
    main_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    line = ["-W", "error", "-m", "lintf", *SWEEP, "-p", "iters=20:23", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    reader, read = reading(main_end)
    with program(*line, env=environment, stdout=subprocess.PIPE, stderr=terminal) as process:
        out = process.communicate(timeout=600)[0]
        until(lambda: not alive(process.pid))
    os.close(terminal)
    reader.join()
    os.close(main_end)
    shown = b"".join(read).decode()
    assert process.returncode == 0
    assert out.startswith("4 cells: 0 stored, 4 to run\n2 workers\nok ")
    assert out.endswith("4 of 4 cells done, 0 failed; out/cells.csv\n")
    assert "0 of 4 cells |" in shown
    assert re.search(r"4 of 4 cells \|.*<00:00", shown)
    assert "Traceback" not in shown
    assert "WARNING" not in shown


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGKILL"])
def test_workers_here_end_with_their_caller(here, how):
    """Ctrl-C in a terminal reaches all processes; only the caller says something, although the
    workers end their cells before they go."""
    line = ["-W", "error", "-m", "lintf", *SWEEP, "-p", "iters=20,4000,4001", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with program(*line, env=environment, **pipes) as process:
        read(process, ok=1)
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        error = process.communicate(timeout=20)[1]
        until(lambda: not alive(process.pid))
    assert re.fullmatch(STOPPED if how == "Ctrl-C" else "", error)
    assert process.returncode == (130 if how == "Ctrl-C" else -signal.SIGKILL)
    assert how == "SIGKILL" or [row["status"] for row in table()] == ["ok", "not run", "not run"]
    assert len(list(store.runs())) >= 1


# ---- processes die


def test_kill_9_of_a_worker_in_mid_cell(ready, here, monkeypatch):
    """Another worker goes on at the last checkpoint: no step before it is done again, and nothing
    is lost."""
    cells, killed = [(400, 0), (30, 0), (31, 0), (32, 0)], []

    def kill() -> None:
        until(lambda: len(set((here / "runs" / ".partial").glob("*.safetensors"))))
        until(lambda: sum(iters == 400 for _, iters, _, _ in ready.done()) > 100)
        killed.append(next(pid for pid, iters, _, _ in ready.done() if iters == 400))
        os.kill(killed[0], signal.SIGKILL)

    with meanwhile(kill):
        assert sweep(ready, "iters=400,30,31,32") == 0
    steps = [(pid, step) for pid, iters, _, step in ready.done() if iters == 400]
    before, after = ([s for pid, s in steps if (pid in killed) == dead] for dead in (True, False))
    assert len({pid for pid, _ in steps}) == 2
    assert before == list(range(len(before)))
    assert 0 < after[0] <= len(before) < 400
    assert after == list(range(after[0], 400))
    assert len(before) - after[0] < 3 * CHECKPOINTS / STEP
    check_alone(monkeypatch, cells)
    assert not list((here / "runs" / ".partial").iterdir())


def test_a_cell_that_kills_its_workers_fails_alone(ready, here, capsys):
    assert sweep(ready, f"lr={DEADLY},0.01", "iters=30") == 1
    assert f"  lr={DEADLY} iters=30: its worker died, several times" in capsys.readouterr().out
    assert [row["status"] for row in table()] == ["failed", "ok"]


@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name
)
def test_a_caller_that_is_stopped_and_started_again(ready, here, capsys, monkeypatch, how):
    """Finished cells are not run twice."""
    with caller(ready.address, "iters=60:69") as process:
        read(process, ok=3)
        process.send_signal(how)
        error = process.communicate(timeout=20)[1]
    assert process.returncode == (-how if how == signal.SIGKILL else 130)
    stored = {path: path.stat().st_mtime_ns for path in store.runs()}
    whole = {store.load(path).config["training"]["max_iters"] for path in stored}
    assert 3 <= len(whole) < 10
    if how != signal.SIGKILL:
        assert re.fullmatch(STOPPED, error)
        rows = Counter(row["status"] for row in table())
        assert rows["ok"] >= 3
        assert rows["ok"] + rows["not run"] == 10
    until(lambda: not any(ready.client.processing().values()))
    begun = {iters for _, iters, _, _ in ready.done()}
    assert len(begun) <= len(whole) + 2  # one a worker that had begun
    assert sweep(ready, "iters=60:69") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "stored" in line)
    assert int(line.split()[2]) >= len(whole)
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    times = Counter((iters, step) for _, iters, _, step in ready.done())
    assert {times[iters, step] for iters in whole for step in range(iters)} == {1}
    check_alone(monkeypatch, [(iters, 0) for iters in range(60, 70)])


def test_a_worker_that_joins_later_and_a_scheduler_that_dies(here, ready, tmp_path):
    """The cells wait for workers. Without a scheduler the caller ends, and what was finished
    stays."""
    with scheduler(tmp_path) as (address, process), caller(address, "iters=60:69") as ours:
        assert ours.stdout.readline() == "10 cells: 0 stored, 10 to run\n"
        assert ours.stdout.readline() == "0 workers; the cells wait for some to join\n"
        options = ("--no-nanny", "--death-timeout", "1")
        with worker(address, tmp_path / "worker", ready.package, *options, steps=ready.steps):
            read(ours, ok=2)
            process.kill()
            out, error = ours.communicate(timeout=40)
    assert ours.returncode == 1
    assert error == ""
    done = [row["status"] for row in table()].count("ok")
    assert done >= 2
    assert f"{done} of 10 cells done, {10 - done} failed; out/cells.csv" in out
    assert out.count(": the scheduler is gone") == 2 * (10 - done)  # when it fails, and in the list
    assert len(list(store.runs())) >= done


# ---- two sweeps at once


@pytest.mark.parametrize("stopped", [False, True], ids=["to the end", "one is stopped"])
def test_two_sweeps_share_cells(ready, here, stopped):
    """Each is trained once, although neither sweep has seen it stored; the one that goes on loses
    nothing."""

    def stop() -> None:
        until(lambda: any(iters > 103 for _, iters, _, _ in ready.done()))
        if stopped:
            process.send_signal(signal.SIGINT)

    with caller(ready.address, "iters=100:107") as process:
        read(process, ok=1)
        with meanwhile(stop):
            assert sweep(ready, "iters=103:110") == 0
        _, error = process.communicate(timeout=30)
    assert process.returncode == (130 if stopped else 0)
    assert re.fullmatch(STOPPED if stopped else "", error)
    times = Counter((iters, step) for _, iters, _, step in ready.done())
    assert set(times.values()) == {1}
    assert {store.load(path).config["training"]["max_iters"] for path in store.runs()} >= set(
        range(103, 111)
    )
    assert stopped or len(list(store.runs())) == 11


# ---- side by side


def test_two_workers_work_side_by_side(ready, here):
    """Nearly every cell is beside one of the other worker: neither waits for it, nor for the
    caller."""
    assert sweep(ready, "iters=100", "seeds=1000:1015") == 0
    begun = [(row["worker"], float(row["begun"]), float(row["seconds"])) for row in table()]
    beside = [
        any(
            other != worker and there < begin + lasts and begin < there + long
            for other, there, long in begun
        )
        for worker, begin, lasts in begun
    ]
    assert len(begun) == 16
    assert sum(beside) >= 14


# ---- who may work


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ("a comment", [], "its versions are not the caller's: sources of lintf "),
        ("a version", [], "its versions are not the caller's: lintf 0.0.1 instead of "),
        ("no sweeps", [], "the workers cannot import this lintf (Exception: AttributeError("),
        (
            "nothing",
            ["--nthreads", "2"],
            "it runs 2 cells at a time; one is allowed: dask worker --nthreads 1",
        ),
    ],
)
def test_a_worker_that_could_not_do_the_same_is_refused(
    ready, here, tmp_path, capsys, change, options, said
):
    """Before any cell begins."""
    package = shutil.copytree(ready.package, tmp_path / "other" / "lintf")
    if change == "a comment":
        with open(package / "models" / "gram.py", "a") as file:
            file.write("# one line more\n")
    elif change == "a version":
        init = (package / "__init__.py").read_text()
        (package / "__init__.py").write_text(init.replace("0.1.0", "0.0.1"))
    elif change == "no sweeps":
        (package / "cli" / "cluster.py").write_text("")
    with worker(ready.address, tmp_path / "worker", package, "--no-nanny", *options):
        ready.wait(3)
        assert sweep(ready, "iters=20,21") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert ready.done() == []
    ready.wait(2)


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def nobody() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
    yield port


@contextmanager
def silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as there:
        yield there.getsockname()[1]


@contextmanager
def web() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server, meanwhile(server.serve_forever):
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("there", [nobody, silent, web])
def test_an_unreachable_scheduler_is_said(here, capsys, there):
    with there() as port:
        assert main([*SWEEP, "-p", "iters=20", "--scheduler", f"tcp://127.0.0.1:{port}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"error: --scheduler tcp://127.0.0.1:{port}: no Dask scheduler can be reached there ("
    )
    assert error.count("\n") == 1
    assert not list(store.runs())


# ---- Dask's own configuration


@contextmanager
def secure(monkeypatch, *names: str) -> Iterator[None]:
    """Dask's configuration for encrypted connections, for this process and for those that it
    starts."""
    given = {"comm.require-encryption": True} | {f"comm.tls.{name}": str(PEM) for name in names}
    for name, value in given.items():
        monkeypatch.setenv(
            "DASK_DISTRIBUTED__" + name.upper().replace(".", "__").replace("-", "_"), str(value)
        )
    with dask.config.set({f"distributed.{name}": value for name, value in given.items()}):
        yield


@pytest.fixture
def everywhere(monkeypatch) -> Iterator[None]:
    """A certificate for client, scheduler and worker."""
    ends = [
        f"{role}.{kind}" for role in ("client", "scheduler", "worker") for kind in ("cert", "key")
    ]
    with secure(monkeypatch, "ca-file", *ends):
        yield


def test_a_scheduler_that_wants_encryption(here, tmp_path, everywhere, monkeypatch, capsys):
    """As with Dask's own client, the certificates in Dask's configuration are enough."""
    (tmp_path / "cluster").mkdir()
    with (
        scheduler(tmp_path / "cluster", "tls") as (address, _),
        worker(address, tmp_path / "worker", ROOT / "lintf"),
    ):
        assert main([*SWEEP, "-p", "iters=20", "--scheduler", address]) == 0, (
            capsys.readouterr().err
        )
    assert capsys.readouterr().out.endswith("1 of 1 cells done, 0 failed; out/cells.csv\n")
    check_alone(monkeypatch, [(20, 0)])


def test_workers_here_with_encryption(here, everywhere, monkeypatch, capsys):
    assert main([*SWEEP, "-p", "iters=20", "--jobs", "1"]) == 0, capsys.readouterr().err
    check_alone(monkeypatch, [(20, 0)])


@pytest.mark.parametrize(
    "line", [["--jobs", "1"], ["--scheduler", "tls://127.0.0.1:1"], ["--scheduler", "tcp://a:1"]]
)
def test_encryption_without_a_certificate_is_one_line(here, monkeypatch, capsys, line):
    with secure(monkeypatch, "ca-file"):
        assert main([*SWEEP, "-p", "iters=20", *line]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "encr" in error or "TLS" in error
    assert error.count("\n") == 1
