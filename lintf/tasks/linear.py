"""The law of the prompts: covariates, weights, noise -> `Prompts` (tokens) or `Gram` (statistics).

A prompt is N examples (x_i, y_i = w.x_i + noise) and a query x_q, with w and the x_i new in every
prompt. Linear attention sees the examples only through S = X^T X and s = X^T y, so the same task
has two representations: "tokens" draws the examples, "gram" draws the statistics (for Gaussian
covariates without ever drawing the examples).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lintf import kernel
from lintf.checks import one_of, real, set_fields, whole
from lintf.tasks import randoms
from lintf.tasks.base import Task
from lintf.tasks.batches import Gram, Prompts

MODES = ("normal", "sphere", "gamma")
GAMMA_SHAPE = 0.1
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class LinearRegression(Task):
    """Prompts y = w.x + noise, with w ~ N(0, Sigma_w) drawn anew in each, and x = C x' where C C^T
    = Sigma and x' goes by `mode`:

    normal  x' ~ N(0, I_d)
    sphere  x' uniform on the unit sphere, so that Cov(x') = I/d
    gamma   |x'|^2 ~ Gamma(shape k = 0.1, scale sqrt(10/k) = 10), direction uniform: heavy tails,
            Cov(x') = I/d (k = 5/2 would give N(0, I) in d = 5)

    Sigma and Sigma_w are covariances (None: identity); noise_std is the standard deviation of the
    label noise, which the examples have and the query's label has not. Raises ValueError for a
    field out of its range.
    Modes: Ahn et al., arXiv 2310.01082; Sigma and Sigma_w: arXiv 2306.00297.
    """

    per_seed_fields: ClassVar[tuple[str, ...]] = ("Sigma", "Sigma_w")
    representations: ClassVar[tuple[str, ...]] = ("gram", "tokens")

    N: int = whole(20)
    d: int = whole(5)
    mode: str = one_of("normal", MODES)
    Sigma: Matrix | None = None
    Sigma_w: Matrix | None = None
    noise_std: float = real(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(
            self,
            **{
                name: _covariance(name, getattr(self, name), self.d)
                for name in ("Sigma", "Sigma_w")
            },
        )

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"{self.mode}-N{self.N}-d{self.d}" + ("" if self.Sigma is None else "-cov")

    def check_integrate(self, representation: str) -> None:
        """Raises ValueError for tokens, and for label noise."""
        if representation != "gram" or self.noise_std:
            raise ValueError(
                "integrate needs a LinearTransformer with linear attention, and noise_std = 0"
            )

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[LinearRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        representation: str,
        dtype: torch.dtype,
    ) -> Gram | Prompts:
        """Draws statistics, for Gaussian covariates without ever drawing the examples, or tokens.
        Arguments as in `Task.draw_ensemble`."""
        task = tasks[0]
        root, root_w = (
            roots(tuple(S), dtype) for S in zip(*((t.Sigma, t.Sigma_w) for t in tasks), strict=True)
        )
        if task.mode == "normal" and representation == "gram":
            return _wishart(task, B, rngs, root, root_w, dtype)
        A, x, w, noise = _examples(task, B, rngs, dtype)
        A, x, w = _coloured(A, x, w, root, root_w)
        if representation == "gram":
            return _statistics(A, x, w, noise, task.N, lower=False)
        y, Y = (w * x).sum(-2), (w.unsqueeze(-2) * A).sum(-3) + noise  # (E, B), (E, N, B)
        context = torch.cat((A, Y.unsqueeze(-3)), -3)  # (E, d+1, N, B)
        query = torch.cat((x, torch.zeros_like(y).unsqueeze(-2)), -2)  # (E, d+1, B)
        Z = torch.cat((context, query.unsqueeze(-2)), -2)  # (E, d+1, N+1, B)
        return Prompts(Z.permute(0, 3, 2, 1).contiguous(), y)


def _examples(
    task: LinearRegression, B: int, rngs: Sequence[np.random.SFC64], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns isotropic draws: A = X^T (E, d, N, B), the query x and the weights w (E, d, B), the
    label noise (E, N, B), or a zero without any."""
    N, d = task.N, task.d
    sizes = [N * d, d, d, N if task.noise_std else 0]
    z = randoms.normals(randoms.words(rngs, sum(sizes), B), dtype, d)
    A, x, w, noise = z[:, : sum(sizes)].split(sizes, 1)
    A, noise = A.unflatten(1, (d, N)), task.noise_std * noise if task.noise_std else z.new_zeros(())
    if task.mode != "normal":
        x, A = _directions(x), _directions(A)
    if task.mode == "gamma":
        scale = math.sqrt(10 / GAMMA_SHAPE)
        square = np.stack(
            [np.random.Generator(r).gamma(GAMMA_SHAPE, scale, (N + 1, B)) for r in rngs]
        )
        radius = torch.from_numpy(square).sqrt().to(dtype)  # (E, N+1, B)
        x, A = x * radius[:, :1], A * radius[:, None, 1:]
    return A, x, w, noise


def _directions(v: Tensor) -> Tensor:
    """Returns v / |v| along axis 1. A normal variate is exactly 0 once in some ten million; v = 0
    goes to the first axis."""
    norm = v.square().sum(1, keepdim=True).sqrt()  # vector_norm is 100 times slower here
    zero = norm == 0
    if zero.any():
        first = torch.eye(v.shape[1], 1, dtype=v.dtype, device=v.device).view(
            1, -1, *[1] * (v.dim() - 2)
        )
        v, norm = torch.where(zero, first, v), norm + zero
    return v / norm


def _wishart(
    task: LinearRegression,
    B: int,
    rngs: Sequence[np.random.SFC64],
    root: Tensor | None,
    root_w: Tensor | None,
    dtype: torch.dtype,
) -> Gram:
    """Returns the statistics of Gaussian examples without the examples, by Bartlett's
    decomposition: with m = min(N, d) and a lower trapezoidal A (d, m) of N(0, 1) below the diagonal
    and A_ii ~ chi with N - i degrees of freedom (i from 0), A A^T ~ X^T X for X of N rows N(0,
    I_d). N < d included: Gram-Schmidt on X's columns ends after N of them, and A A^T has rank N.
    Given S, X^T noise is N(0, noise_std^2 S), and so is A z for m normals z of variance
    noise_std^2."""
    N, d, m = task.N, task.d, min(task.N, task.d)
    degrees = list(range(N, N - m, -1))
    i, j = torch.tril_indices(d, m, offset=-1, device="cpu")
    sizes = [len(i), sum(map(randoms.rows_of_chi, degrees)), d, d, m if task.noise_std else 0]
    words = randoms.words(rngs, sum(sizes), B)
    if dtype == torch.float32 and not kernel.unavailable(d, dtype):
        few = [k if k < randoms.FEW else 0 for k in degrees]
        unused = np.zeros(randoms.DEGREE + 1)
        chi = np.stack(
            [unused if k < randoms.FEW else randoms.chi_coefficients(k) for k in degrees]
        )
        return Gram(
            *kernel.draw_gram(words, d, few, chi, randoms.REACH, root, root_w, task.noise_std), N
        )
    z = randoms.normals(words, dtype, d)
    below, diagonal, x, w, noise = z[:, : sum(sizes)].split(sizes, 1)
    A = z.new_zeros(len(z), d, m, B)
    A[:, i, j] = below
    A[:, range(m), range(m)] = randoms.chi(diagonal, degrees)
    A, x, w = _coloured(A, x, w, root, root_w)
    return _statistics(
        A, x, w, task.noise_std * noise if task.noise_std else z.new_zeros(()), N, lower=True
    )


def _coloured(
    A: Tensor, x: Tensor, w: Tensor, root: Tensor | None, root_w: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if root is not None:
        A, x = (root @ A.flatten(-2)).unflatten(-1, A.shape[-2:]), root @ x
    return A, x, w if root_w is None else root_w @ w


def _statistics(A: Tensor, x: Tensor, w: Tensor, noise: Tensor, N: int, lower: bool) -> Gram:
    """Returns S = A A^T and s = S w + A noise, for A (E, d, m, B) and noise (E, m, B) or a zero."""
    S = _outer_gram(A, lower)
    s = (S * w.unsqueeze(-3)).sum(-2)
    if noise.dim():
        s = s + (A * noise.unsqueeze(-3)).sum(-2)
    return Gram(S, s, x.contiguous(), (w * x).sum(-2), N)


def _outer_gram(A: Tensor, lower: bool) -> Tensor:
    """Computes S = A A^T for A (..., d, m, B) by entries: the symmetric half, and only the triangle
    of a lower A."""
    d, m, B = A.shape[-3:]
    S = A.new_empty(*A.shape[:-3], d, d, B)
    for i in range(d):
        for j in range(i + 1):
            k = min(j + 1, m) if lower else m
            torch.sum(A[..., i, :k, :] * A[..., j, :k, :], -2, out=S[..., i, j, :])
            if j < i:
                S[..., j, i, :] = S[..., i, j, :]
    return S


def _covariance(name: str, value: object, d: int) -> Matrix | None:
    if value is None:
        return None
    try:
        M = torch.as_tensor(value, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a d x d matrix of numbers, got {value!r}") from error
    if M.shape != (d, d):
        raise ValueError(f"{name} must be a d x d matrix with d = {d}, got shape {tuple(M.shape)}")
    if not torch.isfinite(M).all() or not torch.allclose(M, M.mT, rtol=1e-10):
        raise ValueError(f"{name} must be a symmetric matrix of finite numbers, got {M.tolist()}")
    if torch.linalg.eigvalsh(M)[0] <= 0:
        raise ValueError(
            f"{name} must be positive definite, its eigenvalues are "
            f"{torch.linalg.eigvalsh(M).tolist()}"
        )
    return tuple(tuple(row) for row in (M + 0.0).tolist())  # -0.0 is 0.0: a law has one name


@lru_cache(maxsize=64)
def roots(Sigmas: tuple[Matrix | None, ...], dtype: torch.dtype) -> Tensor | None:
    """Returns Cholesky factors (E, d, d) of the covariances, or None where all of these are None,
    which is the identity. They are lower triangular, so that Bartlett's factor stays so."""
    if all(Sigma is None for Sigma in Sigmas):
        return None
    d = next(len(Sigma) for Sigma in Sigmas if Sigma is not None)
    identity = torch.eye(d, dtype=torch.float64, device="cpu")
    stacked = torch.stack([identity if S is None else identity.new_tensor(S) for S in Sigmas])
    return torch.linalg.cholesky(stacked).to(dtype)
