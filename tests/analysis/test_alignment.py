"""Sensitivities against automatic differentiation, the nearest multiples against least squares, and
the best loop against another search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lintf.analysis import alignment, isotropic
from lintf.analysis.solvers import GradientDescent
from lintf.models.base import FittedModel
from lintf.models.linear import LinearTransformer
from lintf.tasks.batches import Gram
from lintf.tasks.linear import LinearRegression

F64 = torch.float64


def prompts(B=4):
    return LinearRegression(N=7, d=3).sample(B, torch.Generator().manual_seed(0), dtype=F64)


def network(seed=1):
    model = LinearTransformer(d=3, n_layer=2, init_std=0.4)
    return FittedModel(model, model.init(torch.Generator().manual_seed(seed), F64))


@pytest.mark.parametrize("method", [GradientDescent(2, 0.05), network()])
def test_sensitivities_are_gradients(method):
    given = prompts()
    x = given.x.clone().requires_grad_()
    answers = method.predict(Gram(given.S, given.s, x, given.y, given.N))
    (expected,) = torch.autograd.grad(answers.sum(), x)
    assert torch.allclose(alignment.sensitivities(method, given), expected)


def test_alignment_against_loops():
    given, one, two = prompts(), network(), GradientDescent(2, 0.05)
    found = alignment.alignment(one, two, given)
    mine, other = (alignment.sensitivities(m, given) for m in (one, two))
    lengths, cosines = [], []
    for b in range(4):
        u, v = mine[:, b], other[:, b]
        lengths.append((u - v).square().sum().sqrt())
        cosines.append((u @ v) / (u.norm() * v.norm()))
    gap = (one.predict(given) - two.predict(given)).abs().mean()
    expected = [gap, sum(lengths) / 4, sum(cosines) / 4]
    assert torch.allclose(torch.stack(list(found.values())), torch.stack(expected))


def test_first_prompts_are_answered_alike():
    given, some = prompts(), alignment.first_prompts(prompts(), 2)
    assert torch.allclose(network().predict(some), network().predict(given)[:2])
    assert torch.equal(some.y, given.y[:2])


def test_the_nearest_multiples_are_those_of_least_squares():
    given = network()
    near = alignment.nearest_multiples(given).params
    identity = torch.eye(3, dtype=F64).flatten().unsqueeze(-1)
    for name, p in given.params.items():
        for found, matrix in zip(near[name].view(-1, 9), p.view(-1, 9), strict=True):
            size = torch.linalg.lstsq(identity, matrix.unsqueeze(-1)).solution
            assert torch.allclose(found, (identity * size)[:, 0])


@pytest.mark.parametrize("loops", [2, 3])
def test_the_best_loop_is_found_by_another_search(loops):
    """On the prompts themselves: a prompt of which each direction is asked has the error of its
    eigenvalues."""
    given = prompts(B=200)
    t = torch.linalg.eigvalsh(given.S.movedim(-1, 0) / 7).flatten().numpy()

    def loss(z):
        return np.mean(isotropic.residual([z[0]] * loops, [z[1]] * (loops - 1), t) ** 2)

    best = alignment.best_loop(given, loops)
    a = -float(best.params["Q"][0, 0, 0, 0])
    b = float(best.params["P"][0, 0, 0, 0])
    accurate = {"xatol": 1e-8, "fatol": 1e-12}
    other = minimize(loss, [0.7, 0.1], method="Nelder-Mead", options=accurate)
    assert loss([a, b]) == pytest.approx(other.fun, rel=1e-5)
    assert best.model.n_layer == loops


def test_a_repeated_layer_is_gradient_descent():
    model = LinearTransformer(d=3, n_layer=1, free_P=False)
    Q = -0.4 * torch.eye(3, dtype=F64)[None, None]
    layer = FittedModel(model, {"Q": Q})
    for passes, damping in ((1, 1.0), (3, 0.5)):
        found = alignment.repeated(layer, passes, damping).predict(prompts())
        descent = GradientDescent(passes, damping * 0.4 / 7)
        assert torch.allclose(found, descent.predict(prompts()))


def test_mixtures_go_from_one_network_to_the_other():
    one, given = network(), prompts()
    tied = LinearTransformer(d=3, n_layer=2, init_std=0.4, tied=True)
    other = FittedModel(tied, tied.init(torch.Generator().manual_seed(2), F64))
    for share, end in ((0.0, one), (1.0, other)):
        found = alignment.mixture(one, other, share)
        assert torch.allclose(found.predict(given), end.predict(given))
    middle = alignment.mixture(one, other, 0.25).params["Q"]
    expected = 0.75 * one.params["Q"] + 0.25 * other.params["Q"]
    assert torch.allclose(middle, expected)
