"""The linear transformer through sufficient statistics: the fast path, in plain PyTorch.

In a linear-attention layer every token goes through the same linear map, and that map depends on
the examples only through S = X^T X and s = X^T y. With Q' = Q / N, M = sum_h P_h S Q'_h^T and c =
sum_h Q'_h s, a layer does

    out <- out + c.x            s <- (I + M)(s + S c)
    S <- (I + M) S (I + M)^T    x <- (I + M) x

at a cost that does not depend on N. Two savings: the last layer needs only its c, and the last but
one needs M only on the two vectors s + S c and x. `mse` and `predict` use the compiled kernel where
there is one (lintf/kernel), else `forward`. All is written for series (series.py), of which a
number is one, so that derivatives along lines go the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lintf import kernel
from lintf.checks import check_choice
from lintf.models.series import Series, times
from lintf.tasks.batches import Gram

BACKENDS = ("auto", "kernel", "plain")


def forward(P: Tensor, Q: Tensor, gram: Gram) -> Tensor:
    """Returns the last entry of the query token after all layers, (..., B): minus the prediction.

    P, Q: (..., L, H, d, d); their leading axes and the statistics' broadcast. Raises ValueError for
    another d or dtype.
    """
    P, Q, gram = _broadcast(P, Q, gram)
    layers = zip(*(map(Series, W.unbind(-4)) for W in (P, Q / gram.N)), strict=True)
    return through(list(layers), *map(Series, (gram.S, gram.s, gram.x))).v


def through(layers: list[tuple[Series, Series]], S: Series, s: Series, x: Series) -> Series:
    """Returns what one or more layers add to the last entry of the query token, (..., B).

    layers: a pair (P, Q / N) for each of them, (..., H, d, d) each.
    S, s, x: the statistics and the query before the first of them, as in `Gram`.
    """
    (P, Q), *rest = layers
    c = times(torch.matmul, Q.map(lambda q: q.sum(-3)), s)  # (..., d, B)
    out = times(dot, c, x)
    if not rest:
        return out
    u = s + times(apply, S, c)
    if len(rest) == 1:
        s, x = (v + times(_values, P, times(_heads, S, times(_keys, Q, v))) for v in (u, x))
    else:
        M = times(_outer, P, times(left, Q, S.map(lambda matrix: matrix.unsqueeze(-4))))
        s, x = (v + times(apply, M, v) for v in (u, x))
        S = S + times(product, M, S)
        S = S + times(product, S, M.T)
    return out + through(rest, S, s, x)


def after_each(P: Tensor, Q: Tensor, gram: Gram) -> Tensor:
    """Returns what `forward` does after 1, 2, ..., L layers, (L, ..., B), in one pass through all
    of them."""
    P, Q, gram = _broadcast(P, Q, gram)
    S, s, x, Q = gram.S, gram.s, gram.x, Q / gram.N
    outs, identity = (
        [torch.zeros_like(gram.y)],
        torch.eye(gram.d, dtype=x.dtype, device=x.device).unsqueeze(-1),
    )
    for P_l, Q_l in zip(P.unbind(-4), Q.unbind(-4), strict=True):
        c = Q_l.sum(-3) @ s
        outs.append(outs[-1] + (c * x).sum(-2))
        # As in `forward`.
        A = identity + (P_l.unsqueeze(-3) @ left(Q_l, S.unsqueeze(-4))).sum(-4).transpose(-3, -2)
        s, x = apply(A, s + apply(S, c)), apply(A, x)
        S = product(product(A, S), A.transpose(-3, -2))
    return torch.stack(outs[1:])


def predict(P: Tensor, Q: Tensor, gram: Gram) -> Tensor:
    """Returns the answers to the queries, (..., B), minus what `forward` gives. The compiled kernel
    computes them where it can be had and no derivative is asked for."""
    P, Q, gram = _broadcast(P, Q, gram)
    derived = torch.is_grad_enabled() and (P.requires_grad or Q.requires_grad)
    if derived or _no_kernel(P, Q, gram):
        return -forward(P, Q, gram)
    return kernel.predictions(P, Q, gram.S, gram.s, gram.x, gram.N)


def mse(P: Tensor, Q: Tensor, gram: Gram, backend: str = "auto") -> Tensor:
    """Returns the mean over the B prompts of (prediction - y)^2, one number per ensemble member.

    P, Q: (..., L, H, d, d), the parameters; Q is not yet divided by N.
    gram: the prompts' statistics, whose leading axes broadcast with those of P and Q.
    backend: "kernel" is the compiled CPU kernel (first derivatives with respect to P and Q only),
        "plain" is PyTorch on any device, "auto" takes the kernel wherever it can be had.
    Raises RuntimeError where "kernel" cannot be had, ValueError for another d or dtype.
    """
    check_choice("backend", backend, BACKENDS)
    P, Q, gram = _broadcast(P, Q, gram)
    why_not = _no_kernel(P, Q, gram)
    if backend == "kernel" and why_not:
        raise RuntimeError(f"the compiled kernel cannot be used: {why_not}")
    if backend == "plain" or why_not:
        return (forward(P, Q, gram) + gram.y).square().mean(-1)
    grad = torch.is_grad_enabled() and (P.requires_grad or Q.requires_grad)
    return _KernelMSE.apply(P, Q, gram.S, gram.s, gram.x, gram.y, gram.N, grad)


def _no_kernel(P: Tensor, Q: Tensor, gram: Gram) -> str | None:
    """Says why the compiled kernel cannot be used on these, in words; None where it can."""
    data = (gram.S, gram.s, gram.x, gram.y)
    if torch.is_grad_enabled() and any(t.requires_grad for t in data):
        return "it gives no gradient with respect to the prompts"
    if why_not := kernel.unavailable(P.shape[-1], P.dtype, P.device.type):
        return why_not
    return (
        None
        if all(map(kernel.in_memory, (P, Q, *data)))
        else "a tensor is inside a transform, such as torch.func's"
    )


class _KernelMSE(torch.autograd.Function):
    """The compiled loss as a function of autograd, with the gradients that came along with it.
    Arguments as in `kernel.loss_and_grad`."""

    @staticmethod
    def forward(ctx, P, Q, S, s, x, y, N, grad):
        loss, *grads = kernel.loss_and_grad(P, Q, S, s, x, y, N, grad)
        ctx.save_for_backward(*grads)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        gP, gQ = (g[..., None, None, None, None] * grad for grad in ctx.saved_tensors)
        return gP, gQ, *[None] * 6


def _broadcast(P: Tensor, Q: Tensor, gram: Gram) -> tuple[Tensor, Tensor, Gram]:
    """Returns the inputs with the same leading axes; statistics that all members share keep none.
    Raises ValueError for another d or dtype."""
    if P.shape != Q.shape or P.dim() < 4 or P.shape[-1] != gram.d:
        shapes = f"{tuple(P.shape)}, {tuple(Q.shape)}"
        raise ValueError(
            f"P and Q must be (..., L, H, d, d) with the prompts' d = {gram.d}, got shapes {shapes}"
        )
    if not P.dtype == Q.dtype == gram.S.dtype:
        raise ValueError(
            f"parameters and prompts must have one dtype, got {P.dtype}, {Q.dtype} and "
            f"{gram.S.dtype}"
        )
    lead = torch.broadcast_shapes(P.shape[:-4], gram.S.shape[:-3])
    P, Q = (t.expand(*lead, *t.shape[-4:]) for t in (P, Q))
    if gram.S.dim() > 3 and gram.S.shape[:-3] != lead:
        S, s, x, y = (
            t.expand(*lead, *t.shape[-k:])
            for t, k in ((gram.S, 3), (gram.s, 2), (gram.x, 2), (gram.y, 1))
        )
        gram = Gram(S, s, x, y, gram.N)
    return P, Q, gram


def apply(M: Tensor, v: Tensor) -> Tensor:
    """Returns M v, prompt by prompt: (..., d, d, B), (..., d, B) -> (..., d, B)."""
    return (M * v.unsqueeze(-3)).sum(-2)


def product(M: Tensor, K: Tensor) -> Tensor:
    """Returns M K, prompt by prompt, as a sum of d outer products: no temporary is larger than the
    result."""
    pairs = [
        (m.unsqueeze(-2), k.unsqueeze(-3)) for m, k in zip(M.unbind(-2), K.unbind(-3), strict=True)
    ]
    out = pairs[0][0] * pairs[0][1]
    for column, row in pairs[1:]:
        out = torch.addcmul(out, column, row)
    return out


def left(W: Tensor, v: Tensor) -> Tensor:
    """Returns W v for weights W (..., d, d) that all prompts share and v (..., d, k, B)."""
    return (W @ v.flatten(-2)).unflatten(-1, v.shape[-2:])


def dot(v: Tensor, w: Tensor) -> Tensor:
    """Returns v . w, prompt by prompt, (..., B)."""
    return (v * w).sum(-2)


def _keys(Q: Tensor, v: Tensor) -> Tensor:
    """Returns Q_h^T v, (..., H, d, B)."""
    return (Q.mT.flatten(-3, -2) @ v).unflatten(-2, Q.shape[-3:-1])


def _heads(S: Tensor, t: Tensor) -> Tensor:
    """Returns S t_h, (..., H, d, B)."""
    return apply(S.unsqueeze(-4), t)


def _values(P: Tensor, m: Tensor) -> Tensor:
    """Returns sum_h P_h m_h, (..., d, B)."""
    return P.transpose(-3, -2).flatten(-2) @ m.flatten(-3, -2)


def _outer(P: Tensor, QS: Tensor) -> Tensor:
    """Returns M = sum_h P_h S Q_h^T, (..., d, d, B), by its transpose Q_h S P_h^T."""
    return (P.unsqueeze(-3) @ QS).sum(-4).transpose(-3, -2)
