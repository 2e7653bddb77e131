"""verify and reproduce, and python -m lintf: what today's code would not give is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.training import data, store
from lintf.training.fit import TrainConfig, fit
from lintf.training.verify import AT_REST, FLUCTUATIONS, _fluctuation, reproduce, verify

ROOT = Path(__file__).parents[2]
MODEL = LinearTransformer(d=3, n_layer=2, init_std=0.1)
TASK = LinearRegression(N=6, d=3)
TRAINING = TrainConfig(lr=0.01, max_iters=40, B=20)
SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))


def make(model=MODEL, task=TASK, training=TRAINING, seeds=(0,)):
    """Train and store; the paths of all stored runs."""
    fit(model, task, training, seeds, progress=False, device="cpu")
    return list(store.runs())


def alter(path, change):
    """Store the run again, its tensors changed, with a digest that fits."""
    record = store.load(path)
    tensors = {n: t.clone() for n, t in record.tensors.items()}
    change(tensors)
    store.save(path, store.Record(record.config, tensors, record.meta))
    assert not all(torch.equal(store.load(path).tensors[n], t) for n, t in record.tensors.items())


@pytest.mark.parametrize(
    "training",
    [
        TRAINING,
        replace(TRAINING, alg="sgd", clip=0.1, clip_by="matrix", dtype="float64"),
        replace(TRAINING, redraw_every=3, halve_every=5),
        replace(TRAINING, max_iters=5),
        replace(TRAINING, max_iters=1),
    ],
    ids=["adam", "sgd", "schedules", "5 steps", "1 step"],
)
def test_a_fresh_run_verifies(runs, training):
    for path in make(
        training=training, seeds=(0, 4), task=replace(TASK, Sigma=SIGMA, noise_std=0.1)
    ):
        outcome = verify(path)
        assert outcome.ok, outcome.detail
        assert outcome.path == path
        assert f"first {min(20, training.max_iters)} steps" in outcome.detail


@pytest.mark.parametrize(
    ("mode", "attention"), [("sphere", "linear"), ("gamma", "relu"), ("normal", "softmax")]
)
def test_runs_of_every_kind_verify(runs, mode, attention):
    (path,) = make(replace(MODEL, attention=attention), replace(TASK, mode=mode))
    assert verify(path).ok


def test_a_run_of_the_compiled_kernel_verifies_on_the_plain_path(runs, monkeypatch):
    (path,) = make(training=replace(TRAINING, B=300))
    monkeypatch.setenv("LINTF_KERNEL", "off")
    assert verify(path).ok


def scale(name, where, factor=1.01):
    def change(tensors):
        tensors[name][where] *= factor

    return change


@pytest.mark.parametrize(
    "change",
    [
        scale("loss", 0),
        scale("loss", 7),
        scale("loss", 19),
        scale("P", 19),
        scale("Q", 19),
        scale("Q", 7),
        scale("P", 1),
        scale("steps", 5, 2),
        scale("loss", 7, float("nan")),
        scale("P", 19, float("nan")),
        scale("Q", 19, float("nan")),
        lambda tensors: tensors.update(Q=tensors["Q"][:15]),
        lambda tensors: tensors.update(Q=tensors["P"], P=tensors["Q"]),
    ],
    ids=[
        "first loss", "loss 7", "loss 19", "P 19", "Q 19", "Q 7", "P 1", "steps",
        "NaN loss", "NaN P", "NaN Q", "short", "swapped",
    ],
)  # fmt: skip
def test_an_altered_run_fails(runs, change):
    (path,) = make()
    alter(path, change)
    assert not verify(path).ok


@pytest.mark.parametrize("name", ["loss", "P", "Q", "steps"])
def test_a_run_without_one_of_its_tensors_fails(runs, name):
    (path,) = make()
    record = store.load(path)
    tensors = {n: t for n, t in record.tensors.items() if n != name}
    store.save(path, store.Record(record.config, tensors, record.meta))
    assert not verify(path).ok


def test_the_update_of_a_very_short_run_is_checked(runs):
    """One step has two recorded states: both count."""
    (path,) = make(training=replace(TRAINING, max_iters=1))
    alter(path, scale("Q", 1))
    assert not verify(path).ok


def test_a_changed_formula_fails(runs, monkeypatch):
    (path,) = make()
    init = LinearTransformer.init

    def wider(self, *args, **kwargs):
        return init(replace(self, init_std=1.001 * self.init_std), *args, **kwargs)

    monkeypatch.setattr(LinearTransformer, "init", wider)
    assert not verify(path).ok


def test_a_changed_law_of_the_prompts_fails(runs, monkeypatch):
    draw = data.sample_ensemble
    (path,) = make()
    monkeypatch.setattr(data, "sample_ensemble", lambda tasks, B, *rest: draw(tasks, B + 1, *rest))
    outcome = verify(path)
    assert not outcome.ok
    assert "relative, largest difference" in outcome.detail


def rewrite(path, change):
    """Store the run under another configuration, named and signed as it should be."""
    record = store.load(path)
    path.unlink()
    change(record.config)
    path = store.path_of("a-run", record.config)
    store.save(path, record)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["model"].pop("init_std"), "configuration"),
        (lambda c: c["training"].update(warm_restarts=3), "warm_restarts"),
        (lambda c: c["model"].update(kind="Mamba"), "Mamba"),
        (lambda c: c["task"].update(mode="uniform"), "uniform"),
        (lambda c: c.pop("training"), "training"),
    ],
    ids=[
        "a default left out",
        "a field of another version",
        "an unknown model",
        "an unknown mode",
        "a part missing",
    ],
)
def test_a_configuration_of_another_version_fails_with_a_reason(runs, change, said):
    """It does not stop the other runs from being checked."""
    (path,) = make()
    path = rewrite(path, change)
    outcome = verify(path)
    assert not outcome.ok
    assert said in outcome.detail


# ---- reproduce


def test_reproduce_two_seeds_with_tasks_of_their_own(runs):
    tasks = {0: replace(TASK, Sigma=SIGMA), 1: replace(TASK, Sigma_w=SIGMA), 2: TASK}
    paths = make(task=tasks.__getitem__, seeds=tuple(tasks))
    outcomes = list(reproduce(paths))
    assert sorted(outcome.path for outcome in outcomes) == paths
    for outcome in outcomes:
        assert outcome.ok, outcome.detail
        assert "0.0e+00" in outcome.detail  # bit for bit on the same machine
        assert "3 seeds" in outcome.detail  # side by side


def test_reproduce_one_seed_of_two_tasks(runs):
    """Runs that differ in Sigma alone share a seed, and are kept apart."""
    make(task=TASK)
    paths = make(task=replace(TASK, Sigma=SIGMA))
    assert len(paths) == 2
    assert [outcome.ok for outcome in reproduce(paths)] == [True, True]


def test_reproduce_groups_of_different_training(runs):
    make(seeds=(0, 1))
    paths = make(training=replace(TRAINING, alg="sgd", lr=1e-4), seeds=(1, 5))
    outcomes = {outcome.path: outcome.ok for outcome in reproduce(paths)}
    assert outcomes == dict.fromkeys(paths, True)


@pytest.mark.parametrize("factor", [1.1, float("nan")])
@pytest.mark.parametrize("name", ["P", "Q"])
def test_reproduce_finds_an_altered_result(runs, name, factor):
    """verify looks at the first steps; the last ones are reproduce's. The halved rate brings the
    run to rest: it is compared in units of what it still moves by."""
    paths = make(seeds=(0, 1), training=replace(TRAINING, halve_every=5))
    alter(paths[1], scale(name, -1, factor))
    assert verify(paths[1]).ok
    assert [outcome.ok for outcome in reproduce(paths)] == [True, False]


def test_a_run_is_compared_in_units_of_its_own_fluctuation(runs):
    """Noise of 0.02 around a matrix of norm 1: off by 0.04 is as stored, off by 0.2 is not."""
    noise = torch.randn(200, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # Each of 4 entries: 0.02 in all.
    snapshots = torch.eye(2, dtype=torch.float64) / 2**0.5 + 0.01 * noise
    assert _fluctuation(snapshots) == pytest.approx(0.02, rel=0.3)
    assert 0.04 / _fluctuation(snapshots) < FLUCTUATIONS < 0.2 / _fluctuation(snapshots)
    assert _fluctuation(snapshots[:1].expand(50, 2, 2)) == AT_REST
    assert _fluctuation(snapshots * float("nan")) == AT_REST
