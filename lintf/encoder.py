"""Encoder: a transformer with full attention whose parts can be left out, as in arXiv 2403.03183 (Giannou et al.)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lintf.base import Model, Params
from lintf.batch import Labelled, Prompts
from lintf.checks import flag, one_of, real, whole
from lintf.task import Task, fixed_prompts

ATTENTION = ("linear", "softmax")
READOUTS = ("y", "w")
TESTS = 1000  # prompts on which `observe` measures
EPS = 1e-5  # LayerNorm's


@dataclass(frozen=True)
class Encoder(Model):
    """Reads the tokens r_i = (x_i, y_i), the last one with y = 0, and answers from the last position:

        h_i = W_in r_i + b_in + position_i            in `width` dimensions
        h <- h + proj(sum_j a_ij v_j)                 in every layer, then clipped to +-clip
        h <- h + down(relu(up(norm(h))))              in every layer, with an MLP of 4 * width units
        out = W_out norm(h_N) + b_out                 one number, or d of them

    with heads of width / n_head dimensions, scores q_i.k_j over the root of that, and a_ij the score itself (linear) or
    its softmax over j; all tokens attend to all, the last one included, or with mask_query to all but the last. q, k, v
    are affine in h, or in norm(h), its LayerNorm. The paper's LSA is linear attention with clip = 10, its LSA with
    LayerNorm has norm and no clip, and its full transformer softmax, norm and mlp. mask_query is ours.

    The paper's tokens begin with d zeros; their weights never matter, and only the range of W_in's first values
    (uniform within 1 / sqrt(2 d + 1)) remembers them. The weights of attention and MLP are drawn from
    N(0, init_std^2). Biases are the last columns. Leading axes of all parameters are ensemble members. Raises
    ValueError for a field out of its range.

    readout: "y" answers the query of a regression, "w" gives d weights. positions: for how many tokens there are
    learned positions, drawn from N(0, 1); 0 for none.
    """

    d: int = whole(5)
    n_layer: int = whole(2, low=0)
    width: int = whole(64)
    n_head: int = whole(4)
    attention: str = one_of("linear", ATTENTION)
    norm: bool = flag(False)
    mlp: bool = flag(False)
    mask_query: bool = flag(False)
    clip: float | None = real(None, above=True)
    init_std: float = real(0.02)
    readout: str = one_of("y", READOUTS)
    positions: int = whole(0, low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.n_head:
            raise ValueError(f"width must be a multiple of n_head = {self.n_head}, got {self.width}")

    @property
    def label(self) -> str:
        parts = "-norm" * self.norm + "-mlp" * self.mlp + "-masked" * self.mask_query
        return f"encoder-{self.attention}{parts}-w{self.width}-L{self.n_layer}"

    @property
    def form(self) -> str:
        return {"y": "tokens", "w": "labels"}[self.readout]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the parameters of one member. norms: scale and shift of a layer's LayerNorms, one or two of them."""
        L, D = self.n_layer, self.width
        shapes = {
            "in": (D, self.d + 2),
            "out": (self.d if self.readout == "w" else 1, D + 1),
            "qkv": (L, 3 * D, D + 1),
            "proj": (L, D, D + 1),
        }
        if self.mlp:
            shapes |= {"up": (L, 4 * D, D + 1), "down": (L, D, 4 * D + 1)}
        if self.norm:
            shapes |= {"norms": (L, 1 + self.mlp, 2, D), "last_norm": (2, D)}
        if self.positions:
            shapes["positions"] = (self.positions, D)
        return shapes

    def check_fit(self, task: Task) -> None:
        """Raises ValueError for a task with more tokens than positions."""
        super().check_fit(task)
        if self.positions and self.positions < task.N + 1:
            raise ValueError(f"positions must be at least N + 1 = {task.N + 1}, or 0 for none, got {self.positions}")

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        params = {}
        for name, shape in self.shapes.items():
            if name.endswith(("norms", "norm")):
                params[name] = torch.tensor([[1.0], [0.0]], dtype=dtype, device="cpu").expand(shape).clone()
            elif name == "positions":
                params[name] = torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
            elif name in ("in", "out"):
                reach = 1 / math.sqrt(2 * self.d + 1 if name == "in" else self.width)
                params[name] = reach * (2 * torch.rand(shape, generator=generator, dtype=dtype, device="cpu") - 1)
            else:
                weights = self.init_std * torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
                params[name] = torch.cat((weights[..., :-1], torch.zeros_like(weights[..., -1:])), -1)  # bias 0
        return {name: p.to(dtype) for name, p in params.items()}

    def predict(self, params: Params, prompts: Prompts | Labelled) -> Tensor:
        """(..., B): the answer to each query, or (..., B, d): weights. Prompts have the leading axes of the parameters,
        or none."""
        self.check(params, prompts)
        lead, D = params["in"].shape[:-2], self.width
        Z = prompts.Z.expand(*lead, *prompts.Z.shape[-3:])
        B, n = Z.shape[-3:-1]
        h = _affine(Z.flatten(-3, -2), params["in"])  # (..., B n, D)
        if self.positions:
            h = h + params["positions"][..., :n, :].repeat(*[1] * len(lead), B, 1)
        for layer in range(self.n_layer):
            p = {name: params[name][..., layer, :, :] for name in ("qkv", "proj")}
            x = _normal(h, params["norms"][..., layer, 0, :, :]) if self.norm else h
            last = layer == self.n_layer - 1  # then only the last token's state is needed
            if last:
                h, end = (t.unflatten(-2, (B, n))[..., -1, :] for t in (h, x))  # (..., B, D)
            if last or self.mask_query:
                q = _affine(end if last else x, p["qkv"][..., :D, :])
                x = x.unflatten(-2, (B, n))[..., :-1, :].flatten(-3, -2) if self.mask_query else x
                k, v = _affine(x, p["qkv"][..., D:, :]).chunk(2, -1)
            else:
                q, k, v = _affine(x, p["qkv"]).chunk(3, -1)
            h = h + _affine(self._attend(q, k, v, B), p["proj"])
            if self.clip is not None:
                h = h.clamp(-self.clip, self.clip)
            if self.mlp:
                x = _normal(h, params["norms"][..., layer, 1, :, :]) if self.norm else h
                up, down = (params[name][..., layer, :, :] for name in ("up", "down"))
                h = h + _affine(_affine(x, up).relu(), down)
        if self.n_layer == 0:
            h = h.unflatten(-2, (B, n))[..., -1, :]
        if self.norm:
            h = _normal(h, params["last_norm"])
        out = _affine(h, params["out"])
        return out if self.readout == "w" else out[..., 0]

    def bounds(self, params: Params) -> tuple[Tensor, Tensor]:
        """The smallest and largest answer (...) to any prompt, for norm and the read-out y: the last LayerNorm gives
        states scale * u + shift with |u| <= sqrt(width). Raises ValueError without them."""
        if not self.norm or self.readout != "y":
            raise ValueError(f"bounds need norm = True and readout = 'y', got {self.norm} and {self.readout!r}")
        scale, shift = params["last_norm"].unbind(-2)
        w, b = params["out"][..., 0, :-1], params["out"][..., 0, -1]
        middle, radius = (w * shift).sum(-1) + b, math.sqrt(self.width) * (w * scale).norm(dim=-1)
        return middle - radius, middle + radius

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, B: int) -> Tensor:
        """For q (..., B m, D), k and v (..., B keys, D): (..., B m, D)."""

        def heads(t: Tensor) -> Tensor:  # (..., B, n_head, m, D / n_head)
            return t.unflatten(-2, (B, -1)).unflatten(-1, (self.n_head, -1)).transpose(-3, -2)

        q, k, v = map(heads, (q, k, v))
        if self.attention == "softmax":
            out = functional.scaled_dot_product_attention(q, k, v)
        else:
            out = q @ ((k / math.sqrt(k.shape[-1])).mT @ v)  # n scores for each of n tokens are not needed
        return out.transpose(-3, -2).flatten(-2).flatten(-3, -2)

    def loss(self, params: Params, prompts: Prompts | Labelled) -> Tensor:
        """Mean squared error over the prompts, and over the d weights, one number per ensemble member."""
        if self.readout == "y":
            return super().loss(params, prompts)
        return (self.predict(params, prompts) - prompts.w).square().mean((-2, -1))

    def observe(self, params: Params, task: Task) -> Params:
        """What a run records: the mean squared error on 1000 prompts of the task."""
        with torch.no_grad():
            tests = fixed_prompts(task, 10, TESTS // 10, self.form, params["in"].dtype).to(params["in"].device)
            return {"test_loss": self.loss(params, tests)}

    def check(self, params: Params, prompts: Prompts | Labelled) -> torch.Size:
        """Also the number of tokens."""
        lead = super().check(params, prompts)
        if self.positions and prompts.Z.shape[-2] > self.positions:
            tokens = prompts.Z.shape[-2]
            raise ValueError(f"positions must be at least the number of tokens, {tokens}, or 0, got {self.positions}")
        return lead


def _affine(h: Tensor, W: Tensor) -> Tensor:
    """W[:, :-1] h + W[:, -1] for h (..., tokens, k) and W (..., m, k + 1)."""
    return h @ W[..., :-1].mT + W[..., -1].unsqueeze(-2)


def _normal(h: Tensor, scale_shift: Tensor) -> Tensor:
    """LayerNorm over the last axis of h (..., tokens, D), with scale_shift (..., 2, D)."""
    scale, shift = scale_shift.unsqueeze(-3).unbind(-2)
    return functional.layer_norm(h, h.shape[-1:], eps=EPS) * scale + shift
