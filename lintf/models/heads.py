"""Heads: one layer of linear attention with its value weights, and with key and query merged or
apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lintf.checks import real, whole
from lintf.models.base import Model, Params
from lintf.tasks.batches import Gram


@dataclass(frozen=True)
class Heads(Model):
    """One layer of linear attention whose heads h have value weights v_h. With s = sum_i y_i x_i
    it answers s^T M x / N, where

        M = sum_h v_h k_h^T q_h        k_h and q_h (rank, d): key and query apart
        M = sum_h v_h U_h              U_h (d, d): merged

    The parameters are {"v", "k", "q"} or {"v", "U"}. What else a head of linear attention has
    stays 0 in a training from small weights (arXiv 2501.16265). rank: that of keys and queries;
    None merges them.
    """

    representation = "gram"
    record_params = True

    d: int = whole(4)
    n_head: int = whole(5)
    rank: int | None = whole(1, none=True)
    init_std: float = real(0.01)

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"H{self.n_head}-" + ("merged" if self.rank is None else f"R{self.rank}")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name."""
        H, d = self.n_head, self.d
        if self.rank is None:
            return {"v": (H,), "U": (H, d, d)}
        return {"v": (H,), "k": (H, self.rank, d), "q": (H, self.rank, d)}

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draws all weights of one member from N(0, init_std^2), on the CPU."""
        return {
            name: self.init_std * torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
            for name, shape in self.shapes.items()
        }

    def matrix(self, params: Params) -> Tensor:
        """Returns M (..., d, d) of parameters with any leading axes."""
        v = params["v"][..., None, None]
        each = params["U"] if self.rank is None else params["k"].mT @ params["q"]
        return (v * each).sum(-3)

    def forward(self, params: Params, prompts: Gram) -> Tensor:
        """Returns the answers (B,) of one member."""
        return (prompts.s * (self.matrix(params) @ prompts.x)).sum(0) / prompts.N
