"""python -m lintf: list, verify and reproduce the stored runs."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from lintf import store
from lintf.verify import reproduce, verify


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 if all is well, 1 if a run did not come out as stored, 2 for wrong input."""
    parser = argparse.ArgumentParser(prog="python -m lintf", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("list", "the stored runs: how they were made, how big they are"),
        ("verify", "re-run the first 20 steps of stored runs and compare"),
        ("reproduce", "train stored runs again from nothing, compare, and report the time"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("name", nargs="?", default="", help="part of a run's file name; all runs without it")
    arguments = parser.parse_args(argv)
    try:
        paths = _select(arguments.name)
        if arguments.command == "list":
            return _list(paths)
        failed = 0
        for outcome in reproduce(paths) if arguments.command == "reproduce" else map(verify, paths):
            print(f"{'ok  ' if outcome.ok else 'FAIL'} {outcome.path.name}: {outcome.detail}", flush=True)
            failed += not outcome.ok
    except (store.StoreError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(paths) - failed} of {len(paths)} runs came out as stored")
    return int(failed > 0)


def _select(part: str) -> list[Path]:
    paths = list(store.runs())
    chosen = [path for path in paths if part in path.name]
    if not chosen:
        near = difflib.get_close_matches(part, [path.name for path in paths], 1, cutoff=0.2)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise ValueError(f"no stored run in {store.folder()} has {part!r} in its name{hint}")
    return chosen


def _list(paths: list[Path]) -> int:
    for path in paths:
        meta = store.load(path).meta
        size = path.stat().st_size / 1000
        trained = f"{meta['seconds']:.0f} s for {meta['members']} seeds on {meta['device']}, {meta['path']}"
        gone = f", diverged at step {meta['diverged']}" if "diverged" in meta else ""
        print(f"{path.name}: {size:.0f} kB, {trained}{gone}")
    print(f"{len(paths)} runs, {sum(path.stat().st_size for path in paths) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
