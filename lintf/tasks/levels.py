"""Prompts whose label noise has a level of its own in each, as the statistics that a layer reads
which also looks at the squares of the labels (Vladymyrov et al., arXiv 2402.14180)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from lintf.checks import check_real, checked, real, whole
from lintf.tasks import randoms
from lintf.tasks.base import Task
from lintf.tasks.batches import Levels
from lintf.tasks.linear import LinearRegression


def check_some(name: str, values: Sequence[float]) -> tuple[float, ...]:
    """Returns the values as floats. Raises ValueError for one that is below 0 or no number."""
    return tuple(check_real(f"each of {name}", value, 0.0) for value in values)


@dataclass(frozen=True)
class NoiseLevels(Task):
    """Prompts y = w.x + sigma * noise with w and x from N(0, I), and in each prompt a sigma of its
    own: one of `some`, each as likely as the others, or, where there are none, uniform between 0
    and noise_max. The query's label has no noise. Raises ValueError for a field out of its
    range."""

    representations: ClassVar[tuple[str, ...]] = ("levels",)

    N: int = whole(20)
    d: int = whole(10)
    noise_max: float = real(1.0)
    some: tuple[float, ...] = checked((), check_some, later=True)

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"N{self.N}-d{self.d}-max{max(self.some, default=self.noise_max):g}"

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[NoiseLevels],
        B: int,
        rngs: Sequence[np.random.SFC64],
        representation: str,
        dtype: torch.dtype,
    ) -> Levels:
        """Draws the Gram matrix of covariates and noise, as one of d + 1 covariates, and puts the
        labels in the place of the noise. Arguments as in `Task.draw_ensemble`."""
        task, d = tasks[0], tasks[0].d
        wider = [LinearRegression(N=task.N, d=d + 1) for _ in tasks]
        drawn = LinearRegression.draw_ensemble(wider, B, rngs, "gram", dtype)
        w = randoms.normals(randoms.words(rngs, d, B), dtype, d)[:, :d].mT  # (E, B, d)
        share = torch.from_numpy(randoms.words(rngs, 1, B)[:, 0] * 2.0**-32)  # (E, B), from 0 to 1
        level = task.noise_max * share
        if task.some:
            level = share.new_tensor(task.some)[(len(task.some) * share).long()]
        level = level.to(dtype)
        labels = torch.cat((w, level.unsqueeze(-1)), -1)  # y = labels . (x, noise)
        G = drawn.S.movedim(-1, -3).contiguous()  # (E, B, d+1, d+1)
        row = (G @ labels.unsqueeze(-1))[..., 0]
        G[..., d, :] = G[..., :, d] = row
        G[..., d, d] = (row * labels).sum(-1)
        x = drawn.x[:, :d].mT.contiguous()
        return Levels(G, x, w.contiguous(), level, task.N)
