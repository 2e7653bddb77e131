"""LinearTransformer: the token-space definition, as in the papers (arXiv 2306.00297, 2310.01082).

Tokens Z: (..., B, N+1, d+1), row i = (x_i, y_i), the query's label set to 0. In layer l, with the N
examples as keys and values, every token n (the query too) changes by the sum over heads h and
examples m of weight times value,

    x_n <- x_n + sum_hm a_hnm P_h x_m
    y_n <- y_n + sum_hm a_hnm y_m        score_hnm = x_n^T Q_h x_m

    linear   a = score / N
    relu     a = max(score, 0) / N
    softmax  a = softmax over m of score
    exp      a = exp(score) / N

With free_v the labels' value is v_h y_m: weights that cannot be negative need a factor that can.

P and Q are the upper left d x d blocks of the papers' matrices, whose other entries are fixed (1 in
P's corner, else 0); their figures call P B_l and Q A_l. The model's last entry learns minus the
answer: prediction = -Z_out[:, N, d].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lintf.checks import flag, one_of, real, whole
from lintf.models import gram
from lintf.models.base import Model, Params
from lintf.tasks.batches import Gram, Prompts

ATTENTION = ("linear", "relu", "softmax", "exp")


@dataclass(frozen=True)
class LinearTransformer(Model):
    """A transformer without MLP or normalisation, as a pure function of its parameters {"P", "Q"}:
    (..., L, H, d, d).

    Leading axes of the parameters are ensemble members; prompts have the same ones, or none (shared
    by all). Linear attention works on tokens and on Gram statistics alike, with the same result up
    to rounding; the other attentions need the tokens. P of the last layer never reaches the
    prediction: its gradient is 0.

    tied: the layers share one P and one Q, and the parameters have L = 1. Such a model with any
    other n_layer can take them over: it loops more often, or less.

    free_v: every layer and head has one more parameter, "v" (..., L, H), by which labels are
    multiplied where they are values. Raises ValueError for linear attention, whose Q can do that.
    """

    record_params: ClassVar[bool] = True
    save_final_params: ClassVar[bool] = False

    d: int = whole(5)
    n_layer: int = whole(3)
    n_head: int = whole(1)
    attention: str = one_of("linear", ATTENTION)
    init_std: float = real(1e-4)  # a standard deviation (the original code calls it var)
    # False: P = 0, the covariates stay as they are, {"Q"} are all parameters.
    free_P: bool = flag(True, later=True)
    tied: bool = flag(False, later=True)
    free_v: bool = flag(False, later=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.free_v and self.attention == "linear":
            raise ValueError("free_v must be False for linear attention, whose Q can do the same")

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        heads = f"-H{self.n_head}" if self.n_head > 1 else ""
        return (
            f"{self.attention}-L{self.n_layer}{heads}"
            + "-P0" * (not self.free_P)
            + "-tied" * self.tied
            + "-v" * self.free_v
        )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name."""
        shape = (1 if self.tied else self.n_layer, self.n_head, self.d, self.d)
        shapes = {"P": shape, "Q": shape} if self.free_P else {"Q": shape}
        return shapes | ({"v": shape[:2]} if self.free_v else {})

    @property
    def representation(self) -> str:
        """The form of the prompts it is trained on: statistics where they suffice."""
        return "gram" if self.attention == "linear" else "tokens"

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draws P, Q and v of one member from N(0, init_std^2), on the CPU."""
        how = {"generator": generator, "dtype": dtype, "device": "cpu"}
        P, Q = self.init_std * torch.randn((2, *self.shapes["Q"]), **how)
        params = {"P": P, "Q": Q} if self.free_P else {"Q": Q}
        if self.free_v:
            params["v"] = self.init_std * torch.randn(self.shapes["v"], **how)
        return params

    def layers(self, params: Params) -> tuple[Tensor, Tensor]:
        """Returns P and Q of all layers, (..., L, H, d, d) each, also where these share them or P
        is 0."""
        Q = params["Q"]
        P = params["P"] if self.free_P else torch.zeros_like(Q)
        if not self.tied:
            return P, Q
        return tuple(M.expand(*M.shape[:-4], self.n_layer, *M.shape[-3:]) for M in (P, Q))

    def label_factors(self, params: Params) -> Tensor:
        """Returns v of all layers, (..., L, H), which is 1 unless it is a parameter."""
        v = params["v"] if self.free_v else torch.ones_like(params["Q"][..., 0, 0])
        return v.expand(*v.shape[:-2], self.n_layer, v.shape[-1]) if self.tied else v

    def predict(self, params: Params, prompts: Prompts | Gram) -> Tensor:
        """Returns the answer to each query, (..., B)."""
        self.check(params, prompts)
        P, Q = self.layers(params)
        if isinstance(prompts, Gram):
            return gram.predict(P, Q, prompts)
        return -_last_entry(P, Q, self.label_factors(params), prompts.Z, self.attention)

    def loss(self, params: Params, prompts: Prompts | Gram, backend: str = "auto") -> Tensor:
        """Returns the mean squared error over the prompts, one number per ensemble member. backend:
        see gram.mse; "plain" for second derivatives."""
        if not isinstance(prompts, Gram):
            return super().loss(params, prompts)
        self.check(params, prompts)
        return gram.mse(*self.layers(params), prompts, backend)

    def check(self, params: Params, prompts: Prompts | Gram) -> torch.Size:
        """Returns the parameters' leading axes. Tokens fit every attention, statistics linear
        attention only. Raises ValueError for others."""
        if isinstance(prompts, Gram) and self.attention != "linear":
            raise ValueError(
                f"{self.attention} attention needs tokens: Gram statistics describe linear "
                "attention only"
            )
        if not isinstance(prompts, Prompts | Gram):
            raise ValueError(
                f"LinearTransformer needs Prompts or Gram, got {type(prompts).__name__}"
            )
        if prompts.d != self.d:
            raise ValueError(f"prompts with d = {prompts.d} do not fit a model with d = {self.d}")
        return self.check_params(params)


def weights(scores: Tensor, attention: str) -> Tensor:
    """Returns the weights of the examples for scores (..., tokens, N), in the same shape."""
    if attention == "softmax":
        return scores.softmax(-1)
    sigma = {"linear": torch.Tensor.clone, "relu": torch.relu, "exp": torch.exp}[attention]
    return sigma(scores) / scores.shape[-1]


def _last_entry(P: Tensor, Q: Tensor, v: Tensor, Z: Tensor, attention: str) -> Tensor:
    N, d = Z.shape[-2] - 1, Z.shape[-1] - 1
    Z = Z.unsqueeze(-4)  # (..., 1, B, N+1, d+1): the first axis is for the heads
    last = P.shape[-4] - 1
    for layer in range(last + 1):
        X = Z[..., :N, :d]
        y = Z[..., :N, d:] * v[..., layer, :, None, None, None]  # (..., H, B, N, 1)
        if layer == last:
            Z = Z[..., N:, :]  # only the query is read
        scores = _mapped(Z[..., :d], Q[..., layer, :, :, :]) @ X.mT  # (..., H, B, N+1, N)
        PX = _mapped(X, P[..., layer, :, :, :].mT)  # (..., H, B, N, d)
        values = torch.cat((PX, y), -1)  # (..., H, B, N, d+1)
        Z = Z + (weights(scores, attention) @ values).sum(-4, keepdim=True)
    return Z[..., 0, :, -1, d]


def _mapped(x: Tensor, M: Tensor) -> Tensor:
    """Returns x M for rows x (..., 1, B, n, d) and M (..., H, d, d)."""
    return (x.flatten(-3, -2) @ M).unflatten(-2, x.shape[-3:-1])
