"""The table of a sweep: what became of its cells, and what their pages claim."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lintf.cli import grid
from lintf.cli.cells import Cell, Result, claims, replace_text


class Table:
    """The results of a sweep: cells.csv has a row for each cell, claims.csv what pages claim."""

    def __init__(self, folder: Path, cells: Sequence[Cell]) -> None:
        self.folder, self.cells = folder, cells
        # Place of the cell -> stored or new, and its result.
        self.results: dict[int, tuple[str, Result]] = {}
        self.claims: dict[int, list[dict]] = {}

    def look(self) -> list[int]:
        """Enters what is stored, returns the places of the rest. Raises StoreError for damage."""
        for i, cell in enumerate(self.cells):
            if result := cell.stored(self.folder):
                self._enter(i, result, "stored")
        return [i for i in range(len(self.cells)) if i not in self.results]

    def add(self, i: int, result: Result) -> None:
        """Enters the result of the cell at place i."""
        self._enter(i, result, "new")

    def _enter(self, i: int, result: Result, found: str) -> None:
        """Enters a result without notebook and runs, which would fill the memory."""
        if result.ok and result.notebook:
            self.claims[i] = list(claims(result.notebook))
        self.results[i] = found, replace(result, notebook="", runs={})

    @property
    def failed(self) -> int:
        """The number of cells that failed."""
        return sum(not result.ok for _, result in self.results.values())

    def failures(self) -> Iterator[str]:
        """Yields lines: the cells that failed, and why."""
        if self.failed:
            yield "failed:"
            for i, (_, result) in sorted(self.results.items()):
                if not result.ok:
                    yield f"  {grid.label(self.cells[i].parameters)}: {result.detail}"
            yield ""

    def summary(self) -> str:
        """Returns how many cells are done, and how many have failed."""
        return (
            f"{len(self.results) - self.failed} of {len(self.cells)} cells done, "
            f"{self.failed} failed"
        )

    def write(self) -> None:
        """Writes both files anew. Raises OSError."""
        names = list(self.cells[0].parameters)
        heads = ["status", "found", "result", "begun", "seconds", "worker", "file"]
        rows, claimed = [], []
        for i, cell in enumerate(self.cells):
            given = list(cell.parameters.values())
            found, result = self.results.get(i, ("", Result(False, "")))
            status = ("ok" if result.ok else "failed") if found else "not run"
            times = [f"{result.begun:.2f}", f"{result.seconds:.2f}"] if result.begun else ["", ""]
            rows.append(
                [
                    *given,
                    status,
                    found,
                    result.detail,
                    *times,
                    result.worker,
                    cell.file(self.folder).name,
                ]
            )
            for c in self.claims.get(i, ()):
                claimed.append([*given, c["key"], c["published"], c["measured"], c["holds"]])
        self._write("cells.csv", [*names, *heads], rows)
        if claimed:
            self._write("claims.csv", [*names, "claim", "published", "measured", "holds"], claimed)

    def _write(self, name: str, heads: list[str], rows: list[list[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([heads, *rows])
        replace_text(self.folder / name, text.getvalue())
