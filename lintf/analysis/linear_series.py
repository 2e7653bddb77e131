"""Second derivatives of the loss of linear attention on Gram statistics by series: what lines.cpp
does, in PyTorch.

A line through all weights makes series of them from the first layer on (series.py). Along a single
entry of P or Q the state (S, s, x) is a series only after its layer: there A = I + M moves by a
matrix of rank one, t alpha beta^T,

    P_h[i, j]   alpha = e_i           beta = row j of S Q_h^T / N
    Q_h[i, j]   alpha = P_h S e_j     beta = e_i / N                  and c by t e_i s_j / N .
"""

from __future__ import annotations

import torch
from torch import Tensor

from lintf.models.gram import apply, dot, left, product, through
from lintf.models.series import Series, squares, start
from lintf.tasks.batches import Gram

# Entries of S along all directions at once: many enough for tensors, few enough for a cache.
TOGETHER = 2**20


def directional_derivatives(
    P: Tensor, Q: Tensor, dP: Tensor, dQ: Tensor, gram: Gram
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns loss, slope and curvature at t = 0, (n,) each, of n lines P + t dP, Q + t dQ.

    P, Q, dP, dQ: (n, L, H, d, d), points and directions; Q is not yet divided by N.
    gram: the statistics of the prompts, over which the loss is the mean, without leading axes.
    """
    at_once = max(1, TOGETHER // gram.S.numel())
    parts = []
    for some in zip(*(W.split(at_once) for W in (P, dP, Q / gram.N, dQ / gram.N)), strict=True):
        P, dP, Q, dQ = (W.unbind(1) for W in some)
        layers = list(zip(map(Series, P, dP), map(Series, Q, dQ), strict=True))
        with torch.enable_grad():
            out = through(layers, *map(start, (gram.S, gram.s, gram.x)))
        parts.append(squares(out, gram.y))
    return tuple(torch.cat(terms) / gram.y.shape[-1] for terms in zip(*parts, strict=True))


def hessian_diagonal(P: Tensor, Q: Tensor, gram: Gram) -> dict[str, Tensor]:
    """Returns d^2 loss / d theta^2 for the entries of P and of Q, (L, H, d, d) each, of one
    member."""
    found = {name: torch.zeros_like(P) for name in ("P", "Q")}
    at_once = max(16, TOGETHER // P[0].numel() ** 2)
    for part in zip(*(t.split(at_once, -1) for t in (gram.S, gram.s, gram.x, gram.y)), strict=True):
        _add_diagonal(found, P, Q, Gram(*part, gram.N))
    return {name: total / gram.y.shape[-1] for name, total in found.items()}


def _add_diagonal(found: dict[str, Tensor], P: Tensor, Q: Tensor, gram: Gram) -> None:
    """Adds the second derivatives of the sum over these prompts."""
    S, s, x, y = gram.S, gram.s, gram.x, gram.y
    # (i, 1, 1, d, 1).
    units = torch.eye(P.shape[-1], dtype=P.dtype, device=P.device)[:, None, None, :, None]
    layers = list(zip(P, Q / gram.N, strict=True))
    for layer, (P_l, Q_l) in enumerate(layers):
        after = [(Series(p), Series(q)) for p, q in layers[layer + 1 :]]
        c = Q_l.sum(0) @ s
        # Its slopes by an entry of Q, (i, 1, j, B).
        out = Series(dot(c, x), dot(units, x) / gram.N * s)
        if not after:  # no more is asked for, and nothing of P
            found["Q"][layer] += squares(out, y)[2].transpose(0, 1)
            return
        QS, PS = (left(W, S).transpose(-3, -2) for W in (Q_l, P_l))  # (H, j, d, B)
        M, u = left(P_l, QS).sum(0), s + apply(S, c)
        AS = S + product(M, S)
        ASA, Au, Ax = AS + product(AS, M.transpose(-3, -2)), u + apply(M, u), x + apply(M, x)
        for name, alpha, beta in (("P", units, QS), ("Q", PS, units / gram.N)):
            ASb, bSb = apply(AS, beta), dot(beta, apply(S, beta)).unsqueeze(-2)
            s1, x1 = (alpha * dot(beta, v).unsqueeze(-2) for v in (u, x))
            s2 = None
            if name == "Q":  # u moves, too
                s1, s2 = s1 + ASb * s.unsqueeze(-2), alpha * (bSb * s.unsqueeze(-2))
            S1 = S2 = None
            if len(after) > 1:  # the last layer does not ask for S
                half = outer(alpha, ASb)
                S1, S2 = half + half.transpose(-3, -2), outer(alpha, alpha * bSb)
            with torch.enable_grad():
                rest = through(after, start(ASA, S1, S2), start(Au, s1, s2), start(Ax, x1))
            both = rest + (out if name == "Q" else Series(out.v))
            found[name][layer] += squares(both, y)[2].transpose(0, 1)
        S, s, x, y = ASA, Au, Ax, y + out.v


def outer(v: Tensor, w: Tensor) -> Tensor:
    """Returns v w^T, prompt by prompt, (..., d, d, B)."""
    return v.unsqueeze(-2) * w.unsqueeze(-3)
