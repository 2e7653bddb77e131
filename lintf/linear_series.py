"""Second derivatives of the loss of linear attention on Gram statistics, by Taylor series: lines.cpp in plain PyTorch.

A line through all weights makes series of them from the first layer on. Along a single entry of P or Q the state
(S, s, x) is a series only after its layer: there A = I + M moves by a matrix of rank one, t alpha beta^T,

    P_h[i, j]   alpha = e_i           beta = row j of S Q_h^T / N
    Q_h[i, j]   alpha = P_h S e_j     beta = e_i / N                  and c by t e_i s_j / N .
"""

from __future__ import annotations

import torch
from torch import Tensor

from lintf.gram import apply, dot, forward, left, product, through
from lintf.prompts import Gram
from lintf.series import Series, squared

TOGETHER = 2**17  # entries of all directions' S at once: their series stay in the processor's cache


def along(P: Tensor, Q: Tensor, dP: Tensor, dQ: Tensor, gram: Gram) -> tuple[Tensor, Tensor, Tensor]:
    """(n,) each: loss, slope and curvature at t = 0 of n lines P + t dP, Q + t dQ, (n, L, H, d, d) each."""
    at_once = max(1, TOGETHER // gram.S.numel())
    parts = []
    for some in zip(*(W.split(at_once) for W in (P, dP, Q / gram.N, dQ / gram.N)), strict=True):
        P, dP, Q, dQ = (W.unbind(1) for W in some)
        layers = list(zip(map(Series, P, dP), map(Series, Q, dQ), strict=True))
        out = through(layers, *map(Series, (gram.S, gram.s, gram.x)))
        parts.append(squared(Series(out.v + gram.y, out.a, out.b)))
    return tuple(torch.cat(terms) / gram.y.shape[-1] for terms in zip(*parts, strict=True))


def hessian_diagonal(P: Tensor, Q: Tensor, gram: Gram) -> dict[str, Tensor]:
    """d^2 loss / d theta^2 for the entries of P and of Q, (L, H, d, d) each: of one member."""
    found = {name: torch.zeros_like(P) for name in ("P", "Q")}
    at_once = max(16, TOGETHER // P[0].numel() ** 2)
    for part in zip(*(t.split(at_once, -1) for t in (gram.S, gram.s, gram.x, gram.y)), strict=True):
        _add_diagonal(found, P, Q, Gram(*part, gram.N))
    return {name: total / gram.y.shape[-1] for name, total in found.items()}


def _add_diagonal(found: dict[str, Tensor], P: Tensor, Q: Tensor, gram: Gram) -> None:
    """Adds the second derivatives of the sum over these prompts."""
    S, s, x = gram.S, gram.s, gram.x
    error = forward(P, Q, gram) + gram.y
    units = torch.eye(P.shape[-1], dtype=P.dtype, device=P.device)[:, None, None, :, None]  # (i, 1, 1, d, 1)
    layers = list(zip(P, Q / gram.N, strict=True))
    for layer, (P_l, Q_l) in enumerate(layers):
        after = [(Series(p), Series(q)) for p, q in layers[layer + 1 :]]
        if not after:  # no more than c is asked for
            slope = (units / gram.N * x).sum(-2) * s  # (i, 1, j, B)
            found["Q"][layer] += squared(Series(error, slope))[2].transpose(0, 1)
            return
        QS, PS = (left(W, S).transpose(-3, -2) for W in (Q_l, P_l))  # (H, j, d, B)
        M = left(P_l, QS).sum(0)
        u = s + apply(S, Q_l.sum(0) @ s)
        AS = S + product(M, S)
        ASA, Au, Ax = AS + product(AS, M.transpose(-3, -2)), u + apply(M, u), x + apply(M, x)
        for name, alpha, beta in (("P", units, QS), ("Q", PS, units / gram.N)):
            ASb = apply(AS, beta)
            bSb = dot(beta, apply(S, beta)).unsqueeze(-2)
            s1, x1 = (alpha * dot(beta, v).unsqueeze(-2) for v in (u, x))
            s2, slope = None, 0.0
            if name == "Q":
                s_j = s.unsqueeze(-2)
                s1, s2, slope = s1 + ASb * s_j, alpha * bSb * s_j, dot(beta, x) * s
            S_l = Series(ASA)
            if len(after) > 1:
                half = outer(alpha, ASb)
                S_l = Series(ASA, half + half.transpose(-3, -2), outer(alpha, alpha * bSb))
            out = through(after, S_l, Series(Au, s1, s2), Series(Ax, x1))
            bend = squared(Series(error, out.a + slope, out.b))[2]
            found[name][layer] += bend.transpose(0, 1)
        S, s, x = ASA, Au, Ax


def outer(v: Tensor, w: Tensor) -> Tensor:
    """v w^T, (..., d, d, B)."""
    return v.unsqueeze(-2) * w.unsqueeze(-3)
