"""The trainings of part III: their recipe against the paper's numbers, and which seeds a model
gets."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lintf.experiments.newton import Scale, predictor, steps_worth, trained
from lintf.models.encoder import Encoder
from lintf.models.linear import LinearTransformer
from lintf.tasks.base import sample_ensemble, sample_groups
from lintf.tasks.batches import Labelled
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression, posterior_mean
from lintf.tasks.recall import Recall
from lintf.tasks.rotated import Rotated
from lintf.training import several, store
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.run import Run
from lintf.training.several import fit_many

F64 = torch.float64
ROOT = Path(__file__).resolve().parents[2]
PAPER = Scale(d=10, N=50, width=64, max_iters=100_000, B=2000, lr=1e-4, lr_end=5e-5)
TINY = Scale(d=3, N=6, width=4, max_iters=20, B=5, lr=1e-3, lr_end=1e-4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_papers_regression():
    model, task, training = PAPER.regression("LSA", 5, 6)
    assert (model.d, model.n_layer, model.width, model.n_head, model.attention) == (
        10,
        6,
        64,
        4,
        "linear",
    )
    assert (model.clip, model.init_std, model.norm, model.mlp, model.mask_query) == (
        10,
        2e-4,
        False,
        False,
        False,
    )
    assert (task.N, task.d, task.kappa, task.noise_std) == (50, 10, 5, 0)
    assert (training.warmup, training.decay_steps, training.lr_end, training.clip) == (
        10_000,
        90_000,
        5e-5,
        10,
    )
    assert training.rate(9_999) == 1e-4
    assert training.rate(90_000) == training.rate(99_999) == pytest.approx(5e-5)
    stages = [training.task_at(task, step) for step in (0, 4_999, 5_000, 39_999, 40_000, 99_999)]
    assert [(s.w_dims, s.N) for s in stages] == [
        (2, 10),
        (2, 10),
        (3, 15),
        (9, 45),
        (10, 50),
        (10, 50),
    ]


def test_the_papers_logistic_regression():
    model, task, training = PAPER.logistic("truth", 10, 12)
    assert (model.attention, model.norm, model.mlp, model.readout, model.positions) == (
        "softmax",
        True,
        True,
        "w",
        51,
    )
    assert (task.target, task.kappa, task.mu, task.N, training.curriculum) == (
        "truth",
        10,
        0.01,
        50,
        (),
    )


@pytest.mark.parametrize(
    ("variant", "fields"),
    [
        ("LSA, query masked", {"clip": 10.0, "init_std": 2e-4, "mask_query": True}),
        ("LSA + LayerNorm", {"clip": None, "init_std": 0.02, "norm": True}),
    ],
)
def test_the_variants(variant, fields):
    assert TINY.regression(variant, 1, 2)[0] == Encoder(d=3, n_layer=2, width=4, **fields)


def test_all_combinations():
    experiments = TINY.regressions(["LSA", "LSA + LayerNorm"], [1, 5], [0, 2])
    assert len(experiments) == 8
    assert all(experiment == TINY.regression(*key) for key, experiment in experiments.items())


@pytest.mark.parametrize("wrong", [[], "LSA", None, 3])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_lists_of_nothing(place, wrong):
    lists = [["LSA"], [1], [2]]
    lists[place] = wrong
    with pytest.raises(
        ValueError,
        match=f"{('variants', 'kappas', 'depths')[place]} must be a list of at least one",
    ):
        TINY.regressions(*lists)


def test_bad_names_are_refused():
    with pytest.raises(ValueError, match=r"variants must be one of 'LSA', .* got 'lsa'"):
        TINY.regression("lsa", 1, 2)
    with pytest.raises(ValueError, match="target must be one of"):
        TINY.logistic("newtons", 1, 2)


def test_more_seeds_for_some(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    experiments = {
        ("LSA", k, L): TINY.regression("LSA", k, L) for k, L in ((1, 0), (1, 2), (1, 3), (2, 1))
    }
    runs = trained(experiments, [0], [1, 2], "cpu")
    assert [runs[key].seeds for key in experiments] == [(0, 1, 2), (0, 1, 2), (0,), (0,)]
    assert len(list(store.runs())) == 8
    capsys.readouterr()
    again = trained(experiments, [0], [1, 2], "cpu")
    assert "8 of 8 runs loaded" in capsys.readouterr().out
    for key in experiments:
        torch.testing.assert_close(again[key].final_params, runs[key].final_params, rtol=0, atol=0)


def test_fit_many_with_seeds_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    experiments = {L: TINY.regression("LSA + LayerNorm", 1, L) for L in (1, 2)}
    own = fit_many(experiments, {1: [4], 2: [4, 5]}, "cpu")
    same = fit_many(experiments, [4], "cpu")
    assert [own[L].seeds for L in (1, 2)] == [(4,), (4, 5)]
    assert torch.equal(own[2].loss[0], same[2].loss[0])
    assert several.is_stored(experiments[2], [4, 5])
    assert not several.is_stored(experiments[1], [4, 5])
    assert Run(*experiments[1], 4).path.exists()


def test_fit_many_with_a_law_for_each_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    model, config = LinearTransformer(d=2, n_layer=1), TrainConfig(1e-3, 3, 4)
    experiments = {"both": (model, Rotated([0, 1], 5, [1.0, 0.5]).task, config)}
    assert not several.is_stored(experiments["both"], [0, 1])
    runs = [fit_many(experiments, [0, 1], "cpu")["both"] for _ in range(2)]
    assert several.is_stored(experiments["both"], [0, 1])
    assert "2 of 2 runs loaded" in capsys.readouterr().out
    assert torch.equal(runs[0].loss, runs[1].loss)


def test_a_learned_model_in_double_precision():
    experiment = TINY.regression("LSA", 1, 2)
    run = fit(*experiment, [3, 4], device="cpu", stored=False, progress=False)
    prompts = experiment.task.sample(7, generator(), dtype=F64)
    whole = predictor(experiment, run).predict(prompts)
    assert whole.shape == (2, 7)
    assert whole.dtype == F64
    model, params = experiment.model, {n: p[1].double() for n, p in run.final_params.items()}
    torch.testing.assert_close(whole[1], model.predict(params, prompts), rtol=1e-12, atol=1e-12)
    wild = predictor(experiment, run, clip=1e-3).predict(prompts)
    expected = replace(model, clip=1e-3).predict(params, prompts)
    torch.testing.assert_close(wild[1], expected, rtol=1e-12, atol=1e-12)
    assert not torch.equal(wild[1], whole[1])


def test_steps_worth_of_an_exponential():
    curve = 3 * 0.5 ** np.arange(6.0)
    errors = 3 * 0.5 ** np.array([0.25, 4.0, 5.0, 1.7])
    np.testing.assert_allclose(steps_worth(errors, curve), [0.25, 4, 5, 1.7], rtol=1e-12)
    assert steps_worth(np.array([7.0]), curve) == 0


def test_steps_worth_by_hand():
    """Between 1 and 1e-4, half way in the logarithm is 1e-2."""
    assert steps_worth(np.array([1e-2]), np.array([10.0, 1.0, 1e-4])) == pytest.approx(1.5)


def test_steps_worth_of_a_curve_that_rises_for_a_while():
    """0.25 is first there at step 4: half way, in the logarithm, from the smallest value before,
    0.5 at step 1, is not step 3, where the curve is up again, but the point between steps 1 and
    4."""
    curve = np.array([1.0, 0.5, 0.5, 0.8, 0.125])
    np.testing.assert_allclose(
        steps_worth(np.array([0.5, 0.25, 0.125]), curve), [1, 2.5, 4], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("errors", "curve"), [([0.6], [1.0, 0.0]), ([0.6], [1.0, np.nan]), ([0.0], [1.0, 0.5])]
)
def test_errors_must_be_positive(errors, curve):
    with pytest.raises(ValueError, match="errors must be positive"):
        steps_worth(np.array(errors), np.array(curve))


def test_too_few_steps():
    with pytest.raises(
        ValueError, match=r"steps must be more than 2: these reach 2.5e-01, not 1.0e-01"
    ):
        steps_worth(np.array([0.3, 0.1]), np.array([1.0, 0.5, 0.25]))


# ---- groups of prompts, and the best estimate


@pytest.mark.parametrize(
    ("task", "representation"),
    [(ConditionedRegression(4, 3, 6.0), "tokens"), (LogisticRegression(4, 3, 6.0), "labels")],
)
def test_groups_are_successive_batches(task, representation):
    found, g = sample_groups(task, 3, 7, generator(5), representation, F64), generator(5)
    parts = [sample_ensemble([task], 7, [g], representation, F64) for _ in range(3)]
    for k, part in enumerate(parts):
        assert torch.equal(found.Z[7 * k : 7 * (k + 1)], part.Z[0])
        if isinstance(part, Labelled):
            assert torch.equal(found.w[7 * k : 7 * (k + 1)], part.w[0])
        else:
            assert torch.equal(found.y[7 * k : 7 * (k + 1)], part.y[0])


def test_groups_in_every_form():
    """The prompts are the last axis of statistics, and N stays what it is."""
    for task, representation in ((LinearRegression(4, 3), "gram"), (Recall(H=8), "sentences")):
        found, g = sample_groups(task, 3, 7, generator(5), representation, F64), generator(5)
        parts = [sample_ensemble([task], 7, [g], representation, F64) for _ in range(3)]
        for field in fields(found):
            mine, theirs = (getattr(batch, field.name) for batch in (found, parts[1]))
            if field.name == "N":
                assert mine == 4
            else:
                assert torch.equal(
                    mine[..., 7:14] if representation == "gram" else mine[7:14], theirs[0]
                )
    with pytest.raises(ValueError, match="representation must be one of 'sentences', got 'gram'"):
        sample_groups(Recall(H=8), 3, 7, generator(5), "gram")


def test_groups_of_nothing():
    with pytest.raises(ValueError, match="groups must be an integer >= 1, got 0"):
        sample_groups(ConditionedRegression(4, 3), 0, 7, generator())


def labelled(B, n, d, seed):
    g = generator(seed)
    X, w = torch.randn(B, n, d, generator=g, dtype=F64), torch.randn(B, d, generator=g, dtype=F64)
    return X, torch.sign((X @ w.unsqueeze(-1))[..., 0]), w, g


def test_the_posterior_mean_is_that_of_rejected_draws():
    """Of 400 000 draws some 2 percent and more give the labels of 4 points in 3 dimensions, so that
    their mean has a standard error of at most 1 / sqrt(6000) = .013. The chain's is about .01: 5000
    sweeps, of which a few are alike."""
    X, y, w, g = labelled(6, 4, 3, seed=0)
    found = posterior_mean(X, y, w, 5000, g)
    draws = torch.randn(400_000, 3, generator=g, dtype=F64)
    for b in range(6):
        kept = draws[((draws @ X[b].T) * y[b] > 0).all(1)]
        assert len(kept) > 6000
        assert (kept.mean(0) - found[b]).abs().max() < 5 / len(kept) ** 0.5 + 0.03


def test_the_posterior_mean_without_information_about_the_length():
    """One point: w along x is half normal, with mean sqrt(2 / pi), and across it 0."""
    X, y, w, g = labelled(1, 1, 4, seed=1)
    found, direction = posterior_mean(X, y, w, 5000, g)[0], y[0] * X[0, 0] / X[0, 0].norm()
    assert (found - (2 / torch.pi) ** 0.5 * direction).abs().max() < 0.08


def test_weights_that_do_not_give_the_labels():
    X, y, w, g = labelled(2, 5, 3, seed=2)
    with pytest.raises(ValueError, match="w must give the labels y, got 5 that differ"):
        posterior_mean(X, y * torch.tensor([[1.0], [-1.0]]), w, 3, g)


def of_preset(name, own):
    """The scale of a page with the published parameters, `own` for what they leave as it is."""
    given = yaml.safe_load((ROOT / "presets" / "paper" / f"{name}.yaml").read_text())
    both = own | given
    return Scale(**{f.name: both[f.name] for f in fields(Scale) if f.name in both}), given


def test_the_preset_of_the_logistic_page_is_the_released_configuration():
    scale, given = of_preset("15_newton_logistic", {"d": 5, "N": 25, "lr_end": 5e-5})
    model, task, training = scale.logistic("newton", 10, 20)
    assert (given["depths"], given["kappas"]) == ([0, 1, 6, 12, 15, 20], [1, 10, 50])
    assert (model.width, model.n_head, task.N, task.d, task.mu) == (256, 4, 25, 5, 0.01)
    assert (training.max_iters, training.B, training.clip) == (1000, 2000, None)
    assert (training.warmup, training.decay_steps) == (0, 900)
    assert training.rate(0) == pytest.approx(1e-4, rel=1e-3)
    assert training.rate(900) == training.rate(999) == pytest.approx(5e-5)


@pytest.mark.parametrize("name", ["13_newton_regression", "14_newton_function"])
def test_the_presets_of_linear_attention_are_the_released_configurations(name):
    scale, given = of_preset(name, {"width": 64, "lr_end": 5e-5})
    assert given["depths"][-6:] == [1, 2, 3, 4, 5, 6]
    for variant, clip in (("LSA", 10), ("LSA + LayerNorm", None)):
        training = scale.regression(variant, 5, 6).training
        assert (training.max_iters, training.B, training.clip) == (100_000, 2000, clip)
        assert (training.warmup, training.decay_steps) == (10_000, 90_000)
        assert (training.lr, training.lr_end) == (1e-4, 5e-5)
