"""LabelTransformer against explicit tokens, its special cases against each other, and a recursion
in eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lintf.analysis import isotropic
from lintf.models.labels import WEIGHTS, LabelTransformer
from lintf.tasks.batches import Levels
from lintf.tasks.levels import NoiseLevels

E, B, L, N, D = 2, 5, 4, 7, 3
TASK = NoiseLevels(N=N, d=D, noise_max=2.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def members(model):
    each = [model.init(generator(seed), torch.float64) for seed in range(E)]
    return {name: torch.stack([own[name] for own in each]) for name in model.shapes}


def matrices(model, params):
    """P and Q (L, d+1, d+1) of one member."""
    if model.weights == "full":
        return params["P"], params["Q"]
    p, q = params["p"], params["q"]
    if model.weights == "gd":
        q = torch.stack((q[:, 0], torch.zeros(model.n_layer, dtype=q.dtype)), 1)
    return (torch.stack([torch.diag(v[[0] * model.d + [1]]) for v in own]) for own in (p, q))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_layers_are_those_of_explicit_tokens(weights):
    model = LabelTransformer(D, L, weights, init_std=0.4)
    params = model.init(generator(1), torch.float64)
    rng = np.random.default_rng(2)
    X, w, x = (torch.from_numpy(rng.standard_normal(s)) for s in ((B, N, D), (B, D), (B, D)))
    y = (X * w[:, None]).sum(-1) + torch.from_numpy(rng.standard_normal((B, N)))
    tokens = torch.cat((X, y[..., None]), -1)
    expected = []
    for own, query in zip(tokens, x, strict=True):
        z = [*own, torch.cat((query, torch.zeros(1, dtype=x.dtype)))]
        for P, Q in zip(*matrices(model, params), strict=True):
            seen = z[:N]
            z = [t + sum(P @ e * (e @ Q @ t) for e in seen) / N for t in z]
        expected.append(-z[N][D])
    prompts = Levels(tokens.mT @ tokens, x, w, torch.ones(B), N)
    assert_allclose(model.predict(params, prompts), torch.stack(expected), rtol=1e-10)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_members_together_are_those_alone(weights):
    model = LabelTransformer(D, L, weights)
    params = members(model)
    prompts = TASK.sample(B, generator(), dtype=torch.float64)
    loss = model.loss(params, prompts)
    for e in range(E):
        own = {name: p[e] for name, p in params.items()}
        assert_allclose(model.loss(own, prompts), loss[e])


def test_the_loss_is_the_mean_over_queries():
    model = LabelTransformer(D, 2, init_std=0.5)
    params = model.init(generator(3), torch.float64)
    one = TASK.sample(1, generator(4), dtype=torch.float64)
    n = 200_000
    x = torch.randn(n, D, generator=generator(5), dtype=torch.float64)
    many = Levels(one.G.expand(n, -1, -1), x, one.w.expand(n, -1), one.level.expand(n), N)
    errors = (model.predict(params, many) - many.y).square()
    assert abs(errors.mean() - model.loss(params, one)) < 4 * errors.std() / n**0.5


@pytest.mark.parametrize("weights", ["gd", "diagonal"])
def test_omega_is_what_multiplies_the_blocks(weights):
    model = LabelTransformer(D, L, weights)
    params = model.init(generator(6), torch.float64)
    for omega, P, Q in zip(model.omega(params), *matrices(model, params), strict=True):
        blocks = P @ torch.ones(D + 1, D + 1, dtype=P.dtype) @ Q
        assert_allclose(omega, blocks[-2:, -2:])
    if weights == "gd":
        assert not model.omega(params)[..., 1].any()


def test_gd_is_a_recursion_in_the_eigenvalues():
    """Without noise what is left of w is w times a polynomial in each eigenvalue of S / N."""
    a, b = (0.4, 0.7, 1.1), (0.9, 0.6)
    p = torch.tensor([[-f, -1.0] for f in (*b, 0.0)], dtype=torch.float64)
    model = LabelTransformer(D, 3, "gd")
    params = {"p": p, "q": torch.tensor(a, dtype=torch.float64)[:, None]}
    prompts = NoiseLevels(N=N, d=D, noise_max=0.0).sample(B, generator(), dtype=torch.float64)
    t, vectors = np.linalg.eigh(prompts.G[:, :D, :D].numpy() / N)
    r = isotropic.residual(a, b, t)
    along = np.einsum("bij,bi->bj", vectors, prompts.w.numpy())
    expected = np.mean(np.sum((r * along) ** 2, axis=1))
    assert_allclose(model.loss(params, prompts), expected)
