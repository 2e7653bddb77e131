"""What the command line takes: commands, options, and what --help says of them."""

from __future__ import annotations

import argparse
from datetime import date

import lintf
from lintf.cli import listing
from lintf.training.workers import MOST, cores

CODES = "Exit codes: 0 all is well, 1 something failed, 2 wrong input, 130 stopped by Ctrl-C."
TRAINING = (
    "MODULE:FUNCTION or FILE.py:FUNCTION that returns (model, task, training); part of "
    "a stored run's name"
)
PART = "a family of runs as list shows it, or part of their names"


def build() -> tuple[argparse.ArgumentParser, list[str]]:
    """Returns the parser, whose result has the name of a command as `command`, and these names."""
    parser = argparse.ArgumentParser(
        prog="python -m lintf", description=lintf.__doc__, epilog=CODES
    )
    parser.add_argument("--version", action="version", version=f"lintf {lintf.__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command"
    )

    def add(name: str, what: str, example: str) -> argparse.ArgumentParser:
        epilog = f"Example: python -m lintf {example}. {CODES}"
        command = commands.add_parser(
            name, help=what, description=what[0].upper() + what[1:] + ".", epilog=epilog
        )
        return command

    command = add("list", "pages and stored runs: their scale, size, device and date", "list 08")
    command.add_argument(
        "name", nargs="?", help=f"a page or part of its name; {PART}; everything without it"
    )

    example = "run 01_simple_demo -p n_layer=4 -p 'seeds=[0, 1]'"
    command = add("run", "run a page, with other parameters if you like", example)
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
        "sweep", "run a page or a training with every combination of parameters, on Dask", example
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
        "verify", "re-run the first 20 steps of stored runs and compare", "verify adam --jobs 2"
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
        "reproduce",
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
