"""Ridge regressions that do not know the noise, against direct solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lintf.analysis import isotropic
from lintf.experiments import unknown_noise
from lintf.models.labels import LabelTransformer
from lintf.tasks.base import fixed_prompts
from lintf.tasks.levels import NoiseLevels
from lintf.training.config import TrainConfig
from lintf.training.fit import fit

N, D = 7, 3
TASK = NoiseLevels(N=N, d=D, noise_max=2.0)


def drawn(prompts):
    return fixed_prompts(TASK, 1, prompts, "levels", torch.float64)


def test_errors_are_those_of_a_direct_solution():
    prompts = drawn(5)
    own, penalty = unknown_noise.Spectral.of(prompts), torch.tensor([0.1, 0.0, 2.0, 1.0, 9.0])
    for i, G in enumerate(prompts.G):
        S, s = G[:D, :D], G[:D, D]
        left = torch.linalg.solve(S + penalty[i] * torch.eye(D), s) - prompts.w[i]
        assert_allclose(own.errors(penalty.double())[i], left @ left / 2)
        least = torch.linalg.solve(S, s)
        assert_allclose(own.rest[i], G[D, D] - 2 * least @ s + least @ S @ least)


def test_what_least_squares_leaves_says_the_variance():
    prompts = drawn(100_000)
    rest = unknown_noise.Spectral.of(prompts).rest / (N - D)
    off = rest - prompts.level.square()
    assert abs(off.mean()) < 4 * off.std() / len(off) ** 0.5


def test_the_least_error_is_an_integral():
    prompts = drawn(100_000)
    variance = prompts.level.square()
    errors = unknown_noise.Spectral.of(prompts).errors(variance)
    t, weights = isotropic.spectrum(N, D)
    v = variance[:1000, None].numpy()
    expected = np.mean(v / (N * t + v) @ weights) * D / 2
    assert abs(float(errors[:1000].mean()) - expected) < 4 * float(errors.std()) / 1000**0.5


def test_each_baseline_is_better_than_the_one_before_it_is_tuned_from():
    found = unknown_noise.baselines(task=TASK, prompts=20_000)
    constant, adaptive, tuned = found["excess"].tolist()
    own = unknown_noise.Spectral.of(drawn(20_000))
    best = own.errors(drawn(20_000).level.square()).mean()
    for penalty in (0.0, 0.5, 4 / 3, 4.0):
        assert constant <= float(own.errors(penalty).mean() - best) + 1e-9
    assert 0 < tuned < adaptive
    count, middle = 0, 0.0
    for low in np.arange(10) / 5:  # the mean over bins is the mean
        inside = (drawn(20_000).level >= low) & (drawn(20_000).level < low + 0.2)
        count += int(inside.sum())
        middle += float(found["by_level"][2][round(5 * low)]) * int(inside.sum())
    assert count == 20_000
    assert_allclose(middle / count, tuned)


@pytest.mark.parametrize("task", [TASK, NoiseLevels(N, D, 0.0), NoiseLevels(N, D, some=(1, 3))])
def test_excess_of_trained_models(runs, task):
    model, training = LabelTransformer(D, 2), TrainConfig(lr=0.01, max_iters=3, B=5)
    how = {"model": model, "task": task, "training": training}
    found = unknown_noise.excesses(**how, seeds=[0, 1], prompts=50)
    prompts = fixed_prompts(task, 1, 50, "levels", torch.float64)
    params = fit(model, task, training, [1]).final_params
    own = {name: p[0].double() for name, p in params.items()}
    best = unknown_noise.Spectral.of(prompts).errors(prompts.level.square())
    expected = model.loss(own, prompts) / 2 - best.mean()
    assert_allclose(found["excess"][1], expected)
    assert found["by_level"].shape == (2, unknown_noise.BINS)
