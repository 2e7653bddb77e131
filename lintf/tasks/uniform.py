"""Linear regression on covariates from a cube (von Oswald et al., arXiv 2212.07677)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from lintf.checks import real, whole
from lintf.tasks.base import Task
from lintf.tasks.batches import Prompts

FLATNESS = 1.8  # E x^4 / (E x^2)^2 of a uniform variate; 3 of a normal one


@dataclass(frozen=True)
class UniformRegression(Task):
    """Prompts y = w.x with w ~ N(0, I_d), new in each, and covariates whose entries are uniform on
    [-side / 2, side / 2]. side = 1 is the original code, side = 2 is what its paper says. Raises
    ValueError for a field out of its range."""

    representations: ClassVar[tuple[str, ...]] = ("gram", "tokens")

    N: int = whole(10)
    d: int = whole(10)
    side: float = real(1.0, above=True)

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"uniform-N{self.N}-d{self.d}"

    @property
    def variance(self) -> float:
        """That of one entry of a covariate."""
        return self.side**2 / 12

    def draw(self, B: int, rng: np.random.Generator, dtype: torch.dtype) -> Prompts:
        """Returns B prompts whose floating-point numbers have this dtype."""
        precision = np.float64 if dtype == torch.float64 else np.float32
        X = torch.from_numpy(rng.random((B, self.N + 1, self.d), precision) - 0.5) * self.side
        w = torch.from_numpy(rng.standard_normal((B, self.d, 1), precision))
        return Prompts.of(X, (X @ w)[..., 0])
