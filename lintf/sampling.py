"""Drawing prompts: for many ensemble members at once, in groups, and the fixed ones on which a run is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from lintf import kernel, randoms
from lintf.checks import check_choice, check_int

if TYPE_CHECKING:
    from lintf.member import Batch, Task


def sample_ensemble(
    tasks: Sequence[Task],
    B: int,
    generators: Sequence[torch.Generator],
    form: str = "gram",
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """B prompts for each member e from tasks[e] and generators[e], stacked along a leading axis: member e gets what
    it would get alone. The tasks may differ in the fields that their kind allows, such as Sigma and Sigma_w."""
    B = check_int("B", B, 1)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}")
    if not tasks or len(tasks) != len(generators):
        raise ValueError(f"there must be one generator for each task, got {len(generators)} for {len(tasks)}")
    check_ensemble(tasks)
    check_choice("form", form, tasks[0].forms)
    kernel.keep_freed_memory()
    return tasks[0].draw(tasks, B, [randoms.rng(g) for g in generators], form, dtype)


def sample_groups(
    task: Task,
    groups: int,
    B: int,
    generator: torch.Generator,
    form: str = "tokens",
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """`groups` batches of B prompts, one after the other as one batch. For tasks whose batches share a covariance: so
    there are as many of these as groups."""
    parts = [sample_ensemble([task], B, [generator], form, dtype) for _ in range(check_int("groups", groups, 1))]
    tensors = {f.name: [getattr(p, f.name)[0] for p in parts] for f in fields(parts[0]) if f.name != "N"}
    axis = -1 if form == "gram" else 0  # that of the prompts
    return replace(parts[0], **{name: torch.cat(t, axis) for name, t in tensors.items()})


def check_ensemble(tasks: Sequence[Task]) -> None:
    """Raises ValueError for tasks that cannot be drawn side by side."""
    free = tasks[0].may_differ
    fixed = [(type(task), {k: v for k, v in vars(task).items() if k not in free}) for task in tasks]
    if any(other != fixed[0] for other in fixed):
        raise ValueError(f"tasks of one ensemble may differ in {' and '.join(free)} only, got {list(tasks)}")


@lru_cache(maxsize=32)
def fixed_prompts(task: Task, groups: int, B: int, form: str, dtype: torch.dtype) -> Batch:
    """The same for all models and seeds, for what a run records of itself. The generator's seed is one that hardly any
    training has."""
    return sample_groups(task, groups, B, torch.Generator().manual_seed(2**32 - 1), form, dtype)
