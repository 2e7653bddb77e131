"""Looped: against torch.nn's own modules in a plain loop, which gradients flow, who sees whom, and
training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

from lintf.models import looped
from lintf.models.looped import Looped
from lintf.tasks.base import fixed_prompts, sample_ensemble
from lintf.tasks.batches import Prompts
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.run import Run

F64 = torch.float64
MODEL = Looped(d=3, width=8, n_head=2, loops=5, supervised_loops=2, positions=17)
TASK = ConditionedRegression(N=6, d=3)  # 13 tokens
TRAINING = TrainConfig(lr=0.01, max_iters=40, B=11, betas=(0.9, 0.999), record_every=8)
KINDS = {
    "one block": MODEL,
    "three blocks": replace(MODEL, n_layer=3),
    "all loops learn": replace(MODEL, supervised_loops=5),
    "decoder": replace(MODEL, n_layer=2, loops=1, supervised_loops=1),
    "multiply": replace(MODEL, inject="multiply"),
    "last 4": replace(MODEL, n_last_tokens=4, n_layer=2),
    "last 7, multiply": replace(MODEL, n_last_tokens=7, inject="multiply"),
    "last 1": replace(MODEL, n_last_tokens=1),
    "none": replace(MODEL, n_last_tokens=0),
    "LSTM": replace(MODEL, cell="lstm", width=9),
    "LSTM, last 6": replace(MODEL, cell="lstm", n_layer=3, n_last_tokens=6),
    "LSTM, none": replace(MODEL, cell="lstm", n_last_tokens=0),
    "bare LSTM": replace(MODEL, cell="lstm", n_layer=2, bare=True),
    "bare LSTM, last 6": replace(MODEL, cell="lstm", n_last_tokens=6, bare=True),
    "bare block, last 4, multiply": replace(
        MODEL, bare=True, n_last_tokens=4, inject="multiply", positions=3
    ),
    "untied": replace(MODEL, untied=True, supervised_loops=5, n_layer=2),
    "untied, last 6": replace(MODEL, untied=True, supervised_loops=5, n_last_tokens=6),
    "untied LSTM, last 3": replace(
        MODEL, untied=True, supervised_loops=5, cell="lstm", n_layer=2, n_last_tokens=3
    ),
}
each_kind = pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(model, lead=(), seed=1):
    """Parameters of every size, biases and shifts too."""
    g = generator(seed)
    return {
        n: 0.4 * torch.randn(*lead, *shape, generator=g, dtype=F64)
        for n, shape in model.shapes.items()
    }


def sampled(seed=0, B=10):
    return TASK.sample(B, generator(seed), dtype=F64)


def close(a, b, rtol=1e-10, atol=1e-11):
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# ---- the definition


def plain(model, params, prompts, loops, learn_from=0):
    """One member's predictions (loops, B, N+1) from torch.nn's modules, all tokens in all loops.
    What comes before loop learn_from is cut off from the gradient."""
    Z, D, d = prompts.Z, model.width, model.d
    B, tokens = len(Z), []
    for i in range(Z.shape[1]):
        tokens.append(Z[:, i, :d])
        tokens.append(torch.cat((Z[:, i, d:], torch.zeros(B, d - 1, dtype=F64)), 1))
    tokens = torch.stack(tokens[:-1], 1)  # the query's label is not among them
    n = tokens.shape[1]

    def split(W):
        return {"weight": W[:, :-1], "bias": W[:, -1]}

    def norm(scale_shift):
        return dict(zip(("weight", "bias"), scale_shift, strict=True))

    def named(**parts):
        return {f"{part}.{name}": p for part, given in parts.items() for name, p in given.items()}

    def blocks(h, first):
        layer = nn.TransformerEncoderLayer(
            D, model.n_head, 4 * D, 0.0, nn.GELU(), batch_first=True, norm_first=True, dtype=F64
        )
        unseen = torch.ones(n, n, dtype=torch.bool).triu(1)
        for i in range(first, first + model.n_layer):
            W = {name: params[name][i] for name in ("qkv", "proj", "up", "down", "norms")}
            given = named(
                linear1=split(W["up"]), linear2=split(W["down"]), norm1=norm(W["norms"][0])
            )
            given |= named(norm2=norm(W["norms"][1])) | {
                f"self_attn.out_proj.{k}": v for k, v in split(W["proj"]).items()
            }
            given |= {f"self_attn.in_proj_{k}": v for k, v in split(W["qkv"]).items()}
            h = functional_call(layer, given, (h, unseen))
        return h

    def lstm(h, first):
        """Token by token."""
        for i in range(first, first + model.n_layer):
            cell, out = nn.LSTMCell(D, D, dtype=F64), []
            given = {f"{k}_ih": v for k, v in split(params["input"][i]).items()}
            given |= {f"{k}_hh": v for k, v in split(params["state"][i]).items()}
            state = (torch.zeros(B, D, dtype=F64),) * 2
            for j in range(n):
                state = functional_call(cell, given, (h[:, j], state))
                out.append(state[0])
            h = torch.stack(out, 1)
        return h

    e = functional_call(nn.Linear(d, D, dtype=F64), split(params["in"]), tokens)
    passed_on = torch.arange(n) >= (0 if model.n_last_tokens == -1 else n - model.n_last_tokens)
    z0 = torch.zeros_like(e) if model.inject == "add" else torch.ones_like(e)
    z, out = z0, []
    for t in range(loops):
        if t == learn_from:
            z = z.detach()
        z = torch.where(passed_on[:, None], z, z0)
        h = z + e if model.inject == "add" else z * e
        first = t * model.n_layer if model.untied else 0
        h = h if model.bare else h + params["positions"][torch.arange(n)]
        h = (blocks if model.cell == "block" else lstm)(h, first)
        if not model.bare:
            h = functional_call(nn.LayerNorm(D, dtype=F64), norm(params["last_norm"]), h)
        z = h
        out.append(functional_call(nn.Linear(D, 1, dtype=F64), split(params["out"]), z)[:, ::2, 0])
    return torch.stack(out)


@each_kind
def test_predictions_are_those_of_torchs_modules_also_after_more_loops(model):
    params, prompts = drawn(model), sampled()
    for loops in {model.loops, 3, 9} if not model.untied else {model.loops, 3}:
        expected = plain(model, params, prompts, loops)
        close(model.trajectory(params, prompts, loops), expected)
        close(model.predict(params, prompts, loops), expected[-1])
    close(model.predict(params, prompts), plain(model, params, prompts, model.loops)[-1])


@each_kind
def test_the_states_are_what_predictions_are_read_from(model):
    params, prompts = drawn(model), sampled(B=4)
    for loops in {model.loops, 3, 9} if not model.untied else {model.loops, 3}:
        z = model.states(params, prompts, loops)
        assert z.shape == (loops, 4, 13, model.width)
        W = params["out"]
        close(
            (z[:, :, ::2] @ W[:, :-1].mT + W[:, -1])[..., 0],
            model.trajectory(params, prompts, loops),
        )


def test_states_are_those_of_one_member():
    with pytest.raises(ValueError, match="params and prompts must have no leading axes"):
        MODEL.states(drawn(MODEL, lead=(2,)), sampled())
    with pytest.raises(ValueError, match="n_last_tokens must be"):
        replace(MODEL, n_last_tokens=14).states(drawn(MODEL), sampled())


@each_kind
def test_the_loss_and_its_gradients_stop_before_the_last_T_loops(model):
    params, prompts = {n: p.requires_grad_() for n, p in drawn(model).items()}, sampled()
    y = torch.cat((prompts.Z[:, :-1, -1], prompts.y[:, None]), 1)
    cut = model.loops - model.supervised_loops
    loss = model.loss(params, prompts)
    expected = (plain(model, params, prompts, model.loops, cut)[cut:] - y).square().mean()
    close(loss, expected, rtol=1e-12, atol=0)
    found, wanted = (torch.autograd.grad(v, list(params.values())) for v in (loss, expected))
    for g, w in zip(found, wanted, strict=True):
        close(g, w, rtol=1e-8, atol=1e-10 * float(w.abs().max()) + 1e-14)


def test_predictions_have_the_gradient_of_all_loops():
    params, prompts = {n: p.requires_grad_() for n, p in drawn(MODEL).items()}, sampled()
    weights = list(params.values())
    last_two = (MODEL.trajectory(params, prompts)[-2:] - prompts.labels).square().mean()
    loss = MODEL.loss(params, prompts)
    close(last_two, loss, rtol=1e-12, atol=0)
    whole, cut = torch.autograd.grad(last_two, weights), torch.autograd.grad(loss, weights)
    expected = (plain(MODEL, params, prompts, 5)[-2:] - prompts.labels).square().mean()
    for g, w in zip(whole, torch.autograd.grad(expected, weights), strict=True):
        close(g, w, rtol=1e-8, atol=1e-10 * float(w.abs().max()))
    assert (whole[0] - cut[0]).norm() > 0.01 * whole[0].norm()


@each_kind
def test_single_precision(model):
    """Where other code serves float32, such as an LSTM's."""
    params, prompts = drawn(model), sampled()
    found, wanted = [], []
    for dtype, grads in ((torch.float32, found), (F64, wanted)):
        own = {n: p.to(dtype).requires_grad_() for n, p in params.items()}
        loss = model.loss(own, Prompts(prompts.Z.to(dtype), prompts.y.to(dtype)))
        grads += [loss.detach(), *torch.autograd.grad(loss, list(own.values()))]
    for g, w in zip(found, wanted, strict=True):
        close(g.double(), w, rtol=0, atol=1e-4 * float(w.abs().max()) + 1e-7)


# ---- who sees whom


@each_kind
def test_no_prediction_sees_a_later_token(model):
    params, prompts = drawn(model), sampled()
    before = model.trajectory(params, prompts)
    for i in range(7):
        for part in ("x", "y"):
            Z = prompts.Z.clone()
            Z[:, i, slice(0, 3) if part == "x" else 3] += 1.0
            after = model.trajectory(params, Prompts(Z, prompts.y))
            # Y_i comes after the prediction of it; the query's is no token at all.
            seen = i if part == "x" else i + 1
            close(after[..., :seen], before[..., :seen], rtol=1e-11, atol=1e-12)
            assert (
                seen == 7
                or (after[..., seen:] - before[..., seen:]).abs().amax((0, 1)).min() > 1e-4
            )


@each_kind
def test_queries_after_one_changed_label(model):
    """Against whole prompts, each with one other label."""
    params, prompts = drawn(model), sampled()
    labels = torch.randn(10, 6, generator=generator(5), dtype=F64)
    found = model.changed(params, prompts, labels)
    assert found.shape == (10, 7)
    close(found[:, 6], model.predict(params, prompts)[:, -1])
    for i in range(6):
        Z = prompts.Z.clone()
        Z[:, i, -1] = labels[:, i]
        close(found[:, i], model.predict(params, Prompts(Z, prompts.y))[:, -1])
    assert (found[:, :6] - found[:, 6:]).abs().amax(0).min() > 1e-4


def test_a_prompt_without_examples_is_the_first_prediction():
    for model in (MODEL, KINDS["LSTM"]):
        params, prompts = drawn(model), sampled()
        query = prompts.Z[:, :1].clone()
        query[..., -1] = 0.0
        alone = Prompts(query, prompts.Z[:, 0, -1])
        assert alone.N == 0
        close(
            model.trajectory(params, alone), model.trajectory(params, prompts)[..., :1], rtol=1e-11
        )
        assert model.predict(params, alone).shape == (10, 1)
        close(
            model.loss(params, alone),
            (model.trajectory(params, alone)[-2:, :, 0] - alone.y).square().mean(),
            rtol=1e-12,
        )


@pytest.mark.parametrize("inject", ["add", "multiply"])
@pytest.mark.parametrize("cell", ["block", "lstm"])
def test_what_the_mask_passes_on(cell, inject):
    every = replace(MODEL, cell=cell, inject=inject)
    params, prompts = drawn(every), sampled()
    whole = every.trajectory(params, prompts)
    assert torch.equal(replace(every, n_last_tokens=13).trajectory(params, prompts), whole)
    assert (whole[1:] - whole[:-1]).abs().amax((1, 2)).min() > 1e-4
    for n in range(13):
        masked = replace(every, n_last_tokens=n).trajectory(params, prompts)
        same = (13 - n + 1) // 2  # so many x have nothing passed on, at them or before
        close(masked[1:, :, :same], masked[:1, :, :same].expand(4, -1, -1), rtol=1e-12)
        close(masked[0], whole[0], rtol=1e-11)
        if n:
            assert (masked[1:, :, same:] - masked[:-1, :, same:]).abs().amax((0, 1)).min() > 1e-4


def test_a_short_prompt_of_a_curriculum_has_no_mask():
    model, params = replace(MODEL, n_last_tokens=6), drawn(MODEL)
    short = ConditionedRegression(N=2, d=3).sample(10, generator(), dtype=F64)  # 5 tokens
    assert torch.equal(model.loss(params, short), MODEL.loss(params, short))


# ---- ensembles and first weights


@each_kind
def test_members_side_by_side(model):
    params = drawn(model, (2, 3))
    own = [sampled(s) for s in range(6)]
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
                close(
                    model.loss(params, together)[i, j],
                    model.loss(alone, prompts),
                    rtol=1e-12,
                    atol=0,
                )
                close(
                    model.predict(params, together)[i, j], model.predict(alone, prompts), rtol=1e-11
                )
    assert stacked.labels.shape == model.predict(params, stacked).shape == (2, 3, 10, 7)
    assert model.trajectory(params, stacked).shape == (2, 3, model.loops, 10, 7)


@each_kind
def test_first_weights_are_as_described(model):
    model = replace(model, width=64)
    params = model.init(generator(), F64)
    assert {n: tuple(p.shape) for n, p in params.items()} == model.shapes
    for name, p in params.items():
        assert p.dtype == F64
        if name in ("norms", "last_norm"):
            scale, shift = p.unbind(-2)
            assert (scale == 1).all()
            assert not shift.any()
        elif name in ("in", "out", "input", "state"):
            reach = 1 / math.sqrt({"in": 3}.get(name, 64))
            assert 0.9 * reach < p.abs().max() <= reach
            assert p.std() == pytest.approx(reach / math.sqrt(3), rel=0.2)
        else:
            if name != "positions":
                assert not p[..., -1].any()
                p = p[..., :-1]
            std = 0.02 / math.sqrt(2 * model.n_layer) if name in ("proj", "down") else 0.02
            assert p.std() == pytest.approx(std, rel=5 / math.sqrt(2 * p.numel()))


def test_labels_are_of_examples_and_query():
    prompts = sampled()
    assert torch.equal(prompts.labels[:, :6], prompts.Z[:, :6, 3])
    assert torch.equal(prompts.labels[:, 6], prompts.y)


# ---- training


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": False, "progress": False, "device": "cpu"} | kwargs)


def test_loops_grow_with_the_examples():
    """Steps 0 to 3 of a training with a curriculum are those of its stages alone."""
    model = replace(MODEL, loops=4, supervised_loops=2)
    grown = (("N", 4, 1, 2), ("loops", 2, 1, 1))
    training = replace(TRAINING, max_iters=4, curriculum=grown, dtype="float64")
    assert [training.model_at(model, k).loops for k in range(5)] == [2, 3, 4, 4, 4]
    assert [training.task_at(TASK, k).N for k in range(5)] == [4, 4, 5, 5, min(6, TASK.N)]
    run, start = quiet(model, TASK, training, seeds=(1,)), torch.Generator().manual_seed(1)
    params = {n: p.unsqueeze(0) for n, p in model.init(start, torch.float64).items()}
    first = sample_ensemble([replace(TASK, N=4)], training.B, [start], "tokens", torch.float64)
    torch.testing.assert_close(
        run.loss[0, 0], replace(model, loops=2).loss(params, first)[0], rtol=1e-10, atol=0
    )
    assert not torch.isclose(
        run.loss[0, 0], replace(model, loops=4).loss(params, first)[0], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("model", "curriculum", "said"),
    [
        (MODEL, (("loops", 1, 1, 5),), "supervised_loops must be"),
        (MODEL, (("supervised_loops", 1, 1, 5),), "curriculum must be one of"),
        (MODEL, (("width", 8, 8, 5),), "curriculum must be one of"),
    ],
)
def test_a_curriculum_that_cannot_be(model, curriculum, said):
    with pytest.raises(ValueError, match=said):
        Run(model, TASK, replace(TRAINING, curriculum=curriculum), 0)


@pytest.mark.parametrize("name", ["one block", "last 7, multiply", "LSTM", "untied"])
def test_training_lowers_the_loss(name):
    """On the one batch that it sees."""
    model, training = (
        replace(KINDS[name], width=16),
        replace(TRAINING, redraw_every=None, dtype="float64"),
    )
    history = quiet(model, TASK, training, seeds=(5, 2))
    metrics = history.metrics
    assert set(metrics) == {"test_loss", "test_query"}
    assert metrics["test_loss"].shape == metrics["test_query"].shape == history.loss.shape
    assert (history.loss[:, -1] < 0.5 * history.loss[:, 0]).all()
    assert {n: tuple(p.shape[1:]) for n, p in history.final_params.items()} == model.shapes
    alone = quiet(model, TASK, training, seeds=(2,))
    close(alone.loss[0], history.loss[1], rtol=1e-7, atol=0)
    again = {n: p[1] for n, p in history.final_params.items()}
    for measure, value in model.metrics(again, TASK).items():
        close(value, metrics[measure][1, -1], rtol=1e-12, atol=0)


def test_an_lstm_is_in_training_mode_where_gradients_flow(monkeypatch):
    """cuDNN has no backward pass otherwise; without dropout the mode changes nothing else."""
    model, modes, lstm = KINDS["LSTM"], [], torch.lstm

    def noted(*arguments):
        modes.append((arguments[6], torch.is_grad_enabled()))
        return lstm(*arguments)

    monkeypatch.setattr(torch, "lstm", noted)
    g = torch.Generator().manual_seed(0)
    model.loss(model.init(g), TASK.sample(4, g))
    assert (
        modes
        == [(False, False)] * (model.loops - model.supervised_loops)
        + [(True, True)] * model.supervised_loops
    )


def test_training_is_adam_on_the_plain_definition():
    """With a curriculum that begins with fewer tokens than the mask passes on."""
    model = replace(MODEL, n_last_tokens=9)
    training = replace(
        TRAINING, max_iters=9, record_every=1, dtype="float64", curriculum=(("N", 3, 2, 4),)
    )
    history = quiet(model, TASK, training, seeds=(4,))
    g = generator(4)
    params = {n: p.requires_grad_() for n, p in model.init(g, F64).items()}
    optimizer = torch.optim.Adam(params.values(), lr=0.01, betas=(0.9, 0.999))
    for step in range(9):
        prompts = training.task_at(TASK, step).sample(11, g, dtype=F64)
        assert min(3 + 2 * (step // 4), 6) == prompts.N
        shown = replace(model, n_last_tokens=min(9, 2 * prompts.N + 1))
        loss = (plain(shown, params, prompts, 5, 3)[3:] - prompts.labels).square().mean()
        close(history.loss[0, step], loss, rtol=1e-7, atol=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_what_a_run_records():
    task = replace(TASK, kappa=5.0)
    prompts = fixed_prompts(task, 8, looped.TESTS // 8, "tokens", F64)
    assert prompts.Z.shape == (looped.TESTS, 7, 4)
    X = prompts.Z[:, :-1, :3].reshape(8, -1, 3)
    largest = torch.linalg.eigvalsh(X.mT @ X / X.shape[1])[:, -1]
    assert largest.max() > 2 * largest.min()  # a covariance of its own for each of the eight
    params = drawn(MODEL, (2,))
    errors = (
        plain(MODEL, {n: p[1] for n, p in params.items()}, prompts, 5)[-1] - prompts.labels
    ).square()
    found = MODEL.metrics({n: p.requires_grad_() for n, p in params.items()}, task)
    close(found["test_loss"][1], errors.mean())
    close(found["test_query"][1], errors[:, -1].mean())
    assert not found["test_loss"].requires_grad


def test_a_curriculum_may_change_what_leaves_the_parameters_alone():
    assert MODEL.curriculum_fields == ("loops",)
    assert replace(MODEL, loops=9).shapes == MODEL.shapes
    assert KINDS["untied"].curriculum_fields == ()


@each_kind
def test_the_configuration_is_the_model(model):
    own = Run(model, TASK, TRAINING, 3)
    assert own.path == Run.of(own.config).path
    assert Looped(**model.config).config == model.config
    assert ("n_head" in model.config) == (model.cell == "block")
    assert len({kind.label for kind in KINDS.values()}) > 8


# ---- wrong input


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Looped(width=10, n_head=4), "width must be a multiple of n_head = 4, got 10"),
        (lambda: Looped(n_layer=0), "n_layer must be an integer >= 1, got 0"),
        (lambda: Looped(loops=0), "loops must be an integer >= 1, got 0"),
        (
            lambda: Looped(loops=5, supervised_loops=6),
            "supervised_loops must be an integer from 1 to 5, got 6",
        ),
        (lambda: Looped(supervised_loops=0), "supervised_loops must be an integer >= 1, got 0"),
        (lambda: Looped(n_last_tokens=-2), "n_last_tokens must be an integer >= -1, got -2"),
        (lambda: Looped(positions=0), "positions must be an integer >= 1, got 0"),
        (
            lambda: Looped(inject="ad"),
            "inject must be one of 'add', 'multiply', got 'ad' (did you mean 'add'?)",
        ),
        (lambda: Looped(cell="gru"), "cell must be one of 'block', 'lstm', got 'gru'"),
        (lambda: Looped(untied=1), "untied must be True or False, got 1"),
        (
            lambda: Looped(untied=True),
            "supervised_loops must be loops = 20 for an untied model, got 10",
        ),
        (
            lambda: replace(MODEL, n_last_tokens=14).check_fit(TASK),
            "n_last_tokens must be from 0 to the number of tokens, 2 N + 1 = 13, or -1 for "
            "all, got 14",
        ),
        (
            lambda: replace(MODEL, n_last_tokens=14).predict(drawn(MODEL), sampled()),
            "n_last_tokens must be from 0 to the number of tokens, 2 N + 1 = 13, or -1 for "
            "all, got 14",
        ),
        (
            lambda: replace(MODEL, positions=12).check_fit(TASK),
            "positions must be at least the number of tokens, 2 N + 1 = 13, got 12",
        ),
        (
            lambda: replace(MODEL, positions=12).loss(
                drawn(replace(MODEL, positions=12)), sampled()
            ),
            "positions must be at least the number of tokens, 2 N + 1 = 13, got 12",
        ),
        (lambda: MODEL.predict(drawn(MODEL), sampled(), 0), "loops must be an integer >= 1, got 0"),
        (
            lambda: KINDS["untied"].predict(drawn(KINDS["untied"]), sampled(), 6),
            "loops must be an integer from 1 to 5, got 6",
        ),
        (
            lambda: MODEL.loss(drawn(MODEL), replace(TASK, d=4).sample(2, generator(), dtype=F64)),
            "prompts with d = 4 do not fit a model with d = 3",
        ),
        (lambda: MODEL.loss({}, sampled()), "parameters of shapes {} do not fit Looped(d=3"),
        (lambda: MODEL.loss(drawn(KINDS["three blocks"]), sampled()), "'qkv': (3, 24, 9)"),
        (lambda: MODEL.loss(drawn(KINDS["LSTM"]), sampled()), "'state': (1, 36, 10)"),
        (lambda: MODEL.loss(drawn(MODEL) | {"out": torch.zeros(2, 9)}, sampled()), "'out': (2, 9)"),
        (
            lambda: MODEL.loss(drawn(MODEL), LogisticRegression(d=3).sample(2, generator())),
            "Looped needs Prompts, got Labelled",
        ),
    ],
)
def test_wrong_settings(call, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert said in str(error.value)


def test_models_that_fit():
    for n in (-1, 0, 13):
        replace(MODEL, n_last_tokens=n, positions=13).check_fit(TASK)
