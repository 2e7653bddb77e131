"""fit(): the same steps as loops written here, the same run alone, among others, stored, and after
kill -9."""

from __future__ import annotations

import copy
import importlib
import json
import math
import pkgutil
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lintf
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Gram
from lintf.tasks.linear import LinearRegression
from lintf.training import data, store
from lintf.training import fit as loop
from lintf.training.fit import TrainConfig, fit
from lintf.training.history import Diverged
from lintf.training.run import Run
from lintf.training.state import TrainState, clip_gradients
from lintf.training.verify import reproduce, verify

ROOT = Path(__file__).parents[2]
MODEL = LinearTransformer(d=3, n_layer=2, init_std=0.1)
TASK = LinearRegression(N=6, d=3)
TRAINING = TrainConfig(lr=0.01, max_iters=30, B=20, record_every=7)
SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": False, "progress": False, "device": "cpu"} | kwargs)


def assert_same(a, b, names=frozenset("PQ")):
    """Bit for bit."""
    assert a.seeds == b.seeds
    assert torch.equal(a.steps, b.steps)
    assert torch.equal(a.loss, b.loss)
    assert a.params.keys() == b.params.keys() == names
    for name in a.params:
        assert torch.equal(a.params[name], b.params[name])


@pytest.fixture(params=["kernel", "plain"])
def path(request, monkeypatch):
    """Both ways to compute the loss of linear attention."""
    monkeypatch.setenv("LINTF_KERNEL", "on" if request.param == "kernel" else "off")
    return request.param


# ---- what a step is


def clipped(grads, limit, per):
    """One member's gradients, by name, scaled down to the bound: plain numbers in, plain numbers
    out."""
    grads = {n: g.clone() for n, g in grads.items()}
    if per == "global":
        norm = math.sqrt(sum(float(v) ** 2 for g in grads.values() for v in g.flatten()))
        return {n: g * min(1.0, limit / norm) for n, g in grads.items()}
    for g in grads.values():
        for layer in range(g.shape[0]):
            for head in range(g.shape[1]):
                norm = math.sqrt(sum(float(v) ** 2 for v in g[layer, head].flatten()))
                g[layer, head] *= min(1.0, limit / norm) if norm else 1.0
    return grads


def by_hand(model, task, training, seed):
    """One member's losses and parameters before every step and after the last, by hand-written
    optimisers on tokens or statistics; gradients by autograd."""
    g = torch.Generator().manual_seed(seed)
    params = model.init(g, torch.float64)
    slots = {n: [torch.zeros_like(p), torch.zeros_like(p)] for n, p in params.items()}
    losses, snapshots = [], []
    for t in range(training.max_iters + 1):
        if t % training.redraw_every == 0:
            batch = task.sample(training.B, g, model.representation, torch.float64)
        free = {n: p.clone().requires_grad_() for n, p in params.items()}
        loss = (model.predict(free, batch) - batch.y).square().mean()
        losses.append(loss.item())
        snapshots.append(params)
        grads = torch.autograd.grad(
            loss, list(free.values()), allow_unused=True, materialize_grads=True
        )
        grads = dict(zip(free, grads, strict=True))
        if training.clip is not None:
            grads = clipped(grads, training.clip, training.clip_by)
        lr = training.lr
        for _ in range(t // training.halve_every if training.halve_every else 0):
            lr /= 2
        updated = {}
        for n, p in params.items():
            m, v = slots[n]
            if training.alg == "adam":
                b1, b2 = training.betas
                m, v = b1 * m + (1 - b1) * grads[n], b2 * v + (1 - b2) * grads[n] ** 2
                updated[n] = p - lr * (m / (1 - b1 ** (t + 1))) / (
                    (v / (1 - b2 ** (t + 1))).sqrt() + 1e-8
                )
            else:
                m = training.momentum * m + grads[n]
                updated[n] = p - lr * m
            slots[n] = [m, v]
        params = updated
    return torch.tensor(losses, dtype=torch.float64), {
        n: torch.stack([s[n] for s in snapshots]) for n in params
    }


BASE = TrainConfig(lr=0.02, max_iters=25, B=9, dtype="float64", record_every=1)


@pytest.mark.parametrize(
    "training",
    [
        BASE,
        replace(BASE, betas=(0.5, 0.99)),
        replace(BASE, betas=(0.0, 0.9), halve_every=4),
        replace(BASE, clip=0.05),
        replace(BASE, clip=0.02, clip_by="matrix", redraw_every=3),
        replace(BASE, lr=0.002, alg="sgd"),
        replace(BASE, lr=0.002, alg="sgd", momentum=0.0, redraw_every=25),
        replace(
            BASE,
            lr=0.002,
            alg="sgd",
            momentum=0.5,
            clip=0.1,
            clip_by="matrix",
            halve_every=7,
            redraw_every=4,
        ),
        replace(BASE, lr=0.002, alg="sgd", clip=1000.0),
    ],
    ids=lambda t: (
        f"{t.alg} {t.betas if t.alg == 'adam' else t.momentum} clip {t.clip} per {t.clip_by} "
        f"halve {t.halve_every} redraw {t.redraw_every}"
    ),
)
def test_training_is_the_hand_written_loop(path, training):
    model, task = replace(MODEL, n_head=2, n_layer=3, init_std=0.1), replace(TASK, noise_std=0.1)
    history = quiet(model, task, training, seeds=(4, 1))
    assert history.steps.tolist() == list(range(26))
    for e, seed in enumerate((4, 1)):
        losses, params = by_hand(model, task, training, seed)
        torch.testing.assert_close(history.loss[e], losses, rtol=1e-9, atol=0)
        for n in params:
            torch.testing.assert_close(history.params[n][e], params[n], rtol=1e-8, atol=1e-10)
    assert (history.loss[0] != history.loss[1]).all()


@pytest.mark.parametrize("attention", ["relu", "softmax"])
def test_other_attentions_train_on_tokens(attention):
    model = replace(MODEL, attention=attention, init_std=0.3)
    history = quiet(model, TASK, BASE, seeds=(4, 1))
    for e, seed in enumerate((4, 1)):
        losses, params = by_hand(model, TASK, BASE, seed)
        torch.testing.assert_close(history.loss[e], losses, rtol=1e-9, atol=0)
        torch.testing.assert_close(history.params["Q"][e], params["Q"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("per", ["global", "matrix"])
def test_clipping_really_clips(per):
    """A first SGD step has the length of the clipped gradient: the bound, or the bound of each
    matrix."""
    training = TrainConfig(
        lr=1.0, max_iters=1, B=9, alg="sgd", clip=1e-3, clip_by=per, dtype="float64"
    )
    p = quiet(replace(MODEL, init_std=0.3), TASK, training, seeds=(0, 1, 2)).params
    steps = {n: (v[:, 1] - v[:, 0]) for n, v in p.items()}  # (E, L, H, d, d)
    if per == "global":
        lengths = sum(s.square().sum((1, 2, 3, 4)) for s in steps.values()).sqrt()
        torch.testing.assert_close(
            lengths, torch.full((3,), 1e-3, dtype=torch.float64), rtol=1e-9, atol=0
        )
    else:
        expected = torch.tensor([[1e-3, 1e-3]] * 3, dtype=torch.float64)
        torch.testing.assert_close(
            steps["Q"][:, :, 0].norm(dim=(-2, -1)), expected, rtol=1e-9, atol=0
        )
        assert (steps["P"][:, -1] == 0).all()  # a gradient of zero stays zero


@pytest.mark.parametrize("clip_by", ["global", "matrix"])
@pytest.mark.parametrize("attention", ["linear", "softmax"])
def test_one_layer_trains_with_clipping(path, attention, clip_by):
    """The only P of one layer never reaches the prediction."""
    model, training = (
        LinearTransformer(3, 1, 2, attention, 0.1),
        replace(BASE, clip=0.1, clip_by=clip_by),
    )
    history = quiet(model, TASK, training)
    losses, params = by_hand(model, TASK, training, 0)
    torch.testing.assert_close(history.loss[0], losses, rtol=1e-9, atol=0)
    torch.testing.assert_close(history.params["Q"][0], params["Q"], rtol=1e-8, atol=1e-10)
    assert (history.params["P"][0] == history.params["P"][0, 0]).all()


@pytest.mark.parametrize(
    "training", [replace(BASE, clip=0.05, clip_by="matrix"), BASE], ids=["clipped", "free"]
)
def test_P_held_at_zero(training):
    """As resetting P to 0 after each step of the free model, whose clipping and Adam do not mix P
    and Q."""
    model, seeds = replace(MODEL, n_head=2, n_layer=3, free_P=False), (4, 1)
    history = quiet(model, TASK, training, seeds=seeds)
    assert history.params.keys() == {"Q"}
    assert history.final_params["Q"].shape == (2, 3, 2, 3, 3)
    for e, seed in enumerate(seeds):
        g, free = torch.Generator().manual_seed(seed), replace(model, free_P=True)
        params = {n: p.requires_grad_() for n, p in free.init(g, torch.float64).items()}
        optimizer = torch.optim.Adam(params.values(), lr=training.lr, betas=training.betas)
        for step in range(training.max_iters + 1):
            params["P"].data.zero_()
            torch.testing.assert_close(
                history.params["Q"][e, step], params["Q"].detach(), rtol=1e-9, atol=1e-11
            )
            batch = TASK.sample(training.B, g, dtype=torch.float64)
            loss = free.loss(params, batch)
            assert history.loss[e, step].item() == pytest.approx(loss.item(), rel=1e-9)
            optimizer.zero_grad()
            loss.backward()
            if training.clip is not None:
                grads = clipped({n: p.grad for n, p in params.items()}, training.clip, "matrix")
                for n, p in params.items():
                    p.grad = grads[n]
            optimizer.step()
    run = Run(model, TASK, training, 4)
    assert Run.of(run.config) == run
    assert run.path != Run(replace(model, free_P=True), TASK, training, 4).path
    assert "-P0-" in run.path.name


def test_P_held_at_zero_resumes_and_is_stored(runs, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    model, loss, left = replace(MODEL, free_P=False), LinearTransformer.loss, [9]

    def interrupted(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return loss(*args)

    whole = quiet(model, TASK, TRAINING, seeds=(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(LinearTransformer, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quiet(model, TASK, TRAINING, seeds=(0, 3), stored=True)
    assert_same(quiet(model, TASK, TRAINING, seeds=(0, 3), stored=True), whole, {"Q"})
    # From the store.
    assert_same(quiet(model, TASK, TRAINING, seeds=(0, 3), stored=True), whole, {"Q"})
    paths = list(store.runs())
    assert all(verify(path).ok for path in paths)
    assert [outcome.ok for outcome in reproduce(paths)] == [True, True]


def test_clipping_bounds_the_norm_and_keeps_the_direction():
    """Of one member's matrices, of all of a member together, and of zeros."""
    g = torch.Generator().manual_seed(0)
    grads = [torch.randn(4, 2, 3, 5, 5, generator=g, dtype=torch.float64) for _ in range(2)]
    grads[0][1] *= 1e-3
    grads[1][1] *= 1e-3
    grads[0][2, 1] = 0
    for per in ("global", "matrix"):
        ours = [grad.clone() for grad in grads]
        clip_gradients(ours, 0.7, per)
        for e in range(4):
            expected = clipped({"P": grads[0][e], "Q": grads[1][e]}, 0.7, per)
            torch.testing.assert_close(ours[0][e], expected["P"], rtol=1e-12, atol=0)
            torch.testing.assert_close(ours[1][e], expected["Q"], rtol=1e-12, atol=0)
        # Below the bound.
        assert all(torch.equal(o[1], grad[1]) for o, grad in zip(ours, grads, strict=True))


def test_training_lowers_the_loss():
    history = quiet(MODEL, TASK, TrainConfig(lr=0.02, max_iters=300, B=200), seeds=(0, 1))
    assert (history.loss[:, -1] < 0.5 * history.loss[:, 0]).all()


# ---- what is recorded


@pytest.mark.parametrize(
    ("max_iters", "record_every", "expected"),
    [
        (1, 1, [0, 1]),
        (5, 100, [0, 1, 2, 3, 4, 5]),
        (20, 7, [*range(21)]),
        (21, 7, [*range(20), 21]),
        (45, 10, [*range(20), 20, 30, 40, 45]),
        (60, 30, [*range(20), 30, 60]),
    ],
)
def test_recorded_steps(max_iters, record_every, expected):
    training = TrainConfig(lr=0.01, max_iters=max_iters, B=3, record_every=record_every)
    assert training.recorded_steps() == expected
    assert quiet(MODEL, TASK, training).steps.tolist() == expected


def test_a_longer_stride_records_the_same_run():
    every, some = (quiet(MODEL, TASK, replace(TRAINING, record_every=n)) for n in (1, 7))
    at = some.steps
    assert torch.equal(every.loss[:, at], some.loss)
    assert torch.equal(every.params["Q"][:, at], some.params["Q"])
    assert torch.equal(some.final_params["Q"], every.params["Q"][:, -1])


def test_snapshots_are_copies():
    history = quiet(MODEL, TASK, TRAINING)
    Q = history.params["Q"][0].flatten(1)
    assert len({tuple(row) for row in Q.tolist()}) == len(history.steps)


def test_the_rate_is_halved():
    training = TrainConfig(lr=0.8, max_iters=10, B=3, halve_every=4)
    assert [training.rate(t) for t in (0, 3, 4, 7, 8, 9)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    assert TrainConfig(lr=0.8, max_iters=10, B=3).rate(9) == 0.8


def test_history_says_how_it_was_made():
    history = quiet(MODEL, TASK, TRAINING, seeds=(0, 1))
    assert history.loss.shape == (2, len(history.steps))
    assert history.params["P"].shape == (2, len(history.steps), 2, 1, 3, 3)
    for meta in history.meta:
        assert meta["device"] == "cpu"
        assert meta["members"] == 2
        assert meta["seconds"] > 0
        assert meta["versions"]["torch"] == torch.__version__


# ---- the best of the recorded models


def validation(shared, seeds=3):
    if shared:
        return TASK.sample(40, torch.Generator().manual_seed(99))
    tasks = [replace(TASK, Sigma=SIGMA), *[TASK] * (seeds - 1)]
    return sample_ensemble(tasks, 40, [torch.Generator().manual_seed(90 + s) for s in range(seeds)])


def test_the_memory_for_all_that_is_recorded_is_taken_at_once(monkeypatch):
    """Small tensors that stay, one from each step, keep the memory of those between them from
    being used again: 10,000 of them cost 24 GB."""
    places, record = [], TrainState.record

    def noted(state, loss):
        record(state, loss)
        places.append({name: kept.data_ptr() for name, kept in state.kept.items()})

    monkeypatch.setattr(TrainState, "record", noted)
    quiet(MODEL, TASK, replace(TRAINING, max_iters=30, record_every=1), seeds=(0, 1))
    assert len(places) == 31
    assert places[0].keys() == {"loss", "P", "Q"}
    assert all(at == places[0] for at in places)


@pytest.mark.parametrize("shared", [True, False], ids=["shared prompts", "prompts of each seed"])
@pytest.mark.parametrize("model", [MODEL, replace(MODEL, free_P=False)], ids=["free", "P = 0"])
def test_the_best_recorded_model_by_brute_force(model, shared):
    """Training at a high rate goes up and down, so that the best model is not the last."""
    history = quiet(model, TASK, replace(TRAINING, lr=0.3, max_iters=60), seeds=(0, 3, 5))
    prompts, count = validation(shared), len(history.steps)
    losses = torch.empty(3, count)
    for e in range(3):
        its = (
            prompts
            if shared
            else Gram(prompts.S[e], prompts.s[e], prompts.x[e], prompts.y[e], prompts.N)
        )
        for t in range(count):
            answers = model.predict({n: p[e, t] for n, p in history.params.items()}, its)
            losses[e, t] = (answers - its.y).square().mean()
    torch.testing.assert_close(history.losses(model, prompts), losses, rtol=1e-4, atol=0)
    chosen = []
    for last in (1, 2, 7, count):
        torch.testing.assert_close(
            history.losses(model, prompts, last), losses[:, -last:], rtol=1e-4, atol=0
        )
        best = history.best(model, prompts, last)
        assert best.keys() == history.params.keys()
        for e in range(3):
            t = min(range(count - last, count), key=lambda t, e=e: losses[e, t].item())
            chosen.append(t)
            assert all(torch.equal(best[n][e], history.params[n][e, t]) for n in best)
    assert len(set(chosen)) > 3
    best = history.best(model, prompts, 1)
    assert all(torch.equal(best[n], history.final_params[n]) for n in best)


@pytest.mark.parametrize("attention", ["relu", "softmax"])
def test_the_best_model_of_other_attentions(attention):
    model = replace(MODEL, attention=attention)
    history = quiet(model, TASK, replace(BASE, max_iters=8), seeds=(0, 1))
    prompts = TASK.sample(30, torch.Generator().manual_seed(9), "tokens", torch.float64)
    best, losses = history.best(model, prompts, 9), history.losses(model, prompts)
    torch.testing.assert_close(model.loss(best, prompts), losses.min(1).values, rtol=1e-12, atol=0)


@pytest.mark.parametrize("last", [0, -1, 22, 2.0, "3", True])
def test_the_best_is_of_recorded_models(last):
    history = quiet(MODEL, TASK, replace(TRAINING, max_iters=20))
    assert len(history.steps) == 21
    for call in (history.best, history.losses):
        with pytest.raises(ValueError, match=f"last must be an integer from 1 to 21, got {last!r}"):
            call(MODEL, validation(True), last)


# ---- seeds


def test_a_seed_alone_and_among_others(path):
    training = replace(TRAINING, clip=0.5, clip_by="matrix", redraw_every=4)
    together = quiet(MODEL, TASK, training, seeds=(2, 0, 7))
    for e, seed in enumerate((2, 0, 7)):
        alone = quiet(MODEL, TASK, training, seeds=(seed,))
        assert torch.equal(alone.loss[0], together.loss[e])
        assert all(torch.equal(alone.params[n][0], together.params[n][e]) for n in ("P", "Q"))


def test_large_batches_alone_and_among_others(path):
    training = TrainConfig(lr=0.01, max_iters=5, B=3001)
    together = quiet(MODEL, TASK, training, seeds=(2, 0))
    alone = quiet(MODEL, TASK, training, seeds=(0,))
    if path == "kernel":
        assert torch.equal(alone.loss[0], together.loss[1])
        assert torch.equal(alone.final_params["Q"][0], together.final_params["Q"][1])
    # in a stack of matrices that is not aligned to its registers a BLAS may sum in another order
    else:
        torch.testing.assert_close(alone.loss[0], together.loss[1], rtol=1e-5, atol=0)
        torch.testing.assert_close(
            alone.final_params["Q"][0], together.final_params["Q"][1], rtol=1e-3, atol=1e-7
        )


def test_each_seed_is_measured_on_its_own_task():
    """Alone and among others, in any order."""
    model = Looped(d=3, width=4, n_head=2, loops=2, supervised_loops=2, positions=21)
    tasks = {
        0: TASK,
        3: replace(TASK, Sigma=[[9.0 * (i == j) for j in range(3)] for i in range(3)]),
    }
    both = quiet(model, tasks.__getitem__, TRAINING, seeds=(0, 3))
    for e, seed in enumerate(both.seeds):
        alone = quiet(model, tasks[seed], TRAINING, seeds=(seed,))
        for name, measured in alone.metrics.items():
            assert torch.equal(both.metrics[name][e], measured[0])


def test_each_seed_may_have_its_own_covariance():
    tasks = {0: replace(TASK, Sigma=SIGMA), 1: TASK, 5: replace(TASK, Sigma_w=SIGMA)}
    together = quiet(MODEL, tasks.__getitem__, TRAINING, seeds=(0, 1, 5))
    for e, (seed, task) in enumerate(tasks.items()):
        alone = quiet(MODEL, task, TRAINING, seeds=(seed,))
        assert torch.equal(alone.loss[0], together.loss[e])
        assert torch.equal(alone.final_params["Q"][0], together.final_params["Q"][e])


# ---- the store


def forbid_training(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("trained instead of loaded")

    monkeypatch.setattr(data, "sample_ensemble", refuse)


def test_a_stored_run_is_loaded(runs, monkeypatch, capsys):
    first = quiet(MODEL, TASK, TRAINING, seeds=(0, 3), stored=True)
    assert len(list(store.runs())) == 2
    forbid_training(monkeypatch)
    assert_same(quiet(MODEL, TASK, TRAINING, seeds=(0, 3), stored=True), first)
    assert capsys.readouterr().out == ""
    again = quiet(MODEL, TASK, TRAINING, seeds=(3, 0), stored=True, progress=True)
    assert again.seeds == (3, 0)
    assert torch.equal(again.loss, first.loss.flip(0))
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "2 of 2 runs loaded from runs/" in said


def test_missing_seeds_are_trained(runs, monkeypatch, capsys):
    quiet(MODEL, TASK, TRAINING, seeds=(1,), stored=True)
    drawn, draw = [], data.sample_ensemble
    monkeypatch.setattr(
        data, "sample_ensemble", lambda tasks, *rest: drawn.append(len(tasks)) or draw(tasks, *rest)
    )
    mixed = quiet(MODEL, TASK, TRAINING, seeds=(0, 1, 2), stored=True, progress=True)
    assert set(drawn) == {2}
    assert "1 of 3 runs loaded" in capsys.readouterr().out
    assert len(list(store.runs())) == 3
    monkeypatch.setattr(data, "sample_ensemble", draw)
    assert_same(mixed, quiet(MODEL, TASK, TRAINING, seeds=(0, 1, 2)))


def test_without_the_store_nothing_is_read_or_written(runs):
    quiet(MODEL, TASK, TRAINING)
    assert not runs.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(MODEL, init_std=0.2)},
        {"model": replace(MODEL, n_layer=3)},
        {"model": replace(MODEL, attention="relu")},
        {"model": replace(MODEL, free_P=False)},
        {"task": replace(TASK, noise_std=0.1)},
        {"task": replace(TASK, mode="sphere")},
        {"task": replace(TASK, Sigma=SIGMA)},
        {"task": replace(TASK, Sigma_w=SIGMA)},
        {"training": replace(TRAINING, lr=0.02)},
        {"training": replace(TRAINING, betas=(0.9, 0.99))},
        {"training": replace(TRAINING, clip=1.0)},
        {"training": replace(TRAINING, redraw_every=2)},
        {"training": replace(TRAINING, redraw_every=None)},
        {"training": replace(TRAINING, integrate=True)},
        {"training": replace(TRAINING, halve_every=10)},
        {"training": replace(TRAINING, record_every=8)},
        {"training": replace(TRAINING, dtype="float64")},
        {"training": replace(TRAINING, alg="sgd")},
        {"seed": 1},
    ],
    ids=str,
)
def test_all_that_changes_the_result_changes_the_name(change):
    fields = {"model": MODEL, "task": TASK, "training": TRAINING, "seed": 0}
    assert Run(**fields | change).path != Run(**fields).path


@pytest.mark.parametrize(
    ("training", "seed", "name"),
    [
        (
            {"lr": 0.001, "clip": 1000.0},
            1,
            "linear-L3-normal-N20-d5-adam-lr0.001-B4000-T10000-seed1-acb8c95527bc",
        ),
        (
            {"lr": 0.02, "clip": 1.0, "alg": "sgd"},
            2,
            "linear-L3-normal-N20-d5-sgd-lr0.02-B4000-T10000-seed2-9ccb23f28122",
        ),
    ],
)
def test_fields_that_came_later_leave_old_names_as_they_are(training, seed, name):
    """Of runs that were stored before there were integrate, free_P, inner_steps and history."""
    training = TrainConfig(max_iters=10_000, B=4000, record_every=50, **training)
    assert Run(LinearTransformer(), LinearRegression(), training, seed).path.stem == name


def test_what_cannot_change_the_result_does_not_change_the_name():
    sgd = replace(TRAINING, alg="sgd")
    for a, b in (
        (TRAINING, replace(TRAINING, momentum=0.5)),
        (sgd, replace(sgd, betas=(0.5, 0.5))),
        (TRAINING, replace(TRAINING, clip_by="matrix")),
    ):
        assert Run(MODEL, TASK, a, 0).path == Run(MODEL, TASK, b, 0).path


def test_a_law_has_one_name_whatever_the_signs_of_its_zeros():
    """The signs of zeros in a product of matrices differ between processors."""
    law = LinearRegression(N=4, d=2, Sigma=[[2.0, 0.0], [0.0, 1.0]])
    assert store.canonical(asdict(law)) == store.canonical(
        asdict(replace(law, Sigma=[[2.0, -0.0], [-0.0, 1.0]]))
    )


def test_a_number_is_the_same_number_in_any_type():
    """1000 and 1000.0, and NumPy's integers, name the same run: notebooks and papermill write
    both."""
    a = Run(
        LinearTransformer(d=3, n_layer=2, init_std=1),
        LinearRegression(N=6, d=3, noise_std=0),
        TrainConfig(lr=1, max_iters=30, B=20, betas=(0, 0.5), clip=1000),
        0,
    )
    b = Run(
        LinearTransformer(d=np.int64(3), n_layer=np.int32(2), init_std=1.0),
        LinearRegression(N=np.int64(6), d=3, noise_std=np.float64(0)),
        TrainConfig(lr=np.float64(1), max_iters=np.int64(30), B=20, betas=[0.0, 0.5], clip=1000.0),
        np.int64(0),
    )
    assert a.path == b.path


def test_a_member_is_its_configuration():
    run = Run(MODEL, replace(TASK, Sigma=SIGMA), replace(TRAINING, clip=1.0), 3)
    assert Run.of(run.config).config == run.config
    parsed = json.loads(store.canonical(run.config))  # lists for tuples, as in a file
    assert store.canonical(Run.of(parsed).config) == store.canonical(run.config)


def test_a_damaged_run_is_refused_by_name(runs):
    quiet(MODEL, TASK, TRAINING, stored=True)
    (path,) = store.runs()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(store.StoreError, match=path.name):
        quiet(MODEL, TASK, TRAINING, stored=True)


# ---- a folder that cannot be written


def test_an_unwritable_folder_costs_one_warning(tmp_path, monkeypatch):
    """LINTF_RUNS below a regular file; checkpoints are tried and fail, too."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path / "file" / "runs"))
    slowly = data.sample_ensemble
    monkeypatch.setattr(data, "sample_ensemble", lambda *a: time.sleep(0.002) or slowly(*a))
    for seconds in (1000, 0.01):  # without checkpoints, and with
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", seconds)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = quiet(MODEL, TASK, TRAINING, seeds=(0, 1, 2), stored=True)
        assert_same(history, quiet(MODEL, TASK, TRAINING, seeds=(0, 1, 2)))
        assert len(caught) == 1, [str(w.message) for w in caught]
        assert str(tmp_path / "file" / "runs") in str(caught[0].message)
        assert "could not be saved" in str(caught[0].message)
        assert caught[0].filename == __file__  # points at the caller's line


# ---- interruption


def test_checkpoints_at_every_step(runs, monkeypatch):
    """From before the first step on: interrupted again and again, each attempt starts where the
    last one stood."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    loss, left = LinearTransformer.loss, [0]

    def interrupted(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return loss(*args)

    training = replace(TRAINING, redraw_every=4)
    with monkeypatch.context() as patch:
        patch.setattr(LinearTransformer, "loss", interrupted)
        for steps in (0, 1, 2, 5, 11):
            left[0] = steps
            with pytest.raises(KeyboardInterrupt):
                quiet(MODEL, TASK, training, stored=True)
    assert_same(quiet(MODEL, TASK, training, stored=True), quiet(MODEL, TASK, training))


def test_a_damaged_checkpoint_is_refused_by_name(runs, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 1e-3)
    loss, calls = LinearTransformer.loss, []

    def interrupted(*args):
        calls.append(time.sleep(0.002))
        if len(calls) > 10:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(LinearTransformer, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quiet(MODEL, TASK, TRAINING, stored=True)
    (path,) = runs.glob(".partial/*.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(store.StoreError, match=path.name):
        quiet(MODEL, TASK, TRAINING, stored=True)


# ---- divergence


def test_divergence_names_step_seed_and_rate_and_keeps_the_record(runs, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 1e-4)
    slowly = data.sample_ensemble
    monkeypatch.setattr(data, "sample_ensemble", lambda *a: time.sleep(0.001) or slowly(*a))
    tasks = {
        3: replace(TASK, Sigma_w=[[1e-12 * (i == j) for j in range(3)] for i in range(3)]),
        8: TASK,
    }
    training = TrainConfig(lr=100.0, max_iters=500, B=20, alg="sgd", halve_every=2)
    with pytest.raises(Diverged) as caught:
        quiet(MODEL, tasks.__getitem__, training, seeds=(3, 8), stored=True)
    error = caught.value
    assert error.seed == 8  # the other one has hardly anything to learn
    assert error.lr == training.rate(error.step)
    for said in (f"step {error.step}", "seed 8", f"learning rate {error.lr:g}", "non-finite"):
        assert said in str(error)
    history = error.history
    assert history.seeds == (3, 8)
    assert history.steps.tolist() == list(range(error.step + 1))  # among the first 20
    assert history.loss[:, :-1].isfinite().all()
    assert not history.loss[1, -1].isfinite()
    assert history.loss[0, -1].isfinite()
    assert history.params["Q"].shape[:2] == history.loss.shape
    # And no checkpoint.
    assert list(runs.rglob("*.safetensors")) == [Run(MODEL, TASK, training, 8).path]
    with pytest.raises(Diverged) as caught:
        quiet(MODEL, TASK, training, seeds=(8,), stored=True)
    again = caught.value
    assert (again.step, again.seed, again.lr, str(again)) == (error.step, 8, error.lr, str(error))


def test_exceptions_reach_other_processes():
    """With all they carry: copies are made as for another process. Every exception class of the
    package."""
    for module in pkgutil.walk_packages(lintf.__path__, "lintf."):
        if module.name != "lintf.__main__":
            importlib.import_module(module.name)
    history = quiet(MODEL, TASK, TrainConfig(lr=0.01, max_iters=2, B=3), seeds=(4,))
    given, seen = {Diverged: (7, 4, 0.5, history)}, []
    todo = list(Exception.__subclasses__())
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if not kind.__module__.startswith("lintf."):
            continue
        error = kind(*given.get(kind, ("what went wrong",)))
        error.add_note("a note")
        again = copy.deepcopy(error)
        assert (type(again), str(again), again.__notes__) == (kind, str(error), ["a note"])
        assert vars(again).keys() == vars(error).keys()
        seen.append(kind)
        if kind is Diverged:
            assert (again.step, again.seed, again.lr) == (7, 4, 0.5)
            assert_same(again.history, history)
    assert {Diverged, store.StoreError} < set(seen)


def test_huge_losses_that_are_finite_are_no_divergence(monkeypatch):
    """2e38 + 2e38 is beyond float32, but neither loss is."""
    monkeypatch.setattr(
        LinearTransformer, "loss", lambda self, params, _: params["Q"].sum((1, 2, 3, 4)) * 0 + 2e38
    )
    history = quiet(MODEL, TASK, TrainConfig(lr=0.01, max_iters=2, B=3), seeds=(0, 1))
    assert (history.loss == 2e38).all()


# ---- progress


def test_progress_shows_loss_and_time_left(capsys, monkeypatch):
    loss = LinearTransformer.loss
    with monkeypatch.context() as patch:  # slow enough for a bar that is redrawn ten times a second
        patch.setattr(LinearTransformer, "loss", lambda *args: time.sleep(0.01) or loss(*args))
        quiet(MODEL, TASK, replace(TRAINING, max_iters=80), progress=True)
    shown = capsys.readouterr().err.split("\r")
    assert any("loss=" in line and "<00:0" in line for line in shown)  # tqdm's time left
    assert "80/80" in shown[-1]
    quiet(MODEL, TASK, TRAINING, progress=False)
    assert capsys.readouterr() == ("", "")
