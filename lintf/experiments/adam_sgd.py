"""The four settings in which Ahn et al. (arXiv 2310.01082) compare Adam with SGD, and their
trainings, which several pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lintf.analysis.landscape import (
    condition_number,
    directional_smoothness,
    gradient_noise,
    hessian_diagonal,
)
from lintf.checks import check_choice
from lintf.models.base import Model
from lintf.models.linear import LinearTransformer
from lintf.tasks.base import Task
from lintf.tasks.linear import LinearRegression
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.history import History
from lintf.training.several import Experiment, fit_many

ALGS = ("sgd", "adam")
NAMES = {"sgd": "SGD with momentum", "adam": "Adam"}
TITLES = {  # of the settings, in figures
    "normal N=20": "20 Gaussian examples",
    "normal N=5": "5 Gaussian examples",
    "sphere N=20": "on the sphere",
    "gamma N=20": "gamma covariates",
}


@dataclass(frozen=True)
class Setting:
    """The law of the covariates, and what the paper tuned to it: both learning rates and the bound
    on the gradient's norm."""

    mode: str
    N: int
    lr: dict[str, float]
    clip: float = 1.0

    def task(self, d: int = 5) -> LinearRegression:
        """Returns the law of the prompts in d dimensions."""
        return LinearRegression(N=self.N, d=d, mode=self.mode)

    def config(
        self, alg: str, max_iters: int, B: int, lr: float | None = None, record_every: int = 250
    ) -> TrainConfig:
        """Returns the paper's training: momentum 0.9, betas (0.9, 0.9), the gradient's norm held to
        `clip`.

        alg: "sgd" or "adam".
        max_iters, B: optimiser steps, and prompts per step and seed.
        lr: the learning rate; None is the one that the paper tuned.
        record_every: steps from one recorded step to the next.
        """
        check_choice("alg", alg, ALGS)
        lr = self.lr[alg] if lr is None else lr
        return TrainConfig(
            lr=lr, max_iters=max_iters, B=B, alg=alg, clip=self.clip, record_every=record_every
        )


SETTINGS = {
    "normal N=20": Setting("normal", 20, {"sgd": 0.02, "adam": 0.02}),
    "normal N=5": Setting("normal", 5, {"sgd": 0.01, "adam": 0.005}),
    "sphere N=20": Setting("sphere", 20, {"sgd": 5.0, "adam": 0.1}, clip=0.1),
    "gamma N=20": Setting("gamma", 20, {"sgd": 0.02, "adam": 0.02}),
}


def chosen(names: Iterable[str]) -> dict[str, Setting]:
    """Returns the named settings. Raises ValueError for a name that is none of them, and for no
    name."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"settings must be a list of names, got {names!r}")
    found = {check_choice("each of settings", name, SETTINGS): SETTINGS[name] for name in names}
    if not found:
        raise ValueError(f"settings must name at least one of {', '.join(SETTINGS)}, got none")
    return found


def condition_numbers(
    model: Model,
    task: Task,
    training: TrainConfig,
    seeds: Sequence[int],
    steps: Sequence[int],
    prompts: int,
    prompt_seeds: Sequence[int],
) -> dict[str, Tensor]:
    """Measures kappa, the robust condition number of the loss (`condition_number`): (prompt seeds,
    seeds, steps).

    model, task, training, seeds: as for `fit`; the parameters are those of all seeds.
    steps: recorded steps of the training, at which it is measured.
    prompts: how many make a loss.
    prompt_seeds: each draws other prompts.
    """
    params = fit(model, task, training, seeds, progress=False).at(steps)
    found = []
    for seed in prompt_seeds:
        test = task.sample(prompts, torch.Generator().manual_seed(seed))
        found.append(condition_number(hessian_diagonal(model, params, test)))
    return {"kappa": torch.stack(found)}


def smoothness(
    model: Model, task: Task, training: TrainConfig, seed: int, prompts: int, prompt_seed: int
) -> dict[str, Tensor]:
    """Measures smoothness and norm, (steps,) each: `directional_smoothness` along a training that
    records every step.

    model, task, training, seed: as for `fit`, with one seed; record_every is 1.
    prompts, prompt_seed: how many prompts make the loss, and what draws them.
    """
    run = fit(model, task, training, [seed], stored=False, progress=False)
    test = task.sample(prompts, torch.Generator().manual_seed(prompt_seed))
    found = directional_smoothness(model, {name: p[0] for name, p in run.params.items()}, test)
    return dict(zip(("smoothness", "norm"), found, strict=True))


def lengths_of_noise(
    model: Model, task: Task, B: int, batches: int, seed: int, reference: int
) -> dict[str, Tensor]:
    """Measures lengths (batches,): the Euclidean lengths of the gradient's noise at the model's
    start.

    model, task: what would be trained on what.
    B, batches: prompts in a batch, and batches.
    seed: that of the model's start, whose generator then draws the prompts.
    reference: prompts for the mean gradient.
    """
    g = torch.Generator().manual_seed(seed)
    return {
        "lengths": gradient_noise(model, model.init(g), task, B, batches, g, reference).norm(dim=1)
    }


def experiments(
    names: Iterable[str], model: LinearTransformer, max_iters: int, B: int
) -> dict[tuple[str, str], Experiment]:
    """Returns (name, algorithm) -> its training, with the paper's learning rate.

    names: those of settings. model: what is trained.
    max_iters, B: optimiser steps, and prompts per step and seed.
    """
    return {
        (name, alg): Experiment(model, setting.task(model.d), setting.config(alg, max_iters, B))
        for name, setting in chosen(names).items()
        for alg in ALGS
    }


def trained(
    names: Iterable[str],
    model: LinearTransformer,
    max_iters: int,
    B: int,
    seeds: Sequence[int],
    device: str = "auto",
) -> dict[str, dict[str, History]]:
    """Returns name -> algorithm -> its trainings. One line says how many were loaded; what has to
    be trained shows progress.

    names, model, max_iters, B: as for `experiments`.
    seeds, device: as for `fit`.
    """
    runs = fit_many(experiments(names, model, max_iters, B), seeds, device)
    return {name: {alg: runs[name, alg] for alg in ALGS} for name, _ in runs}
