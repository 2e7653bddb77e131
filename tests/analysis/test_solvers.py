"""Classical predictors against numpy, prompt by prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lintf.analysis.solvers import (
    GradientDescent,
    LeastSquares,
    best_gradient_descent,
    best_of_grid,
    squared_error,
)
from lintf.models.base import FittedModel
from lintf.models.linear import LinearTransformer
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Gram, Prompts
from lintf.tasks.linear import LinearRegression

SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))


def prompts(N, d=3, B=11, mode="normal", seed=0, dtype=torch.float64, **kwargs):
    return LinearRegression(N, d, mode, **kwargs).sample(
        B, torch.Generator().manual_seed(seed), "tokens", dtype
    )


def each(tokens):
    """X, Y and the query of every prompt, as arrays."""
    for Z in tokens.Z.numpy():
        yield Z[:-1, :-1], Z[:-1, -1], Z[-1, :-1]


def assert_predicts(predictor, tokens, expected, rtol=1e-10):
    """From tokens and from statistics alike."""
    expected = torch.tensor(np.array(expected), dtype=tokens.y.dtype)
    for given in (tokens, tokens.gram()):
        ours = predictor.predict(given)
        assert ours.dtype == tokens.y.dtype
        torch.testing.assert_close(
            ours, expected, rtol=rtol, atol=rtol * float(expected.abs().max())
        )


@pytest.mark.parametrize("N", [1, 2, 5])
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_gradient_descent_against_a_loop(N, preconditioned, steps):
    tokens, eta = prompts(N, noise_std=0.3), 0.05
    Pi = (
        np.random.default_rng(0).normal(size=(3, 3)) + 2 * np.eye(3)
        if preconditioned
        else np.eye(3)
    )
    expected = []
    for X, Y, x in each(tokens):
        w = np.zeros(3)
        for _ in range(steps):
            gradient = sum((X[i] @ w - Y[i]) * X[i] for i in range(N))
            w = w - eta * Pi @ gradient
        expected.append(w @ x)
    given = torch.from_numpy(Pi) if preconditioned else None
    assert_predicts(GradientDescent(steps, eta, given), tokens, expected, rtol=1e-12)


@pytest.mark.parametrize("mode", ["normal", "sphere"])
@pytest.mark.parametrize(("N", "d"), [(1, 4), (2, 3), (3, 3), (7, 3), (20, 5)])
def test_least_squares_against_numpy(N, d, mode):
    """Also the solution of minimum norm of fewer examples than dimensions."""
    tokens = prompts(N, d, mode=mode, noise_std=0.3)
    expected = [np.linalg.lstsq(X, Y)[0] @ x for X, Y, x in each(tokens)]
    assert_predicts(LeastSquares(), tokens, expected, rtol=1e-9)


@pytest.mark.parametrize("N", [1, 2, 7])
@pytest.mark.parametrize("ridge", [1e-3, 0.7])
def test_ridge_against_augmented_least_squares(N, ridge):
    tokens = prompts(N, noise_std=0.3, Sigma=SIGMA)
    expected = []
    for X, Y, x in each(tokens):
        rows, labels = np.vstack([X, np.sqrt(ridge) * np.eye(3)]), np.concatenate([Y, np.zeros(3)])
        expected.append(np.linalg.lstsq(rows, labels)[0] @ x)
    assert_predicts(LeastSquares(ridge), tokens, expected)


@pytest.mark.parametrize("N", [2, 3, 8])
def test_least_squares_in_float32(N):
    """From statistics whose own rounding is 1e-7: right to that times the prompt's squared
    condition number."""
    tokens = prompts(N, B=200, dtype=torch.float32, noise_std=0.1)
    ours = LeastSquares().predict(tokens.gram())
    assert ours.dtype == torch.float32
    checked = 0
    for (X, Y, x), prediction in zip(each(tokens), ours.tolist(), strict=True):
        X, Y, x = (a.astype(np.float64) for a in (X, Y, x))
        w, _, _, values = np.linalg.lstsq(X, Y)
        condition = (values[0] / values[-1]) ** 2
        if condition < 1e4:
            checked += 1
            assert (
                abs(w @ x - prediction)
                < 20 * 6e-8 * condition * np.linalg.norm(w) * np.linalg.norm(x) + 1e-6
            )
    assert checked > 100


@pytest.mark.parametrize("N", [4, 9])
def test_noiseless_least_squares_is_exact(N):
    tokens = prompts(N, Sigma=SIGMA, Sigma_w=SIGMA)
    torch.testing.assert_close(LeastSquares().predict(tokens), tokens.y, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("N", [2, 6])
def test_many_steps_of_gradient_descent_end_at_least_squares(N):
    tokens = prompts(N, noise_std=0.3, mode="sphere")
    slowest = min(np.linalg.svd(X)[1].min() ** 2 for X, _, _ in each(tokens))
    eta = 1.0 / N  # the largest eigenvalue of S is at most N on the sphere
    steps = int(np.log(1e-12) / np.log1p(-eta * slowest)) + 1
    end, limit = GradientDescent(steps, eta).predict(tokens), LeastSquares().predict(tokens)
    torch.testing.assert_close(end, limit, rtol=1e-8, atol=1e-9)
    assert (GradientDescent(1, eta).predict(tokens) - limit).abs().max() > 0.1


def test_a_vanishing_ridge_is_least_squares_and_a_huge_one_predicts_0():
    tokens = prompts(2, noise_std=0.3)
    torch.testing.assert_close(
        LeastSquares(1e-9).predict(tokens), LeastSquares().predict(tokens), rtol=1e-4, atol=1e-6
    )
    assert LeastSquares(1e9).predict(tokens).abs().max() < 1e-6


def test_squared_error_of_every_prompt():
    tokens = prompts(5, noise_std=0.3)
    model = LinearTransformer(d=3, n_layer=2, init_std=0.3)
    learned = FittedModel(model, model.init(torch.Generator().manual_seed(0), torch.float64))
    for predictor in (GradientDescent(2, 0.1), LeastSquares(0.1), learned):
        for given in (tokens, tokens.gram()):
            answers = predictor.predict(given).tolist()
            expected = [(a - y) ** 2 for a, y in zip(answers, tokens.y.tolist(), strict=True)]
            torch.testing.assert_close(
                squared_error(predictor, given).tolist(), expected, rtol=1e-13, atol=0
            )


@pytest.mark.parametrize(
    "predictor", [GradientDescent(3, 0.1), LeastSquares(), LeastSquares(0.5)], ids=repr
)
def test_leading_axes_are_ensemble_members(predictor):
    generators = [torch.Generator().manual_seed(s) for s in (1, 2)]
    tokens = sample_ensemble(
        [LinearRegression(5, 3, noise_std=0.2)] * 2, 7, generators, "tokens", torch.float64
    )
    together = predictor.predict(tokens)
    assert together.shape == (2, 7)
    for e in range(2):
        alone = predictor.predict(Prompts(tokens.Z[e], tokens.y[e]))
        torch.testing.assert_close(together[e], alone, rtol=1e-11, atol=1e-12)


def test_a_preconditioner_for_each_member():
    """Their prompts have their own covariances; the step size is the best for all together."""
    Sigmas = [SIGMA, ((0.5, 0.1, 0.0), (0.1, 0.4, 0.2), (0.0, 0.2, 3.0))]
    tasks = [LinearRegression(7, 3, Sigma=Sigma) for Sigma in Sigmas]
    generators = [torch.Generator().manual_seed(s) for s in (1, 2)]
    batch = sample_ensemble(tasks, 200, generators, dtype=torch.float64)
    Pi = torch.linalg.inv(torch.tensor(Sigmas, dtype=torch.float64))
    best = best_gradient_descent(3, batch, Pi)
    for e in range(2):
        its = Gram(batch.S[e], batch.s[e], batch.x[e], batch.y[e], 7)
        alone = GradientDescent(3, best.eta, Pi[e]).predict(its)
        torch.testing.assert_close(best.predict(batch)[e], alone, rtol=1e-11, atol=1e-12)
    grid = best.eta * np.linspace(0.9, 1.1, 201)
    losses = [float(squared_error(GradientDescent(3, eta, Pi), batch).mean()) for eta in grid]
    assert abs(int(np.argmin(losses)) - 100) <= 1


@pytest.mark.parametrize("N", [2, 6])
def test_predictors_see_all_examples(N):
    """Leaving the last example out changes every prediction (the original code's baselines saw N -
    1 of N)."""
    tokens = prompts(N, d=4, noise_std=0.3)
    fewer = Prompts(tokens.Z[:, [*range(N - 1), N]], tokens.y)
    for predictor in (GradientDescent(2, 0.1), LeastSquares(), LeastSquares(0.5)):
        assert ((predictor.predict(tokens) - predictor.predict(fewer)).abs() > 1e-6).all()


def correlated(B):
    """Prompts with covariance Sigma, in float64, and the preconditioner for it."""
    Sigma = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, 0.1], [0.0, 0.1, 0.2]], dtype=torch.float64)
    task = LinearRegression(7, 3, Sigma=Sigma.tolist(), noise_std=0.1)
    return task.sample(B, torch.Generator().manual_seed(3), dtype=torch.float64), torch.linalg.inv(
        Sigma
    )


@pytest.mark.parametrize("preconditioned", [False, True])
def test_the_best_single_step_is_a_regression(preconditioned):
    """One step predicts eta x^T Pi s: the best eta is the slope of y on x^T Pi s through the
    origin."""
    gram, Pi = correlated(301)
    direction = (
        gram.x * ((Pi if preconditioned else torch.eye(3, dtype=torch.float64)) @ gram.s)
    ).sum(0)
    slope = float((direction * gram.y).sum() / direction.square().sum())
    best = best_gradient_descent(1, gram, Pi if preconditioned else None)
    assert best.eta == pytest.approx(slope, rel=1e-4)  # it is found to 1e-5 of the interval


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("steps", [2, 3, 5])
def test_no_step_size_of_a_fine_grid_is_better(steps, preconditioned):
    gram, Pi = correlated(301)
    Pi = Pi if preconditioned else None
    best = best_gradient_descent(steps, gram, Pi)
    assert (best.steps, best.preconditioner is Pi) == (steps, True)
    grid = np.linspace(0, 4 * best.eta, 801)
    losses = [float(squared_error(GradientDescent(steps, eta, Pi), gram).mean()) for eta in grid]
    assert float(squared_error(best, gram).mean()) <= min(losses) * (1 + 1e-9)
    assert abs(grid[int(np.argmin(losses))] - best.eta) <= grid[1]


def test_the_best_of_a_grid():
    prompts = LinearRegression(N=6, d=3).sample(
        500, torch.Generator().manual_seed(0), dtype=torch.float64
    )
    etas = [0.01, 0.5, 0.09, 0.2]
    losses = [float(squared_error(GradientDescent(2, eta), prompts).mean()) for eta in etas]
    assert best_of_grid(2, etas, prompts).eta == etas[losses.index(min(losses))]
