"""How soon the pages' figures to play with answer: CPU time of one change, for each page that has
one.

python benchmarks/controls.py       (make bench runs it, too)
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import matplotlib as mpl

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "pages"))
from test_widgets import PAGES, made_by, settings  # noqa: E402  (how to get a page's control stands there)

MEDIAN, MOST = 200.0, 400.0  # ms: the median change, and three of four


def times(page: Path) -> list[float]:
    """Milliseconds of CPU time for every change of a page's control."""
    os.chdir(page.parent)
    made, taken = made_by(page), []
    for setting in settings(made):
        for name, value in setting.items():
            if made.widgets[name].value != value:
                began = time.process_time()
                made.widgets[name].value = value
                taken.append(1e3 * (time.process_time() - began))
    return taken


def main() -> int:
    """Returns 1 where a page's control is slower than it should be."""
    mpl.use("Agg")
    short = []
    print(f"{'a change of a control':34}{'median, ms':>12}{'3 of 4, ms':>12}")
    for page in PAGES:
        taken = times(page)
        median, upper = statistics.median(taken), statistics.quantiles(taken, n=4)[-1]
        print(f"{page.stem:34}{median:12.0f}{upper:12.0f}", flush=True)
        if median > MEDIAN or upper > MOST:
            short.append(
                f"{page.stem}: median {median:.0f} ms, three of four within {upper:.0f} ms"
            )
    for line in short:
        print(f"falls short of {MEDIAN:.0f} and {MOST:.0f} ms: {line}")
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
