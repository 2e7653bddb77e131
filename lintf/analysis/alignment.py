"""Whether two learners fit the same linear model to a prompt, and which GD++ a network is near to.

The prediction of linear attention, and of gradient descent, is linear in the query. Its gradient by
the query, the sensitivity, is the linear model that the method has fitted (arXiv 2212.07677).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from lintf.analysis import isotropic
from lintf.analysis.solvers import Predictor
from lintf.analysis.theory import isotropic_weights
from lintf.models.base import FittedModel
from lintf.models.linear import LinearTransformer
from lintf.tasks.batches import Gram


def first_prompts(prompts: Gram, count: int) -> Gram:
    """Returns so many of the prompts."""
    return Gram(
        prompts.S[..., :count],
        prompts.s[..., :count],
        prompts.x[..., :count],
        prompts.y[..., :count],
        prompts.N,
    )


def sensitivities(method: Predictor, prompts: Gram) -> Tensor:
    """Returns the gradient of each prediction by its query, (..., d, B), for a method that is
    linear in the query: its predictions for the d unit vectors."""
    units = torch.eye(prompts.d, dtype=prompts.x.dtype, device=prompts.x.device)
    found = []
    for unit in units:
        query = unit.unsqueeze(-1).expand_as(prompts.x)
        there = replace(prompts, x=query.contiguous())
        found.append(method.predict(there))
    return torch.stack(found, -2)


def alignment(
    method: Predictor,
    reference: Predictor,
    prompts: Gram,
) -> dict[str, Tensor]:
    """Returns how far apart two methods are, with the methods' axes (...): by name the means over
    the prompts of |difference of predictions|, of the length of the difference of sensitivities,
    and of the cosine of the sensitivities."""
    mine = sensitivities(method, prompts)
    other = sensitivities(reference, prompts)
    gap = method.predict(prompts) - reference.predict(prompts)
    apart = (mine - other).norm(dim=-2)
    cosine = torch.cosine_similarity(mine, other, dim=-2)
    return {
        "difference of predictions": gap.abs().mean(-1),
        "difference of sensitivities": apart.mean(-1),
        "cosine": cosine.mean(-1),
    }


def nearest_multiples(network: FittedModel) -> FittedModel:
    """Returns the network whose matrices are multiples of the identity, as near as they can be to
    those of the given one: each is the mean of its diagonal times the identity."""
    params = {}
    for name, p in network.params.items():
        identity = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        mean = p.diagonal(dim1=-2, dim2=-1).mean(-1)
        params[name] = mean[..., None, None] * identity
    return FittedModel(network.model, params)


def best_loop(
    prompts: Gram,
    loops: int,
    start: tuple[float, float] = (0.9, 0.15),
    nodes: int = 2000,
) -> FittedModel:
    """Returns the best GD++ in a loop, Q = -a I and P = b I in every pass, as a network: a and b
    minimise the mean square of the residual over the eigenvalues of S / N.

    prompts: whose eigenvalues these are.
    loops: passes through the layer.
    start: where the search for (a, b) begins.
    nodes: into so many groups the sorted eigenvalues are taken together, each by its mean.
    """
    S = prompts.S.movedim(-1, 0) / prompts.N
    values = torch.linalg.eigvalsh(S.double()).flatten().sort().values
    t = torch.stack([part.mean() for part in values.chunk(nodes)]).cpu().numpy()

    def residual(numbers: np.ndarray) -> np.ndarray:
        a, b = numbers
        return isotropic.residual([a] * loops, [b] * (loops - 1), t)

    a, b = least_squares(residual, start, method="lm").x
    identity = torch.eye(prompts.d, dtype=torch.float64, device=prompts.S.device)
    params = isotropic_weights([a] * loops, [b] * (loops - 1), identity)
    return FittedModel(LinearTransformer(d=prompts.d, n_layer=loops), params)


def repeated(layer: FittedModel, passes: int, damping: float = 1.0) -> FittedModel:
    """Returns one layer without P, applied so many times, with its Q times the damping."""
    model = LinearTransformer(
        d=layer.model.d,
        n_layer=passes,
        free_P=False,
        tied=True,
    )
    return FittedModel(model, {"Q": damping * layer.params["Q"]})


def mixture(one: FittedModel, other: FittedModel, share: float) -> FittedModel:
    """Returns the network whose matrices lie between those of two others of the same depth.

    one, other: the two; loops count as the layers that they are.
    share: that of the other: 0 is the one, 1 the other.
    """
    ends = [network.model.layers(network.params) for network in (one, other)]
    params = {}
    for name, first, last in zip("PQ", *ends, strict=True):
        params[name] = (1 - share) * first + share * last
    model = LinearTransformer(d=one.model.d, n_layer=one.model.n_layer)
    return FittedModel(model, params)
