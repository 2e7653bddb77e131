"""Pre-training as ridge regression: statistics against explicit prompts, solutions against a direct
solver, errors against test prompts, theory against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lintf.analysis import pretraining
from lintf.pages import tolerances

NOISE = 0.7


def explicit(w, N, rng):
    """Statistics of prompts that are drawn example by example."""
    n, d = w.shape
    X = rng.standard_normal((n, N, d)) / np.sqrt(d)
    Y = np.einsum("nid,nd->ni", X, w) + np.sqrt(NOISE) * rng.standard_normal((n, N))
    return np.column_stack((d / N * np.einsum("ni,nid->nd", Y, X), np.mean(Y**2, axis=1)))


def features(v):
    """The entries, their third powers, and their products with the first and the last."""
    return np.column_stack((v, v**3, v[:, :1] * v, v[:, -1:] * v))


def test_statistics_have_the_law_of_explicit_prompts():
    rng = np.random.default_rng(0)
    w = np.tile([1.0, -2.0, 0.5], (200_000, 1))
    one, two = explicit(w, 4, rng), pretraining.draw_prompts(w, 4, NOISE, rng)[1]
    a, b = features(one), features(two)
    error = np.sqrt((a.var(0) + b.var(0)) / len(w))
    z = (a.mean(0) - b.mean(0)) / error
    assert tolerances.by_chance(z.tolist(), [0.0] * len(z), 1.0)


def test_queries_and_labels_are_those_of_the_task():
    rng = np.random.default_rng(1)
    w = np.tile([1.0, -2.0, 0.5], (100_000, 1))
    x, _, y = pretraining.draw_prompts(w, 4, NOISE, rng)
    assert_allclose(x.T @ x / len(x), np.eye(3) / 3, atol=0.01)
    rest = y - np.sum(x * w, axis=1)
    assert_allclose(rest.var(), NOISE, rtol=0.02)
    assert_allclose(x.T @ rest / len(x), 0, atol=0.01)


def test_moments_are_those_of_prompts():
    rng = np.random.default_rng(2)
    tasks = rng.standard_normal((2, 3))
    w = np.repeat(tasks, 200_000, axis=0)
    x, v, y = pretraining.draw_prompts(w, 5, NOISE, rng)
    moments = pretraining.of_tasks(tasks, 5, NOISE)
    for products, exact in (
        (w[:, :, None] * v[:, None, :], moments.A),
        (v[:, :, None] * v[:, None, :], moments.B),
        (y**2, moments.power),
    ):
        z = np.atleast_1d((products.mean(0) - exact) / products.std(0) * len(w) ** 0.5)
        assert tolerances.by_chance(z.ravel().tolist(), [0.0] * z.size, 1.0)
    Gamma = rng.standard_normal((3, 4))
    errors = (np.sum((x @ Gamma) * v, axis=1) - y) ** 2
    z = (errors.mean() - moments.score(Gamma)) / errors.std() * len(w) ** 0.5
    assert tolerances.by_chance(z, 0.0, 1.0)


def test_new_tasks_are_many_tasks():
    tasks = pretraining.draw_tasks(200_000, 3, True, np.random.default_rng(3))
    assert_allclose(np.linalg.norm(tasks, axis=1), np.sqrt(3))
    many, new = pretraining.of_tasks(tasks, 5, NOISE), pretraining.of_new_tasks(3, 5, NOISE)
    for one, two in zip(many, new, strict=True):
        assert_allclose(one, two, atol=0.02)


def test_scored_as_if_all_tasks_had_one_length():
    rng = np.random.default_rng(4)
    equal, other = pretraining.draw_tasks(3, 4, True, rng), rng.standard_normal((3, 4))
    for one, two in zip(
        pretraining.of_tasks(equal, 5, NOISE),
        pretraining.of_tasks(equal, 5, NOISE, True),
        strict=True,
    ):
        assert_allclose(one, two, rtol=1e-12)
    assert pretraining.of_tasks(other, 5, NOISE, True).power == 1 + NOISE


@pytest.mark.parametrize("n", [7, 60])  # fewer prompts than the 20 unknowns, and more
def test_ridge_solves_the_regression(n):
    rng = np.random.default_rng(5)
    x, v, y = rng.standard_normal((n, 4)), rng.standard_normal((n, 5)), rng.standard_normal(n)
    H = (x[:, :, None] * v[:, None, :]).reshape(n, -1)
    expected = np.linalg.solve(H.T @ H + 0.3 * np.eye(20), H.T @ y).reshape(4, 5)
    assert_allclose(pretraining.ridge(x, v, y, 0.3), expected, atol=1e-10)


def test_a_singular_regression_is_refused(monkeypatch):
    monkeypatch.setattr(pretraining, "MOST_STEPS", 3)
    rng = np.random.default_rng(6)
    with pytest.raises(ValueError, match="singular: take a larger penalty, or other than about 20"):
        pretraining.ridge(
            rng.standard_normal((21, 4)), rng.standard_normal((21, 5)), rng.standard_normal(21), 0.0
        )


def test_marchenko_and_pastur():
    for ratio in (0.3, 2.0):
        t, weights = pretraining.marchenko_pastur(ratio)
        for power, moment in enumerate((1, 1, 1 + ratio, 1 + 3 * ratio + ratio**2)):
            assert_allclose(weights @ t**power, moment, rtol=1e-10)


@pytest.mark.parametrize("tau", [0.4, 2.5])
def test_equivalents_foretell_a_simulation(tau):
    """At d = 40 they are as near as 1/d."""
    setting = {"d": 40, "N": 120, "tasks": 20, "noise": NOISE, "ridge_constant": 0.01}
    found = pretraining.pretrained(
        **setting, prompts=round(tau * 1600), sphere=True, seeds=list(range(8))
    )
    tasks = pretraining.draw_tasks(20, 40, True, np.random.default_rng(0))
    own = pretraining.of_tasks(tasks, 120, NOISE)
    new = pretraining.of_new_tasks(40, 120, NOISE)
    limits = pretraining.limit(tau, 3, 0.5, NOISE, 0.01)
    for law, name, limit in ((new, "new", limits[0]), (own, "training", limits[1])):
        expected = pretraining.equivalent(own, law, tau, 0.01)
        assert_allclose(float(found[name].mean()), expected, rtol=0.05)
        assert_allclose(expected, limit, rtol=0.1)


def test_seeds_do_not_depend_on_each_other():
    setting = {"d": 4, "N": 6, "tasks": 3, "prompts": 50, "noise": NOISE, "ridge_constant": 0.1}
    both = pretraining.pretrained(**setting, sphere=False, seeds=[3, 5])
    one = pretraining.pretrained(**setting, sphere=False, seeds=[5])
    assert all(both[name][1] == one[name][0] for name in both)


def test_posterior_means_against_explicit_prompts():
    """With few tasks and examples, where the odds are not all on one."""
    rng = np.random.default_rng(7)
    tasks, N, n = rng.standard_normal((4, 3)), 5, 20_000
    found = pretraining.bayes_errors(tasks, N, NOISE, n, rng)
    which = rng.integers(4, size=n)
    X = rng.standard_normal((n, N, 3)) / np.sqrt(3)
    Y = np.einsum("nid,nd->ni", X, tasks[which]) + np.sqrt(NOISE) * rng.standard_normal((n, N))
    odds = np.exp(-np.sum((Y[:, None] - np.einsum("nid,kd->nki", X, tasks)) ** 2, 2) / 2 / NOISE)
    discrete = odds @ tasks / odds.sum(1, keepdims=True)
    S = X.transpose(0, 2, 1) @ X
    shrunk = np.linalg.solve(S + NOISE * np.eye(3), np.einsum("nid,ni->nd", X, Y)[..., None])[
        ..., 0
    ]
    for name, estimate in (("discrete", discrete), ("ridge", shrunk)):
        errors = np.mean((estimate - tasks[which]) ** 2, axis=1) + NOISE
        ours = found[name]["training"]
        z = (errors.mean() - ours.mean()) / np.sqrt((errors.var() + ours.var()) / n)
        assert tolerances.by_chance(z, 0.0, 1.0)
