"""Regression on features: labels linear in a fixed random MLP of x, and a transformer with a trainable MLP in front.

This is the non-linear experiment of Ahn et al. (arXiv 2310.01082): the transformer has to find the features, while its
attention does regression on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lintf import randoms
from lintf.base import Model, Params
from lintf.batch import Prompts
from lintf.checks import real, whole
from lintf.gram import apply, left, product
from lintf.task import Task


@dataclass(frozen=True)
class NonlinearRegression(Task):
    """Prompts y = w.f(x) with x ~ N(0, I_d), w ~ N(0, I_d) drawn anew in each, and one f for all prompts: an MLP with a
    ReLU layer of `hidden` units and d outputs, whose weights and biases are uniform within +-1 / sqrt(fan-in), drawn
    from `mlp_seed`. Raises ValueError for a field out of its range."""

    may_differ: ClassVar[tuple[str, ...]] = ("mlp_seed",)

    N: int = whole(20)
    d: int = whole(5)
    hidden: int = whole(10)
    mlp_seed: int = whole(0, low=0, high=2**32 - 1)

    @property
    def label(self) -> str:
        return f"mlp{self.hidden}-N{self.N}-d{self.d}"

    def features(self, x: Tensor) -> Tensor:
        """f(x) for floating-point x (..., d, n), column by column."""
        if not x.is_floating_point():
            raise ValueError(f"x must be of a floating-point type, got {x.dtype}")
        return _mlp({name: p.to(x) for name, p in _target(self).items()}, x)

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[NonlinearRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        form: str,
        dtype: torch.dtype,
    ) -> Prompts:
        """The labels of member e by the features of tasks[e]."""
        N, d = tasks[0].N, tasks[0].d
        sizes = [d * (N + 1), d]
        z = randoms.normals(randoms.words(rngs, sum(sizes), B), dtype, d)
        X, w = z[:, : sum(sizes)].split(sizes, 1)
        X = X.unflatten(1, (d, N + 1))  # (E, d, N+1, B)
        f = torch.stack([task.features(x.flatten(1)) for task, x in zip(tasks, X, strict=True)]).view_as(X)
        y = (w.unsqueeze(2) * f).sum(1)  # (E, N+1, B)
        labels = torch.cat((y[:, :N], torch.zeros_like(y[:, N:])), 1).unsqueeze(1)
        # The batch stays the last axis in memory, where the model wants it.
        return Prompts(torch.cat((X, labels), 1).permute(0, 3, 2, 1), y[:, N])


@dataclass(frozen=True)
class MLPTransformer(Model):
    """An MLP on the covariates of every token, then linear attention with full (d+1) x (d+1) matrices P, Q:

        x <- W2 relu(W1 x + b1) + b2        then in every layer        Z <- Z + Z Q C^T C P^T / N ,

    C the N examples' rows of Z. Parameters (leading axes are ensemble members): P, Q (..., L, d+1, d+1) from
    N(0, init_std^2); W1 (..., hidden, d), b1, W2 (..., d, hidden), b2 uniform within +-1 / sqrt(fan-in).

    The statistics can not be drawn instead of the examples here, because the MLP acts on each of them. After it, all
    that the attention sees is C^T C, so the layers cost the same for any N.
    """

    keep_weights: ClassVar[bool] = False  # `observe` records them all

    d: int = whole(5)
    n_layer: int = whole(3)
    hidden: int = whole(30)
    init_std: float = real(0.1)  # of P and Q, a standard deviation

    @property
    def label(self) -> str:
        return f"mlp{self.hidden}-linear-L{self.n_layer}"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the parameters of one member."""
        square, d, h = (self.n_layer, self.d + 1, self.d + 1), self.d, self.hidden
        return {"P": square, "Q": square, "W1": (h, d), "b1": (h,), "W2": (d, h), "b2": (d,)}

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        D = self.d + 1
        P, Q = self.init_std * torch.randn((2, self.n_layer, D, D), generator=generator, dtype=dtype, device="cpu")
        return {"P": P, "Q": Q} | _random_mlp(self.d, self.hidden, generator, dtype)

    def observe(self, params: Params, task: NonlinearRegression) -> Params:
        """What a run records: the parameters."""
        return params

    def tokens(self, params: Params, prompts: Prompts) -> Tensor:
        """(..., d+1, N+1, B): what the attention sees, features and labels."""
        Z = prompts.Z.movedim(-3, -1).transpose(-3, -2)
        x = _mlp(params, Z[..., :-1, :, :].flatten(-2)).unflatten(-1, Z.shape[-2:])
        return torch.cat((x, Z[..., -1:, :, :].expand(*x.shape[:-3], 1, *x.shape[-2:])), -3)

    def predict(self, params: Params, prompts: Prompts) -> Tensor:
        """(..., B): the answer to each query. Raises ValueError where parameters and prompts do not fit the model."""
        self.check(params, prompts)
        N, d, Z = prompts.N, prompts.d, self.tokens(params, prompts)
        C, z = Z[..., :N, :], Z[..., N, :]  # (..., d+1, N, B), (..., d+1, B)
        G = product(C, C.transpose(-3, -2))  # (..., d+1, d+1, B)
        identity = torch.eye(d + 1, dtype=z.dtype, device=z.device).unsqueeze(-1)
        for layer in range(self.n_layer):
            P, Q = (params[name][..., layer, :, :] for name in ("P", "Q"))
            A = identity + (P.unsqueeze(-3) @ left(Q / N, G)).transpose(-3, -2)  # I + P G Q^T / N
            z = apply(A, z)
            if layer < self.n_layer - 1:
                G = product(product(A, G), A.transpose(-3, -2))
        return -z[..., d, :]


def _mlp(params: Params, x: Tensor) -> Tensor:
    """W2 relu(W1 x + b1) + b2 for x (..., d, n)."""
    x = torch.cat((x, torch.ones_like(x[..., :1, :])), -2)  # the bias as one more column: a pass over memory less
    hidden = (torch.cat((params["W1"], params["b1"].unsqueeze(-1)), -1) @ x).relu_()
    return params["W2"] @ hidden + params["b2"].unsqueeze(-1)


def _random_mlp(d: int, hidden: int, generator: torch.Generator, dtype: torch.dtype) -> Params:
    """Uniform within +-1 / sqrt(fan-in), PyTorch's default for linear layers."""

    def uniform(*shape: int, fan_in: int) -> Tensor:
        return (2 * torch.rand(shape, generator=generator, dtype=dtype, device="cpu") - 1) / fan_in**0.5

    first = {"W1": uniform(hidden, d, fan_in=d), "b1": uniform(hidden, fan_in=d)}
    return first | {"W2": uniform(d, hidden, fan_in=hidden), "b2": uniform(d, fan_in=hidden)}


@lru_cache(maxsize=64)
def _target(task: NonlinearRegression) -> Params:
    """The MLP behind the labels. Its generator's seed is counted from the end, so that hardly any training has the same
    one, which would give related numbers."""
    generator = torch.Generator().manual_seed(2**32 - 1 - task.mlp_seed)
    return _random_mlp(task.d, task.hidden, generator, torch.float64)
