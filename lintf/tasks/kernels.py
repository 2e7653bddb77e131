"""Labels from Gaussian processes (Cheng, Chen, Sra, arXiv 2312.06528).

A kernel is a function k of the cosine t between two points of the unit sphere:

    linear  k(t) = t            relu  k(t) = max(t, 0)            exp  k(t) = e^t

The matrix of max(t, 0) can have negative eigenvalues, and is then no covariance. As in the original
code labels have the covariance |K| instead, the matrix with the moduli of the eigenvalues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lintf.checks import check_choice, one_of, whole
from lintf.tasks.base import Task
from lintf.tasks.batches import Prompts

KERNELS = {"linear": torch.Tensor.clone, "relu": torch.relu, "exp": torch.exp}


def gram_matrix(X: Tensor, kernel: str) -> Tensor:
    """Returns K of points X (..., n, d), (..., n, n). kernel: a name in KERNELS."""
    return KERNELS[check_choice("kernel", kernel, KERNELS)](X @ X.mT)


def covariance(X: Tensor, kernel: str) -> Tensor:
    """Returns |K| of points X (..., n, d), (..., n, n): K itself, where K is a covariance."""
    root = _root(gram_matrix(X, kernel))
    return root @ root.mT


def _root(K: Tensor) -> Tensor:
    """Returns the symmetric root of |K|. It is the same for all signs of the eigenvectors, in which
    LAPACKs differ: a seed draws the same labels everywhere."""
    values, vectors = torch.linalg.eigh(K)
    roots = values.abs().sqrt().unsqueeze(-2)
    return (vectors * roots) @ vectors.mT


@dataclass(frozen=True)
class KernelRegression(Task):
    """Prompts whose covariates are uniform on the unit sphere, and whose N + 1 labels, the query's
    among them, are one draw from N(0, |K|), new in each. Raises ValueError for a field out of its
    range."""

    representations: ClassVar[tuple[str, ...]] = ("tokens", "gram")

    N: int = whole(14)
    d: int = whole(5)
    kernel: str = one_of("exp", KERNELS)

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"{self.kernel}-N{self.N}-d{self.d}"

    def draw(self, B: int, rng: np.random.Generator, dtype: torch.dtype) -> Prompts:
        """Returns B prompts whose floating-point numbers have this dtype."""
        precision = np.float64 if dtype == torch.float64 else np.float32
        X = torch.from_numpy(rng.standard_normal((B, self.N + 1, self.d), precision))
        X = X / X.norm(dim=-1, keepdim=True)
        if self.kernel == "linear":  # w.x has the covariance t, at a fraction of the cost
            y = X @ torch.from_numpy(rng.standard_normal((B, self.d, 1), precision))
        else:
            z = torch.from_numpy(rng.standard_normal((B, self.N + 1, 1), precision))
            y = _root(gram_matrix(X, self.kernel)) @ z
        return Prompts.of(X, y[..., 0])
