"""What there is, in words: the pages, and the stored runs by family or one by one."""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

from lintf.checks import UsageError, nearest
from lintf.cli import notebook
from lintf.training import measured, store
from lintf.training.store import Record

DAYS = 7  # in so many days the samples hold every run

# What a run says of how it was made.
MADE = {"device", "members", "path", "seconds", "threads", "versions"}


def overview(paths: Iterable[Path]) -> Iterator[str]:
    """Yields lines: a table of the pages, and one of the stored runs by families. Raises StoreError
    for a damaged run."""
    pages = notebook.pages()
    if pages:
        yield from (f"{page.stem:24} {notebook.title(page)}" for page in pages)
        yield ""
    families: dict[str, list[tuple[Path, Record]]] = {}
    for path in paths:
        families.setdefault(path.parent.name, []).append((path, _load(path)))
    if not families:
        yield f"no stored runs in {store.folder()}"
        return
    rows = [_row(name, runs) for name, runs in families.items()]
    together = _row("total", [run for runs in families.values() for run in runs])
    heads = ("stored runs", "runs", "seeds", "steps", "batch", "size", "trained for", "on", "made")
    yield from _table([heads, *rows, together])
    if results := list(measured.results()):
        size = _size(sum(path.stat().st_size for path in results))
        yield f"and {len(results)} results on fixed prompts in {measured.folder()}, {size}"
    yield ""
    yield "list NAME: the parameters of a page, or each run of a family; run NAME: run a page"


def having(part: str) -> list[Path]:
    """Returns the stored runs of the family with this name, or with this in their names. A number
    alone is a page's, and the key at the end of a name counts only after all of the name: both
    would pick runs by chance."""
    if part.isdecimal():
        return []
    paths = list(store.runs())
    family = [path for path in paths if part == path.parent.name]
    named = [p for p in paths if part in p.name.rpartition("-")[0] or p.name.startswith(part)]
    return family or named


def select(part: str) -> list[Path]:
    """Returns the stored runs with this in their names. Raises UsageError for none."""
    if chosen := having(part):
        return chosen
    paths = list(store.runs())
    if not paths:
        raise UsageError(f"no stored run in {store.folder()}")
    names = [path.name for path in paths]
    words = {word for name in names for word in name.split("-")[:-1]}
    if pages := notebook.matching(part):
        raise UsageError(
            f"no stored run has {part!r} in its name; for the page: python -m lintf run "
            f"{pages[0].stem}"
        )
    raise UsageError(
        f"no stored run in {store.folder()} has {part!r} in its "
        f"name{nearest(part, [*names, *words])}"
    )


def sample(paths: Iterable[Path], day: date) -> list[Path]:
    """Returns the runs whose turn it is on this day, one in seven by a hash of their names, and one
    of each family in which it is no run's turn: every family is there each day, and every run in
    any seven days."""
    families: dict[str, list[Path]] = {}
    for path in paths:
        families.setdefault(path.parent.name, []).append(path)
    chosen: list[Path] = []
    for family in families.values():
        due = [p for p in family if (zlib.crc32(p.name.encode()) + day.toordinal()) % DAYS == 0]
        chosen += due or [family[day.toordinal() % len(family)]]
    return sorted(chosen)


def _load(path: Path) -> Record:
    """Returns what a run holds. Raises StoreError for a run that is damaged, or says too little of
    how it was made."""
    record = store.load(path)
    if missing := MADE - record.meta.keys():
        raise store.StoreError(
            f"{path}: does not say its {', '.join(sorted(missing))}. Delete the file or restore it."
        )
    return record


def _row(name: str, runs: Sequence[tuple[Path, Record]]) -> tuple[str, ...]:
    """Returns the cells of one family of runs. A training of several seeds side by side counts for
    each with its share."""
    configs, metas = [r.config for _, r in runs], [r.meta for _, r in runs]
    return (
        name,
        str(len(runs)),
        str(len({c["seed"] for c in configs})),
        _span({c["training"]["max_iters"] for c in configs}),
        _span({c["training"]["B"] for c in configs}),
        _size(sum(path.stat().st_size for path, _ in runs)),
        _duration(sum(m["seconds"] / m["members"] for m in metas)),
        statistics.mode(m["device"] for m in metas),
        max((m["made"] for m in metas if "made" in m), default="-"),
    )


def details(paths: Iterable[Path]) -> Iterator[str]:
    """Yields one line per run, and their number. Raises StoreError for a damaged run."""
    total = number = 0
    for path in paths:
        meta, size = _load(path).meta, path.stat().st_size
        total, number = total + size, number + 1
        alone = f"for {meta['members']} seeds " if meta["members"] > 1 else ""
        threads = f", {meta['threads']} threads" if meta["threads"] > 1 else ""
        trained = (
            f"{_duration(meta['seconds'])} {alone}on {meta['device']}{threads}, {meta['path']}"
        )
        gone = f", diverged at step {meta['diverged']}" if "diverged" in meta else ""
        made = f"torch {meta['versions']['torch']}, made {meta.get('made', '-')}"
        yield f"{path.name}: {_size(size)}, {trained}, {made}{gone}"
    yield f"{number} runs, {_size(total)}"


def page(path: Path) -> Iterator[str]:
    """Yields what a page is about, and the parameters that `run` takes."""
    yield f"{path.stem}: {notebook.title(path)}"
    yield from (f"  {line}" for line in notebook.parameters_source(path).splitlines())


def _span(values: set[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}..{high}"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields rows in columns as wide as they must be: the first and the last two to the left,
    numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, len(widths) - 2, len(widths) - 1}
    for row in rows:
        cells = [
            c.ljust(w) if i in left else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
