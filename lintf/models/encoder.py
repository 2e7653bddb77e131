"""Encoder: a transformer with full attention whose parts can be left out, as in arXiv 2403.03183
(Giannou et al.)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lintf.checks import flag, one_of, real, whole
from lintf.models.base import Model, Params
from lintf.models.layers import affine, each_member, normal
from lintf.tasks.base import Task, fixed_prompts
from lintf.tasks.batches import Labelled, Prompts

ATTENTION = ("linear", "softmax")
READOUTS = ("y", "w")
TESTS = 1000  # prompts on which `metrics` measures


@dataclass(frozen=True)
class Encoder(Model):
    """Reads the tokens r_i = (x_i, y_i), the last one with y = 0, and answers from the last
    position:

        h_i = W_in r_i + b_in + position_i            in `width` dimensions
        h <- h + proj(sum_j a_ij v_j)                 in every layer, then clipped to +-clip
        h <- h + down(relu(up(norm(h))))              in every layer, with an MLP of 4 * width units
        out = W_out norm(h_N) + b_out                 one number, or d of them

    with heads of width / n_head dimensions, scores q_i.k_j over the root of that, and a_ij the
    score itself (linear) or its softmax over j; all tokens attend to all, the last one included, or
    with mask_query to all but the last. q, k, v are affine in h, or in norm(h), its LayerNorm. The
    paper's LSA is linear attention with clip = 10, its LSA with LayerNorm has norm and no clip, and
    its full transformer softmax, norm and mlp. mask_query is ours.

    The paper's tokens begin with d zeros; their weights never matter, and only the range of W_in's
    first values (uniform within 1 / sqrt(2 d + 1)) remembers them. The weights of attention and MLP
    are drawn from N(0, init_std^2). Biases are the last columns. Leading axes of all parameters are
    ensemble members. Raises ValueError for a field out of its range.

    readout: "y" answers the query of a regression, "w" gives d weights. positions: for how many
    tokens there are learned positions, drawn from N(0, 1); 0 for none.
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
            raise ValueError(
                f"width must be a multiple of n_head = {self.n_head}, got {self.width}"
            )

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        parts = "-norm" * self.norm + "-mlp" * self.mlp + "-masked" * self.mask_query
        return f"encoder-{self.attention}{parts}-w{self.width}-L{self.n_layer}"

    @property
    def representation(self) -> str:
        """The form of the prompts, which follows from what is read out."""
        return {"y": "tokens", "w": "labels"}[self.readout]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name. norms: scale and shift of a layer's
        LayerNorms, one or two of them."""
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
            raise ValueError(
                f"positions must be at least N + 1 = {task.N + 1}, or 0 for none, got "
                f"{self.positions}"
            )

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draws the parameters of one member on the CPU: the read-in and the read-out uniform,
        biases of the layers 0."""
        params = {}
        for name, shape in self.shapes.items():
            if name.endswith(("norms", "norm")):
                params[name] = (
                    torch.tensor([[1.0], [0.0]], dtype=dtype, device="cpu").expand(shape).clone()
                )
            elif name == "positions":
                params[name] = torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
            elif name in ("in", "out"):
                reach = 1 / math.sqrt(2 * self.d + 1 if name == "in" else self.width)
                params[name] = reach * (
                    2 * torch.rand(shape, generator=generator, dtype=dtype, device="cpu") - 1
                )
            else:
                weights = self.init_std * torch.randn(
                    shape, generator=generator, dtype=dtype, device="cpu"
                )
                # Bias 0.
                params[name] = torch.cat(
                    (weights[..., :-1], torch.zeros_like(weights[..., -1:])), -1
                )
        return {name: p.to(dtype) for name, p in params.items()}

    def predict(self, params: Params, prompts: Prompts | Labelled) -> Tensor:
        """Returns the answer to each query, (..., B), or weights, (..., B, d). Prompts have the
        leading axes of the parameters, or none."""
        self.check(params, prompts)
        out = each_member(self._answers, params, self.shapes, prompts.Z)
        return out if self.readout == "w" else out[..., 0]

    def _answers(self, p: Params, Z: Tensor) -> Tensor:
        """Returns the answers (B, 1 or d) of one member to its Z (B, n, d+1)."""
        linear = self.attention == "linear" and not (self.norm or self.mlp or self.positions)
        if linear and self.n_layer:
            h = self._through_maps(p, Z)
        else:
            h = functional.linear(Z, *affine(p["in"]))
            h = self._through_tokens(
                p, h + p["positions"][: Z.shape[1]] if self.positions else h, 0
            )
        h = normal(h, p["last_norm"].unbind()) if self.norm else h
        return functional.linear(h, *affine(p["out"]))

    def _through_tokens(self, p: Params, h: Tensor, first: int) -> Tensor:
        """Returns the last token's state (B, D) after all layers, from the states h (B, n, D) of
        all tokens before the layer `first`."""
        D = self.width
        for layer in range(first, self.n_layer):
            norms = [pair.unbind() for pair in p["norms"][layer]] if self.norm else None
            x = normal(h, norms[0]) if norms else h
            keys = x[:, :-1] if self.mask_query else x
            W, b = affine(p["qkv"][layer])
            last = layer == self.n_layer - 1  # then only the last token's state is needed
            if last:
                h, x = h[:, -1:], x[:, -1:]
            if last or self.mask_query:
                q = functional.linear(x, W[:D], b[:D])
                k, v = functional.linear(keys, W[D:], b[D:]).chunk(2, -1)
            else:
                q, k, v = functional.linear(x, W, b).chunk(3, -1)
            h = self._clipped(
                h + functional.linear(self._attend(q, k, v), *affine(p["proj"][layer]))
            )
            if self.mlp:
                up = functional.linear(
                    normal(h, norms[1]) if norms else h, *affine(p["up"][layer])
                ).relu()
                h = h + functional.linear(up, *affine(p["down"][layer]))
        return h[:, -1]

    def _through_maps(self, p: Params, Z: Tensor) -> Tensor:
        """Returns the same (B, D) for layers of linear attention alone. Until something is clipped,
        the states of all tokens of a prompt are one linear map m of (x, y, 1), that of the first
        layer W_in, and in every layer

            m <- m + proj(values G keys^T queries) ,
            G = sum of r r^T over the tokens r = (x, y, 1) that are keys,

        with queries, keys and values of m. Maps are (d+2, B, D), by the entries of r. A prompt that
        the clipping may reach goes on with its tokens: one with sum_c |m_c| max_i |r_ic| > clip
        somewhere, which no state exceeds.
        """
        r = functional.pad(Z, (0, 1), value=1.0)  # (B, n, d+2)
        keys = r[:, :-1] if self.mask_query else r
        G = keys.mT @ keys
        m = p["in"].mT.unsqueeze(1)  # (d+2, 1, D)
        # Prompts; those that went on, and their states.
        which, gone = (torch.arange(len(Z), device=Z.device), [])
        for layer in range(self.n_layer - 1):
            m = self._next_map(p, m, G, layer)
            if self.clip is None:
                continue
            with torch.no_grad():
                reach = (r.abs().amax(1).mT.unsqueeze(-1) * m.abs()).sum(0).amax(-1)  # (B,)
                inside = reach <= self.clip
            if not inside.all():
                some = ~inside
                h = self._clipped(r[some] @ m[:, some].transpose(0, 1))
                gone.append((which[some], self._through_tokens(p, h, layer + 1)))
                which, r, G, m = which[inside], r[inside], G[inside], m[:, inside]
        h = self._last_state(p, m, r, G)
        if not gone:
            return h
        places, states = zip(*gone, (which, h), strict=True)
        return torch.cat(states)[torch.cat(places).argsort()]

    def _next_map(self, p: Params, m: Tensor, G: Tensor, layer: int) -> Tensor:
        """Returns m (d+2, B, D) after a layer, for the prompts' G (B, d+2, d+2)."""
        B, n_head = len(G), self.n_head

        def heads(t: Tensor) -> Tensor:  # (B n_head, d+2, D / n_head)
            return t.unflatten(-1, (n_head, -1)).flatten(1, 2).transpose(0, 1)

        ones = _with_one(m, 0)
        q, k, v = (heads(functional.linear(ones, W)) for W in p["qkv"][layer].chunk(3))
        scores = q @ k.mT / math.sqrt(k.shape[-1])
        if m.shape[1] == 1:  # of all prompts: then the new maps are linear in G
            v = torch.einsum("hes,Dhs->heD", v, p["proj"][layer][:, :-1].unflatten(1, (n_head, -1)))
            # Symmetric in a and e, as G is.
            T = torch.einsum("hca,heD->caeD", scores, v).flatten(1, 2)
            rest = torch.cat((torch.zeros_like(m[:-1]), p["proj"][layer][:, -1].expand(1, 1, -1)))
            return m + rest + G.flatten(1) @ T
        a = (scores.view(B, n_head * len(m), len(m)) @ G).view_as(scores) @ v
        a = a.unflatten(0, (B, n_head)).permute(2, 0, 1, 3).flatten(2)
        return m + functional.linear(_with_one(a, 0), p["proj"][layer])

    def _last_state(self, p: Params, m: Tensor, r: Tensor, G: Tensor) -> Tensor:
        """Returns the query's state (B, D) after the last layer. Its one key for all heads, W_k^T
        q, meets the map itself, and so does its one value: no keys and values of the map are
        needed."""
        D, n_head = self.width, self.n_head
        m = m.transpose(0, 1)  # (B or 1, d+2, D)
        h = (r[:, -1:] @ m)[:, 0]
        W_q, W_k, W_v = p["qkv"][-1].chunk(3)
        # (B, n_head, s).
        q = functional.linear(h, *affine(W_q / math.sqrt(D // n_head))).unflatten(-1, (n_head, -1))
        W_k, W_v = (W.unflatten(0, (n_head, -1)) for W in (W_k, W_v))  # (n_head, s, D+1)
        m = _with_one(m, -2)
        scores = m @ (q.transpose(0, 1) @ W_k).permute(1, 2, 0)  # (B, d+2, n_head)
        seen = (G @ scores).mT @ m  # (B, n_head, D+1)
        a = (seen.transpose(0, 1) @ W_v.mT).transpose(0, 1).flatten(1)
        return self._clipped(h + functional.linear(a, *affine(p["proj"][-1])))

    def _clipped(self, h: Tensor) -> Tensor:
        return h if self.clip is None else h.clamp(-self.clip, self.clip)

    def bounds(self, params: Params) -> tuple[Tensor, Tensor]:
        """Returns the smallest and largest answer (...) to any prompt, for norm and the read-out y:
        the last LayerNorm gives states scale * u + shift with |u| <= sqrt(width). Raises ValueError
        for other models."""
        if not self.norm or self.readout != "y":
            raise ValueError(
                f"bounds need norm = True and readout = 'y', got {self.norm} and {self.readout!r}"
            )
        scale, shift = params["last_norm"].unbind(-2)
        w, b = params["out"][..., 0, :-1], params["out"][..., 0, -1]
        middle, radius = (w * shift).sum(-1) + b, math.sqrt(self.width) * (w * scale).norm(dim=-1)
        return middle - radius, middle + radius

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Returns what the heads give, (B, m, D), for q (B, m, D), k and v (B, keys, D)."""
        q, k, v = (t.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for t in (q, k, v))
        if self.attention == "softmax":
            out = functional.scaled_dot_product_attention(q, k, v)
        else:
            # Scores of n tokens for each of n are not needed.
            out = q @ (k.mT @ v / math.sqrt(k.shape[-1]))
        return out.transpose(1, 2).flatten(-2)

    def loss(self, params: Params, prompts: Prompts | Labelled) -> Tensor:
        """Returns the mean squared error over the prompts, and over the d weights, one number per
        ensemble member."""
        if self.readout == "y":
            return super().loss(params, prompts)
        return (self.predict(params, prompts) - prompts.w).square().mean((-2, -1))

    def metrics(self, params: Params, task: Task) -> Params:
        """Returns what a run records: the mean squared error on 1000 prompts of the task."""
        with torch.no_grad():
            tests = fixed_prompts(
                task, 10, TESTS // 10, self.representation, params["in"].dtype
            ).to(params["in"].device)
            return {"test_loss": self.loss(params, tests)}

    def check(self, params: Params, prompts: Prompts | Labelled) -> torch.Size:
        """Checks the number of tokens, too."""
        lead = super().check(params, prompts)
        if self.positions and prompts.Z.shape[-2] > self.positions:
            tokens = prompts.Z.shape[-2]
            raise ValueError(
                f"positions must be at least the number of tokens, {tokens}, or 0, got "
                f"{self.positions}"
            )
        return lead


def _with_one(m: Tensor, entries: int) -> Tensor:
    """Returns a map (..., D) with the map of the constant 1 as column D + 1, where the axis
    `entries` goes by those of r."""
    one = torch.zeros_like(m[..., :1])
    one.select(entries, -1).fill_(1)
    return torch.cat((m, one), -1)
