"""Prompts of another law than a model was trained on: what one layer then does, exactly, and how
prompts are shifted. arXiv 2306.09927."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lintf.analysis.solvers import GradientDescent, squared_error
from lintf.analysis.theory import mapped
from lintf.models.base import FittedModel
from lintf.tasks.batches import Gram
from lintf.tasks.linear import LinearRegression


def one_layer_error(
    Q: Tensor, task: LinearRegression, Sigma_query: Tensor | None = None
) -> tuple[float, float]:
    """Returns the expected squared error of one layer on prompts of this law, for Gaussian
    covariates, in two parts: a bias, which no number of examples removes, and a variance, which
    falls like 1 / N. The layer leaves (I + Q S / N) w, with E S / N = Sigma.

    Q: (d, d) in float64.
    task: the law of the prompts, with their own N, Sigma, Sigma_w and noise_std.
    Sigma_query: (d, d), the second moment of the query; None is that of the examples.
    Raises ValueError for other covariates.
    """
    if task.mode != "normal":
        raise ValueError(f"mode must be 'normal' for the closed form, got {task.mode!r}")
    eye = torch.eye(task.d, dtype=torch.float64, device="cpu")
    Sigma, W = (eye if S is None else eye.new_tensor(S) for S in (task.Sigma, task.Sigma_w))
    query = Sigma if Sigma_query is None else Sigma_query
    left = eye + Q @ Sigma
    scale = (Sigma @ W).trace() + task.noise_std**2
    spread = (Sigma @ W @ Sigma + scale * Sigma) / task.N
    parts = (left @ W @ left.T, Q @ spread @ Q.T)
    return tuple(float((query @ part).trace()) for part in parts)


def simulated_error(
    Q: Tensor,
    task: LinearRegression,
    prompts: int,
    seed: int = 1,
) -> tuple[float, float]:
    """Returns the squared error of one layer on drawn prompts, and its standard error.

    Q, task: as for `one_layer_error`.
    prompts: how many are drawn.
    seed: of their generator.
    """
    gram = task.sample(prompts, torch.Generator().manual_seed(seed))
    layer = GradientDescent(1, 1 / task.N, preconditioner=-Q)
    return _estimated(squared_error(layer, gram))


def random_covariances_error(
    size: float,
    d: int,
    prompts: int,
    N: int = 100_000,
    seed: int = 3,
) -> tuple[float, float]:
    """Returns the error of one layer with Q = -size I, and its standard error, in parts of the
    labels' variance, on prompts that each have a covariance of their own: it is diagonal, with
    eigenvalues that are exponential of mean 1.

    size: of the step.
    d: dimension of x.
    prompts: how many are drawn.
    N: examples in a prompt.
    seed: of the generator.
    """
    g = torch.Generator().manual_seed(seed)
    lam = torch.empty(d, prompts, dtype=torch.float64, device="cpu").exponential_(generator=g)
    round_prompts = LinearRegression(N=N, d=d).sample(prompts, g, dtype=torch.float64)
    gram = shifted(round_prompts, lam.sqrt(), lam.sqrt())
    errors = squared_error(GradientDescent(1, size / N), gram)
    return _estimated(errors / d)


def _estimated(errors: Tensor) -> tuple[float, float]:
    """Returns the mean of errors (B,) and its standard error."""
    errors = errors.double()
    return float(errors.mean()), float(errors.std()) / len(errors) ** 0.5


def shifted(gram: Gram, examples: Tensor | float = 1.0, query: Tensor | float = 1.0) -> Gram:
    """Returns prompts with the same weights w on other covariates: each entry of the examples, and
    of the query, times a factor. Labels follow.

    gram: prompts (B) without label noise, with at least d examples, in float64.
    examples, query: numbers, or factors (d, 1) or (d, B).
    """
    w = torch.linalg.solve(gram.S.movedim(-1, 0), gram.s.T).T
    factor = torch.as_tensor(examples, dtype=w.dtype, device=w.device).expand(w.shape)
    S = factor[:, None] * gram.S * factor
    x = query * gram.x
    return Gram(S, (S * w).sum(-2), x, (w * x).sum(-2), gram.N)


@dataclass(frozen=True, eq=False)
class InCoordinates:
    """Networks side by side, each of which sees the covariates of a prompt in coordinates of its
    own, A x; a predictor.

    network: of E members.
    A: (E, d, d).
    """

    network: FittedModel
    A: Tensor

    def predict(self, gram: Gram) -> Tensor:
        """Returns the predictions (E, B) for prompts (B)."""
        answers = []
        for member, A in enumerate(self.A):
            params = {name: p[member] for name, p in self.network.params.items()}
            one = FittedModel(self.network.model, params)
            answers.append(one.predict(mapped(gram, A)))
        return torch.stack(answers)
