"""Logistic regression as a task: labelled points, and the weights that a model has to find (arXiv 2403.03183)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lintf.batch import Labelled
from lintf.checks import check_int, one_of, real, settle, whole
from lintf.newton import logistic_newton
from lintf.regression import ConditionedRegression
from lintf.task import Task

TARGETS = ("newton", "truth")


@dataclass(frozen=True)
class LogisticRegression(Task):
    """Prompts with labels sign(w.x), for x and w as in ConditionedRegression. What is to be found is, by `target`,

    newton  the minimum of mean_i log(1 + exp(-y_i v.x_i)) + mu/2 |v|^2 over v, for the N labelled points
    truth   w itself

    The paper's solution also knows the label of the last point, which its model does not get to see; this one does not.
    Raises ValueError for a field out of its range."""

    forms: ClassVar[tuple[str, ...]] = ("labels",)

    N: int = whole(25)
    d: int = whole(5)
    kappa: float = real(1.0, low=1.0)
    mu: float = real(0.01, above=True)
    target: str = one_of("newton", TARGETS)

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, kappa=self.points.kappa)  # where there are such points

    @property
    def points(self) -> ConditionedRegression:
        return ConditionedRegression(self.N, self.d, self.kappa)

    @property
    def label(self) -> str:
        return f"logistic-{self.target}-kappa{self.kappa:g}-N{self.N}-d{self.d}"

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[LogisticRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        form: str,
        dtype: torch.dtype,
    ) -> Labelled:
        """The prompts of a member share one covariance."""
        task = tasks[0]
        Z, w = ConditionedRegression.draw_weights([task.points] * len(tasks), B, rngs, torch.float64)
        X, labels = Z[..., :-1, :-1], torch.where(Z[..., :-1, -1] < 0, -1.0, 1.0)
        if task.target == "newton":
            w = logistic_newton(X, labels, task.mu)
        Z[..., :-1, -1] = labels
        return Labelled(Z.to(dtype), w.to(dtype))


def posterior_mean(X: Tensor, y: Tensor, w: Tensor, sweeps: int, generator: torch.Generator) -> Tensor:
    """E[w | X, y] (..., d) for w ~ N(0, I) and labels y = sign(w.x): of all estimates of w the one with the smallest
    expected squared error. By Gibbs sampling, `sweeps` times through the coordinates, each of them normal between the
    bounds that the labels set. X (..., n, d), y (..., n) of -1 and 1; w (..., d) is where the chains start: the weights
    that made the labels are themselves a draw from the law, so that nothing is to be forgotten. In float64; its
    variance falls as 1 / sweeps. Raises ValueError for weights that do not give these labels."""
    A, w, mean = y.double().unsqueeze(-1) * X.double(), w.double().clone(), torch.zeros_like(w.double())
    margins = (A @ w.unsqueeze(-1))[..., 0]
    if not (margins >= 0).all():
        raise ValueError(f"w must give the labels y, got {int((margins < 0).sum())} that differ")
    for _ in range(check_int("sweeps", sweeps, 1)):
        for j in range(w.shape[-1]):
            a, old = A[..., j], w[..., j]
            bounds = old.unsqueeze(-1) - margins / a
            low = torch.where(a > 0, bounds, -torch.inf).amax(-1)
            high = torch.where(a < 0, bounds, torch.inf).amin(-1)
            below, above = torch.special.ndtr(low), torch.special.ndtr(high)
            uniform = torch.rand(old.shape, generator=generator, dtype=torch.float64, device="cpu")
            new = torch.special.ndtri(below + uniform * (above - below)).clamp(low, high)
            density = torch.exp(-low.square() / 2) - torch.exp(-high.square() / 2)
            mean[..., j] += density / (above - below) / math.sqrt(2 * math.pi)  # of the coordinate, given the others
            margins = margins + a * (new - old).unsqueeze(-1)
            w[..., j] = new
    return mean / sweeps
