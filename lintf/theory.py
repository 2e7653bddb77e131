"""Closed forms and hand-built weights, to hold beside what is learned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from lintf.checks import check_int
from lintf.prompts import Gram, LinearRegression


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
    """Parameters (..., L, 1, d, d) with which L linear layers do L steps of w <- w + eta Pi X^T (y - X w) from w = 0:
    P = 0 and Q = -eta N Pi, Pi = I unless given. Lemma 1 of arXiv 2306.00297; von Oswald et al., arXiv 2212.07677."""
    check_int("n_layer", n_layer, 1)
    Pi = torch.eye(d, dtype=dtype) if preconditioner is None else preconditioner.to(dtype)
    return isotropic_weights([eta * N] * n_layer, [0.0] * (n_layer - 1), Pi)


def isotropic_weights(a: Sequence[float], b: Sequence[float], preconditioner: Tensor) -> dict[str, Tensor]:
    """Parameters (..., L, 1, d, d) with Q_l = -a_l Pi and P_l = b_l I: multiples of the identity in the coordinates in
    which the preconditioner Pi (..., d, d) is one. a has L numbers; b has L - 1, since the last P does not matter and
    is 0. Raises ValueError for other lengths."""
    if len(b) != len(a) - 1:
        raise ValueError(f"b must have one number less than a, got {len(b)} and {len(a)}")
    a, b = (preconditioner.new_tensor([float(v) for v in values]).view(-1, 1, 1, 1) for values in (a, [*b, 0.0]))
    Q = -a * preconditioner.unsqueeze(-3).unsqueeze(-3)
    return {"P": (b * torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)).expand_as(Q).clone(), "Q": Q}


def one_layer_optimum(task: LinearRegression) -> Tensor:
    """The Q (d, d), float64, with which one layer has the smallest population loss on Gaussian covariates,

        Q = -N Sigma_w ((N + 1) Sigma Sigma_w + (tr(Sigma Sigma_w) + noise_std^2) I)^-1 .

    For Sigma_w = I this is Theorem 1 of arXiv 2306.00297, -U diag(1 / ((N + 1)/N lam_i + tr(Lam)/N)) U^T; for
    Sigma_w = Sigma^-1 it is -N / (N + 1 + d) Sigma^-1. It solves 0 = E (prediction - y) x s^T, where, for w of
    covariance Sigma_w, E S w w^T S = N ((N + 1) Sigma Sigma_w Sigma + tr(Sigma Sigma_w) Sigma). The noise adds
    N noise_std^2 Sigma. Raises ValueError for other covariates.
    """
    if task.mode != "normal":
        raise ValueError(f"mode must be 'normal' for the closed form, got {task.mode!r}")
    eye = torch.eye(task.d, dtype=torch.float64)
    Sigma, Sigma_w = (eye if S is None else torch.tensor(S, dtype=torch.float64) for S in (task.Sigma, task.Sigma_w))
    both = Sigma @ Sigma_w
    scale = both.trace() + task.noise_std**2
    return -task.N * Sigma_w @ torch.linalg.inv((task.N + 1) * both + scale * eye)


def mapped(gram: Gram, A: Tensor) -> Gram:
    """The same prompts with covariates A x, and labels as before: weights A^-T w. A is (d, d), or has leading axes like
    the prompts'."""
    AS = (A @ gram.S.flatten(-2)).view_as(gram.S)
    S = (A @ AS.transpose(-3, -2).flatten(-2)).view_as(gram.S)  # A (A S)^T
    return Gram(S, A @ gram.s, A @ gram.x, gram.y, gram.N)


def symmetrised(gram: Gram) -> Gram:
    """All 2^d d! images of prompts (d, ..., B) under signed permutations of the axes: (d, ..., B 2^d d!). On isotropic
    prompts every image is as likely as the original; the average over all of them is invariant exactly."""
    images, d = [], gram.d
    for order in itertools.permutations(range(d)):
        for signs in itertools.product((1.0, -1.0), repeat=d):
            images.append(mapped(gram, torch.diag(gram.x.new_tensor(signs))[list(order)]))
    S, s, x, y = (torch.cat([getattr(g, k) for g in images], -1) for k in ("S", "s", "x", "y"))
    return Gram(S, s, x, y, gram.N)
