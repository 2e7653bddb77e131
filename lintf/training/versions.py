"""Which code and which libraries a process has: what must be the same on both sides of a
network."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import lintf

LIBRARIES = ("torch", "numpy", "distributed")
ROOT = Path(__file__).resolve().parents[2]
# What the output of a page depends on, beside its cells and the runs that it finds.
PAGES_READ = ("lintf", "benchmarks", "requirements.txt")
DERIVED = {"__pycache__", ".so", ".o", ".pyc"}  # made from the rest
SUFFIXES = {".py", ".cpp", ".h", ".txt", ".json"}  # of the files of the package


def files(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yields the files with these names, and those in the folders with these names, without what is
    hidden or derived."""
    for name in names:
        top = root / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            parts = path.relative_to(root).parts
            hidden = any(part.startswith(".") for part in parts)
            if path.is_file() and not hidden and not DERIVED & {path.suffix, *parts}:
                yield path


def digest(root: Path, paths: Iterable[Path]) -> str:
    """Returns a hash over names and contents. How the lines of a text end does not count: Git may
    have changed it."""
    total = hashlib.sha256()
    for path in paths:
        data = path.read_bytes()
        data = data if b"\0" in data else data.replace(b"\r\n", b"\n")
        total.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


@cache
def sources() -> str:
    """Returns twelve hex digits that change with any file of the package."""
    return digest(ROOT, [path for path in files(ROOT, ["lintf"]) if path.suffix in SUFFIXES])[:12]


@cache
def around_pages() -> str:
    """Returns twelve hex digits that change with any file that a page may read, except the page and
    runs/."""
    return digest(ROOT, files(ROOT, PAGES_READ))[:12]


@cache
def versions() -> dict[str, str]:
    """Returns the versions of Python (without its last number), of this package, of its sources,
    and of the libraries that the numbers and the network depend on. A local part, as in torch
    2.13.0+cpu, is left out: workers may have GPUs."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "lintf": lintf.__version__}
    return found | {"sources of lintf": sources()} | {name: _version(name) for name in LIBRARIES}


def differences(here: dict[str, str], there: dict[str, str]) -> str:
    """Says in words how the versions differ; "" where they are the same."""
    names = [name for name in here | there if here.get(name) != there.get(name)]
    return ", ".join(
        f"{name} {there.get(name, 'unknown')} instead of {here.get(name, 'unknown')}"
        for name in names
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
