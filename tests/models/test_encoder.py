"""Encoder: against torch's own functions and loops, its regression against its law, schedule and
curriculum in fit.

Means may miss their expectation by 5 standard errors; seeds are fixed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from lintf.models import encoder
from lintf.models.encoder import Encoder
from lintf.models.linear import LinearTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.base import check_ensemble, fixed_prompts, sample_ensemble
from lintf.tasks.batches import Prompts
from lintf.tasks.conditioned import ConditionedRegression, moved_query
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.recall import Recall
from lintf.training import data, store
from lintf.training import fit as loop
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.run import Run
from lintf.training.verify import reproduce, verify

F64 = torch.float64
MODEL = Encoder(d=3, n_layer=2, width=8, n_head=2, clip=10.0, init_std=0.3)
TASK = ConditionedRegression(N=6, d=3)
TRAINING = TrainConfig(lr=0.01, max_iters=30, B=11, betas=(0.9, 0.999), record_every=7)
KINDS = {
    "LSA": MODEL,
    "clipped": replace(MODEL, clip=0.7),
    "LSA, norm": replace(MODEL, norm=True, clip=None),
    "full": replace(MODEL, attention="softmax", norm=True, mlp=True, clip=None),
    "softmax": replace(MODEL, attention="softmax", clip=None),
    "mlp": replace(MODEL, mlp=True, clip=2.0),
    "no layer": replace(MODEL, n_layer=0),
    "no layer, norm": replace(MODEL, n_layer=0, norm=True),
    "one layer": replace(MODEL, n_layer=1, n_head=4),
    "masked": replace(MODEL, mask_query=True),
    "masked full": replace(
        MODEL, attention="softmax", norm=True, mlp=True, clip=None, mask_query=True
    ),
    "positions": replace(MODEL, attention="softmax", norm=True, mlp=True, clip=None, positions=9),
}
each_kind = pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": False, "progress": False, "device": "cpu"} | kwargs)


def drawn(model, lead=(), seed=1):
    """Parameters of every size, biases and shifts too."""
    g = generator(seed)
    return {
        n: 0.4 * torch.randn(*lead, *shape, generator=g, dtype=F64)
        for n, shape in model.shapes.items()
    }


# ---- the model


def by_tokens(model, params, Z, zeros=0):
    """One member, all tokens in all layers with all their scores, by torch's own functions, with
    tokens that begin with so many zeros."""

    def linear(W, h):
        return nn.functional.linear(h, W[:, :-1], W[:, -1])

    def norm(scale_shift, h):
        return nn.functional.layer_norm(h, (model.width,), *scale_shift) if model.norm else h

    n = Z.shape[1]
    read_in = torch.cat((torch.randn(model.width, zeros, dtype=F64), params["in"]), 1)
    h = linear(read_in, torch.cat((torch.zeros(*Z.shape[:2], zeros, dtype=F64), Z), -1))
    if model.positions:
        h = h + params["positions"][torch.arange(n)]
    size = model.width // model.n_head
    for layer in range(model.n_layer):
        norms = params["norms"][layer] if model.norm else [None, None]
        qkv = linear(params["qkv"][layer], norm(norms[0], h))
        outs = []
        for head in range(model.n_head):
            q, k, v = (
                qkv[..., part * model.width + head * size :][..., :size] for part in range(3)
            )
            if model.mask_query:
                k, v = k[:, :-1], v[:, :-1]
            a = torch.einsum("bis,bjs->bij", q, k) / math.sqrt(size)
            a = a.softmax(-1) if model.attention == "softmax" else a
            outs.append(torch.einsum("bij,bjs->bis", a, v))
        h = h + linear(params["proj"][layer], torch.cat(outs, -1))
        if model.clip is not None:
            h = torch.clip(h, -model.clip, model.clip)
        if model.mlp:
            up = linear(params["up"][layer], norm(norms[-1], h))
            h = h + linear(params["down"][layer], nn.functional.relu(up))
    h = norm(params["last_norm"], h) if model.norm else h
    out = linear(params["out"], h)[:, -1]
    return out if model.readout == "w" else out[:, 0]


def assert_the_same_function(model, params, prompts, zeros=0):
    """Predictions, and gradients of all parameters."""
    params = {n: p.requires_grad_() for n, p in params.items() if p.numel()}
    every = params | {
        n: torch.empty(shape, dtype=F64) for n, shape in model.shapes.items() if 0 in shape
    }
    outs = model.predict(every, prompts), by_tokens(model, every, prompts.Z, zeros)
    torch.testing.assert_close(*outs, rtol=1e-11, atol=1e-11)
    direction = torch.randn(outs[0].shape, generator=generator(7), dtype=F64)
    grads = [torch.autograd.grad((out * direction).sum(), list(params.values())) for out in outs]
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(
            found, wanted, rtol=1e-9, atol=1e-11 * float(wanted.abs().max()) + 1e-12
        )


@each_kind
@pytest.mark.parametrize("zeros", [0, 3])
def test_predictions_and_gradients_are_those_of_torchs_functions(model, zeros):
    assert_the_same_function(model, drawn(model), TASK.sample(13, generator(), dtype=F64), zeros)


@pytest.mark.parametrize("mask_query", [False, True])
@pytest.mark.parametrize(("N", "B"), [(1, 5), (2, 1), (9, 4)])
@pytest.mark.parametrize("n_layer", [1, 2, 3])
def test_linear_attention_with_fewer_and_more_tokens_than_entries(mask_query, N, B, n_layer):
    model = replace(MODEL, mask_query=mask_query, n_layer=n_layer, clip=None)
    assert_the_same_function(
        model, drawn(model), replace(TASK, N=N).sample(B, generator(), dtype=F64)
    )


@pytest.mark.parametrize("mask_query", [False, True])
@pytest.mark.parametrize(("readout", "size"), [("y", 0.7), ("w", 0.6)])
def test_prompts_go_on_as_tokens_where_something_may_be_clipped(
    mask_query, readout, size, monkeypatch
):
    """Prompts of several sizes: some leave after the first layer, some after the second, some
    never."""
    model = replace(MODEL, n_layer=4, clip=2.0, mask_query=mask_query, readout=readout)
    prompts = (TASK if readout == "y" else LogisticRegression(N=6, d=3)).sample(
        60, generator(), dtype=F64
    )
    prompts.Z.mul_(torch.linspace(1.0, 0.05, 60, dtype=F64)[:, None, None])
    left, clipped, through = {}, [], Encoder._through_tokens

    def counted(self, p, h, first):
        left[first] = len(h)
        clipped.append(bool((h.abs() == model.clip).any()))
        return through(self, p, h, first)

    monkeypatch.setattr(Encoder, "_through_tokens", counted)
    assert_the_same_function(model, {n: size * p for n, p in drawn(model).items()}, prompts)
    assert {1, 2} <= set(left)
    assert any(clipped)
    assert sum(left.values()) < 60


def test_all_prompts_of_a_batch_leave_at_once():
    model = replace(MODEL, n_layer=3, clip=0.1)
    assert_the_same_function(model, drawn(model), TASK.sample(9, generator(), dtype=F64))


@each_kind
def test_members_side_by_side(model):
    params = drawn(model, (2, 3))
    own = [TASK.sample(7, generator(s), dtype=F64) for s in range(6)]
    stacked = Prompts(
        *(
            torch.stack(t).view(2, 3, *t[0].shape)
            for t in zip(*((p.Z, p.y) for p in own), strict=True)
        )
    )
    for i in range(2):
        for j in range(3):
            alone = {n: p[i, j] for n, p in params.items()}
            for prompts, together in ((own[3 * i + j], stacked), (own[0], own[0])):
                expected = model.loss(alone, prompts)
                torch.testing.assert_close(
                    model.loss(params, together)[i, j], expected, rtol=1e-11, atol=0
                )


def test_the_query_sees_itself_and_no_label():
    """Full attention: a change of the query's own token changes keys and values too; its label is
    not in the token."""
    model, params = KINDS["one layer"], drawn(KINDS["one layer"])
    prompts = TASK.sample(5, generator(), dtype=F64)
    assert not prompts.Z[:, -1, -1].any()
    shuffled = Prompts(prompts.Z[:, [3, 1, 0, 5, 4, 2, 6]], prompts.y)
    torch.testing.assert_close(
        model.predict(params, prompts), model.predict(params, shuffled), rtol=1e-11, atol=0
    )


def test_first_weights_are_as_described():
    model = Encoder(
        d=3, n_layer=2, width=64, n_head=4, attention="softmax", norm=True, mlp=True, init_std=0.02
    )
    params = model.init(generator(), F64)
    assert {n: tuple(p.shape) for n, p in params.items()} == model.shapes
    for name, reach in (("in", 1 / math.sqrt(7)), ("out", 1 / 8)):
        assert params[name].abs().max() <= reach
        assert params[name].std() == pytest.approx(reach / math.sqrt(3), rel=0.2)
    for name in ("qkv", "proj", "up", "down"):
        assert not params[name][..., -1].any()
        weights = params[name][..., :-1]
        assert weights.std() == pytest.approx(0.02, rel=5 / math.sqrt(2 * weights.numel()))
    for name in ("norms", "last_norm"):
        scale, shift = params[name].unbind(-2)
        assert (scale == 1).all()
        assert not shift.any()
    assert params["in"].dtype == params["norms"].dtype == F64


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Encoder(width=10, n_head=4), "width must be a multiple of n_head = 4, got 10"),
        (lambda: Encoder(n_layer=-1), "n_layer must be an integer >= 0, got -1"),
        (
            lambda: Encoder(attention="sofmax"),
            "attention must be one of 'linear', 'softmax', got 'sofmax' (did you mean",
        ),
        (lambda: Encoder(norm=1), "norm must be True or False, got 1"),
        (lambda: Encoder(mlp="no"), "mlp must be True or False, got 'no'"),
        (lambda: Encoder(clip=0.0), "clip must be a finite number > 0, got 0.0"),
        (lambda: Encoder(init_std=math.nan), "init_std must be a finite number >= 0, got nan"),
        (lambda: ConditionedRegression(kappa=0.5), "kappa must be a finite number >= 1, got 0.5"),
        (lambda: ConditionedRegression(d=1, kappa=2.0), "kappa must be 1 for d = 1, got 2.0"),
        (lambda: ConditionedRegression(w_dims=6), "w_dims must be an integer from 1 to 5, got 6"),
        (lambda: ConditionedRegression(N=0), "N must be an integer >= 1, got 0"),
        (lambda: MODEL.predict({}, TASK.sample(2, generator())), "do not fit Encoder(d=3"),
        (
            lambda: MODEL.predict(
                MODEL.init(generator()), replace(TASK, d=4).sample(2, generator())
            ),
            "prompts with d = 4",
        ),
    ],
)
def test_wrong_settings(build, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        build()
    assert said in str(error.value)


# ---- the prompts


@pytest.mark.parametrize("kappa", [1.0, 5.0, 10.0])
def test_a_batch_has_one_covariance_of_the_given_condition(kappa):
    task = ConditionedRegression(N=9, d=4, kappa=kappa)
    largest = []
    for seed in range(40):
        prompts = task.sample(700, generator(seed), dtype=F64)
        X = prompts.Z[..., :4].reshape(-1, 4)
        eigenvalues = torch.linalg.eigvalsh(X.mT @ X / len(X))
        assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(kappa, rel=0.12, abs=0.1)
        assert (eigenvalues.diff() >= 0).all()
        largest.append(float(eigenvalues[-1]))
    if kappa > 1:
        assert 1 * 0.9 < min(largest) < 20
        assert 80 < max(largest) < 105
        mean = sum(largest) / 40
        assert abs(mean - 50.5) < 5 * 99 / math.sqrt(12 * 40)
    else:
        assert max(largest) < 1.1


def test_a_root_has_the_given_eigenvalues_and_directions_without_preference():
    task = ConditionedRegression(N=9, d=4, kappa=7.0)
    rngs = [torch.Generator().manual_seed(s) for s in range(400)]
    from lintf.tasks import randoms

    roots = torch.stack([task.root(randoms.rng(g)) for g in rngs])
    values, vectors = torch.linalg.eigh(roots @ roots.mT)
    torch.testing.assert_close(
        values[:, -1] / values[:, 0], torch.full((400,), 7.0, dtype=F64), rtol=1e-10, atol=0
    )
    assert values[:, -1].min() >= 1
    assert values[:, -1].max() <= 100
    # Of a uniform direction: mean 1/d, variance 2 (d - 1) / (d^2 (d + 2)).
    squares = vectors[..., -1].square()
    error = math.sqrt(2 * 3 / (16 * 6) / 400)
    assert (squares.mean(0) - 0.25).abs().max() < 5 * error
    inner = (values[:, 1:3] - values[:, :1]) / (values[:, -1:] - values[:, :1])
    assert abs(inner.mean() - 0.5) < 5 / math.sqrt(12 * 800)


def test_labels_weights_and_noise():
    task = ConditionedRegression(N=9, d=4, kappa=5.0, w_dims=2)
    prompts = task.sample(50, generator(), dtype=F64)
    X, Y = prompts.Z[:, :-1, :4], prompts.Z[:, :-1, 4:]
    w = torch.linalg.lstsq(X, Y).solution[..., 0]
    assert w[:, 2:].abs().max() < 1e-10
    torch.testing.assert_close((prompts.Z[:, -1, :4] * w).sum(-1), prompts.y, rtol=1e-8, atol=1e-10)
    many = task.sample(4000, generator(1), dtype=F64)
    w = torch.linalg.lstsq(many.Z[:, :-1, :4], many.Z[:, :-1, 4:]).solution[:, :2, 0]
    assert (w.var(0) - 1).abs().max() < 5 * math.sqrt(2 / 4000)
    noisy = ConditionedRegression(N=9, d=4, noise_std=0.5).sample(2000, generator(), dtype=F64)
    clean = ConditionedRegression(N=9, d=4).sample(2000, generator(), dtype=F64)
    A = noisy.Z[:, :-1, :4]
    residual = noisy.Z[:, :-1, 4:] - A @ torch.linalg.lstsq(A, noisy.Z[:, :-1, 4:]).solution
    assert residual.square().sum(1).mean() == pytest.approx(0.25 * 5, rel=0.1)
    assert clean.Z.shape == noisy.Z.shape == (2000, 10, 5)


def test_a_seed_means_the_same_prompts_alone_and_among_others():
    task = replace(TASK, kappa=5.0)
    together = sample_ensemble([task] * 3, 5, [generator(s) for s in (4, 0, 9)], "tokens", F64)
    for e, seed in enumerate((4, 0, 9)):
        alone = task.sample(5, generator(seed), dtype=F64)
        assert torch.equal(together.Z[e], alone.Z)
        assert torch.equal(together.y[e], alone.y)
    check_ensemble([task, task])
    with pytest.raises(ValueError, match="representation must be one of 'tokens', got 'gram'"):
        sample_ensemble([task], 2, [generator()], "gram")


# ---- logistic regression


def logistic(v, X, y):
    """The objective for mu = 0.05 and its gradient."""
    margin = y * (X @ v)
    return np.logaddexp(0, -margin).mean() + 0.025 * v @ v, 0.05 * v - X.T @ (
        y / (1 + np.exp(margin))
    ) / len(y)


@pytest.mark.parametrize("kappa", [1.0, 7.0])
@pytest.mark.parametrize("target", ["newton", "truth"])
def test_labels_and_targets_are_those_of_the_regression(kappa, target):
    """The same seed draws the same points and weights; the solution is scipy's."""
    task = LogisticRegression(N=12, d=3, kappa=kappa, mu=0.05, target=target)
    batch, points = (
        task.sample(9, generator(), dtype=F64),
        task.points.sample(9, generator(), dtype=F64),
    )
    X, y = batch.Z[:, :-1, :3], batch.Z[:, :-1, 3]
    assert torch.equal(batch.Z[..., :3], points.Z[..., :3])
    assert torch.equal(y, points.Z[:, :-1, 3].sign())
    assert not batch.Z[:, -1, 3].any()
    for b in range(9):
        if target == "truth":
            w = torch.linalg.lstsq(X[b], points.Z[b, :-1, 3:]).solution[:, 0]
        else:
            data = X[b].numpy(), y[b].numpy()
            found = minimize(
                logistic, np.zeros(3), data, jac=True, method="BFGS", options={"gtol": 1e-10}
            )
            w = torch.from_numpy(found.x)
        torch.testing.assert_close(batch.w[b], w, rtol=1e-6, atol=1e-7)
    single = sample_ensemble([task] * 2, 9, [generator(3), generator(0)], "labels", torch.float32)
    torch.testing.assert_close(single.w[1], batch.w.float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["positions", "LSA"])
@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_weights_are_read_out(lead, kind):
    model = replace(KINDS[kind], readout="w", positions=13 if kind == "positions" else 0)
    task = LogisticRegression(N=12, d=3)
    params, batch = drawn(model, lead), task.sample(5, generator(), dtype=F64)
    members = [
        {n: p.reshape(-1, *model.shapes[n])[e] for n, p in params.items()}
        for e in range(math.prod(lead))
    ]
    expected = torch.stack([by_tokens(model, p, batch.Z, 3) for p in members])
    torch.testing.assert_close(
        model.predict(params, batch).reshape(expected.shape), expected, rtol=1e-10, atol=1e-11
    )
    losses = (expected - batch.w).pow(2).mean((1, 2))
    torch.testing.assert_close(
        model.loss(params, batch).reshape(losses.shape), losses, rtol=1e-12, atol=0
    )


def test_logistic_runs_are_trained_stored_and_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    model = replace(KINDS["positions"], readout="w", positions=13)
    for target in ("newton", "truth"):
        task = LogisticRegression(N=12, d=3, kappa=3.0, target=target)
        history = quiet(model, task, TRAINING, seeds=(0, 4), stored=True)
        g = generator(4)
        first = model.init(g)
        assert history.loss[1, 0] == pytest.approx(
            model.loss(first, task.sample(11, g)).item(), rel=1e-5
        )
    assert len(list(store.runs())) == 4
    assert not [o for o in map(verify, store.runs()) if not o.ok]
    for path in store.runs():
        assert Run.of(store.load(path).config).path == path


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: LogisticRegression(mu=0.0), "mu must be a finite number > 0, got 0.0"),
        (
            lambda: LogisticRegression(target="newtn"),
            "target must be one of 'newton', 'truth', got 'newtn' (did you mean",
        ),
        (lambda: LogisticRegression(kappa=0.2), "kappa must be a finite number >= 1, got 0.2"),
        (lambda: LogisticRegression(N=0), "N must be an integer >= 1, got 0"),
        (lambda: Encoder(readout="x"), "readout must be one of 'y', 'w', got 'x'"),
        (lambda: Encoder(positions=-1), "positions must be an integer >= 0, got -1"),
        (
            lambda: quiet(replace(MODEL, positions=6), TASK, TRAINING),
            "positions must be at least N + 1 = 7, or 0 for none",
        ),
        (
            lambda: quiet(MODEL, LogisticRegression(d=3), TRAINING),
            "it trains on 'tokens', these prompts have 'labels'",
        ),
        (
            lambda: quiet(replace(MODEL, readout="w"), TASK, TRAINING),
            "it trains on 'labels', these prompts have 'tokens'",
        ),
        (
            lambda: MODEL.loss(
                MODEL.init(generator()), LogisticRegression(d=3).sample(2, generator())
            ),
            "Encoder needs Prompts, got Labelled",
        ),
        (
            lambda: replace(MODEL, positions=6).predict(
                replace(MODEL, positions=6).init(generator()), TASK.sample(2, generator())
            ),
            "positions must be at least the number of tokens, 7, or 0, got 6",
        ),
    ],
)
def test_wrong_logistic_settings(call, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert said in str(error.value)


# ---- schedule and curriculum


def test_warm_up_and_cosine():
    """The original's formula, which counts steps from 1."""
    training = TrainConfig(lr=1e-4, max_iters=100, B=2, warmup=10, lr_end=5e-5, decay_steps=90)
    for step in range(100):
        count = step + 1
        if count < 10:
            expected = 1e-4 * count / 10
        elif count > 90:
            expected = 5e-5
        else:
            expected = 5e-5 + 0.5 * (1 + math.cos(math.pi * (count - 10) / 80)) * 5e-5
        assert training.rate(step) == pytest.approx(expected, rel=1e-12)
    assert replace(training, warmup=0, lr_end=None, decay_steps=None).rate(0) == 1e-4


def test_curriculum_grows_to_the_task():
    training = replace(TRAINING, curriculum=(("w_dims", 2, 1, 5), ("N", 3, 2, 4)))
    task = ConditionedRegression(N=8, d=4, w_dims=4)
    stages = [training.task_at(task, step) for step in range(20)]
    assert [s.N for s in stages] == [3] * 4 + [5] * 4 + [7] * 4 + [8] * 8
    assert [s.w_dims for s in stages] == [2] * 5 + [3] * 5 + [4] * 10
    drawn = data.Batches(
        [Run(replace(MODEL, d=4), task, training, 0)], [generator()], torch.device("cpu")
    )
    assert [drawn.at(step).N for step in range(20)] == [s.N for s in stages]
    assert TRAINING.task_at(task, 7) is task


def by_hand(model, task, training, seed):
    """Adam with clipped gradients, by torch's own functions, one member."""
    g = generator(seed)
    params = {n: p.requires_grad_() for n, p in model.init(g, F64).items()}
    optimizer, losses = torch.optim.Adam(params.values(), lr=1.0, betas=training.betas), []
    for step in range(training.max_iters):
        prompts = training.task_at(task, step).sample(training.B, g, dtype=F64)
        optimizer.zero_grad()
        loss = model.loss(params, prompts)
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(
            [p for p in params.values() if p.grad is not None], training.clip
        )
        optimizer.param_groups[0]["lr"] = training.rate(step)
        optimizer.step()
    return losses, params


@each_kind
def test_fit_is_adam_with_schedule_and_curriculum(model):
    training = replace(TRAINING, max_iters=12, clip=0.5, record_every=1, dtype="float64")
    training = replace(training, warmup=3, lr_end=1e-3, decay_steps=10)
    training = replace(training, curriculum=(("N", 3, 2, 4),))
    task = replace(TASK, kappa=5.0, noise_std=0.1)
    history = quiet(model, task, training, seeds=(5, 2))
    for e, seed in enumerate((5, 2)):
        losses, params = by_hand(model, task, training, seed)
        torch.testing.assert_close(
            history.loss[e, :12], torch.tensor(losses, dtype=F64), rtol=1e-7, atol=0
        )
        for name, p in params.items():
            # Softmax: keys' biases have a gradient of rounding errors.
            if name != "qkv" or model.attention == "linear":
                torch.testing.assert_close(
                    history.final_params[name][e], p.detach(), rtol=1e-6, atol=1e-8
                )
        final = {n: p[e] for n, p in history.final_params.items()}
        torch.testing.assert_close(
            history.metrics["test_loss"][e, -1], model.metrics(final, task)["test_loss"]
        )
    assert not history.params
    assert history.metrics["test_loss"].shape == (2, 13)


def test_the_test_loss_is_on_ten_covariances_of_the_whole_task():
    task = replace(TASK, kappa=5.0)
    prompts = fixed_prompts(task, 10, encoder.TESTS // 10, "tokens", torch.float32)
    assert prompts.Z.shape == (encoder.TESTS, 7, 4)
    X = prompts.Z[:, :-1, :3].double().view(10, -1, 3)
    largest = torch.linalg.eigvalsh(X.mT @ X / X.shape[1])[:, -1]
    assert largest.max() > 2 * largest.min()
    assert ((prompts.Z[::100].square().mean((1, 2))).diff() != 0).all()
    params = MODEL.init(generator())
    assert MODEL.metrics(params, task)["test_loss"] == MODEL.loss(params, prompts)


# ---- store


def test_interrupted_and_resumed_and_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    model, task = KINDS["LSA, norm"], replace(TASK, kappa=5.0)
    training = replace(
        TRAINING, warmup=3, lr_end=1e-3, decay_steps=25, curriculum=(("N", 3, 1, 4),)
    )
    whole = quiet(model, task, training, seeds=(5, 2))
    calls, loss = [], Encoder.loss

    def counted(*args):
        calls.append(0)
        if len(calls) == 29:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "loss", counted)
        with pytest.raises(KeyboardInterrupt):
            quiet(model, task, training, seeds=(5, 2), stored=True)
    assert list(tmp_path.glob(".partial/*.safetensors"))
    resumed = quiet(model, task, training, seeds=(5, 2), stored=True)
    assert torch.equal(resumed.loss, whole.loss)
    loaded = quiet(model, task, training, seeds=(2, 5), stored=True)
    for name, p in whole.final_params.items():
        assert torch.equal(resumed.final_params[name], p)
        assert torch.equal(loaded.final_params[name], p.flip(0))
    paths = list(store.runs())
    assert len(paths) == 2
    assert not [o for o in map(verify, paths) if not o.ok]
    assert not [o for o in reproduce(paths) if not o.ok]
    assert Run.of(store.load(paths[0]).config).path == paths[0]


def test_wrong_final_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    quiet(MODEL, TASK, TRAINING, stored=True)
    (path,) = store.runs()
    record = store.load(path)
    store.save(
        path,
        replace(record, tensors=record.tensors | {"final.out": record.tensors["final.out"] * 1.1}),
    )
    assert "test_loss at the end" in verify(path).detail
    assert not verify(path).ok
    store.save(
        path, replace(record, tensors={n: t for n, t in record.tensors.items() if n != "final.qkv"})
    )
    assert (
        verify(path).detail == "its parameters after the last step are missing or of other shapes"
    )
    store.save(path, record)
    assert verify(path).ok


@pytest.mark.parametrize(
    ("model", "task", "training", "said"),
    [
        (
            MODEL,
            TASK,
            replace(TRAINING, curriculum=(("M", 3, 1, 4),)),
            "curriculum must be one of 'N', 'd', got 'M'",
        ),
        (
            MODEL,
            TASK,
            replace(TRAINING, curriculum=(("kappa", 3, 1, 4),)),
            "curriculum must be one of 'N', 'd'",
        ),
        (
            RecallTransformer(),
            Recall(),
            replace(TRAINING, curriculum=(("unseen", 1, 1, 4),)),
            "curriculum must be one of 'H', 'vocab', 'n_trigger', 'n_output', got 'unseen'",
        ),
        (MODEL, replace(TASK, d=4), TRAINING, "model with d = 3 and task with d = 4 do not fit"),
        (
            LinearTransformer(d=3),
            TASK,
            TRAINING,
            "it trains on 'gram', these prompts have 'tokens'",
        ),
    ],
)
def test_what_does_not_fit_together(model, task, training, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        quiet(model, task, training)
    assert said in str(error.value)
    assert quiet(MODEL, LinearRegression(N=6, d=3), replace(TRAINING, max_iters=1)).loss.shape == (
        1,
        2,
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"warmup": -1}, "warmup must be an integer >= 0, got -1"),
        ({"lr_end": 1e-5}, "lr_end and decay_steps go together, got 1e-05 and None"),
        ({"decay_steps": 5}, "lr_end and decay_steps go together, got None and 5"),
        (
            {"warmup": 9, "lr_end": 0.0, "decay_steps": 9},
            "decay_steps must be an integer >= 10, got 9",
        ),
        ({"warmup": 9, "halve_every": 3}, "halve_every must be None with warmup or lr_end, got 3"),
        ({"curriculum": (("N", 0, 1, 4),)}, "start of N must be an integer >= 1, got 0"),
        ({"curriculum": (("N", 1, 0, 4),)}, "growth of N must be an integer >= 1, got 0"),
        (
            {"curriculum": (("N", 1, 1, 0),)},
            "steps between growths of N must be an integer >= 1, got 0",
        ),
        (
            {"curriculum": (("N", 1, 1, 2),), "train_set_size": 22},
            "curriculum must be empty with train_set_size",
        ),
    ],
)
def test_wrong_schedules(changes, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        replace(TRAINING, **changes)
    assert said in str(error.value)


def test_old_runs_keep_their_names():
    config = TRAINING.config
    assert not {"warmup", "lr_end", "decay_steps", "curriculum"} & set(config)
    ending = replace(TRAINING, lr_end=0.0, decay_steps=9).config
    assert ending["lr_end"] == 0.0
    assert TrainConfig(**ending) == replace(TRAINING, lr_end=0.0, decay_steps=9)


# ---- what a LayerNorm bounds


def test_bounds_hold_and_are_reached():
    """Without layers the read-out sees the LayerNorm of W_in r + b_in. With a width of 2 every
    normalised state is (1, -1) or (-1, 1), up to eps, so that answers can only be the two
    bounds."""
    model = replace(MODEL, n_layer=0, norm=True, width=2, n_head=1)
    params = drawn(model, lead=(3,))
    # One scale for both, so that one state is extreme.
    params["last_norm"][..., 0, :] = params["last_norm"][..., :1, 0]
    low, high = model.bounds(params)
    found = model.predict(params, TASK.sample(500, generator(), dtype=F64))
    assert low.shape == high.shape == (3,)
    for e in range(3):
        shift, w, b = params["last_norm"][e, 1], params["out"][e, 0, :-1], params["out"][e, 0, -1]
        middle = w @ shift + b
        assert (low[e] + high[e]) / 2 == pytest.approx(middle.item(), rel=1e-12)
        radius = 2**0.5 * abs(params["last_norm"][e, 0, 0]) * w.norm()
        assert (high[e] - low[e]) / 2 == pytest.approx(radius.item(), rel=1e-12)
        reach = abs(params["last_norm"][e, 0, 0] * (w[0] - w[1]))
        assert (found[e] - middle).abs().max() <= reach * (1 + 1e-12) <= radius * (1 + 1e-9)


@each_kind
def test_bounds_hold_for_enormous_prompts(model):
    if not model.norm:
        with pytest.raises(ValueError, match="bounds need norm"):
            model.bounds(drawn(model))
        return
    params, prompts = drawn(model), TASK.sample(50, generator(), dtype=F64)
    low, high = model.bounds(params)
    for size in (1, 30, 1e4):
        found = model.predict(params, Prompts(size * prompts.Z, prompts.y))
        assert low <= found.min()
        assert found.max() <= high


def test_a_moved_query():
    X, w = (
        torch.randn(4, 6, 3, generator=generator(), dtype=F64),
        torch.tensor([2.0, -1.0, 0.5], dtype=F64),
    )
    kept, prompts = X.clone(), moved_query(X, w, torch.tensor([7.0, -8.0], dtype=F64))
    assert torch.equal(X, kept)
    for k, value in enumerate((7.0, -8.0)):
        for b in range(4):
            Z, y = prompts.Z[4 * k + b], prompts.y[4 * k + b]
            assert torch.equal(Z[:5, :3], X[b, :5])
            torch.testing.assert_close(Z[:5, 3], X[b, :5] @ w)
            assert Z[5].tolist() == [value, X[b, 5, 1], X[b, 5, 2], 0]
            assert y == pytest.approx(2 * value - X[b, 5, 1] + X[b, 5, 2] / 2)
