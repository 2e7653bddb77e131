"""Many trainings at once, with one line that says how many came from runs/."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from lintf.member import Member, Model, Task
from lintf.settings import Training
from lintf.store import folder
from lintf.train import History, check_seeds, fit

K = TypeVar("K", bound=Hashable)
Plan = tuple[Model, Task, Training]


def fit_all(plans: Mapping[K, Plan], seeds: Sequence[int], device: str = "auto") -> dict[K, History]:
    """`fit` for each plan. What has to be trained shows its progress."""
    seeds = check_seeds(seeds)
    stored = {key: is_stored(plan, seeds) for key, plan in plans.items()}
    runs = {key: fit(*plan, seeds, device=device, progress=not stored[key]) for key, plan in plans.items()}
    say(list(stored.values()) * len(seeds))
    return runs


def is_stored(plan: Plan, seeds: Sequence[int]) -> bool:
    """Whether the runs of all seeds are there."""
    return all(Member(*plan, seed).path.exists() for seed in seeds)


def say(stored: Sequence[bool]) -> None:
    if any(stored):
        print(f"{sum(stored)} of {len(stored)} runs loaded from {folder().name}/")
