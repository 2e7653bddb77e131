"""Training with L-BFGS: the steps of torch's own on each seed alone, and the same run after any
interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.training import data, store
from lintf.training import fit as loop
from lintf.training.fit import TrainConfig, fit
from lintf.training.history import Diverged
from lintf.training.run import Run
from lintf.training.verify import reproduce, verify

ROOT = Path(__file__).parents[2]
SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))
MODEL = LinearTransformer(d=3, n_layer=2, n_head=2, init_std=0.1)
TASK = LinearRegression(N=6, d=3)
TRAINING = TrainConfig(lr=0.1, max_iters=30, B=25, alg="lbfgs", redraw_every=None, record_every=7)
# Without line search, noise soon leads astray.
REDRAWN = replace(TRAINING, redraw_every=1, max_iters=9, B=100)


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": False, "progress": False, "device": "cpu"} | kwargs)


def assert_same(a, b):
    """Bit for bit."""
    assert a.seeds == b.seeds
    assert torch.equal(a.steps, b.steps)
    assert torch.equal(a.loss, b.loss)
    assert a.params.keys() == b.params.keys()
    assert all(torch.equal(a.params[n], b.params[n]) for n in a.params)


# ---- what a step is


def by_torch(model, task, training, seed):
    """Losses and parameters before every step and after the last, by torch.optim.LBFGS on one seed;
    on the tokens' formula, which the statistics' must equal."""
    g = torch.Generator().manual_seed(seed)
    params = {n: p.requires_grad_() for n, p in model.init(g, torch.float64).items()}
    optimizer = torch.optim.LBFGS(
        params.values(),
        lr=training.lr,
        max_iter=training.inner_steps,
        history_size=training.history_size,
    )
    losses, snapshots = [], []
    for step in range(training.max_iters + 1):
        if step == 0 or (training.redraw_every and step % training.redraw_every == 0):
            batch = task.sample(training.B, g, model.representation, torch.float64)

        def loss(batch=batch):
            optimizer.zero_grad()
            value = (model.predict(params, batch) - batch.y).square().mean()
            value.backward()
            return value

        losses.append(loss().item())
        snapshots.append({n: p.detach().clone() for n, p in params.items()})
        if training.halve_every:
            optimizer.param_groups[0]["lr"] = training.lr / 2 ** (step // training.halve_every)
        optimizer.step(loss)
    return torch.tensor(losses, dtype=torch.float64), {
        n: torch.stack([s[n] for s in snapshots]) for n in params
    }


BASE = replace(TRAINING, dtype="float64", record_every=1, max_iters=12)


@pytest.mark.parametrize(
    ("model", "training"),
    [
        (MODEL, replace(BASE, redraw_every=1, max_iters=6, B=100)),
        (MODEL, BASE),
        (MODEL, replace(BASE, redraw_every=4, inner_steps=1, B=100)),
        (MODEL, replace(BASE, max_iters=6, inner_steps=7, history_size=3, lr=0.05)),
        (MODEL, replace(BASE, halve_every=5, inner_steps=2)),
        (replace(MODEL, free_P=False), BASE),
        (replace(MODEL, n_layer=1), BASE),  # its P has no gradient
        (replace(MODEL, attention="softmax"), BASE),
    ],
    ids=[
        "new batches",
        "one batch",
        "one inner step",
        "short history",
        "halved",
        "P = 0",
        "one layer",
        "softmax",
    ],
)
def test_training_is_torchs_optimiser_on_each_seed(model, training):
    tasks = {4: replace(TASK, Sigma=SIGMA, noise_std=0.1), 1: replace(TASK, noise_std=0.1)}
    history = quiet(model, tasks.__getitem__, training, seeds=tuple(tasks))
    assert history.params.keys() == ({"P", "Q"} if model.free_P else {"Q"})
    for e, (seed, task) in enumerate(tasks.items()):
        losses, params = by_torch(model, task, training, seed)
        # Curvatures amplify rounding.
        torch.testing.assert_close(history.loss[e], losses, rtol=1e-6, atol=0)
        for n in params:
            torch.testing.assert_close(history.params[n][e], params[n], rtol=1e-5, atol=1e-7)
    assert (history.loss[0] != history.loss[1]).all()
    assert history.loss.isfinite().all()


def test_it_trains():
    """On one batch, far faster than what a step of the gradient's length would do."""
    training = TrainConfig(lr=1.0, max_iters=60, B=300, alg="lbfgs", redraw_every=None)
    history = quiet(LinearTransformer(3, 1, init_std=0.01), TASK, training, seeds=(0, 1))
    assert (history.loss[:, -1] < 0.7 * history.loss[:, 0]).all()
    plain = quiet(
        LinearTransformer(3, 1, init_std=0.01),
        TASK,
        replace(training, alg="sgd", lr=0.01, momentum=0.0),
    )
    assert history.loss[0, 5] < plain.loss[0, 5]


def test_one_batch_for_ever_is_drawn_once(monkeypatch):
    drawn, draw = [], data.sample_ensemble
    monkeypatch.setattr(data, "sample_ensemble", lambda *args: drawn.append(1) or draw(*args))
    for redraw_every, times in ((None, 1), (1, 10), (4, 3)):
        for alg in ("lbfgs", "adam"):
            drawn.clear()
            quiet(MODEL, TASK, replace(REDRAWN, alg=alg, lr=0.01, redraw_every=redraw_every))
            assert len(drawn) == times


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", ["on", "off"])
def test_a_seed_alone_and_among_others(monkeypatch, kernel, dtype):
    monkeypatch.setenv("LINTF_KERNEL", kernel)
    training = replace(REDRAWN, dtype=dtype, redraw_every=2)
    together = quiet(MODEL, TASK, training, seeds=(2, 0, 7))
    for e, seed in enumerate((2, 0, 7)):
        alone = quiet(MODEL, TASK, training, seeds=(seed,))
        assert torch.equal(alone.loss[0], together.loss[e])
        assert all(torch.equal(alone.params[n][0], together.params[n][e]) for n in ("P", "Q"))


def test_divergence_names_the_seed():
    tasks = {
        3: replace(TASK, Sigma_w=[[1e-12 * (i == j) for j in range(3)] for i in range(3)]),
        8: TASK,
    }
    training = TrainConfig(lr=1e4, max_iters=200, B=20, alg="lbfgs")
    with pytest.raises(Diverged) as caught:
        quiet(MODEL, tasks.__getitem__, training, seeds=(3, 8))
    assert caught.value.seed == 8
    assert "seed 8, learning rate 10000" in str(caught.value)


# ---- its configuration


def test_clipping_is_refused():
    said = "clip must be None for lbfgs, whose steps are not the gradient's, got 1.0"
    with pytest.raises(ValueError, match=said):
        replace(TRAINING, clip=1.0)


def test_only_its_own_numbers_are_in_the_configuration():
    config = TRAINING.config
    assert config["inner_steps"] == 4
    assert config["history_size"] == 600
    assert not {"betas", "momentum", "clip_by", "integrate"} & set(config)
    for alg in ("adam", "sgd"):
        assert not {"inner_steps", "history_size"} & set(replace(TRAINING, alg=alg).config)
    names = {Run(MODEL, TASK, t, 0).path for t in (TRAINING, replace(TRAINING, inner_steps=5))}
    names |= {
        Run(MODEL, TASK, t, 0).path
        for t in (replace(TRAINING, history_size=5), replace(TRAINING, betas=(0, 0)))
    }
    assert len(names) == 3
    run = Run(MODEL, TASK, TRAINING, 5)
    assert Run.of(run.config).config == run.config
    assert "-lbfgs-" in run.path.name


# ---- the store


def test_stored_runs_are_checked(runs):
    tasks = {0: replace(TASK, Sigma=SIGMA), 4: TASK}
    stored = quiet(MODEL, tasks.__getitem__, TRAINING, seeds=(0, 4), stored=True)
    paths = list(store.runs())
    assert len(paths) == 2
    for path in paths:
        outcome = verify(path)
        assert outcome.ok, outcome.detail
    assert all(outcome.ok and "0.0e+00" in outcome.detail for outcome in reproduce(paths))
    assert_same(quiet(MODEL, tasks.__getitem__, TRAINING, seeds=(0, 4), stored=True), stored)
    record = store.load(paths[0])
    store.save(
        paths[0], replace(record, tensors=record.tensors | {"Q": record.tensors["Q"] * 1.01})
    )
    assert not verify(paths[0]).ok


# ---- interruption


def interrupt(monkeypatch, model, task, training, calls, seeds):
    """Stop after so many losses, which may be in the midst of a step; the checkpoint is of the
    step's beginning."""
    loss, left = LinearTransformer.loss, [calls]

    def interrupted(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(LinearTransformer, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quiet(model, task, training, seeds=seeds, stored=True)


@pytest.mark.parametrize(
    "training",
    [
        REDRAWN,
        replace(REDRAWN, dtype="float64", redraw_every=4),
        replace(TRAINING, halve_every=9),
        replace(TRAINING, history_size=3, inner_steps=1),
        replace(TRAINING, integrate=True),
        replace(TRAINING, lr=1.0, dtype="float64"),
    ],
    ids=["new batches", "float64", "halved", "short history", "integrated", "rate 1"],
)
def test_interrupted_at_any_step_and_resumed_is_the_same_run(runs, monkeypatch, training):
    """Before the first step, after it, in the midst of one, when the history is full; two seeds."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    tasks, seeds = {0: replace(TASK, Sigma=SIGMA), 2: TASK}, (0, 2)
    per_step = 1 + 2 * training.inner_steps
    for calls in (0, 1, per_step + 1, per_step + 4, 2 * per_step, 4 * per_step - 1):
        interrupt(monkeypatch, MODEL, tasks.__getitem__, training, calls, seeds)
    (partial,) = runs.glob(".partial/*.safetensors")
    assert 0 < store.load(partial).meta["step"] < training.max_iters
    resumed = quiet(MODEL, tasks.__getitem__, training, seeds=seeds, stored=True)
    assert_same(resumed, quiet(MODEL, tasks.__getitem__, training, seeds=seeds))
    assert not list(runs.glob(".partial/*.safetensors"))


def test_an_optimiser_at_rest_resumes(runs, monkeypatch):
    """One layer without P on one batch is a parabola: the optimiser stops moving, its last steps
    are empty."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    model = LinearTransformer(3, 1, init_std=0.1, free_P=False)
    training = replace(
        TRAINING, lr=1.0, redraw_every=None, dtype="float64", max_iters=60, record_every=1
    )
    whole = quiet(model, TASK, training)
    assert torch.equal(whole.params["Q"][0, -1], whole.params["Q"][0, -2])
    interrupt(monkeypatch, model, TASK, training, 120, (0,))
    assert_same(quiet(model, TASK, training, stored=True), whole)


CHILD = """
import time
from lintf.training import fit as loop
from lintf import LinearTransformer
from lintf import LinearRegression
from lintf import TrainConfig
loss = LinearTransformer.loss
def slowly(*args):
    time.sleep(0.004)
    return loss(*args)
loop.CHECKPOINT_SECONDS, LinearTransformer.loss = 0.02, slowly
loop.fit({model!r}, {task!r}, {training!r}, seeds=(0, 2), progress=False, device="cpu")
"""


def test_kill_9_then_resume_is_the_same_run(runs):
    training = replace(TRAINING, max_iters=200, inner_steps=1, history_size=20)
    command = [sys.executable, "-c", CHILD.format(model=MODEL, task=TASK, training=training)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not list(runs.glob(".partial/*.safetensors")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.15)  # a few checkpoints later
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    (partial,) = runs.glob(".partial/*.safetensors")
    assert 0 < store.load(partial).meta["step"] < training.max_iters
    assert not list(store.runs())
    resumed = quiet(MODEL, TASK, training, seeds=(0, 2), stored=True)
    assert_same(resumed, quiet(MODEL, TASK, training, seeds=(0, 2)))
    assert not list(runs.glob(".partial/*.safetensors"))
    assert len(list(store.runs())) == 2
