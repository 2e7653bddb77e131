"""Logistic regression as a task: labelled points, and the weights that a model has to find (arXiv 2403.03183)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lintf.checks import check_choice, check_int, check_real, settle
from lintf.newton import logistic_newton
from lintf.regression import ConditionedRegression
from lintf.sampling import sample_ensemble

TARGETS = ("newton", "truth")


@dataclass(frozen=True, eq=False)
class Labelled:
    """A batch of labelled points: Z (..., B, N+1, d+1), row i = (x_i, label -1 or 1), the last row a point without a
    label (0), from which the answer is read, and w (..., B, d), the weights to be found."""

    Z: Tensor
    w: Tensor

    @property
    def d(self) -> int:
        return self.Z.shape[-1] - 1

    def to(self, where: torch.device | str | torch.dtype) -> Labelled:
        return Labelled(self.Z.to(where), self.w.to(where))


@dataclass(frozen=True)
class LogisticRegression:
    """Prompts with labels sign(w.x), for x and w as in ConditionedRegression. What is to be found is, by `target`,

    newton  the minimum of mean_i log(1 + exp(-y_i v.x_i)) + mu/2 |v|^2 over v, for the N labelled points
    truth   w itself

    The paper's solution also knows the label of the last point, which its model does not get to see; this one does not.
    Raises ValueError for a field out of its range."""

    may_differ: ClassVar[tuple[str, ...]] = ()
    forms: ClassVar[tuple[str, ...]] = ("labels",)

    N: int = 25
    d: int = 5
    kappa: float = 1.0
    mu: float = 0.01
    target: str = "newton"

    def __post_init__(self) -> None:
        settle(self, N=check_int("N", self.N, 1), d=check_int("d", self.d, 1))
        settle(self, kappa=self.points.kappa, mu=check_real("mu", self.mu, low=0.0, above=True))
        check_choice("target", self.target, TARGETS)

    @property
    def points(self) -> ConditionedRegression:
        return ConditionedRegression(self.N, self.d, self.kappa)

    @property
    def label(self) -> str:
        return f"logistic-{self.target}-kappa{self.kappa:g}-N{self.N}-d{self.d}"

    def sample(self, B: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Labelled:
        """B prompts that share a covariance, from a CPU generator."""
        batch = sample_ensemble([self], B, [generator], "labels", dtype)
        return Labelled(batch.Z[0], batch.w[0])

    @staticmethod
    def draw(
        tasks: Sequence[LogisticRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        form: str,
        dtype: torch.dtype,
    ) -> Labelled:
        """What sample_ensemble does, once its input is checked."""
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
