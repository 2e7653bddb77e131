"""Prompts of another law than a model was trained on: what one layer then does, exactly, and how
prompts are shifted. arXiv 2306.09927."""

from __future__ import annotations

import torch
from torch import Tensor

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
