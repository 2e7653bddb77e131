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

    representations: the forms in which its prompts can be drawn, the usual one first.
    per_seed_fields: tasks that differ in nothing but these fields can be drawn side by side.
    """

    representations: ClassVar[tuple[str, ...]] = ("tokens",)
    per_seed_fields: ClassVar[tuple[str, ...]] = ()
    d: int

    def draw(self, B: int, rng: np.random.Generator, dtype: torch.dtype) -> Batch:
        """Returns B prompts whose floating-point numbers have this dtype."""
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
        """Returns B prompts for each member e of E, stacked along a leading axis. It draws them by
        `draw`, one by one, and takes their statistics where these are asked for; a task can do it
        for all at once. `sample_ensemble` calls it, and checks the input.

        tasks: E laws that differ in their `per_seed_fields` only.
        B: prompts per member.
        rngs: E streams of random bits, one for each member.
        representation: one of the tasks' `representations`.
        dtype: that of the prompts' floating-point numbers.
        """
        batch = Batch.stack(
            [
                task.draw(B, np.random.Generator(rng), dtype)
                for task, rng in zip(tasks, rngs, strict=True)
            ]
        )
        return batch.gram() if representation == "gram" else batch

    def check_integrate(self, representation: str) -> None:
        """Raises ValueError unless the loss on prompts in this representation can be averaged over
        weights and query exactly (integrate.py)."""
        raise ValueError(f"integrate must be False for {type(self).__name__}")

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"{type(self).__name__.lower()}-d{self.d}"

    def sample(
        self,
        B: int,
        generator: torch.Generator,
        representation: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Batch:
        """Returns B prompts, without a leading axis.

        B: how many.
        generator: on the CPU, so that a seed means the same prompts for every device.
        representation: one of `representations`; None is the usual one.
        dtype: torch.float32 or torch.float64.
        Raises ValueError for input that cannot be.
        """
        return sample_ensemble([self], B, [generator], representation, dtype).member(0)


def sample_ensemble(
    tasks: Sequence[Task],
    B: int,
    generators: Sequence[torch.Generator],
    representation: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Returns B prompts for each member e of E, stacked along a leading axis. Member e gets what it
    would get alone.

    tasks: E laws, which may differ in the fields that their kind allows, such as Sigma and Sigma_w.
    B: prompts per member.
    generators: E generators on the CPU, one for each member.
    representation: one of the tasks' `representations`; None is their usual one.
    dtype: torch.float32 or torch.float64.
    Raises ValueError for input that cannot be.
    """
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
    """Returns `groups` batches of B prompts, one after the other as one batch. It is meant for
    tasks whose batches share a covariance: so there are as many of these as groups.

    task: the law of all of them.
    groups: how many batches.
    B: prompts in each of them.
    generator, representation, dtype: as for `Task.sample`.
    """
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
    """Returns the prompts on which a run measures itself, the same for all models and seeds. The
    generator's seed is one that hardly any training has.

    task, groups, B, representation, dtype: as for `sample_groups`.
    """
    return sample_groups(
        task, groups, B, torch.Generator().manual_seed(2**32 - 1), representation, dtype
    )
