"""The population loss with the weights and the query averaged out exactly.

Without label noise the residual of a linear transformer is x_q^T R(S) w, bilinear in the query and
the weights, so its mean square over x_q ~ (0, C C^T) and w ~ (0, C_w C_w^T) is |C^T R(S) C_w|_F^2:
a sum over the d^2 pairs x_q = C e_i, w = C_w e_j. As prompts, these pairs are d^2 design points
with the law's second moments. Their mean squared error is an estimator of the same population loss
that leaves only the examples' chance, for d^2 times the prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lintf.tasks.batches import Gram
from lintf.tasks.linear import LinearRegression, roots


def integrate(tasks: Sequence[LinearRegression], gram: Gram) -> Gram:
    """Returns the members' batches (E, ..., B), E = len(tasks), with each prompt replaced by the
    d^2 design points of its examples: (E, ..., B d^2). Those of a single task may be without axis,
    (B). Raises ValueError for tasks with label noise."""
    if any(task.noise_std for task in tasks):
        raise ValueError(
            f"noise_std must be 0 to integrate, got {[task.noise_std for task in tasks]}"
        )
    d, dtype, device = gram.d, gram.S.dtype, gram.S.device
    unit = torch.eye(d, dtype=dtype, device="cpu")
    root, root_w = (
        roots(tuple(S), dtype) for S in zip(*((t.Sigma, t.Sigma_w) for t in tasks), strict=True)
    )
    # The d^2 points count 1 / d^2 each, which a factor of d^(1/2) in both undoes; Cov(x') = I / d
    # but for "normal".
    x = (math.sqrt(d) if tasks[0].mode == "normal" else 1.0) * (unit if root is None else root)
    w = math.sqrt(d) * (unit if root_w is None else root_w)
    x, w = (t.expand(len(tasks), d, d).to(device) for t in (x, w))
    B = gram.S.shape[-1]
    # (E, d, B d^2): point i d + j has query i and weights j.
    x = x.repeat_interleave(d, -1).repeat(1, 1, B)
    w = w.repeat(1, 1, d).repeat(1, 1, B)
    if not gram.lead:  # of one task
        x, w = x[0], w[0]
    S = gram.S.repeat_interleave(d * d, -1)
    return Gram(S, (S * w.unsqueeze(-3)).sum(-2), x, (x * w).sum(-2), gram.N)
