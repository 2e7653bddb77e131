"""An interrupted training goes on to the very result of an uninterrupted one, whatever its options
are."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from unittest import mock

import pytest
from children import digest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from lintf.models.encoder import Encoder
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall
from lintf.training import fit as loop
from lintf.training import store
from lintf.training.config import TrainConfig
from lintf.training.run import Run
from lintf.training.state import TrainState

SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))
LINEAR, TASK = LinearTransformer(d=3, n_layer=2, init_std=0.1), LinearRegression(N=6, d=3)
LOOPED = Looped(d=3, width=4, n_head=2, loops=3, supervised_loops=2, positions=13)
ENCODER = Encoder(d=3, width=8, norm=True)
RECALL = RecallTransformer("reparam", vocab=12, n_trigger=2)
SENTENCES = Recall(H=8, vocab=12, n_trigger=2, n_output=2)
# of a model and the task of the first seed; the others have the task as it is, without covariances
PAIRS = [
    (LINEAR, replace(TASK, Sigma=SIGMA)),
    (LINEAR, replace(TASK, mode="gamma", noise_std=0.5)),
    (replace(LINEAR, free_P=False), replace(TASK, mode="sphere", Sigma_w=SIGMA)),
    (replace(LINEAR, attention="relu"), TASK),
    (MLPTransformer(d=3, n_layer=1, hidden=4), NonlinearRegression(N=6, d=3)),
    (LOOPED, replace(TASK, Sigma=SIGMA)),
    (replace(LOOPED, cell="lstm", inject="multiply", n_last_tokens=5), TASK),
    (ENCODER, ConditionedRegression(6, 3, kappa=5.0)),
    (
        replace(ENCODER, attention="softmax", mlp=True, readout="w", positions=7),
        LogisticRegression(6, 3),
    ),
    (RECALL, SENTENCES),
    (replace(RECALL, variant="origin", save_final_params=True), replace(SENTENCES, alpha=0.3)),
]
SCHEDULES = [{}, {"halve_every": 3}, {"warmup": 4}, {"warmup": 2, "lr_end": 1e-4, "decay_steps": 7}]
CLIPS = [{}, {"clip": 0.1}, {"clip": 0.1, "clip_by": "matrix"}, {"normalize": True}]
ALGS = [
    {"alg": "adam"},
    {"alg": "adam", "betas": (0.5, 0.99)},
    {"alg": "sgd"},
    {"alg": "sgd", "momentum": 0.0},
    {"alg": "lbfgs", "inner_steps": 2, "history_size": 3},
]


class Interrupted(Exception):
    pass


@st.composite
def experiments(draw):
    """A pair, and a training of 10 steps with any options that go together."""

    def pick(*choices):
        return draw(st.sampled_from(choices))

    model, task = pick(*PAIRS)
    sentences, looped = model.representation == "sentences", isinstance(model, Looped)
    growing = ("H", 6, 1, 3) if sentences else ("N", pick(1, 2), 1, pick(2, 3))
    options = pick(*ALGS) | pick(*CLIPS) | pick(*SCHEDULES)
    options |= {"curriculum": pick((), (growing,), (growing, *[("loops", 1, 1, 2)] * looped))}
    options |= {
        "redraw_every": pick(1, 2, 3, 4, None),
        "integrate": model.representation == "gram" and pick(False, True),
    }
    options |= {
        "record_every": pick(1, 3, 100),
        "first_steps": pick(1, 5),
        "dtype": pick("float32", "float64"),
    }
    if sentences and pick(False, True):
        options |= {"train_set_size": 12, "redraw_every": 1, "curriculum": ()}
    try:
        training = TrainConfig(lr=0.003, max_iters=10, B=4, **options)
        Run(model, task, training, 0)
    except ValueError:  # they do not go together
        assume(False)
    return model, task, training


def stopped(fit, step):
    """Whether a fit that is interrupted in this step, after the checkpoint of its beginning, came
    so far."""
    update = TrainState.update

    def interrupted(state, now, *args):
        if now == step:
            raise Interrupted
        update(state, now, *args)

    with mock.patch.object(TrainState, "update", interrupted), pytest.raises(Interrupted):
        fit()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@example(
    (
        *PAIRS[0],
        TrainConfig(lr=0.01, max_iters=10, B=4, redraw_every=4, curriculum=(("N", 2, 1, 2),)),
    ),
    (0, 2),
    [6],
    "off",
)
@given(
    experiments(),
    st.sampled_from([(3,), (0, 2), (2, 0, 5)]),
    st.lists(st.integers(1, 9), min_size=1, max_size=2).map(sorted),
    st.sampled_from(["on", "off"]),
)
def test_interrupted_anywhere_it_ends_with_the_same_bits(experiment, seeds, steps, kernel):
    """Once or twice, in any step, with any options that go together."""
    model, task, training = experiment
    others = replace(task, Sigma=None, Sigma_w=None) if isinstance(task, LinearRegression) else task
    tasks = dict.fromkeys(seeds, others) | {seeds[0]: task}

    def fit(stored=True):
        return loop.fit(
            model, tasks.__getitem__, training, seeds, device="cpu", stored=stored, progress=False
        )

    with tempfile.TemporaryDirectory() as runs:
        environment = {"LINTF_RUNS": runs, "LINTF_KERNEL": kernel}
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch.object(loop, "CHECKPOINT_SECONDS", -1.0),
        ):
            whole = digest(fit(stored=False))
            for step in steps:
                stopped(fit, step)
            (partial,) = (store.folder() / ".partial").iterdir()
            assert store.load(partial).meta["step"] == steps[-1]
            assert digest(fit()) == whole
            assert digest(fit()) == whole  # from the store
