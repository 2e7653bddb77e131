"""The command line: python -m lintf list, run, sweep, verify, reproduce."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

try:
    import tqdm  # noqa: F401  # before torch, which imports it, too
except ValueError as error:  # it takes settings from the environment as it is imported
    given = ", ".join(
        f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("TQDM_")
    )
    sys.exit(f"error: tqdm cannot use {given} of the environment ({error})")

import lintf
from lintf.checks import UsageError, nearest, one_line
from lintf.cli import grid, listing, notebook, sweep
from lintf.cli.cells import Result
from lintf.training import measured, store
from lintf.training.progress import Count
from lintf.training.verify import Outcome, reproduce
from lintf.training.workers import MOST, cores, verify_all

CODES = "Exit codes: 0 all is well, 1 something failed, 2 wrong input, 130 stopped by Ctrl-C."
PIPE_CLOSED = 141  # what a shell says of a program whose reader has gone
TRAINING = (
    "MODULE:FUNCTION or FILE.py:FUNCTION that returns (model, task, training); part of "
    "a stored run's name"
)
PART = "a family of runs as list shows it, or part of their names"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if all is well, 1 if a run did not come out as stored or a page's
    cell failed, 2 for wrong input, 130 after Ctrl-C. Raises SystemExit where argparse does: after
    --help, and for a wrong command."""
    argv = sys.argv[1:] if argv is None else argv
    parser, commands = _parser()
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    if argv[0] not in commands and not argv[0].startswith("-"):
        parser.error(
            f"unknown command {argv[0]!r}{nearest(argv[0], commands)}; there are "
            f"{', '.join(commands)}"
        )
    arguments = parser.parse_args(argv)
    try:
        return arguments.do(arguments)
    except (UsageError, store.StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        raise
    except OSError as error:  # of a file or a folder, which it names
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m lintf", description=lintf.__doc__, epilog=CODES
    )
    parser.add_argument("--version", action="version", version=f"lintf {lintf.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(do, what: str, example: str) -> argparse.ArgumentParser:
        name = do.__name__.strip("_")
        epilog = f"Example: python -m lintf {example}. {CODES}"
        command = commands.add_parser(
            name, help=what, description=what[0].upper() + what[1:] + ".", epilog=epilog
        )
        command.set_defaults(do=do)
        return command

    command = add(_list, "pages and stored runs: their scale, size, device and date", "list 08")
    command.add_argument(
        "name", nargs="?", help=f"a page or part of its name; {PART}; everything without it"
    )

    example = "run 01_simple_demo -p n_layer=4 -p 'seeds=[0, 1]'"
    command = add(_run, "run a page, with other parameters if you like", example)
    command.add_argument(
        "name", help="a page: its number, its name, a part of it, or the path of a notebook"
    )
    several = {"action": "append", "default": []}
    what = "a parameter of the page, its value as in Python, or a word; can be repeated"
    command.add_argument("-p", "--parameter", **several, metavar="KEY=VALUE", help=what)
    command.add_argument(
        "-f",
        "--file",
        **several,
        help="parameters in a YAML file, as papermill reads it; what -p says counts more",
    )
    command.add_argument(
        "-o", "--out", help="the notebook to write; NAME.out.ipynb in this folder without it"
    )

    example = "sweep 05 -p N=5:80:x2 -p seeds=0,1,2"
    command = add(
        _sweep, "run a page or a training with every combination of parameters, on Dask", example
    )
    command.add_argument("name", help=f"a page, as for run; {TRAINING}")
    what = (
        "the values of a parameter, as in Python: 1,2,3 or a range, 1:4 or 0:1:0.25 or "
        "5:80:x2; can be repeated"
    )
    command.add_argument("-p", "--parameter", **several, metavar="KEY=VALUES", help=what)
    what = (
        "the address of a Dask scheduler, such as tcp://10.0.0.1:8786; workers on this "
        "machine without it"
    )
    command.add_argument("--scheduler", metavar="ADDRESS", help=what)
    what = f"workers on this machine, one thread each; {cores()} without it"
    command.add_argument("--jobs", type=_positive, metavar="N", help=what)
    what = (
        "the folder for the table of the cells and a page's notebooks; sweep-NAME in this "
        "folder without it"
    )
    command.add_argument("-o", "--out", metavar="DIR", help=what)

    command = add(
        _verify, "re-run the first 20 steps of stored runs and compare", "verify adam --jobs 2"
    )
    command.add_argument("name", nargs="?", default="", help=f"{PART}; all without it")
    jobs = min(cores(), MOST)
    command.add_argument(
        "--jobs", type=_positive, default=jobs, metavar="N", help=f"processes; {jobs} without it"
    )
    what = (
        f"one run in {listing.DAYS} and some of every family, others each day: those of "
        "DATE, or of today"
    )
    command.add_argument("--sample", type=_day, nargs="?", const="today", metavar="DATE", help=what)

    command = add(
        _reproduce,
        "train stored runs again from nothing and compare",
        "reproduce sphere-N20-d5-adam",
    )
    command.add_argument("name", nargs="?", default="", help=f"{PART}; all without it")
    return parser, list(commands.choices)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def _day(text: str) -> date:
    try:
        return date.today() if text == "today" else date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a date such as 2026-11-29, got {text!r}"
        ) from None


def _list(arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        print(*listing.overview(store.runs()), sep="\n")
        return 0
    pages = notebook.matching(arguments.name)
    for page in pages:
        print(
            *listing.page(page) if len(pages) == 1 else (f"{page.stem:24} {notebook.title(page)}",),
            sep="\n",
        )
    runs = listing.having(arguments.name)
    if pages and runs:
        print()
    if runs or not pages:
        for line in listing.details(runs or listing.select(arguments.name)):
            print(line)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    if missing := [
        name for name in ("papermill", "ipykernel") if importlib.util.find_spec(name) is None
    ]:
        raise UsageError(
            f"run needs {missing[0]}, which is not installed: pip install papermill ipykernel"
        )
    page = notebook.find(arguments.name)
    out = Path(arguments.out or f"{page.stem}.out.ipynb")
    given = notebook.read_parameters(arguments.parameter, arguments.file)
    notebook.check_run(page, out, given)
    start = time.monotonic()
    try:
        notebook.run(page, out, given)
    except notebook.CellFailed as error:
        print(
            f"error: {error}" + f"\nThe notebook up to there: {out}" * out.exists(), file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("stopped" + f"; the notebook up to there: {out}" * out.exists(), file=sys.stderr)
        return 130
    print(f"{page.stem} ran in {time.monotonic() - start:.0f} s: {out}")
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    if missing := [
        name for name in ("dask", "distributed") if importlib.util.find_spec(name) is None
    ]:
        raise UsageError(
            f"sweep needs {missing[0]}, which is not installed: pip install '.[cluster]'"
        )
    if arguments.scheduler and arguments.jobs:
        raise UsageError(
            "--jobs is about workers on this machine, and --scheduler has its own: give one "
            "of the two"
        )
    try:
        from lintf.cli import cluster
    except Exception as error:  # Dask reads its own configuration when it is imported
        raise UsageError(f"sweep needs Dask, which cannot be loaded ({one_line(error)})") from error

    folder = Path(
        arguments.out or f"sweep-{re.sub('[^A-Za-z0-9_]+', '-', arguments.name).strip('-')}"
    )
    cells = sweep.cells(arguments.name, grid.axes(arguments.parameter))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {folder}: no such folder can be made ({one_line(error)})"
        ) from error
    table = sweep.Table(folder, cells)
    missing = table.look()
    try:
        table.write()
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be written to ({one_line(error)})") from error
    print(
        f"{len(cells)} cells: {len(cells) - len(missing)} stored, {len(missing)} to run", flush=True
    )
    written = True
    # What a batch system sends before it kills.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if missing:
            jobs = min(arguments.jobs or cores(), len(missing))
            with cluster.mark() as place, cluster.connect(arguments.scheduler, jobs) as client:
                there = len(client.nthreads())
                print(
                    f"{there} workers" + "; the cells wait for some to join" * (there == 0),
                    flush=True,
                )
                _watch(
                    table, missing, cluster.run(client, place, [table.cells[i] for i in missing])
                )
    except KeyboardInterrupt:
        print(
            f"stopped; {table.summary()}, and the same command goes on from there", file=sys.stderr
        )
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
        try:
            table.write()
        except OSError as error:
            written = False
            print(f"error: the table could not be written ({one_line(error)})", file=sys.stderr)
    print(*table.failures(), sep="\n", end="")
    print(f"{table.summary()}; {table.folder / 'cells.csv'}")
    return int(table.failed > 0 or not written)


def _watch(table: sweep.Table, missing: list[int], results: Generator[tuple[int, Result]]) -> None:
    """Keeps and prints the results of a table's missing cells as they come."""
    with closing(results), Count("cells", len(missing)) as count:
        for k, result in results:
            cell = table.cells[missing[k]]
            try:
                cell.keep(result, table.folder)
            except OSError as error:
                result = replace(result, ok=False, detail=f"found, but not kept: {error}")
            table.add(missing[k], result)
            count.add(
                result.ok,
                f"{sweep.label(cell.parameters)}: {result.detail}, {result.seconds:.1f} s",
            )


def _verify(arguments: argparse.Namespace) -> int:
    results = [path for path in measured.results() if arguments.name in path.name]
    paths = [
        *(listing.having(arguments.name) if results else listing.select(arguments.name)),
        *results,
    ]
    if arguments.sample:
        some = listing.sample(paths, arguments.sample)
        whole = f"python -m lintf verify {arguments.name}".rstrip()
        print(
            f"sample of {arguments.sample}: {len(some)} of {len(paths)} runs; all: {whole}",
            flush=True,
        )
        paths = some
    return _report(verify_all(paths, arguments.jobs), dict.fromkeys(paths, 1.0))


def _reproduce(arguments: argparse.Namespace) -> int:
    paths = listing.select(arguments.name)
    return _report(
        reproduce(paths, progress=sys.stderr.isatty()), {path: _seconds(path) for path in paths}
    )


def _seconds(path: Path) -> float:
    """Returns how long a run took when it was stored; a moment if nobody knows, since then it is
    refused at once."""
    try:
        meta = store.load(path).meta
    except (store.StoreError, OSError):
        return 0.1
    return meta.get("seconds", 0.1) / meta.get("members", 1)


def _report(outcomes: Generator[Outcome], work: dict[Path, float]) -> int:
    """Prints each outcome as it comes, and in a terminal how many are left and for how long, going
    by the work (in seconds, say) that each run is. Returns the exit code."""
    skipped = 0
    with closing(outcomes), Count("runs", len(work), sum(work.values())) as count:
        for outcome in outcomes:
            count.add(outcome.ok, f"{outcome.path.name}: {outcome.detail}", work[outcome.path])
            skipped += outcome.ok is None
    came = f"{count.done - count.failed - skipped} of {count.done} runs came out as stored"
    print(came + f", {skipped} skipped" * (skipped > 0))
    return int(count.failed > 0)


def _program() -> int:
    """Calls `main`, and ends quietly where the reader of its output has gone, as `| head` does. It
    shows a letter that the terminal does not have by its number."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # For the flush at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


if __name__ == "__main__":
    sys.exit(_program())
