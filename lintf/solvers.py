"""Classical predictors, with the interface of the learned ones: `predict(prompts) -> y_hat (..., B)`.

Each sees all N examples of a prompt, through S = X^T X and s = X^T y, and all prompts of a batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from lintf.batch import Gram, Prompts
from lintf.checks import check_int, check_real
from lintf.gram import mse
from lintf.theory import gradient_descent_weights


class Predictor(Protocol):
    def predict(self, prompts: Prompts | Gram) -> Tensor: ...


def squared_error(predictor: Predictor, prompts: Prompts | Gram) -> Tensor:
    """(prediction - y)^2 of every prompt, (..., B): the one score for learned and classical predictors."""
    return (predictor.predict(prompts) - prompts.y).square()


@dataclass(frozen=True, eq=False)
class GradientDescent:
    """w <- w + eta Pi (s - S w) from w = 0, `steps` times: gradient descent on |X w - y|^2 / 2 (a sum over the
    examples, not a mean), preconditioned by Pi (d, d) where it is given, or (E, d, d): one for each ensemble member."""

    steps: int
    eta: float
    preconditioner: Tensor | None = None

    def __post_init__(self) -> None:
        check_int("steps", self.steps, 0)
        check_real("eta", self.eta)

    def predict(self, prompts: Prompts | Gram) -> Tensor:
        gram = prompts.gram()
        w = torch.zeros_like(gram.s)
        for _ in range(self.steps):
            residual = gram.s - (gram.S * w.unsqueeze(-3)).sum(-2)
            if self.preconditioner is not None:
                residual = self.preconditioner.to(residual) @ residual
            w = w + self.eta * residual
        return (w * gram.x).sum(-2)


def best_gradient_descent(steps: int, prompts: Prompts | Gram, preconditioner: Tensor | None = None) -> GradientDescent:
    """Gradient descent with the step size that has the smallest mean squared error on the given prompts, found to a
    relative 1e-5 by bounded scalar minimisation between 0 and twice the inverse of the mean eigenvalue of Pi S. The
    errors are those of the linear transformer that does these steps, whose loss is fast."""
    check_int("steps", steps, 1)
    g = prompts.gram()
    g = Gram(*(t.double() for t in (g.S, g.s, g.x, g.y)), g.N)
    S = g.S if preconditioner is None else (preconditioner.to(g.S) @ g.S.flatten(-2)).view_as(g.S)
    largest = 2 * g.d / float(S.diagonal(dim1=-3, dim2=-2).sum(-1).mean())

    def error(eta: float) -> float:
        weights = gradient_descent_weights(steps, eta, g.N, g.d, preconditioner, torch.float64)
        return float(mse(weights["P"].to(g.S), weights["Q"].to(g.S), g).mean())

    found = minimize_scalar(error, bounds=(0, largest), method="bounded", options={"xatol": 1e-5 * largest})
    return GradientDescent(steps, float(found.x), preconditioner)


def best_of_grid(
    steps: int, etas: Sequence[float], prompts: Prompts | Gram, preconditioner: Tensor | None = None
) -> GradientDescent:
    """Gradient descent with the best of the given step sizes on the prompts: a coarse tuning, to compare with."""
    tried = [GradientDescent(steps, eta, preconditioner) for eta in etas]
    return min(tried, key=lambda method: float(squared_error(method, prompts).mean()))


@dataclass(frozen=True)
class LeastSquares:
    """w = argmin |X w - y|^2 + ridge |w|^2; with ridge = 0 the solution of minimum norm, also for N < d. Solved in
    float64: S has the square of X's condition number."""

    ridge: float = 0.0

    def __post_init__(self) -> None:
        check_real("ridge", self.ridge, low=0.0)

    def predict(self, prompts: Prompts | Gram) -> Tensor:
        gram = prompts.gram()
        S = gram.S.movedim(-1, -3).double()  # (..., B, d, d)
        s = gram.s.mT.double().unsqueeze(-1)  # (..., B, d, 1)
        d = S.shape[-1]
        if self.ridge:
            w = torch.linalg.solve(S + self.ridge * torch.eye(d, dtype=S.dtype, device=S.device), s)
        else:
            precision = torch.finfo(gram.S.dtype).eps  # below this S is rounding
            w = torch.linalg.pinv(S, rtol=d * precision, hermitian=True) @ s
        return (w[..., 0].mT * gram.x).sum(-2).to(gram.y.dtype)
