"""What shows how far something has come: the bar of a training, which is tqdm's, as a widget in a
notebook and as text elsewhere; and the screen of a page that runs.

`python -m lintf run` sets LINTF_PROGRESS=text for the notebook that it runs, so that its trainings
can be followed in the terminal.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

if os.environ.get("LINTF_PROGRESS") == "text":
    from tqdm import tqdm
else:
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
SILENCE = 60.0  # seconds after which a program that works says so
NARROWEST = 40  # columns: a narrower bar has room for nothing


@contextmanager
def every(seconds: float, say: Callable[[], None]) -> Iterator[None]:
    """Calls `say` so often, in another thread, until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            say()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Steps:
    """The bar of a training: how many of its steps are done, with the loss, for how long it has
    been and will be. It fits in 80 columns.

    title: what stands before it.
    first: the step at which it begins.
    steps: the last one.
    shown: whether there is a bar at all.
    """

    def __init__(self, title: str, first: int, steps: int, shown: bool) -> None:
        layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self.bar = tqdm(
            total=steps, initial=first, desc=title, disable=not shown, bar_format=layout
        )
        self.steps, self.last = steps, time.perf_counter()

    def show(self, done: int, loss: float) -> None:
        """Says that so many steps are done; the bar itself is drawn a few times a second."""
        now = time.perf_counter()
        if now - self.last > 0.2 or done == self.steps:
            self.bar.set_postfix(loss=f"{loss:.3g}", refresh=False)
            self.bar.update(done - self.bar.n)
            self.last = now

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()


MARKS = {True: "ok  ", False: "FAIL", None: "skip"}


class Count:
    """How many of some things are done and have failed: a bar in a terminal, which goes by how much
    work each is, and elsewhere a line where nothing else has been said for a while."""

    def __init__(self, things: str, number: int, work: float | None = None) -> None:
        self.things, self.number, self.done, self.failed = things, number, 0, 0
        layout = "{desc} |{bar}| {elapsed}<{remaining}"
        options = {
            "total": number if work is None else work,
            "desc": self.said,
            "bar_format": layout,
        }
        self.bar = tqdm(**options, file=sys.stderr, disable=not sys.stderr.isatty())
        self.begun = self.last = time.monotonic()

    @property
    def said(self) -> str:
        """How far it is, in words."""
        return f"{self.done} of {self.number} {self.things}" + f", {self.failed} failed" * (
            self.failed > 0
        )

    def add(self, ok: bool | None, line: str, work: float = 1) -> None:
        """Counts one more as done, which a line tells of, or for None as skipped."""
        tqdm.write(f"{MARKS[ok]} {line}")
        sys.stdout.flush()
        self.done, self.failed = self.done + 1, self.failed + (ok is not None and not ok)
        self.last = time.monotonic()
        self.bar.set_description_str(self.said)
        self.bar.update(work)

    def still(self) -> None:
        """Lets the bar's clock go on, or says how far it is unless something else has spoken
        lately."""
        now = time.monotonic()
        if not self.bar.disable:
            self.bar.refresh()
        elif now - self.last >= SILENCE:
            self.last = now
            print(
                f"{self.said} after {(now - self.begun) / 60:.0f} min", file=sys.stderr, flush=True
            )

    def __enter__(self) -> Count:
        self.clock = every(1.0, self.still)
        self.clock.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.clock.__exit__(*error)
        self.bar.close()


class Screen(io.TextIOBase):
    """stderr for the progress bars of two processes: in a terminal each overwrites the other,
    elsewhere each state is a line of its own."""

    def __init__(self, page: str) -> None:
        self.page, self.cell, self.last = page, 0, time.monotonic()
        self.ended = False
        self.live = sys.stderr.isatty()
        self.width = max(shutil.get_terminal_size((100, 24)).columns - 1, NARROWEST)

    def write(self, text: str) -> int:
        """Writes text to stderr as the class says. Returns its length."""
        if self.ended:
            return len(text)
        self.last = time.monotonic()
        if self.live:
            sys.stderr.write(text.replace("\r", "\r\x1b[K"))
        else:
            sys.stderr.writelines(
                f"{line.rstrip()}\n" for line in re.split(r"[\r\n]", text) if line.strip()
            )
        sys.stderr.flush()
        return len(text)

    def end(self) -> None:
        """Shows nothing any more, such as the last state of a bar that is thrown away later."""
        self.ended = True

    def begin(self, **_: object) -> None:
        """Notes that a code cell begins."""
        self.cell, self.began = self.cell + 1, time.monotonic()

    def still(self) -> None:
        """Says what is at work, unless something else has spoken lately."""
        now = time.monotonic()
        if self.cell and now - self.last >= SILENCE:
            self.write(
                f"\r{self.page}: In [{self.cell}] at work for {(now - self.began) / 60:.0f} min"
            )
