"""The trainings of part V: their recipe against the paper's numbers, and the errors against
explicit loops."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lintf.experiments.looped import (
    CHUNK,
    Scale,
    answers,
    classical,
    common_prompts,
    influence,
    kept_errors,
    one_wrong_label,
    path_errors,
    prediction_errors,
    prefix,
    rises,
    tokens_of,
)
from lintf.tasks.batches import Prompts
from lintf.tasks.linear import LinearRegression
from lintf.training.fit import fit
from lintf.training.run import Run

F64 = torch.float64
ROOT = Path(__file__).resolve().parents[2]
PAPER = Scale(d=10, N=40, width=256, n_head=8, max_iters=20_000, B=64, lr=1e-4, lr_end=1e-4)
TINY = Scale(d=3, N=6, width=4, n_head=2, max_iters=40, B=5, lr=1e-3, lr_end=1e-4)


def drawn(B, N, d, seed=0):
    return LinearRegression(N, d).sample(B, torch.Generator().manual_seed(seed), "tokens", F64)


def test_the_papers_training():
    model, task, training = PAPER.experiment(30, 15, n_last_tokens=25)
    assert (
        model.d,
        model.width,
        model.n_head,
        model.loops,
        model.supervised_loops,
        model.positions,
    ) == (
        10,
        256,
        8,
        30,
        15,
        81,
    )
    assert (model.n_last_tokens, model.n_layer, model.cell, model.inject, model.untied) == (
        25,
        1,
        "block",
        "add",
        False,
    )
    assert (task.N, task.d, task.noise_std, training.B, training.betas) == (
        40,
        10,
        0,
        64,
        (0.9, 0.999),
    )
    steps = [0, 999, 1000, 14_999, 15_000, 19_999]
    # 11 to 41 points.
    assert [training.task_at(task, step).N for step in steps] == [10, 10, 12, 38, 40, 40]
    stages = [training.model_at(model, step).loops for step in (0, 499, 500, 3_999, 4_000, 19_999)]
    assert stages == [15, 15, 17, 29, 30, 30]
    assert {training.rate(step) for step in (999, 5_000, 19_999)} == {1e-4}


def test_untied_loops_do_not_grow():
    model, _, training = TINY.experiment(3, 3, untied=True)
    assert [name for name, *_ in training.curriculum] == ["N"]
    assert Run(*TINY.experiment(3, 3, untied=True), 0).model == model


@pytest.mark.parametrize(
    ("share", "tokens"), [(1, -1), (1.0, -1), (0.75, 31), (0.5, 21), (0.25, 10), (0, 0), (0.01, 0)]
)
def test_a_share_of_the_tokens(share, tokens):
    assert tokens_of(share, 20) == tokens  # of 41


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "all", None])
def test_shares_that_are_none(share):
    with pytest.raises(ValueError, match="share must be"):
        tokens_of(share, 20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"N": 0}, "N must be"),
        ({"max_iters": 0}, "max_iters must be"),
        ({"lr": float("nan")}, "lr must be"),
        ({"width": 5}, "width must be a multiple of n_head"),
        ({"d": 0}, "d must be"),
    ],
)
def test_wrong_scales(change, said):
    with pytest.raises(ValueError, match=said):
        Scale(**{**vars(TINY), **change}).experiment(4, 2)


@pytest.mark.parametrize(
    ("loops", "T", "fields"),
    [(2, 3, {}), (0, 0, {}), (2, 1, {"untied": True}), (2, 1, {"cell": "x"})],
)
def test_wrong_models(loops, T, fields):
    with pytest.raises(ValueError, match=r"loops must|cell must"):
        TINY.experiment(loops, T, **fields)


@pytest.mark.parametrize("fields", [{}, {"cell": "lstm"}, {"n_last_tokens": 4}])
def test_errors_are_those_of_the_predictions(fields):
    """One prompt at a time, over more prompts than go through at once, after other numbers of loops
    too."""
    model, task, training = TINY.experiment(4, 2, **fields)
    run = fit(model, task, training, (3, 5), device="cpu", stored=False, progress=False)
    some = task.sample(CHUNK + 3, torch.Generator().manual_seed(1), "tokens")
    for loops in (None, 1, 7):
        ours = prediction_errors(model, run, some, loops)
        assert ours.shape == (2, CHUNK + 3, 7)
        for b in (0, CHUNK - 1, CHUNK, CHUNK + 2):
            with torch.no_grad():
                answer = model.predict(
                    run.final_params, Prompts(some.Z[b : b + 1], some.y[b : b + 1]), loops
                )[:, 0]
            truth = torch.tensor([*some.Z[b, :-1, -1].tolist(), some.y[b].item()])
            torch.testing.assert_close(
                ours[:, b], (answer - truth).square() / 3, rtol=2e-4, atol=1e-6
            )
    path = path_errors(model, run, some, 7)
    assert path.shape == (2, 7, CHUNK + 3, 7)
    torch.testing.assert_close(path[:, -1], ours)


def test_one_wrong_label_at_a_time():
    prompts = drawn(B=4, N=5, d=3)
    given = one_wrong_label(prompts, torch.Generator().manual_seed(0))
    w = torch.randn(4, 3, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    assert given.Z.shape == (20, 6, 4)
    for j in range(5):
        for b in range(4):
            ours, theirs = given.Z[4 * j + b], prompts.Z[b].clone()
            theirs[j, -1] = theirs[j, :-1] @ w[b, :, 0]
            torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-15)
            assert ours[j, -1] != prompts.Z[b, j, -1]
            assert given.y[4 * j + b] == prompts.y[b]


def test_influence_is_a_difference_of_errors():
    model, task, training = TINY.experiment(3, 2)
    run = fit(model, task, training, (3, 5), device="cpu", stored=False, progress=False)
    some = task.sample(7, torch.Generator().manual_seed(1), "tokens")
    found = influence(model, run, some)
    assert found.shape == (7, 6)
    wrong = one_wrong_label(some, torch.Generator().manual_seed(97))
    before = prediction_errors(model, run, some)[0, :, -1]
    for j in range(6):
        part = Prompts(wrong.Z[7 * j : 7 * j + 7], wrong.y[7 * j : 7 * j + 7])
        torch.testing.assert_close(
            found[:, j], prediction_errors(model, run, part)[0, :, -1] - before
        )
    assert found.abs().max() > 0


def test_prefixes():
    prompts = drawn(B=4, N=5, d=3)
    for n in range(1, 6):
        part = prefix(prompts, n)
        assert (part.N, part.d) == (n, 3)
        for b in range(4):
            for i in range(n):
                assert torch.equal(part.Z[b, i], prompts.Z[b, i])
            assert torch.equal(part.Z[b, n, :-1], prompts.Z[b, n, :-1])
            assert part.Z[b, n, -1] == 0
            assert part.y[b] == (prompts.Z[b, n, -1] if n < 5 else prompts.y[b])
    assert torch.equal(prefix(prompts, 5).Z, prompts.Z)
    for n in (0, 6, 1.5):
        with pytest.raises(ValueError, match="n must be"):
            prefix(prompts, n)


def test_classical_errors_against_numpy():
    """Prompt by prompt: least squares, and gradient descent with the best step by a parabola
    through three losses."""
    prompts = drawn(B=30, N=6, d=3)
    found = classical(prompts, [1, 4])
    assert list(found) == ["least squares", "GD, 1 step", "GD, 4 steps"]
    assert all(e.shape == (30, 7) for e in found.values())
    y = prompts.labels
    for e in found.values():
        torch.testing.assert_close(e[:, 0], y[:, 0].square() / 3)
    for b in range(30):
        for n in range(1, 7):
            X, t, query = (
                prompts.Z[b, :n, :-1].numpy(),
                y[b, :n].numpy(),
                prompts.Z[b, n, :-1].numpy(),
            )
            w = np.linalg.lstsq(X, t, rcond=None)[0]
            gap = query @ w - float(y[b, n])
            assert float(found["least squares"][b, n]) == pytest.approx(
                gap**2 / 3, rel=1e-6, abs=1e-12
            )
            w = np.zeros(3)
            for step in range(1, 5):
                g = X.T @ (t - X @ w)
                low, here, high = (((X @ (w + k * g) - t) ** 2).sum() for k in (-1, 0, 1))
                if high - 2 * here + low > 0:
                    w = w + (low - high) / (2 * (high - 2 * here + low)) * g
                if step in (1, 4):
                    gap = query @ w - float(y[b, n])
                    assert float(found[list(found)[1 + (step > 1)]][b, n]) == pytest.approx(
                        gap**2 / 3, rel=1e-6, abs=1e-12
                    )


@pytest.mark.parametrize("steps", [[0], [2.5], [-1, 3]])
def test_steps_that_are_none(steps):
    with pytest.raises(ValueError, match="each of steps must be"):
        classical(drawn(B=2, N=3, d=2), steps)


def test_what_is_kept_of_a_plan_is_what_its_models_give(runs):
    experiment, seeds = TINY.experiment(4, 2), [3, 1]
    run, prompts = (
        fit(*experiment, seeds, device="cpu", progress=False),
        common_prompts(experiment.task, 23, 7),
    )
    drawn_at_once = experiment.task.sample(23, torch.Generator().manual_seed(99), "tokens")
    assert torch.equal(prompts.Z, drawn_at_once.Z[:7])
    exact = prediction_errors(experiment.model, run, prompts)
    for _ in range(2):  # computed, and found
        assert torch.equal(kept_errors(experiment, seeds, 23, 7), exact)
        assert torch.equal(rises(experiment, 3, 23, 7), influence(experiment.model, run, prompts))
        found = answers(experiment, 3, 23, 7, 9)
        assert found.shape == (9, 7)
        for loops in (1, 4, 9):
            weights = {name: p[0] for name, p in run.final_params.items()}
            with torch.no_grad():
                expected = experiment.model.predict(weights, prompts, loops)[..., -1]
            torch.testing.assert_close(found[loops - 1], expected)
    masked = kept_errors(experiment, seeds, 23, 7, n_last_tokens=5)
    assert torch.equal(
        masked, prediction_errors(replace(experiment.model, n_last_tokens=5), run, prompts)
    )
    assert not torch.equal(masked, exact)
    assert len(list((runs / "measured").glob("*.safetensors"))) == 4


@pytest.mark.parametrize("name", ["20_loop_information_flow", "21_loop_depth", "22_loop_lstm"])
def test_the_presets_of_part_v_are_the_reports_recipe(name):
    given = yaml.safe_load((ROOT / "presets" / "paper" / f"{name}.yaml").read_text())
    both = {"B": 64} | given
    scale = Scale(**{f.name: both[f.name] for f in fields(Scale)})
    model, task, training = scale.experiment(given["loops"], given["T"], cell="lstm", bare=True)
    assert (task.N, task.d, model.width, model.loops, model.supervised_loops) == (
        40,
        10,
        256,
        30,
        15,
    )
    assert (training.max_iters, training.B, training.clip, training.warmup) == (20_001, 64, None, 0)
    assert {training.rate(step) for step in (0, 1, 10_000, 20_000)} == {1e-4}
    if "shares" in given:
        assert [tokens_of(share, 40) for share in given["shares"]] == [-1, 74, 54, 24]
