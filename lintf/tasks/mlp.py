"""Regression on features: labels linear in a fixed random MLP of x (Ahn et al., arXiv
2310.01082)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lintf.checks import whole
from lintf.tasks import randoms
from lintf.tasks.base import Task
from lintf.tasks.batches import Prompts


@dataclass(frozen=True)
class NonlinearRegression(Task):
    """Prompts y = w.f(x) with x ~ N(0, I_d), w ~ N(0, I_d) drawn anew in each, and one f for all
    prompts: an MLP with a ReLU layer of `hidden` units and d outputs, whose weights and biases are
    uniform within +-1 / sqrt(fan-in), drawn from `mlp_seed`. Raises ValueError for a field out of
    its range."""

    per_seed_fields: ClassVar[tuple[str, ...]] = ("mlp_seed",)

    N: int = whole(20)
    d: int = whole(5)
    hidden: int = whole(10)
    mlp_seed: int = whole(0, low=0, high=2**32 - 1)

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"mlp{self.hidden}-N{self.N}-d{self.d}"

    def features(self, x: Tensor) -> Tensor:
        """Returns f(x) for floating-point x (..., d, n), column by column. Raises ValueError for
        other types."""
        if not x.is_floating_point():
            raise ValueError(f"x must be of a floating-point type, got {x.dtype}")
        return mlp({name: p.to(x) for name, p in _target(self).items()}, x)

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[NonlinearRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        representation: str,
        dtype: torch.dtype,
    ) -> Prompts:
        """Draws tokens; the features of tasks[e] make the labels of member e. Arguments as in
        `Task.draw_ensemble`."""
        N, d = tasks[0].N, tasks[0].d
        sizes = [d * (N + 1), d]
        z = randoms.normals(randoms.words(rngs, sum(sizes), B), dtype, d)
        X, w = z[:, : sum(sizes)].split(sizes, 1)
        X = X.unflatten(1, (d, N + 1))  # (E, d, N+1, B)
        f = torch.stack(
            [task.features(x.flatten(1)) for task, x in zip(tasks, X, strict=True)]
        ).view_as(X)
        y = (w.unsqueeze(2) * f).sum(1)  # (E, N+1, B)
        labels = torch.cat((y[:, :N], torch.zeros_like(y[:, N:])), 1).unsqueeze(1)
        # The batch stays the last axis in memory, where the model wants it.
        return Prompts(torch.cat((X, labels), 1).permute(0, 3, 2, 1), y[:, N])


def mlp(params: dict[str, Tensor], x: Tensor) -> Tensor:
    """Returns W2 relu(W1 x + b1) + b2 for x (..., d, n)."""
    # The bias as one more column: a pass over memory less.
    x = torch.cat((x, torch.ones_like(x[..., :1, :])), -2)
    hidden = (torch.cat((params["W1"], params["b1"].unsqueeze(-1)), -1) @ x).relu_()
    return params["W2"] @ hidden + params["b2"].unsqueeze(-1)


def random_mlp(
    d: int, hidden: int, generator: torch.Generator, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Draws W1 (hidden, d), b1 (hidden,), W2 (d, hidden) and b2 (d,), uniform within +-1 /
    sqrt(fan-in), PyTorch's default for linear layers.

    d: how many inputs there are, and outputs.
    hidden: how many units.
    generator: on the CPU.
    dtype: that of the result.
    """

    def uniform(*shape: int, fan_in: int) -> Tensor:
        return (
            2 * torch.rand(shape, generator=generator, dtype=dtype, device="cpu") - 1
        ) / fan_in**0.5

    first = {"W1": uniform(hidden, d, fan_in=d), "b1": uniform(hidden, fan_in=d)}
    return first | {"W2": uniform(d, hidden, fan_in=hidden), "b2": uniform(d, fan_in=hidden)}


@lru_cache(maxsize=64)
def _target(task: NonlinearRegression) -> dict[str, Tensor]:
    """Returns the MLP behind the labels. Its generator's seed is counted from the end, so that
    hardly any training has the same one, which would give related numbers."""
    generator = torch.Generator().manual_seed(2**32 - 1 - task.mlp_seed)
    return random_mlp(task.d, task.hidden, generator, torch.float64)
