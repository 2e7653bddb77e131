"""What the encoder and the looped decoder are made of, for the parameters of one ensemble
member."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

EPS = 1e-5  # LayerNorm's
Pair = tuple[Tensor, Tensor]


def each_member(
    call: Callable[[dict[str, Tensor], Tensor], Tensor],
    params: dict[str, Tensor],
    shapes: dict[str, tuple[int, ...]],
    Z: Tensor,
) -> Tensor:
    """Returns call(params, Z) for each ensemble member, stacked along the members' axes.

    call: gets the parameters and tokens (B, N+1, d+1) of one member.
    params: name -> (..., shape); the leading axes are the members'.
    shapes: name -> the shape for one member.
    Z: (..., B, N+1, d+1), with the same leading axes, or none (shared by all).
    """
    name, *_ = shapes
    lead = params[name].shape[: params[name].dim() - len(shapes[name])]
    members = [p.reshape(lead.numel(), *shapes[name]).unbind() for name, p in params.items()]
    Zs = Z.expand(*lead, *Z.shape[-3:]).reshape(lead.numel(), *Z.shape[-3:])
    pairs = zip(zip(*members, strict=True), Zs, strict=True)
    out = torch.stack([call(dict(zip(params, member, strict=True)), z) for member, z in pairs])
    return out.view(*lead, *out.shape[1:])


def affine(W: Tensor) -> Pair:
    """Returns weight and bias, its last column, for `linear`, which adds a bias that is not
    contiguous in a pass of its own."""
    return W[..., :-1], W[..., -1].contiguous()


def normal(h: Tensor, scale_shift: Pair) -> Tensor:
    """Returns the LayerNorm over the last axis of h (..., D), with scale and shift (D,)."""
    return functional.layer_norm(h, h.shape[-1:], *scale_shift, EPS)
