"""LabelTransformer: linear attention whose layers also read the squares of the labels."""

from __future__ import annotations

from collections.abc import Callable
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
    """Layers of one head on tokens z = (x, y), (..., B, d+1): with G the sum of z z^T over the
    examples,

        z <- z + M z        M = P G Q / N        prediction = -y of the query, which starts at 0

    so that after a layer G is (I + M) G (I + M)^T. Weights (arXiv 2402.14180):

    full      P and Q (..., L, d+1, d+1)
    diagonal  P = diag(p_x, ..., p_x, p_y) and Q alike: p and q (..., L, 2). M has the blocks
              omega_xx S, omega_xy s, omega_yx s^T and omega_yy y^T y over N, omega_ab = p_a q_b
    gd        GD++: q_y = 0, so that q is (..., L, 1), and labels are read by nothing but omega_yx

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
        return {
            name: self.init_std * torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
            for name, shape in self.shapes.items()
        }

    def estimate(self, params: Params, prompts: Levels) -> Tensor:
        """Returns the weights (..., B, d) with which the query is multiplied."""
        self.check(params, prompts)
        G, layers = prompts.G / prompts.N, self._layers(params)
        steps = []
        for act in layers[:-1]:
            M = act(G)
            G = G + M @ G
            G = G + G @ M.mT
            steps.append(M)
        # From the last row of the last M back through the layers: row <- row (I + M).
        last = torch.eye(self.d + 1, dtype=G.dtype, device=G.device)[-1:]
        row = last + layers[-1](G)[..., -1:, :]
        for M in reversed(steps):
            row = row + row @ M
        return -row[..., 0, :-1]

    def _layers(self, params: Params) -> list[Callable[[Tensor], Tensor]]:
        """Returns for each layer the function from G / N to its M."""
        if self.weights == "full":
            pairs = zip(params["P"].unbind(-3), params["Q"].unbind(-3), strict=True)
            return [lambda G, P=P, Q=Q: P.unsqueeze(-3) @ G @ Q.unsqueeze(-3) for P, Q in pairs]
        p, q = params["p"], params["q"]
        if self.weights == "gd":
            q = torch.cat((q, torch.zeros_like(q)), -1)
        sizes = torch.tensor([self.d, 1], device=p.device)
        p, q = (v.repeat_interleave(sizes, -1).unsqueeze(-2) for v in (p, q))  # (..., L, 1, d+1)
        omegas = (p.unsqueeze(-1) * q.unsqueeze(-2)).unbind(-4)
        return [lambda G, omega=omega: omega * G for omega in omegas]

    def predict(self, params: Params, prompts: Levels) -> Tensor:
        """Returns the answer to each query, (..., B)."""
        return (self.estimate(params, prompts) * prompts.x).sum(-1)

    def loss(self, params: Params, prompts: Levels) -> Tensor:
        """Returns the mean over the prompts of the squared error, averaged over all queries: one
        number per ensemble member."""
        return (self.estimate(params, prompts) - prompts.w).square().sum(-1).mean(-1)
