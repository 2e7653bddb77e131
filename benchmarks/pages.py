"""What each page costs at its own parameters: CPU seconds on one thread, kernel's start and imports
included.

    python benchmarks/pages.py [--keep FOLDER] [page ...]        (make bench runs it for all pages)

Pages beyond the budget are named; beyond twice the budget the exit code is 1. With
LINTF_KERNEL=off, the budget is that of a machine without a compiler. --keep says where the executed
pages go. A first run also pays for the compiler.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
BUDGET = {"on": 15.0, "off": 60.0}  # seconds a page, by LINTF_KERNEL
MEDIAN = {"on": 8.0, "off": 24.0}  # of all pages


def cpu_seconds(page: Path, folder: Path) -> float:
    """User and system time of one run by papermill. Raises CalledProcessError; the page's error is
    on the terminal."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        "--log-level",
        "ERROR",
        "--cwd",
        str(NOTEBOOKS),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*command, str(page), str(folder / page.name)], check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    """Returns 1 where a page takes more than twice its budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "pages", nargs="*", help="how their names begin; all pages if none is named"
    )
    parser.add_argument("--keep", type=Path, help="folder for the executed pages")
    asked = parser.parse_args()
    pages = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    if asked.pages:
        pages = [page for page in pages if page.name.startswith(tuple(asked.pages))]
    if not pages:
        parser.error(f"no page's name begins with {' or '.join(asked.pages)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    switch = "off" if os.environ.get("LINTF_KERNEL") == "off" else "on"
    budget, taken = BUDGET[switch], {}
    with tempfile.TemporaryDirectory() as aside:
        folder = asked.keep or Path(aside)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'a page, one thread':34}{'CPU s':>8}{'budget':>8}")
        for page in pages:
            taken[page.stem] = cpu_seconds(page, folder)
            print(f"{page.stem:34}{taken[page.stem]:8.1f}{budget:8.0f}", flush=True)
    median = statistics.median(taken.values())
    print(f"{'median':34}{median:8.1f}{MEDIAN[switch]:8.0f}")
    for name, seconds in taken.items():
        if seconds > budget:
            print(f"over its budget of {budget:.0f} s: {name}, {seconds:.1f} s")
    if len(pages) > 1 and median > MEDIAN[switch]:
        print(f"over the budget of {MEDIAN[switch]:.0f} s: the median page, {median:.1f} s")
    return int(max(taken.values()) > 2 * budget)


if __name__ == "__main__":
    sys.exit(main())
