"""Logistic regression as a task: labelled points, and the weights that a model has to find (arXiv
2403.03183)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from lintf.checks import check_int, check_real, one_of, real, set_fields, whole
from lintf.tasks.base import Task
from lintf.tasks.batches import Labelled
from lintf.tasks.conditioned import ConditionedRegression

TARGETS = ("newton", "truth")
DECREMENT = 1e-10  # at which a logistic problem is solved
LONGEST = 1000  # steps of logistic_newton


@dataclass(frozen=True)
class LogisticRegression(Task):
    """Prompts with labels sign(w.x), for x and w as in ConditionedRegression. What is to be found
    is, by `target`,

    newton  the minimum of mean_i log(1 + exp(-y_i v.x_i)) + mu/2 |v|^2 over v, for the N labelled
            points
    truth   w itself

    The paper's solution also knows the label of the last point, which its model does not get to
    see; this one does not. Raises ValueError for a field out of its range."""

    representations: ClassVar[tuple[str, ...]] = ("labels",)

    N: int = whole(25)
    d: int = whole(5)
    kappa: float = real(1.0, low=1.0)
    mu: float = real(0.01, above=True)
    target: str = one_of("newton", TARGETS)

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, kappa=self.points.kappa)  # where there are such points

    @property
    def points(self) -> ConditionedRegression:
        """The law of the points x and the weights w, without noise."""
        return ConditionedRegression(self.N, self.d, self.kappa)

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"logistic-{self.target}-kappa{self.kappa:g}-N{self.N}-d{self.d}"

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[LogisticRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        representation: str,
        dtype: torch.dtype,
    ) -> Labelled:
        """Draws labelled points; those of a member share one covariance. Arguments as in
        `Task.draw_ensemble`."""
        task = tasks[0]
        Z, w = ConditionedRegression.draw_weights(
            [task.points] * len(tasks), B, rngs, torch.float64
        )
        X, labels = Z[..., :-1, :-1], torch.where(Z[..., :-1, -1] < 0, -1.0, 1.0)
        if task.target == "newton":
            w = logistic_newton(X, labels, task.mu)
        Z[..., :-1, -1] = labels
        return Labelled(Z.to(dtype), w.to(dtype))


def posterior_mean(
    X: Tensor, y: Tensor, w: Tensor, sweeps: int, generator: torch.Generator
) -> Tensor:
    """Returns E[w | X, y] (..., d), float64, for w ~ N(0, I) and labels y = sign(w.x): of all
    estimates of w the one with the smallest expected squared error. Gibbs sampling finds it; each
    coordinate is normal between the bounds that the labels set.

    X: (..., n, d), the points.
    y: (..., n), labels -1 or 1.
    w: (..., d), where the chains start: the weights that made the labels are themselves a draw from
        the law, so that nothing is to be forgotten.
    sweeps: how many times all coordinates are drawn. The result's variance falls as 1 / sweeps.
    generator: on the CPU.
    Raises ValueError for weights that do not give these labels.
    """
    A, w, mean = (
        y.double().unsqueeze(-1) * X.double(),
        w.double().clone(),
        torch.zeros_like(w.double()),
    )
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
            # Of the coordinate, given the others.
            mean[..., j] += density / (above - below) / math.sqrt(2 * math.pi)
            margins = margins + a * (new - old).unsqueeze(-1)
            w[..., j] = new
    return mean / sweeps


def logistic_loss(w: Tensor, X: Tensor, y: Tensor, mu: float) -> Tensor:
    """Returns mean_i log(1 + exp(-y_i w.x_i)) + mu/2 |w|^2, (...).

    w: (..., d), the weights.
    X, y: (..., n, d) and (..., n), the points and their labels -1 or 1.
    mu: the strength of the penalty, which is not divided by n.
    """
    margin = y * (X @ w.unsqueeze(-1))[..., 0]
    return softplus(-margin).mean(-1) + mu / 2 * w.square().sum(-1)


def logistic_derivatives(w: Tensor, X: Tensor, y: Tensor, mu: float) -> tuple[Tensor, Tensor]:
    """Returns the gradient (..., d) and the Hessian (..., d, d) of logistic_loss in w.

    w, X, y, mu: as for `logistic_loss`.
    """
    n, d = X.shape[-2:]
    margin = y * (X @ w.unsqueeze(-1))[..., 0]
    wrong = torch.sigmoid(-margin)  # the probability of the other label
    g = mu * w - (X.mT @ (y * wrong).unsqueeze(-1))[..., 0] / n
    H = X.mT @ ((wrong * torch.sigmoid(margin)).unsqueeze(-1) * X) / n
    return g, H + mu * torch.eye(d, dtype=X.dtype, device=X.device)


def logistic_newton(X: Tensor, y: Tensor, mu: float, steps: int | None = None) -> Tensor:
    """Minimises logistic_loss by damped Newton steps from w = 0, in float64, all problems of a
    batch at once:

        w <- w - 2 sqrt(mu) / (2 sqrt(mu) + lambda) H^-1 g
        lambda = sqrt(g^T H^-1 g), the Newton decrement.

    The damping makes every step a descent where all |x_i| <= 1 (self-concordance; arXiv
    2403.03183).

    X, y, mu: as for `logistic_loss`; mu > 0.
    steps: how many, for all iterates (steps + 1, ..., d). None takes each problem on until its own
        lambda <= 1e-10, and returns w (..., d).
    Raises ValueError for bad input, RuntimeError where 1000 steps do not do.
    """
    if X.dim() < 2 or 0 in X.shape or y.shape != X.shape[:-1]:
        raise ValueError(
            f"X and y must be (..., n, d) and (..., n), got shapes {tuple(X.shape)} and "
            f"{tuple(y.shape)}"
        )
    X, y, root = X.double(), y.double(), 2 * check_real("mu", mu, 0.0, above=True) ** 0.5
    if not torch.isfinite(X).all():
        raise ValueError("X must be finite numbers, got infinite or undefined ones")
    if not (y.abs() == 1).all():
        raise ValueError(f"y must be labels -1 or 1, got {float(y[y.abs() != 1][0])!r}")
    steps = None if steps is None else check_int("steps", steps, 0)
    w = X.new_zeros(*X.shape[:-2], X.shape[-1])
    found = [w]
    for _ in range(LONGEST + 1 if steps is None else steps):
        g, H = logistic_derivatives(w, X, y, mu)
        direction = torch.linalg.solve(H, g)
        decrement = (g * direction).sum(-1, keepdim=True).clamp(min=0).sqrt()
        unsolved = ~(decrement <= DECREMENT)
        if steps is None and not unsolved.any():
            return w
        step = root / (root + decrement)
        w = w - (step if steps is not None else step * unsolved) * direction
        found.append(w)
    if steps is not None:
        return torch.stack(found)
    left = (
        f"{int(unsolved.sum())} of {unsolved.numel()} logistic problems, the largest "
        f"{float(decrement.max()):.1e}"
    )
    why = "mu is too small or X too large"
    raise RuntimeError(
        f"the Newton decrement is above {DECREMENT} after {LONGEST} steps in {left}: {why}"
    )
