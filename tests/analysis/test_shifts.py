"""The error of one layer under shifts against simulation, and shifted prompts against tokens."""

from __future__ import annotations

import pytest
import torch

from lintf.analysis.shifts import (
    InCoordinates,
    one_layer_error,
    random_covariances_error,
    shifted,
    simulated_error,
)
from lintf.models.base import FittedModel
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression

SIGMA = ((1.3, 0.4, 0.1), (0.4, 0.9, -0.2), (0.1, -0.2, 0.5))
SIGMA_W = ((0.7, -0.1, 0.0), (-0.1, 1.1, 0.3), (0.0, 0.3, 1.9))


def test_the_error_of_one_layer_is_that_of_a_simulation():
    task = LinearRegression(N=7, d=3, Sigma=SIGMA, Sigma_w=SIGMA_W, noise_std=0.6)
    g = torch.Generator().manual_seed(0)
    Q = torch.randn(3, 3, generator=g, dtype=torch.float64)
    gram = task.sample(200_000, g, dtype=torch.float64)
    answers = -(gram.x * (Q @ gram.s)).sum(0) / task.N
    errors = (answers - gram.y).square()
    error = float(errors.std()) / len(errors) ** 0.5
    assert sum(one_layer_error(Q, task)) == pytest.approx(float(errors.mean()), abs=4 * error)


def test_a_query_of_its_own_covariance():
    task, query = LinearRegression(N=7, d=3, Sigma=SIGMA), torch.diag(torch.tensor([2.0, 0, 5.0]))
    g, query = torch.Generator().manual_seed(1), query.double()
    Q = torch.randn(3, 3, generator=g, dtype=torch.float64)
    gram = task.sample(200_000, g, dtype=torch.float64)
    other = shifted(LinearRegression(N=7, d=3).sample(200_000, g, dtype=torch.float64))
    assert torch.allclose(
        other.s, (other.S * torch.linalg.solve(other.S.movedim(-1, 0), other.s.T).T).sum(-2)
    )
    w = torch.linalg.solve(gram.S.movedim(-1, 0), gram.s.T).T
    x = query.sqrt() @ torch.randn(3, 200_000, generator=g, dtype=torch.float64)
    errors = (-(x * (Q @ gram.s)).sum(0) / 7 - (x * w).sum(0)).square()
    error = float(errors.std()) / len(errors) ** 0.5
    exact = sum(one_layer_error(Q, task, query))
    assert exact == pytest.approx(float(errors.mean()), abs=4 * error)


def test_the_bias_stays_and_the_variance_falls_with_the_examples():
    Q = -torch.diag(torch.tensor([0.5, 0.7, 0.9], dtype=torch.float64))
    few, many = (one_layer_error(Q, LinearRegression(N=n, d=3, Sigma=SIGMA)) for n in (10, 1000))
    assert few[0] == many[0]
    assert few[1] == pytest.approx(100 * many[1])


def test_shifted_prompts_are_those_of_shifted_tokens():
    prompts = LinearRegression(N=6, d=3).sample(
        5, torch.Generator().manual_seed(2), "tokens", torch.float64
    )
    factors = torch.tensor([[0.5], [2.0], [3.0]], dtype=torch.float64)
    X, x = prompts.Z[:, :-1, :3], prompts.Z[:, -1, :3]
    found = shifted(prompts.gram(), factors, 4.0)
    for b in range(5):
        w = torch.linalg.lstsq(X[b], prompts.Z[b, :-1, 3:]).solution[:, 0]
        moved = X[b] * factors.T
        assert torch.allclose(found.S[..., b], moved.T @ moved)
        assert torch.allclose(found.s[:, b], moved.T @ (moved @ w))
        assert torch.allclose(found.x[:, b], 4 * x[b])
        assert torch.allclose(found.y[b], 4 * (x[b] @ w))


def test_other_covariates_are_refused():
    with pytest.raises(ValueError, match="mode must be 'normal'"):
        one_layer_error(torch.eye(3).double(), LinearRegression(N=7, d=3, mode="sphere"))


def test_networks_see_prompts_in_their_own_coordinates():
    """Against the tokens themselves, turned one by one."""
    g = torch.Generator().manual_seed(3)
    prompts = LinearRegression(N=6, d=3).sample(5, g, "tokens", torch.float64)
    model = LinearTransformer(d=3, n_layer=2, init_std=0.3)
    members = [model.init(g, torch.float64) for _ in range(2)]
    params = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    A = torch.randn(2, 3, 3, generator=g, dtype=torch.float64)
    found = InCoordinates(FittedModel(model, params), A).predict(prompts.gram())
    for i, member in enumerate(members):
        Z = prompts.Z.clone()
        for b in range(5):
            for token in range(7):
                Z[b, token, :3] = A[i] @ prompts.Z[b, token, :3]
        turned = type(prompts)(Z, prompts.y)
        assert torch.allclose(found[i], FittedModel(model, member).predict(turned))


def test_a_simulation_is_as_near_to_the_closed_form_as_its_error_says():
    task = LinearRegression(N=7, d=3, Sigma=SIGMA, Sigma_w=SIGMA_W, noise_std=0.6)
    Q = -torch.diag(torch.tensor([0.5, 0.7, 0.9], dtype=torch.float64))
    mean, error = simulated_error(Q, task, 100_000)
    exact = sum(one_layer_error(Q, task))
    assert abs(mean - exact) < 4 * error < 0.1 * exact


@pytest.mark.parametrize("size", [0.2, 1 / 3])
def test_random_covariances_leave_what_the_moments_say(size):
    """E lam (1 - size lam)^2 with E lam^k = k!."""
    mean, error = random_covariances_error(size, 2, 100_000)
    assert abs(mean - (1 - 4 * size + 6 * size**2)) < 4 * error < 0.1 * mean
