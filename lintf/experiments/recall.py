"""The trainings of Nguyen and Nguyen-Tang (arXiv 2505.15009) that several pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from lintf.checks import check_choice
from lintf.models.recall import VARIANTS, RecallTransformer
from lintf.tasks.recall import Recall
from lintf.training.config import TrainConfig
from lintf.training.fit import check_seeds, fit
from lintf.training.history import History
from lintf.training.several import Experiment, fit_many, is_stored, say

KAPPA = {"F": 0.0, "FA": 1.0}
NAMES = (  # of the paper's thirteen models
    *(
        "-".join(parts)
        for parts in product(("origin", "reparam"), ("linear", "relu", "softmax"), KAPPA)
    ),
    "reparamW-linear-FA",
)

TRAINED = {"origin": "all weights", "reparam": "λ only", "reparamW": "W only"}


def words(name: str) -> str:
    """Returns what is trained in the model with this name, its attention, and F or FA, such as "all
    weights, relu, F"."""
    kind, *rest = name.split("-")
    return ", ".join((TRAINED[kind], *rest))


def named(name: str, alpha: float = 0.0) -> RecallTransformer:
    """Returns the model with this name, such as "origin-relu-F". Raises ValueError for a name that
    is none."""
    allowed = [
        f"{kind}-{attention}-{k}"
        for kind in VARIANTS
        for attention in ("linear", "relu", "softmax")
        for k in KAPPA
    ]
    kind, attention, kappa = check_choice("each name", name, allowed).split("-")
    return RecallTransformer(kind, attention, KAPPA[kappa], 0.0 if kind == "origin" else alpha)


def config(
    lr: float, max_iters: int, B: int, record_every: int, train_set_size: int | None = None
) -> TrainConfig:
    """Returns a training with plain SGD, in which the gradient of every parameter is scaled to
    length 1. It is in float64, in which the loss is followed as far as it falls.

    lr: the learning rate.
    max_iters, B: optimiser steps, and sentences per step and seed.
    record_every: steps from one recorded step to the next.
    train_set_size: how many sentences there are to train on; None is new ones at each step.
    """
    options = {
        "momentum": 0.0,
        "normalize": True,
        "record_every": record_every,
        "train_set_size": train_set_size,
        "dtype": "float64",
    }
    return TrainConfig(lr=lr, max_iters=max_iters, B=B, alg="sgd", **options)


def trained(
    names: Iterable[str],
    alphas: Iterable[float],
    lrs: Iterable[float],
    max_iters: int,
    B: int,
    H: int,
    seeds: Sequence[int],
    device: str = "auto",
) -> dict[tuple[str, float, float], History]:
    """Returns (name, alpha, lr) -> its trainings on new sentences at each step, for all
    combinations.

    names: those of models, as for `named`.
    alphas: the tasks' probabilities of noise, for which reparametrised models are made.
    lrs: the learning rates.
    max_iters, B: optimiser steps, and sentences per step and seed.
    H: tokens in a sentence.
    seeds, device: as for `fit`.
    """
    stride = max(1, max_iters // 100)
    experiments = {
        (name, alpha, lr): Experiment(
            named(name, alpha), Recall(alpha=alpha, H=H), config(lr, max_iters, B, stride)
        )
        for name, alpha, lr in product(names, alphas, lrs)
    }
    return fit_many(experiments, seeds, device)


def trained_on_samples(
    names: Iterable[str],
    alphas: Iterable[float],
    lr: float,
    epochs: int,
    n: int,
    B: int,
    H: int,
    seeds: Sequence[int],
    device: str = "auto",
) -> dict[tuple[str, float], History]:
    """Returns (name, alpha) -> its trainings on n sentences per seed, for all combinations. The
    reparametrised models are made for the share of noise among these, which differs from seed to
    seed.

    names, alphas, B, H, seeds, device: as for `trained`.
    lr: the learning rate, the same for all.
    epochs: how often each sentence is read.
    n: how many sentences, a multiple of B.
    Raises ValueError for another n, and where a sample has no noise or nothing else.
    """
    if n % B:
        raise ValueError(f"n must be a multiple of B = {B}, got {n}")
    seeds, alphas, runs, stored = check_seeds(seeds), list(alphas), {}, []
    shares = {
        (a, seed): noise_share(Recall(alpha=a, H=H), n, seed) for a in alphas for seed in seeds
    }
    for name, alpha in product(names, alphas):
        task, training = (
            Recall(alpha=alpha, H=H),
            config(lr, epochs * (n // B), B, n // B, train_set_size=n),
        )
        parts = []
        for seed in seeds:
            experiment = Experiment(named(name, shares[alpha, seed]), task, training)
            stored.append(is_stored(experiment, [seed]))
            parts.append(fit(*experiment, [seed], device=device, progress=not stored[-1]))
        runs[name, alpha] = _joined(parts)
    say(stored)
    return runs


def above_bayes(
    run: History, task: Recall, metric: str = "population_loss", last: int = 1
) -> Tensor:
    """Returns a loss in nats above the Bayes risk, (seeds,).

    run: the trainings.
    task: the law whose Bayes risk is taken off.
    metric: the name of a loss among what the model records.
    last: over how many of the last records the mean goes.
    """
    return run.metrics[metric][:, -last:].mean(1) - task.bayes_risk


def excess_in_theory(task: Recall, lam: Tensor) -> Tensor:
    """Returns log(1 + (1 - alpha) k exp(-lam)): the loss above the Bayes risk of the reparametrised
    models with linear or ReLU attention and kappa = 1, all of whose parameters are lam. k counts
    the tokens that are neither output nor tau."""
    others = task.vocab - (2 if task.alpha else 1)
    return torch.log1p((1 - task.alpha) * others * torch.exp(-lam))


def noise_share(task: Recall, n: int, seed: int) -> float:
    """Returns how much noise there is among the n sentences on which a model with this seed is
    trained. Raises ValueError where the task has noise and the sample has none, or nothing else."""
    # These models start from 0: the first thing drawn.
    sample = task.sample(n, torch.Generator().manual_seed(seed))
    noise = int((sample.next == task.vocab - 1).sum())
    if task.alpha and noise in (0, n):
        raise ValueError(
            f"n must be large enough for noise and outputs among the sentences, got {n} with "
            f"{noise} noisy"
        )
    return noise / n


def _joined(parts: Sequence[History]) -> History:
    """Returns histories of one seed each as one."""
    first = parts[0]
    metrics = {name: torch.cat([h.metrics[name] for h in parts]) for name in first.metrics}
    seeds, meta = (tuple(v for h in parts for v in getattr(h, name)) for name in ("seeds", "meta"))
    return History(seeds, first.steps, torch.cat([h.loss for h in parts]), {}, meta, metrics)
