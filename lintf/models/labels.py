"""LabelTransformer: linear attention whose layers also read the squares of the labels (arXiv
2402.14180)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lintf.checks import one_of, real, whole
from lintf.models.base import Model, Params
from lintf.tasks.batches import Levels

WEIGHTS = ("gd", "diagonal", "full")


@dataclass(frozen=True)
class LabelTransformer(Model):
    """Layers of one head on tokens z = (x, y). With G the sum of z z^T over the examples,

        z <- z + M z        M = P G Q / N        prediction = -y of the query, which starts at 0

    so that after a layer G is (I + M) G (I + M)^T. The weights are

        full      P and Q (L, d+1, d+1)
        diagonal  P = diag(p_x, ..., p_x, p_y) and Q alike: p and q (L, 2)
        gd        q_y = 0, so that q is (L, 1): labels are read by nothing but p_y q_x (GD++)

    All entries start from N(0, init_std^2). Raises ValueError for a field out of its range.
    """

    representation: ClassVar[str] = "levels"

    d: int = whole(10)
    n_layer: int = whole(2)
    weights: str = one_of("diagonal", WEIGHTS)
    init_std: float = real(0.2)

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"{self.weights}-L{self.n_layer}"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name."""
        L, D = self.n_layer, self.d + 1
        if self.weights == "full":
            return {"P": (L, D, D), "Q": (L, D, D)}
        return {"p": (L, 2), "q": (L, 1 if self.weights == "gd" else 2)}

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draws the parameters of one member, on the CPU."""
        how = {"generator": generator, "dtype": dtype, "device": "cpu"}
        return {
            name: self.init_std * torch.randn(shape, **how) for name, shape in self.shapes.items()
        }

    def omega(self, params: Params) -> Tensor:
        """Returns what multiplies the blocks of G in the layers, ((xx, xy), (yx, yy)), (..., L, 2,
        2), for weights that are not full."""
        p, q = params["p"], params["q"]
        q = torch.cat((q, torch.zeros_like(q)), -1)[..., :2]
        return p.unsqueeze(-1) * q.unsqueeze(-2)

    def estimate(self, params: Params, prompts: Levels) -> Tensor:
        """Returns the weights (..., B, d) with which the query is multiplied."""
        self.check(params, prompts)
        G = prompts.G / prompts.N
        if self.weights == "full":
            P, Q = (params[name].unsqueeze(-3) for name in "PQ")  # (..., L, 1, d+1, d+1)
        else:
            block = torch.tensor([0] * self.d + [1], dtype=torch.long, device=G.device)
            omega = self.omega(params)[..., block, :][..., block].unsqueeze(-3)
        row = torch.eye(self.d + 1, dtype=G.dtype, device=G.device)[-1:]
        steps = []
        for layer in range(self.n_layer):
            if self.weights == "full":
                M = P[..., layer, :, :, :] @ G @ Q[..., layer, :, :, :]
            else:
                M = omega[..., layer, :, :, :] * G
            steps.append(M)
            if layer + 1 < self.n_layer:
                G = G + M @ G
                G = G + G @ M.mT
        for M in reversed(steps):  # the last row of (I + M_L) ... (I + M_1)
            row = row + row @ M
        return -row[..., 0, :-1]

    def predict(self, params: Params, prompts: Levels) -> Tensor:
        """Returns the answer to each query, (..., B)."""
        return (self.estimate(params, prompts) * prompts.x).sum(-1)

    def loss(self, params: Params, prompts: Levels) -> Tensor:
        """Returns the mean over the prompts of the squared error, averaged over all queries: one
        number per ensemble member."""
        return (self.estimate(params, prompts) - prompts.w).square().sum(-1).mean(-1)
