"""Regression on features: the model against loops over its tokens, the task against its definition,
both in fit().

Means may miss their expectation by 5 standard errors; seeds are fixed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from refusals import refused
from torch.nn.functional import linear, relu

from lintf.models.encoder import Encoder
from lintf.models.heads import Heads
from lintf.models.labels import LabelTransformer
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.base import check_ensemble, sample_ensemble
from lintf.tasks.batches import Prompts
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.kernels import KernelRegression
from lintf.tasks.levels import NoiseLevels
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall
from lintf.tasks.uniform import UniformRegression
from lintf.training import data, store
from lintf.training.fit import TrainConfig, fit
from lintf.training.run import KINDS, Run
from lintf.training.verify import FLUCTUATIONS, _fluctuation, reproduce, verify

MODEL = MLPTransformer(d=3, n_layer=4, hidden=7, init_std=0.3)
TASK = NonlinearRegression(N=6, d=3, hidden=5)
TRAINING = TrainConfig(lr=0.01, max_iters=30, B=11, record_every=7)
SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))
F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": False, "progress": False, "device": "cpu"} | kwargs)


def assert_mean(samples, expected):
    """Over the last axis, entry by entry."""
    error = samples.std(-1) / math.sqrt(samples.shape[-1])
    assert ((samples.mean(-1) - expected).abs() <= 5 * error).all()


def weights(model, lead=(), dtype=F64):
    """Parameters with leading axes; biases of every size."""
    drawn = [model.init(generator(s), dtype) for s in range(math.prod(lead))]
    return {n: torch.stack([p[n] for p in drawn]).view(*lead, *drawn[0][n].shape) for n in drawn[0]}


def batch(lead=(), B=11, task=TASK):
    drawn = [task.sample(B, generator(50 + s), dtype=F64) for s in range(math.prod(lead))]
    return Prompts(
        *(
            torch.stack(t).view(*lead, *t[0].shape)
            for t in zip(*((p.Z, p.y) for p in drawn), strict=True)
        )
    )


def by_tokens(params, Z):
    """The answers for one member's parameters and Z (B, N+1, d+1), token by token: score times
    value."""
    answers = []
    for tokens in Z:
        N, d = len(tokens) - 1, len(tokens[0]) - 1
        x = [
            linear(relu(linear(t[:d], params["W1"], params["b1"])), params["W2"], params["b2"])
            for t in tokens
        ]
        z = [torch.cat((x_n, t[d:])) for x_n, t in zip(x, tokens, strict=True)]
        for P, Q in zip(params["P"], params["Q"], strict=True):
            keys = [Q @ z[m] for m in range(N)]  # the query is none
            z = [z_n + sum((z_n @ keys[m]) * (P @ z[m]) for m in range(N)) / N for z_n in z]
        answers.append(-z[N][d])
    return torch.stack(answers)


# ---- the model


@pytest.mark.parametrize(
    "prompts_lead", [(), (2,)], ids=["shared prompts", "prompts of each member"]
)
@pytest.mark.parametrize("lead", [(), (2,)], ids=["one member", "two members"])
def test_answers_and_gradients_are_those_of_a_loop_over_tokens(lead, prompts_lead):
    prompts, params = (
        batch(prompts_lead),
        {n: p.requires_grad_() for n, p in weights(MODEL, lead).items()},
    )
    answers, loss = MODEL.predict(params, prompts), MODEL.loss(params, prompts)
    assert answers.shape[:-1] == loss.shape == (lead or prompts_lead)
    E = 2 if lead or prompts_lead else 1
    Z, y = prompts.Z.expand(E, 11, 7, 4), prompts.y.expand(E, 11)
    each = {n: p.expand(E, *MODEL.shapes[n]) for n, p in params.items()}
    expected = torch.stack([by_tokens({n: p[e] for n, p in each.items()}, Z[e]) for e in range(E)])
    losses = (expected - y).square().mean(1)
    torch.testing.assert_close(answers.view(E, 11), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(loss.view(E), losses, rtol=1e-11, atol=0)
    ours, theirs = (
        torch.autograd.grad(total, list(params.values())) for total in (loss.sum(), losses.sum())
    )
    for a, b in zip(ours, theirs, strict=True):
        assert a.norm() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("N", "d", "hidden", "n_layer"), [(1, 1, 1, 1), (1, 4, 2, 1), (2, 1, 3, 2)]
)
def test_the_smallest_sizes(N, d, hidden, n_layer):
    model = MLPTransformer(d, n_layer, hidden, init_std=1.0)
    params, prompts = weights(model), batch(task=NonlinearRegression(N, d, 2))
    torch.testing.assert_close(
        model.predict(params, prompts), by_tokens(params, prompts.Z), rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_initial_weights(dtype):
    model = MLPTransformer(d=11, n_layer=2, hidden=29, init_std=0.4)
    drawn = weights(model, (60,), dtype)
    shapes = {
        "P": (2, 12, 12),
        "Q": (2, 12, 12),
        "W1": (29, 11),
        "b1": (29,),
        "W2": (11, 29),
        "b2": (11,),
    }
    assert {n: tuple(p.shape[1:]) for n, p in drawn.items()} == shapes == model.shapes
    assert {p.dtype for p in drawn.values()} == {dtype}
    flat = {n: p.double().flatten() for n, p in drawn.items()}
    for n, fan_in in (("W1", 11), ("b1", 11), ("W2", 29), ("b2", 29)):
        u = flat[n] * math.sqrt(fan_in)  # uniform in [-1, 1]: E u = 0, E u^2 = 1/3
        assert u.abs().max() <= 1 + 1e-6
        assert u.abs().max() > 0.95  # of 660 draws and more
        assert_mean(torch.stack((u, u**2)), torch.tensor([0.0, 1 / 3]))
    for n in "PQ":
        assert_mean(
            torch.stack((flat[n], flat[n] ** 2, flat[n] ** 4)),
            torch.tensor([0.0, 0.16, 3 * 0.16**2]),
        )
    assert_mean(flat["P"] * flat["Q"], 0.0)
    for n, p in model.init(generator(7), dtype).items():
        assert torch.equal(p, drawn[n][7])


def test_what_does_not_fit_the_model():
    params, prompts = weights(MODEL), batch()
    for wrong in (
        {n: p for n, p in params.items() if n != "b1"},
        params | {"W3": params["W1"]},
        params | {"W1": params["W1"].mT},
        params | {"P": params["P"][:3]},
        params | {"b1": params["b1"].expand(2, 7)},
        weights(replace(MODEL, hidden=8)),
    ):
        refused(lambda wrong=wrong: MODEL.predict(wrong, prompts), "do not fit", "hidden=7")
    refused(lambda: MODEL.loss(params, prompts.gram()), "MLPTransformer needs Prompts, got Gram")
    refused(lambda: MODEL.loss(params, batch(task=replace(TASK, d=4))), "d = 4", "d = 3")


# ---- the task


def fitted(task, tokens):
    """Per prompt: the weights that fit the examples' labels, how far the labels are missed, the
    query's answer."""
    f = task.features(tokens.Z[..., :-1].mT)  # (B, d, N+1)
    w, miss = torch.empty(len(f), task.d, dtype=F64), torch.empty(len(f), dtype=F64)
    for b, (F, Z) in enumerate(zip(f, tokens.Z, strict=True)):
        w[b] = torch.linalg.lstsq(F[:, :-1].T, Z[:-1, -1:]).solution[:, 0]
        miss[b] = (F[:, :-1].T @ w[b] - Z[:-1, -1]).norm() / Z[:-1, -1].norm()
    return w, miss, (w * f[:, :, -1]).sum(1)


def test_labels_are_linear_in_the_features():
    """With one f for all prompts and generators, another one for another mlp_seed."""
    for seed in (0, 1, 12345):
        tokens = TASK.sample(11, generator(seed), dtype=F64)
        assert (tokens.Z.shape, tokens.y.shape) == ((11, 7, 4), (11,))
        assert (tokens.Z[:, -1, -1] == 0).all()
        w, miss, answer = fitted(TASK, tokens)
        assert miss.max() < 1e-10
        torch.testing.assert_close(answer, tokens.y, rtol=1e-8, atol=1e-9)
        assert (w[1:] - w[:-1]).norm(dim=1).min() > 0.1  # new in every prompt
        assert fitted(replace(TASK, mlp_seed=1), tokens)[1].min() > 1e-4


def test_moments_of_covariates_and_weights():
    task = replace(TASK, N=12)
    tokens = task.sample(4000, generator(3), dtype=F64)
    x, (w, *_) = tokens.Z[..., :3].flatten(0, 1).T, fitted(task, tokens)
    for v in (x, w.T):
        assert_mean(v, torch.zeros(3))
        assert_mean(v[:, None] * v, torch.eye(3))
        assert_mean(v**4, torch.full((3,), 3.0))
    assert_mean(tokens.Z[:, 0, :3].T * tokens.Z[:, 12, :3].T, torch.zeros(3))
    assert_mean(tokens.Z[:, 12, :3].T[:, None] * w.T, torch.zeros(3, 3))


@pytest.mark.parametrize("mlp_seed", [0, 2**32 - 1])
def test_the_features_are_a_torch_network(mlp_seed):
    """Drawn from a generator whose seed counts from the end, in float64 for every dtype of x."""
    task, g = replace(TASK, mlp_seed=mlp_seed), generator(2**32 - 1 - mlp_seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)
    ).double()
    with torch.no_grad():
        for layer in (network[0], network[2]):
            for p in (layer.weight, layer.bias):
                p.copy_(torch.rand(p.shape, generator=g, dtype=F64) * 2 - 1).div_(
                    math.sqrt(layer.in_features)
                )
        x = torch.randn(2, 11, 3, generator=generator(), dtype=F64)
        torch.testing.assert_close(task.features(x.mT).mT, network(x), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(
            task.features(x.float().mT).mT, network(x).float(), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_member_alone_and_among_others(dtype):
    tasks = [replace(TASK, mlp_seed=s) for s in (4, 4, 9)]
    together = sample_ensemble(tasks, 11, [generator(s) for s in (1, 2, 2)], "tokens", dtype)
    assert (together.Z.shape, together.Z.dtype, together.y.dtype) == ((3, 11, 7, 4), dtype, dtype)
    for e, seed in enumerate((1, 2, 2)):
        alone = tasks[e].sample(11, generator(seed), dtype=dtype)
        assert torch.equal(alone.Z, together.Z[e])
        assert torch.equal(alone.y, together.y[e])
    assert torch.equal(together.Z[1, ..., :3], together.Z[2, ..., :3])
    assert (together.y[1] != together.y[2]).all()


def test_bad_input():
    for value in (0, 2.0, True, "3", None):
        for kind, names in (
            (NonlinearRegression, ("N", "d", "hidden")),
            (MLPTransformer, ("d", "n_layer", "hidden")),
        ):
            for name in names:
                said = f"{name} must be an integer >= 1, got {value!r}"
                refused(lambda kind=kind, wrong={name: value}: kind(**wrong), said)
    for value in (-1, 2**32, True, 1.0, None):
        said = f"mlp_seed must be an integer from 0 to {2**32 - 1}, got {value!r}"
        refused(lambda value=value: replace(TASK, mlp_seed=value), said)
    for value in (-0.1, math.nan, "1", None):
        said = f"init_std must be a finite number >= 0, got {value!r}"
        refused(lambda value=value: replace(MODEL, init_std=value), said)
    refused(
        lambda: TASK.sample(2, generator(), dtype=torch.float16),
        "dtype",
        "float16",
        "float32",
        "float64",
    )
    refused(
        lambda: sample_ensemble([TASK], 2, [generator()], "gram"),
        "representation must be one of 'tokens', got 'gram'",
    )
    refused(
        lambda: TASK.features(torch.ones(3, 2, dtype=torch.int64)),
        "x must be of a floating-point",
        "int64",
    )


def test_tasks_that_cannot_be_drawn_side_by_side():
    """Of one kind, and equal in all fields but those."""
    check_ensemble([TASK, replace(TASK, mlp_seed=8)])
    plain = LinearRegression(6, 3)
    like_it = dataclass(frozen=True)(type("Subclass", (NonlinearRegression,), {}))(6, 3, 5)
    for other in (replace(TASK, N=5), replace(TASK, hidden=6), replace(TASK, d=4), plain, like_it):
        refused(
            lambda other=other: check_ensemble([TASK, other]), "may differ in mlp_seed only", other
        )
    refused(lambda: check_ensemble([plain, TASK]), "may differ in Sigma and Sigma_w only", TASK)


# ---- in fit()


def task_of(seed):
    return replace(TASK, mlp_seed=100 + seed)


def test_training_is_torchs_optimiser_on_the_loop_over_tokens():
    model = replace(MODEL, n_layer=2)
    history = quiet(
        model, task_of, TrainConfig(lr=0.02, max_iters=4, B=11, dtype="float64"), seeds=(4, 1)
    )
    for e, seed in enumerate((4, 1)):
        g = generator(seed)
        params = {n: p.requires_grad_() for n, p in model.init(g, F64).items()}
        optimizer = torch.optim.Adam(params.values(), lr=0.02, betas=(0.9, 0.9))
        for step in range(5):
            prompts = task_of(seed).sample(11, g, dtype=F64)
            loss = (by_tokens(params, prompts.Z) - prompts.y).square().mean()
            assert history.loss[e, step].item() == pytest.approx(loss.item(), rel=1e-8)
            for n, p in params.items():
                torch.testing.assert_close(
                    history.params[n][e, step], p.detach(), rtol=1e-7, atol=1e-9
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.parametrize("clip_by", ["global", "matrix"])
def test_a_seed_alone_and_among_others(clip_by):
    """Up to rounding: the products of several members' matrices may be summed in another order.
    1e-16 grows, in 30 steps that do not diverge, to far less than 1e-9."""
    training = replace(TRAINING, dtype="float64", clip=0.01, clip_by=clip_by)
    together = quiet(MODEL, task_of, training, seeds=(2, 0, 7))
    for e, seed in enumerate((2, 0, 7)):
        alone = quiet(MODEL, task_of, training, seeds=(seed,))
        torch.testing.assert_close(alone.loss[0], together.loss[e], rtol=1e-9, atol=0)
        for n in MODEL.shapes:
            torch.testing.assert_close(
                alone.params[n][0], together.params[n][e], rtol=1e-9, atol=1e-12
            )


@pytest.fixture
def stored(runs):
    """Three runs, each with features of its own."""
    quiet(MODEL, task_of, TRAINING, seeds=(0, 3, 5), stored=True)
    return list(store.runs())


def test_stored_runs_verify_and_reproduce(stored):
    outcomes = [*map(verify, stored), *reproduce(stored)]
    assert [o.ok for o in outcomes] == [True] * 6, outcomes
    assert all("for 3 seeds" in o.detail for o in outcomes[3:])  # side by side


@pytest.mark.parametrize("name", MODEL.shapes)
def test_an_altered_parameter_fails(stored, name):
    """Compared as a whole: its smallest entry alone may be off by what all of it may."""
    record = store.load(stored[0])
    t = record.tensors[name]
    for moved, ok in ((0.9, True), (1.1, False)):
        altered = t.clone()
        last = altered[-1].view(-1)
        last[last.abs().argmin()] += moved * FLUCTUATIONS * _fluctuation(t) * last.norm()
        store.save(stored[0], replace(record, tensors=record.tensors | {name: altered}))
        assert [o.ok for o in reproduce(stored)] == [ok, True, True]
    altered[19] *= 1.01
    store.save(stored[0], replace(record, tensors=record.tensors | {name: altered}))
    assert [verify(path).ok for path in stored] == [False, True, True]


def test_a_configuration_that_does_not_fit_fails_and_stops_no_other(stored):
    wrong = []
    for change in (
        lambda c: c["model"].update(kind="Mamba"),
        lambda c: c["task"].update(kind=["NonlinearRegression"]),
        lambda c: c["task"].pop("kind"),
        lambda c: c["task"].update(hiden=5),
        lambda c: c["training"].update(lr=-1.0),
        lambda c: c.update(task=c["model"]),
        lambda c: c.update(model=c["task"]),
        lambda c: c.pop("seed"),
    ):
        record = store.load(stored[0])
        change(record.config)
        wrong.append(store.path_of("wrong", record.config))
        store.save(wrong[-1], record)
    for outcomes in ([*map(verify, wrong + stored)], [*reproduce(wrong + stored)]):
        outcomes = {o.path: o for o in outcomes}
        assert {path: o.ok for path, o in outcomes.items()} == dict.fromkeys(
            wrong, False
        ) | dict.fromkeys(stored, True)
        assert all(
            "its configuration does not fit today's code" in outcomes[path].detail for path in wrong
        )


def test_a_member_is_its_configuration_for_every_kind():
    pairs = [(MODEL, TASK), (MODEL, LinearRegression(6, 3, noise_std=0.5))]
    pairs += [(LinearTransformer(3, 2, attention="relu"), task_of(3))]
    pairs += [
        (RecallTransformer("reparamW", "relu", 0.5, 0.2, vocab=13), Recall(0.3, 11, vocab=13))
    ]
    pairs += [(Encoder(d=3, width=8, clip=1.0), ConditionedRegression(6, 3, 5.0, w_dims=2))]
    pairs += [(Encoder(d=3, width=8, readout="w", positions=9), LogisticRegression(6, 3, 5.0))]
    pairs += [(Looped(d=3, width=8, loops=3, supervised_loops=2), ConditionedRegression(6, 3, 5.0))]
    pairs += [(Heads(d=3, n_head=2), LinearRegression(6, 3))]
    pairs += [(LabelTransformer(3, 2), NoiseLevels(6, 3, some=(1, 3)))]
    pairs += [(LinearTransformer(3, 2), UniformRegression(6, 3))]
    pairs += [(LinearTransformer(3, 2, attention="exp"), KernelRegression(6, 3))]
    assert {type(part).__name__ for pair in pairs for part in pair} == set(KINDS)
    for model, task in pairs:
        member = Run(model, task, TRAINING, 3)
        assert Run.of(member.config) == member
        assert Run.of(member.config).path == member.path
    assert Run(MODEL, task_of(1), TRAINING, 0).path != Run(MODEL, task_of(2), TRAINING, 0).path


def test_what_does_not_fit_together_is_refused_before_training(runs, monkeypatch):
    monkeypatch.setattr(data, "sample_ensemble", None)
    integrated = replace(TRAINING, integrate=True)
    for model, task, training, said in (
        (LinearTransformer(3, 2), TASK, TRAINING, "LinearTransformer and NonlinearRegression"),
        (MODEL, TASK, integrated, "integrate must be False for NonlinearRegression"),
        (MODEL, LinearRegression(6, 3), integrated, "integrate needs"),
        (MODEL, replace(TASK, d=4), TRAINING, "model with d = 3 and task with d = 4 do not fit"),
        (MODEL, lambda seed: replace(TASK, N=6 + seed), TRAINING, "may differ in mlp_seed only"),
        (
            MODEL,
            NonlinearRegression,
            TRAINING,
            "got the class <class 'lintf.tasks.mlp.NonlinearRegression'>",
        ),
        (MODEL, lambda seed: NonlinearRegression, TRAINING, "task must be a Task"),
        (MODEL, "normal", TRAINING, "task must be a Task"),
        (MODEL, MODEL, TRAINING, "task must be a Task"),
        (MLPTransformer, TASK, TRAINING, "model must be a Model"),
        (TASK, MODEL, TRAINING, "model must be a Model"),
    ):
        refused(
            lambda a=(model, task, training): fit(*a, seeds=(0, 1), progress=False, device="cpu"),
            said,
        )
    assert not runs.exists()
