"""Covariates from a cube: moments, statistics, and what one step of gradient descent leaves."""

from __future__ import annotations

import pytest
import torch

from lintf.tasks.base import sample_ensemble
from lintf.tasks.uniform import FLATNESS, UniformRegression


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("side", [1.0, 2.5])
def test_moments(side):
    N, d, B = 7, 3, 40_000
    task = UniformRegression(N, d, side)
    prompts = task.sample(B, generator(0), "tokens", torch.float64)
    X = prompts.Z[..., :-1]
    assert X.abs().max() <= side / 2
    square = X.square().mean() / task.variance
    fourth = X.pow(4).mean() / task.variance**2
    count = X.numel()
    # A uniform variate has fourth and eighth moments of 9/5 and 9 in units of its variance.
    assert abs(square - 1) < 4 * (0.8 / count) ** 0.5
    assert abs(fourth - FLATNESS) < 4 * ((9 - FLATNESS**2) / count) ** 0.5
    covariance = X.flatten(0, 1).mT @ X.flatten(0, 1) / (B * (N + 1)) / task.variance
    assert (covariance - torch.eye(d)).abs().max() < 5 / (B * (N + 1)) ** 0.5
    # y = w.x with w ~ N(0, I): its variance is d times that of an entry.
    y = prompts.y.square() / (d * task.variance)
    assert abs(y.mean() - 1) < 4 * float(y.std()) / B**0.5


def test_labels_are_linear_in_one_w_per_prompt():
    prompts = UniformRegression(9, 4).sample(20, generator(1), "tokens", torch.float64)
    for Z, y in zip(prompts.Z, prompts.y, strict=True):
        w = torch.linalg.lstsq(Z[:-1, :-1], Z[:-1, -1:]).solution
        torch.testing.assert_close(Z[:-1, :-1] @ w, Z[:-1, -1:], rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(Z[-1, :-1] @ w[:, 0], y, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_those_of_the_tokens(dtype):
    """For members that differ, each as alone."""
    tasks, seeds = [UniformRegression(7, 3)] * 2, (4, 5)
    drawn = {
        name: sample_ensemble(tasks, 11, [generator(s) for s in seeds], name, dtype)
        for name in ("tokens", "gram")
    }
    tokens = drawn["tokens"]
    for name, t in drawn["gram"].tensors.items():
        assert t.dtype == dtype
        assert torch.equal(t, getattr(tokens.gram(), name))
    for e, seed in enumerate(seeds):
        alone = tasks[0].sample(11, generator(seed), "tokens", dtype)
        assert torch.equal(tokens.Z[e], alone.Z)
        for b in range(11):
            Z = alone.Z[b]
            S = sum(torch.outer(x, x) for x in Z[:-1, :-1])
            torch.testing.assert_close(drawn["gram"].S[e, ..., b], S)


@pytest.mark.parametrize(
    "fields", [{"N": 0}, {"d": 0}, {"side": 0.0}, {"side": -1.0}, {"side": float("nan")}]
)
def test_fields_out_of_range(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        UniformRegression(**fields)
