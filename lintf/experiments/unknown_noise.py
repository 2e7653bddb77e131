"""Regression where every prompt has a noise level of its own: what ridge regression can do about it
that does not know the level, and by how much a trained model is worse than one that does.

Errors are half the squared error on a query without noise, averaged over the query, and less that
of ridge regression with the prompt's own noise variance: the best there is (arXiv 2402.14180).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from lintf.models.labels import LabelTransformer
from lintf.tasks.base import fixed_prompts
from lintf.tasks.batches import Levels
from lintf.tasks.levels import NoiseLevels
from lintf.training.config import TrainConfig
from lintf.training.fit import fit

BINS = 10  # of the noise level


@dataclass(frozen=True, eq=False)
class Spectral:
    """Prompts, each in the eigenbasis of its S = X^T X.

    values: (B, d), eigenvalues of S.
    sums, w: (B, d), X^T y and the weights.
    rest: (B,), the sum of squares that least squares leaves.
    """

    values: Tensor
    sums: Tensor
    w: Tensor
    rest: Tensor

    @staticmethod
    def of(prompts: Levels) -> Spectral:
        """Diagonalises S of prompts without leading axes."""
        d = prompts.d
        values, vectors = torch.linalg.eigh(prompts.G[:, :d, :d])
        vectors = torch.stack((prompts.G[:, :d, d], prompts.w), 1) @ vectors  # (B, 2, d)
        sums, w = vectors.unbind(1)
        rest = prompts.G[:, d, d] - (sums.square() / values).sum(-1)
        return Spectral(values, sums, w, rest)

    def errors(self, penalty: Tensor | float) -> Tensor:
        """Returns the errors (B,) of ridge regression. penalty: (B,), or one number for all."""
        penalty = torch.as_tensor(penalty, dtype=self.w.dtype, device=self.w.device)
        estimate = self.sums / (self.values + penalty.unsqueeze(-1))
        return (estimate - self.w).square().sum(-1) / 2


def _summary(excess: Tensor, levels: Tensor, highest: float) -> dict[str, Tensor]:
    """The mean (...) of an excess (..., B), its standard error, and the means (..., BINS) over
    prompts of like noise level, nan where there is none."""
    place = (BINS * levels / highest).long().clamp(max=BINS - 1) if highest else levels.long()
    within = torch.nn.functional.one_hot(place, BINS).to(excess)
    error = excess.std(-1) / excess.shape[-1] ** 0.5
    return {
        "excess": excess.mean(-1),
        "error": error,
        "by_level": excess @ within / within.sum(0),
    }


def _drawn(task: NoiseLevels, prompts: int) -> tuple[Levels, Tensor]:
    """Prompts, and the error on each (B,) where the level is known."""
    batch = fixed_prompts(task, 1, prompts, "levels", torch.float64)
    return batch, Spectral.of(batch).errors(batch.level.square())


def baselines(*, task: NoiseLevels, prompts: int) -> dict[str, Tensor]:
    """Returns the excess of three ridge regressions that do not know the level of a prompt, in
    this order: one "constant" for all prompts; the "adaptive" one, with the unbiased estimate of
    the variance from what least squares leaves; and the "tuned" one, whose estimate has a factor
    and an upper bound. These, like the constant, are the best for the task. task: with N > d.
    """
    batch, best = _drawn(task, prompts)
    own = Spectral.of(batch)
    variance = own.rest.clamp(min=0) / (task.N - task.d)

    def tuned(numbers: Sequence[float]) -> Tensor:
        factor, bound = (float(number) ** 2 for number in numbers)
        return own.errors((factor * variance).clamp(max=bound))

    highest = max(task.some, default=task.noise_max) ** 2
    constant = minimize_scalar(
        lambda penalty: float(own.errors(penalty).mean()), bounds=(0, highest), method="bounded"
    )
    start = [1.0, highest**0.5]
    numbers = minimize(lambda x: float(tuned(x).mean()), start, method="Nelder-Mead").x
    each = torch.stack((own.errors(constant.x), own.errors(variance), tuned(numbers)))
    return _summary(each - best, batch.level, highest**0.5)


def excesses(
    *,
    model: LabelTransformer,
    task: NoiseLevels,
    training: TrainConfig,
    seeds: list[int],
    prompts: int,
) -> dict[str, Tensor]:
    """Returns the excess (seeds,) of trained models, its standard error, and the excess by level
    (seeds, BINS).

    model, task, training, seeds: as for `fit`.
    prompts: how many the errors are averaged over.
    """
    params = fit(model, task, training, seeds, progress=False).final_params
    batch, best = _drawn(task, prompts)
    errors = []
    for own in range(len(seeds)):
        weights = {name: p[own].double() for name, p in params.items()}
        off = model.estimate(weights, batch) - batch.w
        errors.append(off.square().sum(-1) / 2)
    return _summary(torch.stack(errors) - best, batch.level, max(task.some, default=task.noise_max))
