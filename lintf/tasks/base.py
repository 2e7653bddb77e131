"""Task: the law of the prompts. Drawing them for one seed, for many seeds at once, and in
groups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from lintf import kernel
from lintf.checks import Checked, check_choice, check_int
from lintf.tasks import randoms
from lintf.tasks.batches import Batch


class Task(Checked):
    """The law of the prompts: a frozen dataclass, whose fields say all about it. A task of one's
    own has a field d, the dimension of what a model gets, defines `draw`, and can be trained on.

    representations: as what it can be drawn, the usual one first.
    per_seed_fields: tasks that differ in nothing but these fields can be drawn side by side.
    """

    representations: ClassVar[tuple[str, ...]] = ("tokens",)
    per_seed_fields: ClassVar[tuple[str, ...]] = ()
    d: int

    def draw(self, B: int, rng: np.random.Generator, dtype: torch.dtype) -> Batch:
        """B prompts, floating-point numbers in them of this dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define draw(B, rng, dtype)")

    @classmethod
    def draw_ensemble(
        cls,
        tasks: Sequence[Task],
        B: int,
        rngs: Sequence[np.random.SFC64],
        representation: str,
        dtype: torch.dtype,
    ) -> Batch:
        """B prompts for each e, from tasks[e] and rngs[e], stacked along a leading axis. By `draw`,
        one by one; a task can do it for all at once, or draw several representations.
        `sample_ensemble` calls it, and checks the input."""
        return Batch.stack(
            [
                task.draw(B, np.random.Generator(rng), dtype)
                for task, rng in zip(tasks, rngs, strict=True)
            ]
        )

    def check_integrate(self, representation: str) -> None:
        """Raises ValueError unless the loss can be averaged over weights and query exactly
        (integrate.py)."""
        raise ValueError(f"integrate must be False for {type(self).__name__}")

    @property
    def label(self) -> str:
        """For file names; what it leaves out is in the configuration's hash."""
        return f"{type(self).__name__.lower()}-d{self.d}"

    def sample(
        self,
        B: int,
        generator: torch.Generator,
        representation: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Batch:
        """B prompts, in the usual representation for None. The generator lives on the CPU, so that
        a seed means the same prompts for every device."""
        return sample_ensemble([self], B, [generator], representation, dtype).member(0)


def sample_ensemble(
    tasks: Sequence[Task],
    B: int,
    generators: Sequence[torch.Generator],
    representation: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """B prompts for each member e from tasks[e] and generators[e], stacked along a leading axis:
    member e gets what it would get alone. The tasks may differ in the fields that their kind
    allows, such as Sigma and Sigma_w. representation: the tasks' usual one for None."""
    B = check_int("B", B, 1)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}")
    if not tasks or len(tasks) != len(generators):
        raise ValueError(
            f"there must be one generator for each task, got {len(generators)} for {len(tasks)}"
        )
    check_ensemble(tasks)
    kernel.keep_freed_memory()
    representation = check_choice(
        "representation",
        tasks[0].representations[0] if representation is None else representation,
        tasks[0].representations,
    )
    return tasks[0].draw_ensemble(
        tasks, B, [randoms.rng(g) for g in generators], representation, dtype
    )


def sample_groups(
    task: Task,
    groups: int,
    B: int,
    generator: torch.Generator,
    representation: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """`groups` batches of B prompts, one after the other as one batch. For tasks whose batches
    share a covariance: so there are as many of these as groups."""
    return Batch.join(
        [
            task.sample(B, generator, representation, dtype)
            for _ in range(check_int("groups", groups, 1))
        ]
    )


def check_ensemble(tasks: Sequence[Task]) -> None:
    """Raises ValueError for tasks that cannot be drawn side by side."""
    free = tasks[0].per_seed_fields
    fixed = [(type(task), {k: v for k, v in vars(task).items() if k not in free}) for task in tasks]
    if any(other != fixed[0] for other in fixed):
        fields = f"in {' and '.join(free)} only" if free else "in nothing"
        raise ValueError(f"tasks of one ensemble may differ {fields}, got {list(tasks)}")


@lru_cache(maxsize=32)
def fixed_prompts(
    task: Task, groups: int, B: int, representation: str, dtype: torch.dtype
) -> Batch:
    """The same prompts for all models and seeds, on which a run measures itself. The generator's
    seed is one that hardly any training has."""
    return sample_groups(
        task, groups, B, torch.Generator().manual_seed(2**32 - 1), representation, dtype
    )
