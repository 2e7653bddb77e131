"""The Bayes optimum against conditional moments, and gradient descent in a space of functions
against loops and against hand-built layers."""

from __future__ import annotations

import math

import pytest
import torch

from lintf.analysis.kernels import FunctionalDescent, PosteriorMean, best_descent
from lintf.analysis.solvers import LeastSquares, squared_error
from lintf.models.linear import ATTENTION, LinearTransformer
from lintf.tasks.kernels import KERNELS, KernelRegression, covariance

N, D, B = 6, 3, 5
STEPS = (0.7, -0.4, 1.3)


def prompts(kernel="exp", B=B, n=N):
    generator = torch.Generator().manual_seed(0)
    return KernelRegression(n, D, kernel).sample(B, generator, "tokens", torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
def test_posterior_mean_leaves_the_variance_that_it_should(kernel):
    """The error is independent of the answer, and its mean square is the Schur complement of |K|
    at the query."""
    B = 40_000
    given = prompts(kernel, B=B)
    error = PosteriorMean(kernel).predict(given) - given.y
    C = covariance(given.Z[..., :-1], kernel)
    inverse = torch.linalg.pinv(C[:, :-1, :-1], rtol=1e-10, hermitian=True)
    k = C[:, -1:, :-1]
    left = (C[:, -1, -1] - (k @ inverse @ k.mT)[:, 0, 0]).clamp_min(0)
    gap = error.square() - left
    assert abs(gap.mean()) < 4 * gap.std() / B**0.5 + 1e-12
    product = error * PosteriorMean(kernel).predict(given)
    assert abs(product.mean()) < 4 * product.std() / B**0.5 + 1e-12
    if kernel == "linear":
        assert error.abs().max() < 1e-6, "with N >= d examples w is known"


def test_posterior_mean_of_a_linear_kernel_is_least_squares():
    """Of the smallest norm, where there are fewer examples than dimensions."""
    for n in (2, 6):
        given = prompts("linear", n=n)
        expected = LeastSquares().predict(given)
        torch.testing.assert_close(PosteriorMean("linear").predict(given), expected)


def by_loops(Z, attention):
    """Steps in the space of functions, prompt by prompt, with f kept as its values."""
    X, y = Z[:, :-1].tolist(), Z[:-1, -1].tolist()
    f = [0.0] * len(X)
    for step in STEPS:
        new = []
        for i, x in enumerate(X):
            t = [sum(a * b for a, b in zip(x, other, strict=True)) for other in X[:-1]]
            k = {
                "linear": lambda v: v,
                "relu": lambda v: max(v, 0.0),
                "exp": math.exp,
                "softmax": math.exp,
            }[attention]
            values = [k(v) for v in t]
            total = sum(values) if attention == "softmax" else len(values)
            change = sum(v / total * (y[m] - f[m]) for m, v in enumerate(values))
            new.append(f[i] + step * change)
        f = new
    return f[-1]


@pytest.mark.parametrize("attention", ATTENTION)
def test_layers_do_gradient_descent_in_a_space_of_functions(attention):
    """P = 0; with linear attention Q is minus the step, else Q = I and v is minus the step."""
    given = prompts()
    expected = torch.tensor([by_loops(Z, attention) for Z in given.Z], dtype=torch.float64)
    ours = FunctionalDescent(attention, STEPS).predict(given)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
    minus = -torch.tensor(STEPS, dtype=torch.float64)[:, None]  # (L, H)
    identity = torch.eye(D, dtype=torch.float64).expand(len(STEPS), 1, D, D)
    linear = attention == "linear"
    params = {"Q": minus[..., None, None] * identity if linear else identity}
    params |= {} if linear else {"v": minus}
    model = LinearTransformer(D, 3, attention=attention, free_P=False, free_v=not linear)
    torch.testing.assert_close(model.predict(params, given), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("attention", ATTENTION)
def test_the_best_step_is_that_of_a_parabola(attention):
    """The error of one step is quadratic in its size."""
    given = prompts(B=500)
    unit = FunctionalDescent(attention, [1.0]).predict(given)
    expected = float((unit * given.y).mean() / unit.square().mean())
    (size,) = best_descent(attention, given, 1).steps
    assert size == pytest.approx(expected, rel=1e-3)


def test_three_best_steps_are_better_than_their_neighbours():
    given = prompts("relu", B=500)
    best = best_descent("relu", given, 3)
    least = float(squared_error(best, given).mean())
    for i in range(3):
        for factor in (0.8, 1.25):
            sizes = [size * (factor if j == i else 1) for j, size in enumerate(best.steps)]
            other = FunctionalDescent("relu", sizes)
            assert least < float(squared_error(other, given).mean())
