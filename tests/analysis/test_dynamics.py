"""The population loss against simulation, and gradient flow against automatic differentiation."""

from __future__ import annotations

import pytest
import torch

from lintf.analysis import dynamics, isotropic
from lintf.models.heads import Heads
from lintf.tasks.linear import LinearRegression

SIGMA = ((1.3, 0.4, 0.1), (0.4, 0.9, -0.2), (0.1, -0.2, 0.5))
TASK = LinearRegression(N=7, d=3, Sigma=SIGMA)


@pytest.mark.parametrize("rank", [None, 2])
def test_the_population_loss_is_that_of_a_simulation(rank):
    g = torch.Generator().manual_seed(0)
    model = Heads(d=3, n_head=2, rank=rank, init_std=0.8)
    params = model.init(g, torch.float64)
    gram = TASK.sample(200_000, g, dtype=torch.float64)
    errors = (model.predict(params, gram) - gram.y).square()
    error = float(errors.std()) / len(errors) ** 0.5
    exact = float(dynamics.population_loss(model.matrix(params), TASK))
    assert exact == pytest.approx(float(errors.mean()), abs=4 * error)


@pytest.mark.parametrize("rank", [None, 2])
def test_heads_answer_as_their_formula(rank):
    g = torch.Generator().manual_seed(1)
    model = Heads(d=3, n_head=4, rank=rank, init_std=0.8)
    params = model.init(g, torch.float64)
    prompts = TASK.sample(5, g, "tokens", torch.float64)
    answers = model.predict(params, prompts.gram())
    for b, Z in enumerate(prompts.Z):
        answer, x = 0.0, Z[-1, :3]
        for h in range(4):
            for token in Z[:-1]:
                if rank is None:
                    score = token[:3] @ params["U"][h] @ x
                else:
                    score = (params["k"][h] @ token[:3]) @ (params["q"][h] @ x)
                answer += params["v"][h] * score * token[3] / 7
        assert torch.allclose(answers[b], answer)


@pytest.mark.parametrize("rank", [None, 2])
def test_the_flow_goes_down_the_gradient(rank):
    """Against steps of Runge and Kutta with automatic differentiation."""
    model = Heads(d=3, n_head=2, rank=rank, init_std=0.5)
    found = dynamics.flow(model, TASK, 3, 0.1, 1.0, points=5)
    params = model.init(torch.Generator().manual_seed(3), torch.float64)

    def slope(at):
        leaves = {k: p.clone().requires_grad_() for k, p in at.items()}
        loss = dynamics.population_loss(model.matrix(leaves), TASK)
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    def moved(at, slopes, step):
        return {k: p - step * slopes[k] for k, p in at.items()}

    for _ in range(200):
        s1 = slope(params)
        s2 = slope(moved(params, s1, 0.0025))
        s3 = slope(moved(params, s2, 0.0025))
        s4 = slope(moved(params, s3, 0.005))
        total = {k: (s1[k] + 2 * s2[k] + 2 * s3[k] + s4[k]) / 6 for k in params}
        params = moved(params, total, 0.005)
    for name, p in params.items():
        assert torch.allclose(found[name][-1], p, atol=1e-6)
    assert torch.allclose(found["M"], model.matrix({k: found[k] for k in params}))
    assert found["loss"].diff().max() < 0


@pytest.mark.parametrize("values", [True, False])
def test_layers_are_those_of_multiples_of_the_identity(values):
    found = dynamics.layers_flow(2, 9, 3, 0.2, values, 0.01, 50.0, points=7)
    for u, p, v, loss in zip(*(found[k] for k in ("u", "p", "v", "loss")), strict=True):
        a, b = (u * v).tolist(), (p / v).tolist()[:-1]
        assert float(loss) == pytest.approx(isotropic.population_loss(a, b, 9, 3), rel=1e-9)
    assert bool((found["v"] == 1).all()) is not values
    assert found["loss"].diff().max() < 0


def test_other_laws_and_times_are_refused():
    heads = Heads(d=3, n_head=2)
    with pytest.raises(ValueError, match="Sigma_w"):
        dynamics.flow(heads, LinearRegression(N=7, d=3, Sigma_w=SIGMA), 0, 0.1, 1.0)
    with pytest.raises(ValueError, match="last must be"):
        dynamics.flow(heads, TASK, 0, 1.0, 1.0)
    with pytest.raises(ValueError, match="n_layer"):
        dynamics.layers_flow(5, 9, 3, 0.2, True, 0.01, 1.0)
