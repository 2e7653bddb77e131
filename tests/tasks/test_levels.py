"""Prompts with noise levels of their own, against explicit examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from lintf.pages import tolerances
from lintf.tasks.levels import NoiseLevels

N, D, B = 6, 3, 100_000


def drawn(task, dtype=torch.float64):
    return task.sample(B, torch.Generator().manual_seed(0), dtype=dtype)


def entries(G):
    """All entries once, and their squares."""
    i, j = np.tril_indices(D + 1)
    return np.concatenate((G[:, i, j], G[:, i, j] ** 2), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_have_the_law_of_explicit_examples(dtype):
    rng = np.random.default_rng(2)
    X, w = rng.standard_normal((B, N, D)), rng.standard_normal((B, D))
    level = rng.uniform(0, 2, B)
    y = np.einsum("bnd,bd->bn", X, w) + level[:, None] * rng.standard_normal((B, N))
    Z = np.concatenate((X, y[..., None]), 2)
    one = entries(Z.transpose(0, 2, 1) @ Z)
    two = entries(drawn(NoiseLevels(N, D, 2.0), dtype).G.double().numpy())
    error = np.sqrt((one.var(0) + two.var(0)) / B)
    z = (one.mean(0) - two.mean(0)) / error
    assert tolerances.by_chance(z.tolist(), [0.0] * len(z), 1.0)


def test_labels_are_those_of_the_weights():
    prompts = drawn(NoiseLevels(N, D, 0.0))
    S, s = prompts.G[:, :D, :D], prompts.G[:, :D, D]
    assert torch.allclose((S @ prompts.w[..., None])[..., 0], s)
    assert torch.allclose((s * prompts.w).sum(-1), prompts.G[:, D, D])
    assert torch.allclose(prompts.y, (prompts.x * prompts.w).sum(-1))


def test_levels_are_uniform_or_some():
    level = drawn(NoiseLevels(N, D, 3.0)).level.numpy()
    assert stats.kstest(level, "uniform", (0, 3)).pvalue > 1e-3
    values, counts = drawn(NoiseLevels(N, D, some=[1, 3, 5])).level.unique(return_counts=True)
    assert values.tolist() == [1, 3, 5]
    assert tolerances.by_chance(counts / B, torch.full((3,), 1 / 3), (2 / 9 / B) ** 0.5)


def test_some_levels_have_names_of_their_own():
    assert "some" not in NoiseLevels().config
    assert NoiseLevels(some=(1, 3)).config["some"] == (1.0, 3.0)


@pytest.mark.parametrize("field", [{"some": [-1.0]}, {"some": [float("nan")]}, {"noise_max": -1}])
def test_a_level_below_zero_is_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        NoiseLevels(**field)
