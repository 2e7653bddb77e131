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
from pathlib import Path

try:
    import tqdm  # noqa: F401  # before torch, which imports it, too
except ValueError as error:  # it takes settings from the environment as it is imported
    given = ", ".join(
        f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("TQDM_")
    )
    sys.exit(f"error: tqdm cannot use {given} of the environment ({error})")

from lintf.checks import UsageError, nearest, one_line
from lintf.cli import execute, grid, listing, notebook, sweep
from lintf.cli.cells import Result
from lintf.cli.parser import build
from lintf.cli.table import Table
from lintf.training import measured, store
from lintf.training.progress import Count
from lintf.training.verify import Outcome, reproduce
from lintf.training.workers import cores, verify_all

PIPE_CLOSED = 141  # what a shell says of a program whose reader has gone


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if all is well, 1 if a run did not come out as stored or a page's
    cell failed, 2 for wrong input, 130 after Ctrl-C. Raises SystemExit where argparse does: after
    --help, and for a wrong command."""
    argv = sys.argv[1:] if argv is None else argv
    parser, commands = build()
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
        return COMMANDS[arguments.command](arguments)
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
        execute.run(page, out, given)
    except execute.CellFailed as error:
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
    table = Table(folder, cells)
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


def _watch(table: Table, missing: list[int], results: Generator[tuple[int, Result]]) -> None:
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
                f"{grid.label(cell.parameters)}: {result.detail}, {result.seconds:.1f} s",
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


COMMANDS = {
    "list": _list,
    "run": _run,
    "sweep": _sweep,
    "verify": _verify,
    "reproduce": _reproduce,
}


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
