"""Second derivatives of the non-linear model by series: against an autograd Hessian of the whole
loss."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import hessian

from lintf.analysis.landscape import hessian_diagonal
from lintf.models.mlp import MLPTransformer
from lintf.tasks.mlp import NonlinearRegression

# D, layers, hidden units, N, prompts.
SHAPES = ((3, 1, 5, 7, 11), (2, 2, 4, 3, 5), (3, 4, 6, 1, 2), (1, 3, 2, 5, 1))


@pytest.mark.parametrize(("d", "n_layer", "hidden", "N", "B"), SHAPES)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_diagonal_is_that_of_the_whole_hessian(d, n_layer, hidden, N, B, backwards):
    """In the order of the parameters, whichever it is; two snapshots at once."""
    model, task = (
        MLPTransformer(d=d, n_layer=n_layer, hidden=hidden, init_std=0.4),
        NonlinearRegression(N, d, 4),
    )
    drawn = [model.init(torch.Generator().manual_seed(s), torch.float64) for s in (1, 2)]
    names = list(reversed(drawn[0])) if backwards else list(drawn[0])
    prompts = task.sample(B, torch.Generator().manual_seed(3), dtype=torch.float64)
    sizes = [drawn[0][n].numel() for n in names]

    def loss(flat):
        parts = flat.split(sizes)
        return model.loss(
            {n: part.view(model.shapes[n]) for n, part in zip(names, parts, strict=True)}, prompts
        )

    expected = [hessian(loss, torch.cat([p[n].flatten() for n in names])).diagonal() for p in drawn]
    found = hessian_diagonal(model, {n: torch.stack([p[n] for p in drawn]) for n in names}, prompts)
    for row, diagonal in zip(found, expected, strict=True):
        assert diagonal.abs().max() > 1e-3
        assert (row - diagonal).abs().max() < 1e-12 * diagonal.abs().max()
