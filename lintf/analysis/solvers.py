"""Classical predictors, with the interface of the learned ones: `predict(prompts) -> y_hat (...,
B)`.

Each sees all N examples of a prompt, through S = X^T X and s = X^T y, and all prompts of a batch at
once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from lintf.analysis.theory import mapped
from lintf.checks import check_int, check_real
from lintf.tasks.batches import Gram, Prompts

FEW = 8  # steps of gradient descent whose binomials cost few digits


class Predictor(Protocol):
    """What answers prompts: a fitted model or a classical method."""

    def predict(self, prompts: Prompts | Gram) -> Tensor:
        """Returns the answers (..., B)."""


def squared_error(predictor: Predictor, prompts: Prompts | Gram) -> Tensor:
    """Returns (prediction - y)^2 of every prompt, (..., B): the one score for learned and classical
    predictors."""
    return (predictor.predict(prompts) - prompts.y).square()


@dataclass(frozen=True, eq=False)
class GradientDescent:
    """Gradient descent on |X w - y|^2 / 2 (a sum over the examples, not a mean) from w = 0, `steps`
    times w <- w + eta Pi (s - S w). It is preconditioned by Pi (d, d) where that is given, or (E,
    d, d): one for each ensemble member."""

    steps: int
    eta: float
    preconditioner: Tensor | None = None

    def __post_init__(self) -> None:
        check_int("steps", self.steps, 0)
        check_real("eta", self.eta)

    def predict(self, prompts: Prompts | Gram) -> Tensor:
        """Returns the predictions after the last step, (..., B)."""
        gram = prompts.gram()
        w = torch.zeros_like(gram.s)
        for _ in range(self.steps):
            residual = gram.s - (gram.S * w.unsqueeze(-3)).sum(-2)
            if self.preconditioner is not None:
                residual = self.preconditioner.to(residual) @ residual
            w = w + self.eta * residual
        return (w * gram.x).sum(-2)


def best_gradient_descent(
    steps: int, prompts: Prompts | Gram, preconditioner: Tensor | None = None
) -> GradientDescent:
    """Returns gradient descent with the step size that has the smallest mean squared error on the
    given prompts, found to a relative 1e-5 by bounded scalar minimisation between 0 and twice the
    inverse of the mean eigenvalue of Pi S. A preconditioner is positive definite. Raises
    torch.linalg.LinAlgError for another one."""
    check_int("steps", steps, 1)
    g = prompts.gram()
    g = Gram(*(t.double() for t in (g.S, g.s, g.x, g.y)), g.N)
    if preconditioner is not None:  # Pi = C C^T: plain gradient descent in the coordinates C^T x
        g = mapped(g, torch.linalg.cholesky(preconditioner.double().to(g.S.device)).mT)
    largest = 2 * g.d / float(g.S.diagonal(dim1=-3, dim2=-2).sum(-1).mean())
    error = _error_of_few(steps, g) if steps <= FEW else _error_of_many(steps, g)
    found = minimize_scalar(
        error, bounds=(0, largest), method="bounded", options={"xatol": 1e-5 * largest}
    )
    return GradientDescent(steps, float(found.x), preconditioner)


def _error_of_few(steps: int, g: Gram) -> Callable[[float], float]:
    """Returns the function from eta to the mean squared error after so many steps. The prediction
    is the sum of -C(steps, j) (-eta)^j x.S^(j-1) s over j = 1, ..., steps, so that the error is a
    quadratic form, which needs one pass over the prompts."""
    v, rows = g.s, [g.y.flatten()]
    for j in range(steps):
        v = (g.S * v.unsqueeze(-3)).sum(-2) if j else v
        rows.append((v * g.x).sum(-2).flatten())
    products = (torch.stack(rows) @ torch.stack(rows).T / len(rows[0])).numpy(force=True)
    # The first is -1, for the label.
    signed = np.array([-math.comb(steps, j) * (-1.0) ** j for j in range(steps + 1)])

    def error(eta: float) -> float:
        each = signed * eta ** np.arange(steps + 1)
        return float(each @ products @ each)

    return error


def _error_of_many(steps: int, g: Gram) -> Callable[[float], float]:
    """Returns the same where binomials would be too large, along the eigenvectors of S: for an
    eigenvalue t, gradient descent multiplies what least squares predicts by 1 - (1 - eta
    t)^steps."""
    t, U = torch.linalg.eigh(g.S.movedim(-1, -3))  # (..., B, d), (..., B, d, d)
    parts = [(U.mT @ v.mT.unsqueeze(-1))[..., 0] for v in (g.s, g.x)]
    exact = torch.where(
        t > g.d * torch.finfo(t.dtype).eps * t[..., -1:], parts[0] * parts[1] / t, 0.0
    )

    def error(eta: float) -> float:
        return float(((exact * (1 - (1 - eta * t) ** steps)).sum(-1) - g.y).square().mean())

    return error


def best_of_grid(
    steps: int, etas: Sequence[float], prompts: Prompts | Gram, preconditioner: Tensor | None = None
) -> GradientDescent:
    """Returns gradient descent with the best of the given step sizes on the prompts: a coarse
    tuning, to compare with.

    steps: how many.
    etas: the step sizes to try, for a sum over the examples, as in `GradientDescent`.
    prompts: those whose mean squared error decides.
    preconditioner: Pi (d, d), or (E, d, d) for one of each member; None is the identity.
    """
    tried = [GradientDescent(steps, eta, preconditioner) for eta in etas]
    return min(tried, key=lambda method: float(squared_error(method, prompts).mean()))


@dataclass(frozen=True)
class LeastSquares:
    """Least squares, w = argmin |X w - y|^2 + ridge |w|^2; with ridge = 0 the solution of minimum
    norm, also for N < d. It is solved in float64: S has the square of X's condition number. Where S
    is far from singular Cholesky's factor does it, which is many times cheaper than the
    pseudo-inverse."""

    ridge: float = 0.0

    def __post_init__(self) -> None:
        check_real("ridge", self.ridge, low=0.0)

    def predict(self, prompts: Prompts | Gram) -> Tensor:
        """Returns the predictions (..., B), in the prompts' dtype."""
        gram = prompts.gram()
        S = gram.S.movedim(-1, -3).double()  # (..., B, d, d)
        s = gram.s.mT.double().unsqueeze(-1)  # (..., B, d, 1)
        d = S.shape[-1]
        if self.ridge:
            w = torch.linalg.solve(S + self.ridge * torch.eye(d, dtype=S.dtype, device=S.device), s)
        else:
            precision = torch.finfo(gram.S.dtype).eps  # below this S is rounding
            C, _ = torch.linalg.cholesky_ex(S)
            pivots = C.diagonal(dim1=-2, dim2=-1)
            # The squares of the pivots are like S's eigenvalues; where N < d some of them are
            # rounding.
            rest = ~((pivots.amin(-1) > precision**0.25 * pivots.amax(-1)) & (d <= gram.N))
            w = torch.cholesky_solve(s, C)
            w[rest] = torch.linalg.pinv(S[rest], rtol=d * precision, hermitian=True) @ s[rest]
        return (w[..., 0].mT * gram.x).sum(-2).to(gram.y.dtype)
