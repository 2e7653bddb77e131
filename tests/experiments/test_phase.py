"""The trainings of page 25, its lens, and the file with the best transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lintf.analysis import isotropic
from lintf.analysis.solvers import GradientDescent
from lintf.analysis.theory import mapped
from lintf.experiments.phase import OPTIMA, best_layers, phase, scales, scores, whiten_params
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.tasks.rotated import rotation
from lintf.training.run import Run


@pytest.mark.parametrize(("kappa", "d"), [(1.0, 2), (100.0, 5), (7.0, 12)])
def test_scales_have_the_condition_number_and_determinant_1(kappa, d):
    Sigma = np.diag(np.square(scales(kappa, d)))
    assert np.linalg.cond(Sigma) == pytest.approx(kappa)
    assert np.linalg.det(Sigma) == pytest.approx(1)
    steps = np.diff(np.log(scales(kappa, d)))
    assert np.allclose(steps, steps[0], atol=1e-14)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kappa": 0.5}, "kappa"),
        ({"d": 1}, "d must"),
        ({"N": 0}, "N must"),
        ({"max_iters": 0}, "max_iters"),
    ],
)
def test_wrong_numbers_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        phase(**wrong)


def test_each_seed_has_its_own_rotation_of_one_spectrum():
    model, task, training = phase(n_layer=2, N=7, d=3, kappa=9.0)
    laws = [task(seed) for seed in (0, 1)]
    assert laws[0].Sigma != laws[1].Sigma
    for law in laws:
        values = np.linalg.eigvalsh(np.array(law.Sigma))
        assert np.allclose(values, [1 / 3, 1, 3])
        assert np.allclose(np.array(law.Sigma) @ np.array(law.Sigma_w), np.eye(3), atol=1e-9)
    assert Run(model, laws[0], training, 0).path != Run(model, laws[1], training, 1).path


def test_through_the_lens_a_network_is_another_network_on_isotropic_prompts():
    """Random matrices, several heads, every size another."""
    model = LinearTransformer(d=4, n_layer=3, n_head=2, init_std=0.3)
    params = model.init(torch.Generator().manual_seed(1), torch.float64)
    UD = rotation(5, scales(50.0, 4))
    prompts = LinearRegression(N=7, d=4).sample(
        11, torch.Generator().manual_seed(2), dtype=torch.float64
    )
    inside = whiten_params({name: p[None] for name, p in params.items()}, 5, 50.0)
    outside = model.predict(params, mapped(prompts, UD))
    assert torch.allclose(model.predict(inside, prompts)[0], outside, rtol=1e-11, atol=0)


def test_through_the_lens_gradient_descent_has_the_square_of_the_scales_as_preconditioner():
    UD, D = rotation(5, scales(50.0, 4)), torch.tensor(scales(50.0, 4), dtype=torch.float64)
    prompts = LinearRegression(N=7, d=4).sample(
        11, torch.Generator().manual_seed(2), dtype=torch.float64
    )
    outside = GradientDescent(3, 0.02).predict(mapped(prompts, UD))
    inside = GradientDescent(3, 0.02, D.square().diag()).predict(prompts)
    assert torch.allclose(inside, outside, rtol=1e-11, atol=0)


def test_scores_set_the_worst_thousandth_aside():
    class Zero:
        def predict(self, prompts):
            return torch.zeros_like(prompts.y)

    prompts = LinearRegression(N=7, d=4).sample(
        2500, torch.Generator().manual_seed(2), dtype=torch.float64
    )
    errors = sorted(v**2 for v in prompts.y.tolist())
    typical, mean = scores(Zero(), prompts).tolist()
    assert typical == pytest.approx(sum(errors[:2498]) / 2498)
    assert mean == pytest.approx(sum(errors) / 2500)


@pytest.fixture(scope="module")
def optima():
    return json.loads(OPTIMA.read_text(encoding="utf-8"))


def test_the_file_has_the_best_transformer_of_every_setting_of_the_pages(optima):
    settings = {
        (L, N, d, 5e-5) for L in (1, 2, 3, 4) for N in (5, 10, 20, 40, 80, 160) for d in (2, 5, 10)
    }
    settings |= {(L, 20, 5, 100 / (20_000 * 20_000)) for L in (2, 3, 4)}
    settings |= {(3, N, 5, 1 / (40_000 * 8000)) for N in range(2, 21, 2)}
    assert sorted((row["n_layer"], row["N"], row["d"], row["rare"]) for row in optima) == sorted(
        settings
    )


def test_what_the_file_has_cannot_be_improved_nearby(optima):
    """Twelve digits of the numbers; the loss can be 1e-20, as a difference of much larger terms."""
    for row in optima:
        setting = (row["N"], row["d"], row["rare"])
        here = isotropic.population_loss(row["a"], row["b"], *setting)
        best = isotropic.local_optimum(row["a"], row["b"], *setting).loss
        assert best <= here * (1 + 1e-12)
        assert here <= 1.01 * best, row


@pytest.mark.parametrize(
    "setting",
    [(1, 20, 5, 5e-5), (2, 5, 10, 5e-5), (2, 160, 2, 5e-5), (3, 20, 5, 5e-5), (3, 20, 5, 2.5e-7)],
)
def test_a_new_search_finds_the_same(optima, setting):
    assert setting in [(row["n_layer"], row["N"], row["d"], row["rare"]) for row in optima]
    assert best_layers(*setting).loss == pytest.approx(isotropic.optimum(*setting).loss, rel=1e-6)


def test_settings_that_the_file_does_not_have_are_searched():
    assert best_layers(2, 7, 3, 1e-3).loss == isotropic.optimum(2, 7, 3, 1e-3).loss


@pytest.mark.parametrize("N", [5, 20, 160])
def test_one_layer_has_its_closed_form(N):
    """d (d + 1) / (N + d + 1); for one layer rare prompts hardly matter."""
    assert isotropic.optimum(1, N, 5).loss == pytest.approx(5 * 6 / (N + 6))
