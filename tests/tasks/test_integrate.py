"""Weights and query averaged out: against draws of both, against the bilinear form by autograd, and
in training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lintf.models.linear import LinearTransformer
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Gram
from lintf.tasks.integrate import integrate
from lintf.tasks.linear import LinearRegression
from lintf.training import store
from lintf.training.fit import TrainConfig, fit
from lintf.training.run import Run
from lintf.training.verify import reproduce, verify

F64 = torch.float64
MODES = ("normal", "sphere", "gamma")
SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))
SIGMA_W = ((0.7, -0.2, 0.1), (-0.2, 1.5, 0.4), (0.1, 0.4, 0.9))
MODEL = LinearTransformer(d=3, n_layer=3, n_head=2, init_std=0.2)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def covariances(task):
    """Of the query and of the weights, in float64. On the sphere and for gamma, x' has covariance I
    / d."""
    Sigma, Sigma_w = (
        torch.eye(task.d, dtype=F64) if S is None else torch.tensor(S, dtype=F64)
        for S in (task.Sigma, task.Sigma_w)
    )
    return Sigma if task.mode == "normal" else Sigma / task.d, Sigma_w


def prompt(S, x, w, N):
    """Prompts with the examples' S (d, d) and these queries and weights (d, B)."""
    return Gram(S[..., None].expand(*S.shape, x.shape[-1]), S @ w, x, (x * w).sum(0), N)


def bilinear(model, params, S, N):
    """R (d, d) with prediction - y = x^T R w on examples of this S, by autograd: R e_j is its
    gradient at w = e_j."""
    x, w = torch.zeros(len(S), len(S), dtype=F64, requires_grad=True), torch.eye(len(S), dtype=F64)
    prompts = prompt(S, x, w, N)
    (R,) = torch.autograd.grad(
        (model.predict(params, prompts) - prompts.y).sum(), x, create_graph=True
    )
    return R


def exact(model, params, task, S):
    """E over x and w of (x^T R w)^2 = tr(R Cov_w R^T Cov_x)."""
    R, (Sigma, Sigma_w) = bilinear(model, params, S, task.N), covariances(task)
    return (R @ Sigma_w @ R.mT @ Sigma).trace()


def one(batch, e):
    return Gram(*(getattr(batch, k)[e] for k in ("S", "s", "x", "y")), batch.N)


CASES = [
    *(LinearRegression(4, 3, mode, Sigma=SIGMA, Sigma_w=SIGMA_W) for mode in MODES),
    *(LinearRegression(4, 3, mode) for mode in MODES),
    LinearRegression(2, 3, Sigma=SIGMA),
    LinearRegression(6, 3, "sphere", Sigma_w=SIGMA_W),
]
cases = pytest.mark.parametrize(
    "task", CASES, ids=lambda t: f"{t.label}{'' if t.Sigma_w is None else '-w'}"
)


@cases
def test_the_points_have_the_mean_of_the_bilinear_form(task):
    """Prompt by prompt, for two members at once: the points of a prompt come one after the
    other."""
    generators = [generator(1), generator(2)]
    batch = sample_ensemble([task] * 2, 5, generators, dtype=F64)
    params = [MODEL.init(generator(s), F64) for s in (3, 4)]
    points = integrate([task] * 2, batch)
    assert points.S.shape == (2, 3, 3, 45)
    assert points.s.shape == points.x.shape == (2, 3, 45)
    assert points.N == batch.N
    stacked = {n: torch.stack([p[n] for p in params]) for n in ("P", "Q")}
    losses = (MODEL.predict(stacked, points) - points.y).square().view(2, 5, 9).mean(-1)
    expected = [
        [exact(MODEL, params[e], task, batch.S[e, ..., b]).item() for b in range(5)]
        for e in range(2)
    ]
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=F64), rtol=1e-11, atol=0)
    torch.testing.assert_close(MODEL.loss(stacked, points), losses.mean(1), rtol=1e-11, atol=0)


@cases
def test_the_points_are_noiseless_prompts_with_the_right_second_moments(task):
    batch = sample_ensemble([task], 5, [generator(1)], dtype=F64)
    points = integrate([task], batch)
    S = points.S[0].unflatten(-1, (5, 9))
    assert torch.equal(S, batch.S[0][..., None].expand_as(S))
    x, s = (t[0].unflatten(-1, (5, 9)) for t in (points.x, points.s))
    w = torch.linalg.pinv(S.permute(2, 3, 0, 1)) @ s.permute(1, 2, 0)[..., None]
    torch.testing.assert_close(
        S.permute(2, 3, 0, 1) @ w, s.permute(1, 2, 0)[..., None], rtol=1e-9, atol=1e-9
    )
    if task.d <= task.N:
        w = w[..., 0].permute(2, 0, 1)  # (d, B, 9)
        torch.testing.assert_close((w * x).sum(0).flatten(), points.y[0], rtol=1e-6, atol=1e-6)
        # The same for each prompt.
        torch.testing.assert_close(w, w[:, :1].expand_as(w), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            (w[:, 0] @ w[:, 0].mT) / 9, covariances(task)[1], rtol=1e-6, atol=1e-6
        )
    torch.testing.assert_close(
        (x[:, 0] @ x[:, 0].mT) / 9, covariances(task)[0], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("mode", MODES)
def test_it_is_the_average_over_draws_of_weights_and_query(mode):
    """In numpy, for three fixed S."""
    task = LinearRegression(4, 3, mode, Sigma=SIGMA, Sigma_w=SIGMA_W)
    batch, params, rng = (
        task.sample(3, generator(5), dtype=F64),
        MODEL.init(generator(6), F64),
        np.random.default_rng(7),
    )
    x = rng.normal(size=(25_000, 3))
    if mode != "normal":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    if mode == "gamma":
        x *= np.sqrt(rng.gamma(0.1, 10.0, (len(x), 1)))
    x, w = x @ np.linalg.cholesky(SIGMA).T, rng.multivariate_normal(np.zeros(3), SIGMA_W, len(x))
    points = integrate([task], Gram(*(getattr(batch, k)[None] for k in ("S", "s", "x", "y")), 4))
    losses = (MODEL.predict(params, points) - points.y).square().view(3, 9).mean(1)
    for b in range(3):
        drawn = prompt(
            batch.S[..., b], torch.from_numpy(x.T.copy()), torch.from_numpy(w.T.copy()), 4
        )
        errors = (MODEL.predict(params, drawn) - drawn.y).square().numpy()
        assert abs(losses[b] - errors.mean()) < 5.5 * errors.std() / math.sqrt(len(errors))
        assert errors.std() / math.sqrt(len(errors)) < 0.1 * errors.mean()


@pytest.mark.parametrize("mode", ["normal", "sphere"])
def test_the_mean_over_examples_is_the_plain_loss(mode):
    task = LinearRegression(6, 3, mode, Sigma=SIGMA, Sigma_w=SIGMA_W)
    params = MODEL.init(generator(0), F64)
    plain = task.sample(20_000, generator(1), dtype=F64)
    errors = (MODEL.predict(params, plain) - plain.y).square()
    points = integrate([task], sample_ensemble([task], 2000, [generator(2)], dtype=F64))
    losses = (MODEL.predict(params, points) - points.y).square().view(2000, 9).mean(1)
    error = math.sqrt(errors.var() / len(errors) + losses.var() / len(losses))
    assert abs(errors.mean() - losses.mean()) < 5.5 * error
    assert losses.var() < 0.7 * errors.var()


def test_the_gradient_has_less_variance():
    """Of batches of the same examples, at random parameters and where gradient descent would
    stand."""
    task, members = LinearRegression(8, 3, Sigma=SIGMA, Sigma_w=SIGMA_W), 300
    batch = sample_ensemble([task] * members, 6, [generator(s) for s in range(members)], dtype=F64)
    model = LinearTransformer(3, 2, init_std=0.1)
    params = model.init(generator(5), F64)
    params["Q"] = params["Q"] - 0.5 * torch.eye(3, dtype=F64)
    variances = []
    for prompts in (batch, integrate([task] * members, batch)):
        Q = params["Q"].expand(members, *params["Q"].shape).clone().requires_grad_()
        loss = model.loss({"P": params["P"].expand_as(Q), "Q": Q}, prompts)
        (g,) = torch.autograd.grad(loss.sum(), Q)
        variances.append(g.var(0).sum())
    assert variances[1] < 0.4 * variances[0]


def test_members_with_covariances_of_their_own():
    tasks = [
        LinearRegression(4, 3, Sigma=SIGMA),
        LinearRegression(4, 3, Sigma_w=SIGMA_W),
        LinearRegression(4, 3),
    ]
    batch = sample_ensemble(tasks, 5, [generator(s) for s in (1, 2, 3)])
    together = integrate(tasks, batch)
    for e, task in enumerate(tasks):
        alone = integrate(
            [task], Gram(*(getattr(batch, k)[e : e + 1] for k in ("S", "s", "x", "y")), 4)
        )
        for k in ("S", "s", "x", "y"):
            assert getattr(alone, k).dtype == torch.float32
            assert torch.equal(getattr(alone, k)[0], getattr(together, k)[e])


@pytest.mark.parametrize("tasks", [(0.1,), (0.0, 0.5)])
def test_label_noise_cannot_be_integrated(tasks):
    tasks = [LinearRegression(4, 3, noise_std=noise) for noise in tasks]
    batch = sample_ensemble(
        [LinearRegression(4, 3)] * len(tasks), 5, [generator(s) for s in range(len(tasks))]
    )
    with pytest.raises(ValueError, match="noise_std must be 0 to integrate"):
        integrate(tasks, batch)


# ---- in training

SMALL = replace(MODEL, n_layer=2, n_head=1, init_std=0.1)
TASK = LinearRegression(6, 3, "sphere", Sigma=SIGMA, Sigma_w=SIGMA_W)
TRAINING = TrainConfig(
    lr=0.02, max_iters=25, B=7, dtype="float64", record_every=1, redraw_every=2, integrate=True
)


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": False, "progress": False, "device": "cpu"} | kwargs)


def test_training_goes_down_the_exact_average():
    """The loop written here, with the loss from the bilinear forms."""
    history = quiet(SMALL, TASK, TRAINING, seeds=(4, 1))
    for e, seed in enumerate((4, 1)):
        g = generator(seed)
        params = {n: p.requires_grad_() for n, p in SMALL.init(g, F64).items()}
        optimizer = torch.optim.Adam(params.values(), lr=0.02, betas=(0.9, 0.9))
        for step in range(25):
            if step % 2 == 0:
                batch = TASK.sample(7, g, dtype=F64)
            loss = sum(exact(SMALL, params, TASK, batch.S[..., b]) for b in range(7)) / 7
            assert history.loss[e, step].item() == pytest.approx(loss.item(), rel=1e-9)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for n, p in params.items():
            torch.testing.assert_close(
                history.final_params[n][e], p.detach(), rtol=1e-8, atol=1e-10
            )


def test_integrated_runs_differ_from_plain_ones_and_seeds_do_not_meet():
    training = replace(TRAINING, dtype="float32", B=20, max_iters=80, redraw_every=1)
    together, plain = (
        quiet(SMALL, TASK, t, seeds=(0, 2)) for t in (training, replace(training, integrate=False))
    )
    assert torch.equal(together.params["Q"][:, 0], plain.params["Q"][:, 0])
    assert (together.loss != plain.loss).all()
    assert (together.final_params["Q"] != plain.final_params["Q"]).all()
    assert (together.loss[:, -1] < 0.5 * together.loss[:, 0]).all()
    alone = quiet(SMALL, TASK, training, seeds=(2,))
    assert torch.equal(alone.loss[0], together.loss[1])
    assert torch.equal(alone.final_params["Q"][0], together.final_params["Q"][1])


def test_integrate_is_part_of_the_configuration_where_it_is_on():
    on, off = (Run(SMALL, TASK, replace(TRAINING, integrate=value), 0) for value in (True, False))
    assert on.config["training"]["integrate"] is True
    assert "integrate" not in off.config["training"]
    assert on.path != off.path
    assert {k: v for k, v in on.config["training"].items() if k != "integrate"} == off.config[
        "training"
    ]
    for member in (on, off):
        assert Run.of(member.config) == member


def test_stored_integrated_runs_are_checked(runs):
    tasks = {0: TASK, 3: replace(TASK, Sigma=None)}
    quiet(SMALL, tasks.__getitem__, TRAINING, seeds=(0, 3), stored=True)
    paths = list(store.runs())
    assert len(paths) == 2
    assert all(verify(path).ok for path in paths)
    assert all(outcome.ok and "0.0e+00" in outcome.detail for outcome in reproduce(paths))


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (replace(SMALL, attention="softmax"), TASK),
        (replace(SMALL, attention="relu"), TASK),
        (SMALL, replace(TASK, noise_std=0.1)),
    ],
)
def test_integrate_needs_linear_attention_and_no_noise(model, task):
    with pytest.raises(
        ValueError,
        match="integrate needs a LinearTransformer with linear attention, and noise_std = 0",
    ):
        quiet(model, task, TRAINING)
    quiet(model, task, replace(TRAINING, integrate=False, max_iters=1))
