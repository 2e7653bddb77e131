"""The first paper's rotated prompts: x = U D g and w = U D^-1 g' for standard normal g, g' (arXiv
2306.00297).

So Cov x = Sigma = U D^2 U^T and Cov w = Sigma^-1, and in the whitened coordinates g the prompts are
isotropic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lintf.checks import check_int, check_real
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Gram
from lintf.tasks.linear import LinearRegression

SCALES = (1.0, 1.0, 0.5, 0.25, 1.0)  # the paper's D


def rotation(seed: int, scales: Sequence[float] = SCALES) -> Tensor:
    """Returns U D in float64: U the left singular vectors of a d x d matrix of U(-1, 1), D =
    diag(scales), standard deviations along the axes. There is one U for each seed; d is the number
    of scales, all > 0. Raises ValueError for other scales or seeds."""
    if not len(scales):
        raise ValueError(f"scales must have at least one number, got {scales!r}")
    scales = [check_real(f"scales[{i}]", scale, 0.0, above=True) for i, scale in enumerate(scales)]
    rng = np.random.default_rng(check_int("seed", seed, 0))
    U = np.linalg.svd(rng.uniform(-1, 1, (len(scales), len(scales))))[0]
    U = U * np.where(U.sum(0) < 0, -1, 1)  # LAPACKs differ in the signs
    return torch.from_numpy(U * np.array(scales))


def rotated_task(seed: int, N: int = 20, scales: Sequence[float] = SCALES) -> LinearRegression:
    """Returns the law of the rotated prompts. Sigma is rounded to ten digits, so that a seed names
    one configuration whatever library computed it."""
    UD = rotation(seed, scales)
    Sigma = UD @ UD.mT
    Sigma, Sigma_w = (
        ((S + S.mT) / 2).round(decimals=10).tolist() for S in (Sigma, torch.linalg.inv(Sigma))
    )
    return LinearRegression(N=N, d=len(scales), Sigma=Sigma, Sigma_w=Sigma_w)


def whitened(Q: Tensor, UD: Tensor) -> Tensor:
    """Returns (UD)^T Q (UD), the matrix Q (E, ..., d, d) as it acts on whitened covariates, for UD
    (E, d, d)."""
    UD = UD.to(Q).view(-1, *[1] * (Q.dim() - 3), *UD.shape[-2:])
    return UD.mT @ Q @ UD


@dataclass(frozen=True, eq=False)
class Rotated:
    """The rotated laws of several seeds side by side, with N examples in a prompt. Raises
    ValueError for what none of the laws, or of their seeds, can be."""

    seeds: Sequence[int]
    N: int = 20
    scales: Sequence[float] = SCALES

    def __post_init__(self) -> None:
        if isinstance(self.seeds, str) or not isinstance(self.seeds, Sequence) or not self.seeds:
            raise ValueError(f"seeds must be a list of at least one integer, got {self.seeds!r}")
        for seed in self.seeds:
            self.task(seed)

    def task(self, seed: int) -> LinearRegression:
        """Returns the law of this seed."""
        return rotated_task(seed, self.N, self.scales)

    @property
    def UD(self) -> Tensor:
        """The factors of the seeds' covariances Sigma = UD (UD)^T: (E, d, d), float64."""
        return torch.stack([rotation(seed, self.scales) for seed in self.seeds])

    @property
    def precision(self) -> Tensor:
        """The inverses Sigma^-1 of the seeds' covariances: (E, d, d), float64."""
        return torch.linalg.inv(self.UD @ self.UD.mT)

    def sample(self, B: int, seed: int, dtype: torch.dtype = torch.float32) -> Gram:
        """Returns B prompts of each law, each from a generator with this seed, which is not that of
        a training."""
        generators = [torch.Generator().manual_seed(seed) for _ in self.seeds]
        return sample_ensemble([self.task(s) for s in self.seeds], B, generators, dtype=dtype)
