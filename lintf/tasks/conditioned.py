"""Linear regression whose covariates have a given condition number (Giannou et al., arXiv
2403.03183)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lintf.checks import check_int, real, whole
from lintf.tasks import randoms
from lintf.tasks.base import Task
from lintf.tasks.batches import Prompts

LARGEST = (1.0, 100.0)  # the range of the largest eigenvalue


@dataclass(frozen=True)
class ConditionedRegression(Task):
    """Prompts y = w.x + noise with x ~ N(0, Sigma) and one Sigma for all prompts of a batch: the
    identity for kappa = 1, else with eigenvectors uniform among the orthogonal matrices, a largest
    eigenvalue uniform in [1, 100], a smallest one of 1 / kappa of it, and the others uniform
    between these two. w ~ N(0, I) in its first w_dims entries (None: in all) and 0 in the others.
    noise_std is the standard deviation of the noise on the examples' labels; the query's label has
    none. Raises ValueError for a field out of its range."""

    N: int = whole(25)
    d: int = whole(5)
    kappa: float = real(1.0, low=1.0)
    noise_std: float = real(0.0)
    w_dims: int | None = whole(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.w_dims is not None:
            check_int("w_dims", self.w_dims, 1, self.d)
        if self.kappa > 1 and self.d == 1:
            raise ValueError(f"kappa must be 1 for d = 1, got {self.kappa}")

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"kappa{self.kappa:g}-N{self.N}-d{self.d}"

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[ConditionedRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        representation: str,
        dtype: torch.dtype,
    ) -> Prompts:
        """Draws tokens; the prompts of a member share one Sigma. Arguments as in
        `Task.draw_ensemble`."""
        Z, w = ConditionedRegression.draw_weights(tasks, B, rngs, dtype)
        return Prompts(Z, (Z[..., -1, :-1] * w).sum(-1))

    @staticmethod
    def draw_weights(
        tasks: Sequence[ConditionedRegression],
        B: int,
        rngs: Sequence[np.random.SFC64],
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """Returns tokens Z (E, B, N+1, d+1), the last label 0, and the weights w (E, B, d).

        tasks: E laws that are all the same; the first one counts.
        B: prompts per member.
        rngs: E streams of random bits, one for each member.
        dtype: that of both results.
        """
        task, N, d = tasks[0], tasks[0].N, tasks[0].d
        # (E, d, d).
        root = None if task.kappa == 1 else torch.stack([task.root(r) for r in rngs]).to(dtype)
        sizes = [d * (N + 1), d, N if task.noise_std else 0]
        z = randoms.normals(randoms.words(rngs, sum(sizes), B), dtype, d)
        X, w, noise = z[:, : sum(sizes)].split(sizes, 1)
        if root is not None:
            X = root @ X.unflatten(1, (d, N + 1)).flatten(2)
        X = X.reshape(len(z), d, N + 1, B)
        w = w.clone()
        w[:, d if task.w_dims is None else task.w_dims :] = 0
        y = (w.unsqueeze(2) * X).sum(1)  # (E, N+1, B)
        labels = torch.cat((y[:, :N], torch.zeros_like(y[:, N:])), 1)
        if task.noise_std:
            labels[:, :N] += task.noise_std * noise
        return torch.cat((X, labels.unsqueeze(1)), 1).permute(
            0, 3, 2, 1
        ).contiguous(), w.mT.contiguous()

    def root(self, rng: np.random.SFC64) -> Tensor:
        """Draws a C (d, d), float64, with Sigma = C C^T."""
        numbers = np.random.Generator(rng)
        # Signs and order of its columns do not matter.
        U = np.linalg.qr(numbers.standard_normal((self.d, self.d)))[0]
        low, high = LARGEST
        largest = low + (high - low) * numbers.random()
        smallest = largest / self.kappa
        between = smallest + (largest - smallest) * numbers.random(self.d - 2)
        return torch.from_numpy(U * np.sqrt([largest, smallest, *between]))


def moved_query(X: Tensor, w: Tensor, to: Tensor) -> Prompts:
    """Returns n * B prompts in which the query's first coordinate is each of `to` (n,) in turn, the
    B prompts of the first value first. They have the covariates X (B, N+1, d), the query last, and
    the labels w.x of one w (d,) for all."""
    X = X.repeat(len(to), 1, 1, 1)
    X[..., -1, 0] = to.unsqueeze(1)
    return Prompts.of(X.flatten(0, 1), (X @ w).flatten(0, 1))
