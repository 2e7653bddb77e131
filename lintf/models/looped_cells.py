"""What stands in the loop of a `Looped`: blocks of GPT-2 or layers of an LSTM. Either reads tokens
after others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lintf.models.layers import Pair, normal

Layer = dict[str, Pair | list[Pair]]  # weight and bias, and scale and shift of two norms
Cache = list[Pair]  # what later tokens need of earlier ones


def blocks(
    h: Tensor, layers: list[Layer], n_head: int, past: Cache | None, rows: slice
) -> tuple[Tensor, Cache]:
    """Returns the tokens after these layers, (B, rows, D), and the state after them: the keys and
    values of each layer, (B, n_head, tokens, D / n_head) each.

    h: (B, m, D), the tokens.
    layers: the weights and biases of each layer, and scale and shift of its two norms.
    n_head: heads in a layer, which divide D.
    past: the state after the tokens before these; None where there are none.
    rows: which of the m tokens are wanted after the last layer.
    """
    mask, state, m = None, [], h.shape[1]
    if past is not None:
        old = past[0][0].shape[-2]
        mask = torch.ones(m, old + m, dtype=torch.bool, device=h.device).tril(old)
    for i, layer in enumerate(layers):
        qkv = functional.linear(normal(h, layer["norms"][0]), *layer["qkv"])
        q, k, v = qkv.unflatten(-1, (3, n_head, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = (torch.cat(pair, -2) for pair in zip(past[i], (k, v), strict=True))
        state.append((k, v))
        a = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        a = a.transpose(1, 2).flatten(-2)  # (B, m, D)
        if i == len(layers) - 1:
            h, a = h[:, rows], a[:, rows]
        h = h + functional.linear(a, *layer["proj"])
        up = functional.gelu(functional.linear(normal(h, layer["norms"][1]), *layer["up"]))
        h = h + functional.linear(up, *layer["down"])
    return h, state


def lstm(h: Tensor, layers: list[Layer], past: Cache | None, rows: slice) -> tuple[Tensor, Cache]:
    """Returns the tokens after these layers, (B, rows, D), and the state after them, one pair: the
    hidden and the cell state of all layers, (n_layer, B, D) each.

    h, layers, past, rows: as for `blocks`; a layer has an input and a state map, and no norms.
    """
    weights = [
        t
        for layer in layers
        for pair in zip(layer["input"], layer["state"], strict=True)
        for t in pair
    ]
    start = past[0] if past else (h.new_zeros(len(layers), len(h), h.shape[-1]),) * 2
    train = torch.is_grad_enabled()  # cuDNN keeps only then what its backward pass needs
    # As nn.LSTM calls it.
    z, *end = torch.lstm(h, start, weights, True, len(layers), 0.0, train, False, True)
    return z[:, rows], [tuple(end)]
