"""What a sweep is made of: cells, each a training or a page with its parameters. A cell goes to a
worker, and its Result comes back."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lintf.cli import execute, notebook
from lintf.training import store
from lintf.training.fit import fit
from lintf.training.history import Diverged
from lintf.training.run import Run
from lintf.training.store import Record
from lintf.training.versions import around_pages


@dataclass(frozen=True)
class Result:
    """What became of a cell."""

    ok: bool
    detail: str  # in one line: what was found, or what went wrong
    notebook: str = ""  # of a page, as far as it got
    # File name -> run that the caller's disk does not have.
    runs: dict[str, Record] = field(default_factory=dict)
    begun: float = 0.0  # Unix time, by the worker's clock
    seconds: float = 0.0  # wall time on the worker
    worker: str = ""


@dataclass(frozen=True)
class TrainingCell:
    """One run of `fit`, with one seed."""

    parameters: dict[str, object]
    config: dict

    @cached_property
    def run(self) -> Run:
        """The run, built from its configuration."""
        return Run.of(self.config)

    @property
    def key(self) -> str:
        """Names the cell after its configuration."""
        return f"lintf-{store.key(self.config)}"

    @property
    def own(self) -> str:
        """The file name of the run."""
        return self.run.path.name

    def file(self, out: Path) -> Path:
        """Returns where the run is stored, or would be."""
        return self.run.path

    def stored(self, out: Path) -> Result | None:
        """Returns what runs/ has, or None. Raises StoreError for a damaged file."""
        record = store.find(self.run.path)
        return record and _found(record)

    def work(self) -> Result:
        """Trains on a worker, which stores the run."""
        m = self.run
        try:
            fit(m.model, m.task, m.training, (m.seed,), progress=False)
        except Diverged:
            pass  # it is stored, and says so
        if record := store.find(m.path):
            return _found(record)
        return Result(False, f"trained, but {m.path} could not be saved")  # `fit` has warned of it

    def keep(self, result: Result, out: Path) -> None:
        """Stores the run on the caller's disk, where it is not there."""
        _keep_runs(result)


@dataclass(frozen=True)
class PageCell:
    """A page with its parameters, run by papermill. It brings its notebook along, for workers that
    have none."""

    parameters: dict[str, object]
    page: str  # its name
    source: str  # the notebook

    own = ""  # which runs it has stored is known only afterwards

    @property
    def key(self) -> str:
        """Names the cell after all that can change the notebook: page, parameters, code and
        data."""
        text = json.dumps([self.source, self.parameters, around_pages()], sort_keys=True)
        return f"{self.page}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def file(self, out: Path) -> Path:
        """Returns where the notebook is written to."""
        return out / f"{self.key}.ipynb"

    def stored(self, out: Path) -> Result | None:
        """Returns the notebook of an earlier sweep, or None where there is none or a damaged
        one."""
        try:
            text = self.file(out).read_text(encoding="utf-8")
            return Result(True, _claims(text), text)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def work(self) -> Result:
        """Runs the page, on a worker."""
        with tempfile.TemporaryDirectory() as folder:
            page, out = Path(folder) / f"{self.page}.ipynb", Path(folder) / "out.ipynb"
            here = notebook.FOLDER / page.name
            if here.is_file() and here.read_text(encoding="utf-8") == self.source:
                page = here  # beside the files that it may read
            else:
                page.write_text(self.source, encoding="utf-8")
            failed = ""
            try:
                execute.run(page, out, self.parameters, quiet=True)
            except execute.CellFailed as error:
                failed = str(error)
            text = out.read_text(encoding="utf-8") if out.is_file() else ""
        return Result(not failed, failed or _claims(text), text)

    def keep(self, result: Result, out: Path) -> None:
        """Stores the runs and the notebook on the caller's disk. A notebook that failed is kept
        beside, under a name that does not count as stored."""
        _keep_runs(result)
        if result.notebook:
            target = self.file(out) if result.ok else out / f"{self.key}.failed.ipynb"
            replace_text(target, result.notebook)


Cell = TrainingCell | PageCell


def replace_text(path: Path, text: str) -> None:
    """Writes aside, then moves: there is the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def claims(text: str) -> Iterator[dict]:
    """Yields the claims that a notebook shows, as `claims.Claim` has them."""
    for cell in json.loads(text)["cells"]:
        for output in cell.get("outputs", ()):
            if "lintf_claim" in output.get("metadata", {}):
                yield output["metadata"]["lintf_claim"]


def _claims(text: str) -> str:
    held = [claim["holds"] for claim in claims(text)]
    return f"{sum(held)} of {len(held)} claims hold" if held else "done"


def _found(record: Record) -> Result:
    if "diverged" in record.meta:
        return Result(False, f"training diverged at step {record.meta['diverged']}")
    return Result(True, f"loss {float(record.tensors['loss'][-1]):.3g}")


def _keep_runs(result: Result) -> None:
    for name, record in result.runs.items():
        store.save(store.folder() / store.family(record.config) / Path(name).name, record)
