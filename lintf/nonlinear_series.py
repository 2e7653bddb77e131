"""Second derivatives of the loss of an MLPTransformer along each of its parameters, by Taylor series of second order.

Along one entry of the MLP the features of all tokens move on straight lines, x_n + t s_n u, with one vector u and one
number s_n for each token: u = e_a and s_n = relu_h for W2[a, h]; u = W2[:, h] and s_n = x_nj for W1[h, j], where the
unit h is active, else 0; and 1 in place of these s_n for the biases. The statistics G = C^T C of the examples then move
on a parabola,

    G + t (u v^T + v u^T) + t^2 (sum_n s_n^2) u u^T,        v = sum_n s_n C_n ,

so that no direction has to go through the MLP. Along an entry of P or Q, the state (G, z) after its layer, z the query
token, is quadratic in t, too. From there on all directions go through the layers alike; terms above t^2 are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lintf.base import Params
from lintf.batch import Prompts
from lintf.gram import apply, left, product
from lintf.nonlinear import MLPTransformer

TOGETHER = 32  # directions at once: their series stay in the processor's cache


class Terms(NamedTuple):
    """Those in t and in t^2 of G and z before some layer, along k directions."""

    G1: Tensor  # (k, D, D, B)
    G2: Tensor
    z1: Tensor  # (k, D, B)
    z2: Tensor


class Layer(NamedTuple):
    """A layer G <- A G A^T, z <- A z with A = I + P G Q^T / N, and the state before it; B prompts last."""

    P: Tensor
    Q: Tensor  # Q / N
    A: Tensor
    G: Tensor
    z: Tensor


def hessian_diagonal(model: MLPTransformer, params: Params, prompts: Prompts) -> Tensor:
    """(n,): d^2 loss / d theta_i^2 for each entry of the parameters, in their order. They have no leading axes here."""
    N, layers, Z = prompts.N, [], model.tokens(params, prompts)  # (D, N+1, B)
    z, G = Z[:, N], product(Z[:, :N], Z[:, :N].transpose(0, 1))
    for P, Q in zip(params["P"], params["Q"] / N, strict=True):
        A = left(P, left(Q, G).transpose(0, 1)) + torch.eye(len(P), dtype=P.dtype, device=P.device).unsqueeze(-1)
        layers.append(Layer(P, Q, A, G, z))
        G, z = product(product(A, G), A.transpose(0, 1)), apply(A, z)
    error = -z[-1] - prompts.y  # (B,)

    def second(terms: Terms, after: list[Layer]) -> Tensor:
        """(k,): d^2 loss / dt^2, for terms before the layers that come after."""
        parts = []
        for part in zip(*(t.split(TOGETHER) for t in terms), strict=True):
            moved = Terms(*part)
            for layer in after:
                moved = _through(layer, moved, layer is layers[-1])
            slope, bend = -moved.z1[:, -1], -2 * moved.z2[:, -1]  # of the prediction, (k, B)
            parts.append(2 * (slope.square() + error * bend).mean(-1))
        return torch.cat(parts)

    found = {name: second(terms, layers) for name, terms in _of_mlp(params, prompts, Z).items()}
    for name in ("P", "Q"):
        each = [second(_of_entries(name, layer, N), layers[i + 1 :]) for i, layer in enumerate(layers)]
        found[name] = torch.cat(each)
    return torch.cat([found[name] for name in params])


def _through(layer: Layer, terms: Terms, last: bool) -> Terms:
    """Before a layer -> after it; after the last one nobody asks for G."""
    (P, Q, A, G, z), (G1, G2, z1, z2) = layer, terms
    M1, M2 = (left(P, left(Q, g).transpose(-3, -2)) for g in (G1, G2))  # of A
    z1, z2 = apply(A, z1) + apply(M1, z), apply(A, z2) + apply(M1, z1) + apply(M2, z)
    if last:
        return Terms(G1, G2, z1, z2)
    K, K1, K2 = product(A, G), product(A, G1) + product(M1, G), product(A, G2) + product(M1, G1) + product(M2, G)  # A G
    A, M1, M2 = (t.transpose(-3, -2) for t in (A, M1, M2))
    return Terms(product(K1, A) + product(K, M1), product(K2, A) + product(K1, M1) + product(K, M2), z1, z2)


def _of_entries(name: str, layer: Layer, N: int) -> Terms:
    """After a layer, along each entry (i, j) of its P or Q: A has one row more, or one column."""
    P, Q, A, G, z = layer
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
    z1 = apply(M1, z)
    return Terms(G1 + G1.transpose(-3, -2), product(K1, M1.transpose(-3, -2)), z1, torch.zeros_like(z1))


def _of_mlp(params: Params, prompts: Prompts, Z: Tensor) -> dict[str, Terms]:
    """Before the first layer, along each entry of the MLP's parameters."""
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
    return {name: _of_lines(torch.cat((u, torch.zeros_like(u[:, :1])), 1), s, Z) for name, (u, s) in lines.items()}


def _of_lines(u: Tensor, s: Tensor, Z: Tensor) -> Terms:
    """For tokens Z (D, N+1, B) that move along s (k, N+1, B) times u (k, D)."""
    v = torch.einsum("knb,inb->kib", s[:, :-1], Z[:, :-1])
    outer = u[:, :, None, None] * v.unsqueeze(1)  # (k, D, D, B)
    square = s[:, :-1].square().sum(1)[:, None, None]
    z1 = u.unsqueeze(-1) * s[:, -1:]
    uu = (u.unsqueeze(2) * u.unsqueeze(1)).unsqueeze(-1)
    return Terms(outer + outer.transpose(1, 2), square * uu, z1, torch.zeros_like(z1))
