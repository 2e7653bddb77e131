"""graphed.py without a GPU: everything but `capture`, with a stand-in that replays as a CUDA graph
does."""

from __future__ import annotations

import warnings
from dataclasses import replace
from unittest import mock

import pytest
import torch
from test_resume import ENCODER, LINEAR, LOOPED, PAIRS, TASK
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lintf.tasks.base import sample_ensemble
from lintf.tasks.conditioned import ConditionedRegression
from lintf.training import fit as loop
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.graphed import AFTER, Graphed, eager, loss_on
from lintf.training.history import Diverged
from lintf.training.state import TrainState

CPU = torch.device("cpu")
TRAINING = TrainConfig(lr=1e-2, max_iters=AFTER + 6, B=8, clip=1.0, record_every=4)


def replaying(loss, samples):
    """As torch.cuda.make_graphed_callables: tensors at the samples' addresses are read there,
    others copied to them; each replay writes over what the last one gave."""
    outputs, slots = [], [i for i, t in enumerate(samples) if t.requires_grad]

    def keep(key, value):
        if value is None:
            return None
        stored = outputs[key] if key < len(outputs) else None
        if stored is None:
            outputs.extend([None] * (key + 1 - len(outputs)))
            stored = outputs[key] = torch.empty_like(value)
        return stored.copy_(value).detach()

    class Replay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *given):
            for own, new in zip(samples, given, strict=True):
                assert own.requires_grad == new.requires_grad
                assert own.shape == new.shape
                if own.data_ptr() != new.data_ptr():
                    assert not own.requires_grad  # parameters are where they were
                    own.copy_(new)
            with torch.enable_grad():
                ctx.value = loss(*samples)
            return keep(0, ctx.value.detach())

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            leaves = [samples[i] for i in slots]
            found = iter(torch.autograd.grad(ctx.value, leaves, g, allow_unused=True))
            return tuple(
                keep(1 + i, next(found)) if i in slots else None for i in range(len(samples))
            )

    return Replay.apply


class Counted:
    """A way to capture, and how often it did."""

    def __init__(self, capture=replaying):
        self.capture, self.times = capture, 0

    def __call__(self, loss, samples):
        self.times += 1
        return self.capture(loss, samples)


def tensors(history):
    return {
        "loss": history.loss,
        **history.recorded,
        **{f"final {n}": t for n, t in history.final_params.items()},
    }


def trained(monkeypatch, capture, *experiment, seeds=(0, 1)):
    """All that a fit leaves, with its losses from graphs, or as on the CPU for None."""
    with monkeypatch.context() as patch:
        if capture:
            patch.setattr(loop, "loss_on", lambda device, alg: Graphed(capture))
        return tensors(fit(*experiment, seeds, device="cpu", stored=False, progress=False))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("model", "task"), PAIRS, ids=lambda value: getattr(value, "label", None))
def test_a_training_with_a_graph_is_the_training_without_one(monkeypatch, model, task):
    counted = Counted()
    found = trained(monkeypatch, counted, model, task, TRAINING)
    assert counted.times == 1
    assert_same(found, trained(monkeypatch, None, model, task, TRAINING))


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "sgd", "momentum": 0.0, "clip": None, "normalize": True},
        {"alg": "sgd", "clip_by": "matrix"},
        {"redraw_every": None, "dtype": "float64"},
        {"warmup": 5, "lr_end": 1e-4, "decay_steps": 14},
        {"integrate": True},
    ],
)
def test_whatever_the_options_are(monkeypatch, changes):
    training = replace(TRAINING, **changes)
    counted = Counted()
    found = trained(monkeypatch, counted, LINEAR, TASK, training)
    assert counted.times == 1
    assert_same(found, trained(monkeypatch, None, LINEAR, TASK, training))


def test_a_parameter_without_gradient_stays_without(monkeypatch):
    """P of a single layer."""
    model = replace(LINEAR, n_layer=1)
    assert_same(*(trained(monkeypatch, c, model, TASK, TRAINING) for c in (replaying, None)))


@pytest.mark.parametrize(
    ("model", "task", "curriculum", "captures"),
    [
        # Statistics of 2, 4, 6 examples have the same shapes.
        (LINEAR, TASK, (("N", 2, 2, AFTER + 2),), 3),
        # 2 loops in two steps only.
        (LOOPED, TASK, (("N", 2, 4, AFTER + 2), ("loops", 2, 1, 2)), 2),
        (
            ENCODER,
            ConditionedRegression(6, 3, 5.0, w_dims=3),
            (("w_dims", 1, 1, AFTER + 2), ("N", 2, 4, 5)),
            1,
        ),
        (LINEAR, TASK, (("N", 2, 1, AFTER - 2),), 1),  # the last
    ],
)
def test_a_curriculum_is_captured_anew_where_it_stays(
    monkeypatch, model, task, curriculum, captures
):
    training = replace(TRAINING, max_iters=4 * AFTER + 2, curriculum=curriculum)
    counted = Counted()
    found = trained(monkeypatch, counted, model, task, training)
    assert counted.times == captures
    assert_same(found, trained(monkeypatch, None, model, task, training))


def test_an_interrupted_training_goes_on(monkeypatch, runs):
    """It begins with steps of its own before it captures."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "loss_on", lambda device, alg: Graphed(replaying))
    training, update = replace(TRAINING, max_iters=3 * AFTER), TrainState.update

    def stopped(self, step, loss, batch):
        if step == AFTER + 3:
            raise KeyboardInterrupt
        update(self, step, loss, batch)

    with mock.patch.object(TrainState, "update", stopped), pytest.raises(KeyboardInterrupt):
        fit(LINEAR, TASK, training, device="cpu", progress=False)
    found = fit(LINEAR, TASK, training, device="cpu", progress=False)
    assert_same(
        tensors(found),
        tensors(fit(LINEAR, TASK, training, device="cpu", stored=False, progress=False)),
    )


def refused(loss, samples):
    raise RuntimeError("operation not permitted when stream is capturing\nand how to find out more")


def stale(loss, samples):
    """Nothing was captured: what it gives stays as it was."""
    first = loss(*samples).detach()
    return lambda *given: first + 0 * loss(*given)


def half_a_gradient(loss, samples):
    return lambda *given: 0.5 * loss(*given) + 0.5 * loss(*given).detach()


def one_gradient_lost(loss, samples):
    return lambda first, *others: loss(first.detach(), *others)


def not_a_number(loss, samples):
    return lambda *given: loss(*given) * float("nan")


@pytest.mark.parametrize(
    ("capture", "why"),
    [
        (refused, "operation not permitted when stream is capturing"),
        *(
            (wrong, "its first replay differs")
            for wrong in (stale, half_a_gradient, one_gradient_lost, not_a_number)
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_captured_is_said_once_and_trained_without(monkeypatch, capture, why):
    training = replace(TRAINING, max_iters=4 * AFTER, curriculum=(("N", 3, 3, 2 * AFTER),))
    counted = Counted(capture)
    with pytest.warns(UserWarning, match="no CUDA graph of the training step") as said:
        found = trained(monkeypatch, counted, LINEAR, TASK, training)
    assert counted.times == len(said) == 1
    assert why in str(said[0].message)
    assert "\n" not in str(said[0].message)
    assert said[0].filename == __file__
    assert_same(found, trained(monkeypatch, None, LINEAR, TASK, training))


@pytest.mark.parametrize("at", [AFTER - 1, AFTER + 2])
def test_a_loss_that_is_not_finite_stops_the_training_as_ever(monkeypatch, at):
    """When it is captured, or later."""
    update = TrainState.update

    def spoilt(self, step, loss, batch):
        update(self, step, loss, batch)
        if step == at - 1:
            self.params["Q"].data.fill_(float("nan"))

    monkeypatch.setattr(TrainState, "update", spoilt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Diverged) as failed:
            trained(monkeypatch, replaying, LINEAR, TASK, TRAINING)
    assert failed.value.step == at


def test_losses_come_from_graphs_on_a_gpu_alone():
    """And not for L-BFGS."""
    assert isinstance(loss_on(torch.device("cuda", 1), "adam"), Graphed)
    assert loss_on(CPU, "adam") is loss_on(torch.device("cuda"), "lbfgs") is eager


class Devices(TorchDispatchMode):
    """Where the tensors are that an operation takes and gives."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen |= {
            t.device.type for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)
        }
        return out


@pytest.mark.parametrize(("model", "task"), PAIRS, ids=lambda value: getattr(value, "label", None))
def test_no_loss_leaves_its_device(model, task):
    """A graph can hold nothing of the CPU. On torch's device without memory a value that is read
    back is an error, too, as it is while a graph is captured."""
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    batch = sample_ensemble([task] * 2, 4, generators, model.representation).to("meta")
    params = {
        n: torch.stack([p, p]).to("meta").requires_grad_()
        for n, p in model.init(generators[0]).items()
    }
    model.loss(params, batch)  # what is made once and kept
    with Devices() as devices:
        torch.autograd.grad(
            model.loss(params, batch).sum(), list(params.values()), allow_unused=True
        )
    assert devices.seen == {"meta"}
