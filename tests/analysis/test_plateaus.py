"""The staircase of separate heads, against the flow itself and automatic differentiation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from lintf.analysis import dynamics, plateaus
from lintf.models.heads import Heads
from lintf.tasks.linear import LinearRegression

LAM = (0.6, 0.3, 0.15)
TASK = LinearRegression(N=7, d=3, Sigma=np.diag(LAM).tolist())


class OnAxes(Heads):
    """Heads that begin on the eigenvectors, one on each."""

    def init(self, generator, dtype=torch.float32):
        a = torch.full((self.d,), self.init_std, dtype=dtype)
        rows = torch.diag(a)[:, None]
        return {"v": a, "k": rows, "q": rows.clone()}


@pytest.fixture(scope="module")
def found():
    return dynamics.flow(OnAxes(3, 3, 1, 0.05), TASK, 0, 1.0, 5000.0, points=2000)


@pytest.mark.parametrize("learned", list(product((0, 1), repeat=3)))
def test_the_flow_rests_at_each_subset_of_eigenvalues(learned):
    """Against steps to both sides of each weight."""
    params = plateaus.fixed_point(TASK, learned)
    loss, slope = plateaus.loss_and_slope(TASK, learned)
    gains = -np.diff(plateaus.heights(LAM, 7))
    assert loss == pytest.approx(sum(LAM) - gains @ learned)
    assert slope < 1e-14
    for p in params.values():
        for i in range(p.numel()):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {name: q.clone() for name, q in params.items()}
                next(moved[name] for name in moved if params[name] is p).view(-1)[i] += step
                ends.append(float(dynamics.population_loss(Heads(3, 3).matrix(moved), TASK)))
            assert ends[0] == pytest.approx(ends[1], abs=1e-10)


def test_merged_heads_on_round_covariates_follow_the_logistic_equation():
    task = LinearRegression(N=7, d=3, Sigma=(0.5 * np.eye(3)).tolist())
    heads = Heads(3, 2, None, 1e-3)
    found = dynamics.flow(heads, task, 1, 0.1, 100.0, keep=["times", "M", "loss"])
    curve = plateaus.logistic(found, task, 1e-3)
    assert float(curve["off"].abs().max()) < 1e-2
    K = float(dynamics.moments(task)[1][0, 0])
    slope = 4 * curve["sigma"] * (0.25 * 3**0.5 - 0.5 * K * curve["sigma"])
    assert np.allclose(np.gradient(curve["sigma"], curve["times"]), slope, atol=2e-2)
    assert torch.allclose(curve["loss"], found["loss"][-len(curve["loss"]) :], atol=2e-2)


def test_the_last_height_is_the_least_loss():
    Sigma, K = dynamics.moments(TASK)
    best = torch.linalg.solve(K, Sigma)
    least = float(dynamics.population_loss(best, TASK))
    assert plateaus.heights(LAM, 7)[-1] == pytest.approx(least)


def test_the_staircase_is_the_flow_from_the_eigenvectors(found):
    loss = plateaus.staircase(LAM, 7, 0.05, found["times"].numpy())
    assert np.allclose(loss, found["loss"].numpy(), atol=2e-6)


@pytest.mark.parametrize("to", [0.2, 0.9])
def test_the_time_of_a_climb_is_an_integral(to):
    lam, K = 0.4, 0.3
    expected, _ = quad(lambda a: 0.5 / (a**2 * lam * (lam - K * a**3)), 0.01, to, limit=200)
    assert plateaus.climbing_time(to, 0.01, lam, K) == pytest.approx(expected)


def test_drops_and_rests_are_found(found):
    levels = plateaus.heights(LAM, 7)
    halves = plateaus.half_times(found, levels)
    loss = np.interp(halves, found["times"], found["loss"])
    assert np.allclose(loss, (levels[1:] + levels[:-1]) / 2, atol=1e-9)
    rested = found["loss"][plateaus.rests(found, levels)].numpy()
    assert np.allclose(rested, levels, rtol=5e-3)
    assert plateaus.count_drops(found["loss"]) == 3


def test_drops_that_were_not_done_are_nan(found):
    early = {name: found[name][:200] for name in ("times", "loss")}
    levels = plateaus.heights(LAM, 7)
    done = early["loss"][-1].item() < (levels[:-1] + levels[1:]) / 2
    assert not done.all()
    assert (np.isfinite(plateaus.half_times(early, levels)) == done).all()


def test_drops_of_heads_on_eigenvectors_are_foretold_exactly(found):
    halves = plateaus.half_times(found, plateaus.heights(LAM, 7))
    assert np.allclose(plateaus.foretold(found, TASK), halves, rtol=2e-3)


def test_with_too_few_heads_a_drop_never_comes():
    few = dynamics.flow(Heads(3, 2, 1, 0.1), TASK, 0, 1.0, 3000.0)
    assert np.isinf(plateaus.foretold(few, TASK)[2])
