"""Many trainings at once, with one line that says how many came from runs/."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from lintf.models.base import Model
from lintf.tasks.base import Task
from lintf.training.config import TrainConfig
from lintf.training.fit import check_seeds, fit
from lintf.training.history import Diverged, History
from lintf.training.run import Run
from lintf.training.store import folder

K = TypeVar("K", bound=Hashable)


class Experiment(NamedTuple):
    """What is trained on what, and how: the first three arguments of `fit`."""

    model: Model
    task: Task | Callable[[int], Task]  # or, as for `fit`, a function from the seed to one
    training: TrainConfig


def fit_many(
    experiments: Mapping[K, Experiment],
    seeds: Sequence[int] | Mapping[K, Sequence[int]],
    device: str = "auto",
) -> dict[K, History]:
    """Calls `fit` for each experiment, with the same seeds or with its own, and returns key -> its
    trainings. What has to be trained shows its progress."""
    each = {
        key: check_seeds(seeds[key] if isinstance(seeds, Mapping) else seeds) for key in experiments
    }
    stored = {key: is_stored(experiment, each[key]) for key, experiment in experiments.items()}
    runs = {}
    for key, experiment in experiments.items():
        runs[key] = fit(*experiment, each[key], device=device, progress=not stored[key])
    say([stored[key] for key in experiments for _ in each[key]])
    return runs


def fit_each_seed(
    experiments: Mapping[K, Experiment], seeds: Sequence[int], device: str = "auto"
) -> dict[K, list[History | None]]:
    """Returns for each experiment and seed the training by itself, None where it diverged: unlike
    `fit_many`, it goes on with the others."""
    seeds = check_seeds(seeds)
    stored = [
        is_stored(experiment, [seed]) for experiment in experiments.values() for seed in seeds
    ]
    runs = {
        key: [_unless_it_diverges(experiment, seed, device) for seed in seeds]
        for key, experiment in experiments.items()
    }
    say(stored)
    return runs


def _unless_it_diverges(experiment: Experiment, seed: int, device: str) -> History | None:
    try:
        return fit(*experiment, [seed], device=device, progress=not is_stored(experiment, [seed]))
    except Diverged:
        return None


def is_stored(experiment: Experiment, seeds: Sequence[int]) -> bool:
    """Says whether the runs of all seeds are there."""
    model, task, training = experiment
    tasks = {seed: task(seed) if callable(task) else task for seed in seeds}
    return all(os.path.exists(Run(model, own, training, seed).path) for seed, own in tasks.items())


def say(stored: Sequence[bool]) -> None:
    """Prints how many runs were loaded, if any were."""
    if any(stored):
        print(f"{sum(stored)} of {len(stored)} runs loaded from {folder().name}/")
