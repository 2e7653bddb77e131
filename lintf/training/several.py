"""Many trainings at once, with one line that says how many came from runs/."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from lintf.models.base import Model
from lintf.tasks.base import Task
from lintf.training.config import Training
from lintf.training.fit import check_seeds, fit
from lintf.training.history import Diverged, History
from lintf.training.run import Member
from lintf.training.store import folder

K = TypeVar("K", bound=Hashable)
Plan = tuple[Model, Task | Callable[[int], Task], Training]  # a task or, as for `fit`, a function from the seed to one


def fit_all(
    plans: Mapping[K, Plan], seeds: Sequence[int] | Mapping[K, Sequence[int]], device: str = "auto"
) -> dict[K, History]:
    """`fit` for each plan, with the same seeds or with its own. What has to be trained shows its progress."""
    each = {key: check_seeds(seeds[key] if isinstance(seeds, Mapping) else seeds) for key in plans}
    stored = {key: is_stored(plan, each[key]) for key, plan in plans.items()}
    runs = {key: fit(*plan, each[key], device=device, progress=not stored[key]) for key, plan in plans.items()}
    say([stored[key] for key in plans for _ in each[key]])
    return runs


def fit_each(plans: Mapping[K, Plan], seeds: Sequence[int], device: str = "auto") -> dict[K, list[History | None]]:
    """For each plan and seed the training by itself, None where it diverged: unlike `fit_all`, it goes on with the
    others."""
    seeds = check_seeds(seeds)
    stored = [is_stored(plan, [seed]) for plan in plans.values() for seed in seeds]
    runs = {key: [_unless_it_diverges(plan, seed, device) for seed in seeds] for key, plan in plans.items()}
    say(stored)
    return runs


def _unless_it_diverges(plan: Plan, seed: int, device: str) -> History | None:
    try:
        return fit(*plan, [seed], device=device, progress=not is_stored(plan, [seed]))
    except Diverged:
        return None


def is_stored(plan: Plan, seeds: Sequence[int]) -> bool:
    """Whether the runs of all seeds are there."""
    model, task, training = plan
    laws = {seed: task(seed) if callable(task) else task for seed in seeds}
    return all(os.path.exists(Member(model, law, training, seed).path) for seed, law in laws.items())


def say(stored: Sequence[bool]) -> None:
    if any(stored):
        print(f"{sum(stored)} of {len(stored)} runs loaded from {folder().name}/")
