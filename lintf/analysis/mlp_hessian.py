"""Second derivatives of the loss of an MLPTransformer along each of its parameters, by Taylor
series of second order.

Along one entry of the MLP the features of all tokens move on straight lines, x_n + t s_n u, with
one vector u and one number s_n for each token: u = e_a and s_n = relu_h for W2[a, h]; u = W2[:, h]
and s_n = x_nj for W1[h, j], where the unit h is active, else 0; and 1 in place of these s_n for the
biases. The statistics G = C^T C of the examples then move on a parabola,

    G + t (u v^T + v u^T) + t^2 (sum_n s_n^2) u u^T,        v = sum_n s_n C_n ,

so that no direction has to go through the MLP. Along an entry of P or Q, the state (G, z) after its
layer, z the query token, is quadratic in t, too. From there on all directions go through the layers
as series do (series.py).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lintf.models.base import Params
from lintf.models.gram import apply, left, product
from lintf.models.mlp import MLPTransformer
from lintf.models.series import Series, squares, start, times
from lintf.tasks.batches import Prompts

TOGETHER = 32  # directions at once: they stay in the processor's cache


class Terms(NamedTuple):
    """The terms in t and in t^2 of G and in t of z before some layer, along k directions."""

    G1: Tensor  # (k, D, D, B)
    G2: Tensor
    z1: Tensor  # (k, D, B)


def hessian_diagonal(model: MLPTransformer, params: Params, prompts: Prompts) -> Tensor:
    """Returns d^2 loss / d theta_i^2 for each entry of the parameters, in their order, (n,). They
    have no leading axes here."""
    N, Z = prompts.N, model.tokens(params, prompts)  # (D, N+1, B)
    z, G = Z[:, N], product(Z[:, :N], Z[:, :N].transpose(0, 1))
    layers = list(zip(params["P"], params["Q"] / N, strict=True))

    def second(terms: Terms, after: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Returns d^2 loss / dt^2, (k,), for terms before the layers that come after; G and z are
        those before them."""
        parts = []
        for G1, G2, z1 in zip(*(t.split(TOGETHER) for t in terms), strict=True):
            with torch.enable_grad():
                out = _through(after, start(G, G1, G2), start(z, z1))
            parts.append(squares(out, prompts.y)[2] / len(prompts.y))
        return torch.cat(parts)

    found = {name: second(terms, layers) for name, terms in _of_mlp(params, prompts, Z).items()}
    each = {"P": [], "Q": []}
    for i, (P, Q) in enumerate(layers):
        before, A = (G, z), _identity(G) + _moved(P, Q, G)
        G, z = product(product(A, G), A.transpose(0, 1)), apply(A, z)
        for name, parts in each.items():
            parts.append(second(_of_entries(name, P, Q, A, *before, N), layers[i + 1 :]))
    found |= {name: torch.cat(parts) for name, parts in each.items()}
    return torch.cat([found[name] for name in params])


def _through(layers: list[tuple[Tensor, Tensor]], G: Series, z: Series) -> Series:
    """Returns the last entry of z after layers G <- A G A^T, z <- A z with A = I + P G Q^T, where Q
    is divided by N."""
    for i, (P, Q) in enumerate(layers):
        A = Series(_identity(G.v)) + G.map(partial(_moved, P, Q))
        z = times(apply, A, z)
        if i < len(layers) - 1:
            G = times(product, times(product, A, G), A.T)
    return z.map(lambda z: z[..., -1, :])


def _identity(G: Tensor) -> Tensor:
    return torch.eye(G.shape[-2], dtype=G.dtype, device=G.device).unsqueeze(-1)


def _moved(P: Tensor, Q: Tensor, G: Tensor) -> Tensor:
    """Returns P G Q^T for symmetric G."""
    return left(P, left(Q, G).transpose(-3, -2))


def _of_entries(name: str, P: Tensor, Q: Tensor, A: Tensor, G: Tensor, z: Tensor, N: int) -> Terms:
    """Returns the terms after a layer, along each entry (i, j) of its P or Q, by which one row or
    column of A moves. G and z are those before it."""
    D = len(P)
    M1 = A.new_zeros(D, D, *A.shape)  # (i, j, D, D, B)
    for i in range(D):
        if name == "P":
            M1[i, :, i] = left(Q, G).transpose(0, 1)  # e_i e_j^T G Q^T / N
        else:
            M1[i, :, :, i] = left(P, G).transpose(0, 1) / N  # P G e_j e_i^T / N
    M1 = M1.flatten(0, 1)
    K1 = product(M1, G)
    G1 = product(K1, A.transpose(0, 1))
    return Terms(G1 + G1.transpose(-3, -2), product(K1, M1.transpose(-3, -2)), apply(M1, z))


def _of_mlp(params: Params, prompts: Prompts, Z: Tensor) -> dict[str, Terms]:
    """Returns the terms before the first layer, along each entry of the MLP's parameters."""
    x = prompts.Z.permute(2, 1, 0)[:-1]  # (d, N+1, B)
    h = torch.einsum("hj,jnb->hnb", params["W1"], x) + params["b1"][:, None, None]
    unit = torch.eye(len(x), dtype=x.dtype, device=x.device)
    columns, active = params["W2"].T, (h > 0).to(x)  # (h, d), (h, N+1, B)
    lines = {  # u (k, d) and s (k, N+1, B), entry by entry
        "W1": (columns.repeat_interleave(len(x), 0), (active.unsqueeze(1) * x).flatten(0, 1)),
        "b1": (columns, active),
        "W2": (unit.repeat_interleave(len(h), 0), h.relu().repeat(len(x), 1, 1)),
        "b2": (unit, torch.ones_like(x)),
    }
    return {
        name: _of_lines(torch.cat((u, torch.zeros_like(u[:, :1])), 1), s, Z)
        for name, (u, s) in lines.items()
    }


def _of_lines(u: Tensor, s: Tensor, Z: Tensor) -> Terms:
    """Returns the terms for tokens Z (D, N+1, B) that move along s (k, N+1, B) times u (k, D)."""
    v = torch.einsum("knb,inb->kib", s[:, :-1], Z[:, :-1])
    outer = u[:, :, None, None] * v.unsqueeze(1)  # (k, D, D, B)
    square = s[:, :-1].square().sum(1)[:, None, None]
    z1 = u.unsqueeze(-1) * s[:, -1:]
    uu = (u.unsqueeze(2) * u.unsqueeze(1)).unsqueeze(-1)
    return Terms(outer + outer.transpose(1, 2), square * uu, z1)
