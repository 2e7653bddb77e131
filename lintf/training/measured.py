"""Results that take long to compute, and depend on nothing but their arguments, kept in
runs/measured/ as runs are kept in runs/: such as what a trained model scores on fixed prompts.
`verify` computes them again."""

from __future__ import annotations

import importlib
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from lintf.checks import Checked
from lintf.training import store
from lintf.training.run import built, described

Measure = Callable[..., dict[str, Tensor]]


def measured(measure: Measure, **arguments: object) -> dict[str, Tensor]:
    """Returns what measure(**arguments) returns, computed once. The measure is a function of this
    package that returns named tensors; the arguments are tasks, models, trainings, and Python's
    plain values. Where the result cannot be stored, that is said, and it is returned all the same.
    Raises StoreError for a damaged file."""
    config = {"measure": f"{measure.__module__}:{measure.__qualname__}"}
    config["arguments"] = {name: _plain(value) for name, value in arguments.items()}
    path = folder() / store.path_of(measure.__name__, config).name
    if record := store.find(path):
        return record.tensors
    start = time.perf_counter()
    tensors = measure(**arguments)
    try:
        store.save(
            path, store.Record(config, tensors, {"seconds": round(time.perf_counter() - start, 3)})
        )
    except OSError as error:
        warnings.warn(f"{error}; the result is not kept", stacklevel=2)
    return tensors


def folder() -> Path:
    """Returns the folder of the results, in that of the runs."""
    return store.folder() / "measured"


def results() -> Iterator[Path]:
    """Returns all stored results by name."""
    return iter(sorted(folder().glob(f"*{store.SUFFIX}")))


def again(record: store.Record, **shorter: object) -> dict[str, Tensor]:
    """Computes a stored result anew, with other arguments where some are given. Raises ValueError
    where its measure or a class of its arguments is not here."""
    module, _, name = record.config["measure"].partition(":")
    try:
        measure = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name} of {module} cannot be imported here ({error})") from error
    arguments = {key: argument(value) for key, value in record.config["arguments"].items()}
    return measure(**arguments | shorter)


def largest_gap(found: dict[str, Tensor], kept: dict[str, Tensor]) -> float:
    """Returns the largest over all tensors of the Euclidean distance over the norm of what is kept;
    infinite for other names or shapes, and where only one of the two has a number."""
    if found.keys() != kept.keys() or any(found[n].shape != t.shape for n, t in kept.items()):
        return math.inf
    largest = 0.0
    for name, tensor in kept.items():
        here, there = found[name].double(), tensor.double()
        missing = here.isnan()
        if not torch.equal(missing, there.isnan()):
            return math.inf
        there = there[~missing]
        gap = float((here[~missing] - there).norm() / there.norm().clamp_min(1e-300))
        largest = max(largest, math.inf if math.isnan(gap) else gap)
    return largest


def _plain(value: object) -> object:
    if isinstance(value, Checked):
        return described(value)
    return list(value) if isinstance(value, tuple) else value


def argument(value: object) -> object:
    """Inverts `_plain`."""
    return built(value) if isinstance(value, dict) and "kind" in value else value
