"""Closed forms and hand-built weights, to hold beside what is learned."""

from __future__ import annotations

import torch
from torch import Tensor

from lintf.checks import check_int


def distance_to_identity(M: Tensor) -> Tensor:
    """||M - (tr M / d) I||_F / ||M||_F over the last two axes: 0 for a multiple of the identity, at most 1."""
    d = M.shape[-1]
    trace = M.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    rest = torch.linalg.matrix_norm(M - trace / d * torch.eye(d, dtype=M.dtype, device=M.device))
    return torch.where(rest == 0, 0, rest / torch.linalg.matrix_norm(M))


def gradient_descent_weights(
    n_layer: int,
    eta: float,
    N: int,
    d: int,
    preconditioner: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Parameters (L, 1, d, d) with which L linear layers do L steps of w <- w + eta Pi X^T (y - X w) from w = 0:
    P = 0 and Q = -eta N Pi, Pi = I unless given. Lemma 1 of arXiv 2306.00297; von Oswald et al., arXiv 2212.07677."""
    check_int("n_layer", n_layer, 1)
    Pi = torch.eye(d, dtype=dtype) if preconditioner is None else preconditioner.to(dtype)
    Q = (-eta * N * Pi).expand(n_layer, 1, d, d).clone()
    return {"P": torch.zeros_like(Q), "Q": Q}
