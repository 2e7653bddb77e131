"""What is held beside attention on labels from Gaussian processes: the Bayes optimum, and gradient
descent in a space of functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from lintf.analysis.solvers import squared_error
from lintf.models.linear import weights
from lintf.tasks.batches import Prompts
from lintf.tasks.kernels import covariance

RANK = 1e-10  # smaller eigenvalues, relative to the largest, are rounding


@dataclass(frozen=True)
class PosteriorMean:
    """The mean of the query's label given the examples, for labels drawn from N(0, |K|), the Bayes
    optimum: k^T K^+ y, with k the covariances of the query and the examples. It is solved in
    float64.

    kernel: its name in `tasks.kernels.KERNELS`.
    """

    kernel: str

    def predict(self, prompts: Prompts) -> Tensor:
        """Returns the predictions (..., B), in the prompts' dtype."""
        Z = prompts.Z.double()
        K = covariance(Z[..., :-1], self.kernel)
        inverse = torch.linalg.pinv(K[..., :-1, :-1], rtol=RANK, hermitian=True)
        alpha = inverse @ Z[..., :-1, -1:]
        return (K[..., -1:, :-1] @ alpha)[..., 0, 0].to(prompts.y.dtype)


@dataclass(frozen=True)
class FunctionalDescent:
    """Gradient descent on sum_m (y_m - f(x_m))^2 / (2 N) in the space of functions of a kernel,
    from f = 0: at each step

        f(x) <- f(x) + step sum_m a(x, x_m) (y_m - f(x_m))        a(x, x_m) = k(x.x_m) / N .

    With softmax a is k = exp divided by its sum over the examples, not by N.

    attention: which a, a name in `models.linear.ATTENTION`.
    steps: the size of each step, in their order.
    """

    attention: str
    steps: Sequence[float]

    def predict(self, prompts: Prompts) -> Tensor:
        """Returns the predictions (..., B)."""
        X, y = prompts.Z[..., :-1], prompts.Z[..., :-1, -1]
        a = weights(X @ X[..., :-1, :].mT, self.attention)  # (..., B, N+1, N)
        f = torch.zeros_like(prompts.Z[..., -1])  # (..., B, N+1)
        for step in self.steps:
            rest = (y - f[..., :-1]).unsqueeze(-1)
            f = f + step * (a @ rest)[..., 0]
        return f[..., -1]


def best_descent(
    attention: str,
    prompts: Prompts,
    n_step: int,
) -> FunctionalDescent:
    """Returns functional descent with the sizes of its steps that have the smallest mean squared
    error on the given prompts, found from sizes of 1 by Powell's method.

    attention, n_step: whose steps, and how many.
    prompts: those on which they are found.
    """

    def mean_error(sizes: np.ndarray) -> float:
        method = FunctionalDescent(attention, sizes.tolist())
        return float(squared_error(method, prompts).mean())

    found = minimize(mean_error, np.ones(n_step), method="Powell", options={"ftol": 1e-4})
    return FunctionalDescent(attention, found.x.tolist())
