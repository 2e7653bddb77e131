"""Which code and which libraries a process has: what must be the same on both sides of a network."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path

import lintf

LIBRARIES = ("torch", "numpy", "distributed")
SUFFIXES = (".py", ".cpp", ".h")


@cache
def sources() -> str:
    """Twelve hex digits that change with any file of the package."""
    h = hashlib.sha256()
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in SUFFIXES:
            h.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return h.hexdigest()[:12]


@cache
def versions() -> dict[str, str]:
    """Of Python (without its last number), of this package, of its sources, and of the libraries that the numbers and
    the network depend on. A local part, as in torch 2.13.0+cpu, is left out: workers may have GPUs."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "lintf": lintf.__version__}
    return found | {"sources of lintf": sources()} | {name: _version(name) for name in LIBRARIES}


def differences(here: dict[str, str], there: dict[str, str]) -> str:
    """In words; nothing where both are the same."""
    names = [name for name in here | there if here.get(name) != there.get(name)]
    return ", ".join(f"{name} {there.get(name, 'unknown')} instead of {here.get(name, 'unknown')}" for name in names)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
