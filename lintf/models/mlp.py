"""A transformer with a trainable MLP in front, for regression on features (Ahn et al., arXiv
2310.01082): it has to find the features, while its attention does regression on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lintf.checks import real, whole
from lintf.models.base import Model, Params
from lintf.models.gram import apply, left, product
from lintf.tasks.batches import Prompts
from lintf.tasks.mlp import mlp, random_mlp


@dataclass(frozen=True)
class MLPTransformer(Model):
    """An MLP on the covariates of every token, then linear attention with full (d+1) x (d+1)
    matrices P, Q:

        x <- W2 relu(W1 x + b1) + b2        then in every layer        Z <- Z + Z Q C^T C P^T / N ,

    C the N examples' rows of Z. Parameters (leading axes are ensemble members): P, Q (..., L, d+1,
    d+1) from N(0, init_std^2); W1 (..., hidden, d), b1, W2 (..., d, hidden), b2 uniform within +-1
    / sqrt(fan-in).

    The statistics can not be drawn instead of the examples here, because the MLP acts on each of
    them. After it, all that the attention sees is C^T C, so the layers cost the same for any N.
    """

    record_params: ClassVar[bool] = True
    save_final_params: ClassVar[bool] = False

    d: int = whole(5)
    n_layer: int = whole(3)
    hidden: int = whole(30)
    init_std: float = real(0.1)  # of P and Q, a standard deviation

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"mlp{self.hidden}-linear-L{self.n_layer}"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name."""
        square, d, h = (self.n_layer, self.d + 1, self.d + 1), self.d, self.hidden
        return {"P": square, "Q": square, "W1": (h, d), "b1": (h,), "W2": (d, h), "b2": (d,)}

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draws the parameters of one member as the class says, on the CPU."""
        D = self.d + 1
        P, Q = self.init_std * torch.randn(
            (2, self.n_layer, D, D), generator=generator, dtype=dtype, device="cpu"
        )
        return {"P": P, "Q": Q} | random_mlp(self.d, self.hidden, generator, dtype)

    def tokens(self, params: Params, prompts: Prompts) -> Tensor:
        """Returns what the attention sees, features and labels: (..., d+1, N+1, B)."""
        Z = prompts.Z.movedim(-3, -1).transpose(-3, -2)
        x = mlp(params, Z[..., :-1, :, :].flatten(-2)).unflatten(-1, Z.shape[-2:])
        return torch.cat((x, Z[..., -1:, :, :].expand(*x.shape[:-3], 1, *x.shape[-2:])), -3)

    def predict(self, params: Params, prompts: Prompts) -> Tensor:
        """Returns the answer to each query, (..., B). Raises ValueError where parameters and
        prompts do not fit the model."""
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
