"""Runs that diverge: stored as far as they got, raised again, verified; and the trainings of Adam
against SGD."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace

import pytest
import torch

from lintf.__main__ import main
from lintf.experiments.adam_sgd import ALGS, NAMES, SETTINGS, chosen, trained
from lintf.models.linear import LinearTransformer
from lintf.models.mlp import MLPTransformer
from lintf.tasks.linear import LinearRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.training import data, store
from lintf.training import fit as loop
from lintf.training.fit import TrainConfig, fit
from lintf.training.history import Diverged
from lintf.training.run import Run
from lintf.training.several import fit_each_seed
from lintf.training.verify import _gap, reproduce, verify

MODEL = LinearTransformer(d=3, n_layer=1, n_head=2, init_std=0.1)
TASK = LinearRegression(N=6, d=3)
# Hardly anything to learn.
EASY = replace(TASK, Sigma_w=[[1e-12 * (i == j) for j in range(3)] for i in range(3)])
SGD = TrainConfig(lr=0.01, max_iters=90, B=11, alg="sgd", record_every=9)
# Seed 0 diverges at step -> with this rate. In one layer the steps are linear and the weights grow
# evenly, so that rates 1% off give the same step. The loss is beyond ten times the first from step
# 1 (EARLY) or 3 (LATE) on.
RATES = {1: 1e30, 8: 85.0, 19: 1.72, 20: 1.55, 21: 1.41, 40: 0.45}
EARLY, LATE = 8, 40


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": True, "progress": False, "device": "cpu"} | kwargs)


def diverge(*args, **kwargs):
    with pytest.raises(Diverged) as caught:
        quiet(*args, **kwargs)
    return caught.value


def until(step):
    return replace(SGD, lr=RATES[step])


def make(step):
    """The path of a run that diverged at this step."""
    assert diverge(MODEL, TASK, until(step)).step == step
    return Run(MODEL, TASK, until(step), 0).path


def rewrite(path, tensors=None, **meta):
    """Store the run again, signed as it should be; None takes an entry of the header away."""
    record = store.load(path)
    meta = {name: value for name, value in (record.meta | meta).items() if value is not None}
    store.save(path, store.Record(record.config, tensors or record.tensors, meta))


def changed(patch, change):
    """A loss that is another function of itself."""
    loss = LinearTransformer.loss
    patch.setattr(LinearTransformer, "loss", lambda *args: change(loss(*args)))


def same(a, b):
    """Bit for bit, NaN for NaN."""
    assert a.seeds == b.seeds
    assert torch.equal(a.steps, b.steps)
    assert a.params.keys() == b.params.keys()
    for x, y in ((a.loss, b.loss), *((a.params[n], b.params[n]) for n in a.params)):
        torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


# ---- in fit()


@pytest.mark.parametrize("step", [1, EARLY, 20, LATE])
def test_a_diverged_run_is_stored_and_raised_again(runs, monkeypatch, capsys, step):
    training = until(step)
    first = diverge(MODEL, TASK, training)
    assert (first.step, first.seed, first.lr) == (step, 0, training.lr)
    assert list(runs.rglob("*.safetensors")) == [Run(MODEL, TASK, training, 0).path]
    with monkeypatch.context() as patch:
        patch.setattr(data, "sample_ensemble", None)
        again = diverge(MODEL, TASK, training, progress=True)
    assert capsys.readouterr().out.startswith("1 of 1 runs loaded from runs/")
    assert str(again) == str(first)
    same(again.history, first.history)
    assert main(["list", "seed"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(f", diverged at step {step}")
    steps = again.history.steps.tolist()
    assert steps == [t for t in training.recorded_steps() if t <= step]
    if step > 1:
        # Stops in time.
        before = quiet(MODEL, TASK, replace(training, max_iters=step - 1), stored=False)
        n = len(steps) - (steps[-1] == step)
        assert torch.equal(again.history.loss[:, :n], before.loss[:, :n])
        assert torch.equal(again.history.params["Q"][:, :n], before.params["Q"][:, :n])


@pytest.mark.parametrize("seeds", [(3, 0), (0, 3)])
def test_seeds_trained_side_by_side(runs, seeds):
    """Only the one that diverged is stored; the other can still be had, alone."""
    tasks, training = {0: TASK, 3: EASY}.__getitem__, replace(until(EARLY), max_iters=9)
    error = diverge(MODEL, tasks, training, seeds)
    assert (error.step, error.seed, error.history.seeds) == (EARLY, 0, seeds)
    assert list(store.runs()) == [Run(MODEL, TASK, training, 0).path]
    other = quiet(MODEL, tasks, training, (3,))
    same(other, quiet(MODEL, tasks, training, (3,), stored=False))
    assert len(list(store.runs())) == 2
    again = diverge(MODEL, tasks, training, seeds)
    assert (again.step, again.seed, again.history.seeds) == (EARLY, 0, (0,))
    theirs = error.history.loss[seeds.index(0)]
    torch.testing.assert_close(again.history.loss[0], theirs, rtol=0, atol=0, equal_nan=True)


def test_of_two_at_the_same_step_the_first_is_named(runs):
    assert [
        diverge(MODEL, TASK, until(1), seeds).seed for seeds in ((2, 5), (5, 2), (5,), (5, 2))
    ] == [2, 2, 5, 5]


def test_interrupted_on_the_way(runs, monkeypatch):
    """The checkpoint goes, and the record is that of a training in one go."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        left = iter(range(25))
        changed(patch, lambda v: (v, next(left))[0])
        with pytest.raises(StopIteration):
            quiet(MODEL, TASK, until(LATE))
    assert len(list(runs.glob(".partial/*.safetensors"))) == 1
    first, again = diverge(MODEL, TASK, until(LATE)), diverge(MODEL, TASK, until(LATE))
    assert not list(runs.glob(".partial/*"))
    whole = diverge(MODEL, TASK, until(LATE), stored=False)
    same(first.history, whole.history)
    same(again.history, whole.history)


@pytest.mark.parametrize("seconds", [1000, 0.0], ids=["without checkpoints", "with"])
def test_where_nothing_can_be_written_there_is_one_warning(tmp_path, monkeypatch, seconds):
    """It points at the line that calls fit()."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", seconds)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = diverge(MODEL, {0: TASK, 3: EASY}.__getitem__, until(EARLY), (3, 0))
    assert (error.step, error.seed) == (EARLY, 0)
    (warning,) = caught
    assert str(store.folder()) in str(warning.message)
    assert (warning.filename, warning.lineno) == (__file__, quiet.__code__.co_firstlineno + 1)


# ---- verify and reproduce


@pytest.mark.parametrize("step", RATES)
def test_a_diverged_run_verifies_and_reproduces(runs, monkeypatch, step):
    """Made with the compiled kernel, also on the plain path."""
    path = make(step)
    for kernel in ("on", "off"):
        monkeypatch.setenv("LINTF_KERNEL", kernel)
        outcomes = [verify(path), *reproduce([path])]
        assert [o.ok for o in outcomes] == [True, True], outcomes
        assert f"when stored at step {step}" in outcomes[1].detail


@pytest.mark.parametrize(
    ("model", "task", "training"),
    [
        (replace(MODEL, init_std=1e30), TASK, SGD),
        # At step 26, healthy at 19.
        (replace(MODEL, n_layer=2), TASK, replace(SGD, lr=0.01, B=100)),
        (MODEL, TASK, replace(SGD, lr=1e3, dtype="float64")),
        (MODEL, TASK, replace(until(EARLY), alg="lbfgs")),
        (MODEL, TASK, replace(SGD, lr=1e3, alg="lbfgs", inner_steps=20)),
        (LinearTransformer(3, 4, attention="relu", init_std=0.1), TASK, replace(SGD, lr=1.0)),
        (MLPTransformer(3, 4, 7, 0.3), NonlinearRegression(6, 3, 5), replace(SGD, lr=1.0)),
    ],
    ids=["step 0", "late", "float64", "lbfgs", "NaN weights at once", "relu", "MLP"],
)
def test_other_diverged_runs_verify_and_reproduce(runs, model, task, training):
    assert diverge(model, task, training).step == diverge(model, task, training).step
    (path,) = store.runs()
    outcomes = [verify(path), *reproduce([path])]
    assert [o.ok for o in outcomes] == [True, True], outcomes


def test_an_overflow_some_steps_earlier_or_later_is_the_same_run(runs, monkeypatch):
    """As if numbers ended at 1e10 there, and here."""
    path = make(LATE)
    other = replace(until(LATE), max_iters=80)
    with monkeypatch.context() as patch:
        changed(patch, lambda v: torch.where(v > 1e10, math.inf, v))
        assert diverge(MODEL, TASK, other).step < 20
        outcomes = [verify(path), *reproduce([path])]
        assert [o.ok for o in outcomes] == [True, True], outcomes
    path = Run(MODEL, TASK, other, 0).path
    assert [o.ok for o in (verify(path), *reproduce([path]))] == [True, True]


@pytest.mark.parametrize(("step", "explodes"), [(EARLY, 1), (LATE, 3)])
def test_what_is_altered_before_the_explosion_fails(runs, step, explodes):
    """Losses before it, parameters up to it. Later ones may be any, but the loss must explode at
    the same step."""
    path = make(step)
    record = store.load(path)

    def altered(name, at, value=None):
        t = record.tensors[name].clone()
        t[at] = value if value else 1.01 * t[at] if t[at].isfinite().all() else -math.inf
        store.save(path, replace(record, tensors=record.tensors | {name: t}))
        return verify(path)

    for at in range(len(record.tensors["steps"])):
        assert altered("loss", at).ok == (at >= explodes)
        for name in "PQ":
            assert altered(name, at).ok == (at > explodes)
    for at, value in (
        (explodes, 1.0),
        *((at, v) for at in range(1, explodes) for v in (100.0, math.nan, -math.inf)),
    ):
        outcome = altered("loss", at, value)
        assert not outcome.ok
        assert "its loss explodes at another step" in outcome.detail


@pytest.mark.parametrize("step", [EARLY, LATE])
def test_a_forged_step_fails(runs, step):
    """Where the recorded steps do not fit it."""
    path = make(step)
    for forged in (3, 7, 9, 20, 80, None):
        rewrite(path, diverged=forged)
        outcome = verify(path)
        assert (outcome.ok, outcome.detail) == (
            False,
            "its recorded steps are not those of its configuration",
        )
    assert [o.ok for o in reproduce([path])] == [False]  # as if it had come to its end


def test_a_run_that_diverges_only_now_fails(runs, monkeypatch):
    quiet(MODEL, TASK, SGD)
    (path,) = store.runs()
    changed(monkeypatch, lambda v: v * math.nan)
    for outcome in (verify(path), *reproduce([path])):
        assert not outcome.ok
        assert "training diverged: non-finite loss at step 0" in outcome.detail
    assert verify(path).detail.endswith("; the stored run did not")


@pytest.mark.parametrize("forged", [15, 50])
def test_a_run_that_does_not_diverge_now_fails(runs, forged):
    """A healthy run, forged; its neighbours are trained and compared all the same."""
    make(EARLY)
    quiet(MODEL, TASK, SGD, (0, 1, 2))
    path = Run(MODEL, TASK, SGD, 1).path
    record = store.load(path)
    kept = record.tensors["steps"] <= forged
    rewrite(path, {n: t[kept] for n, t in record.tensors.items()}, diverged=forged)
    outcomes = {o.path: o for o in reproduce(store.runs())}
    assert len(outcomes) == 4
    assert [p for p, o in outcomes.items() if not o.ok] == [path]
    assert f"diverged at step {forged} when stored, and does not now" in outcomes[path].detail
    if forged == 15:  # its last loss is recorded, and finite
        assert not verify(path).ok


def test_the_gap_is_that_of_the_worst_step():
    """Relative to its own size, however large the others are."""
    b = torch.tensor([[3.0, 4.0], [1e200, 0.0], [0.0, 0.0], [1e-200, 1e-200]], dtype=torch.float64)
    assert _gap(b, b) == 0
    for step, entry, expected in ((0, 0, 0.006), (1, 0, 0.01), (3, 1, 0.01 / math.sqrt(2))):
        a = b.clone()
        a[step, entry] *= 1.01
        assert _gap(a, b) == pytest.approx(expected, rel=1e-9)
    assert _gap(b[:, 0] * (1 + 1e-12), b[:, 0]) == pytest.approx(1e-12, rel=1e-3)
    assert _gap(b + torch.tensor([[0.0], [0.0], [1.0], [0.0]]), b) > 1e300  # beside 0
    for a in (b[:3], b[:, :1], b * math.nan, torch.where(b > 3, math.inf, b)):
        assert _gap(a, b) == _gap(b, a) == math.inf
    assert _gap(b[:0], b[:0]) == _gap(b[:0, 0], b[:0, 0]) == 0  # no step at all


# ---- the settings that compare Adam with SGD


def test_the_published_settings():
    """arXiv 2310.01082: the law, learning rates of SGD and Adam, clipping."""
    table = {
        "normal N=20": ("normal", 20, 0.02, 0.02, 1.0),
        "normal N=5": ("normal", 5, 0.01, 0.005, 1.0),
        "sphere N=20": ("sphere", 20, 5.0, 0.1, 0.1),
        "gamma N=20": ("gamma", 20, 0.02, 0.02, 1.0),
    }
    assert set(SETTINGS) == set(table)
    assert list(ALGS) == list(NAMES) == ["sgd", "adam"]
    for name, (mode, N, *rates, clip) in table.items():
        setting = SETTINGS[name]
        assert setting.task() == LinearRegression(N=N, d=5, mode=mode)
        assert setting.task(3) == LinearRegression(N=N, d=3, mode=mode)
        for alg, lr in zip(ALGS, rates, strict=True):
            expected = TrainConfig(lr=lr, max_iters=70, B=11, alg=alg, clip=clip, record_every=250)
            assert (expected.momentum, expected.betas, expected.clip_by) == (
                0.9,
                (0.9, 0.9),
                "global",
            )
            assert setting.config(alg, 70, 11) == expected
            assert setting.config(alg, 70, 11, lr=0.3, record_every=7) == replace(
                expected, lr=0.3, record_every=7
            )


def test_settings_that_are_none():
    assert chosen(iter(["sphere N=20", "normal N=5"])) == {
        n: SETTINGS[n] for n in ("sphere N=20", "normal N=5")
    }
    for names, said in (
        (["gama N=20"], "got 'gama N=20' (did you mean 'gamma N=20'?)"),
        (["normal N=20", "normal N=6"], "got 'normal N=6' (did you mean 'normal N=5'?)"),
        ([3], "got 3"),
        ([], f"settings must name at least one of {', '.join(SETTINGS)}"),
        ("normal N=5", "settings must be a list of names, got 'normal N=5'"),
        (None, "settings must be a list of names, got None"),
    ):
        for call in (chosen, lambda names: trained(names, MODEL, 5, 11, (0,))):
            with pytest.raises(ValueError, match="settings") as error:
                call(names)
            assert said in str(error.value)
    with pytest.raises(ValueError, match=r"alg must be one of 'sgd', 'adam', got 'lbfgs'"):
        SETTINGS["normal N=5"].config("lbfgs", 5, 11)


def test_trained_once_then_loaded_with_one_line(runs, monkeypatch, capsys):
    names, arguments = ("gamma N=20", "normal N=5"), (MODEL, 30, 11, (2, 0), "cpu")
    trained(names[1:], *arguments)
    assert capsys.readouterr().out == ""
    first = trained(names, *arguments)
    assert capsys.readouterr().out == "4 of 8 runs loaded from runs/\n"
    assert list(first) == list(names)
    with monkeypatch.context() as patch:
        patch.setattr(data, "sample_ensemble", None)
        again = trained(names, *arguments)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("8 of 8 runs loaded from runs/\n", "")
    for name, alg in itertools.product(names, ALGS):
        setting = SETTINGS[name]
        expected = quiet(MODEL, setting.task(3), setting.config(alg, 30, 11), (2, 0), stored=False)
        same(first[name][alg], expected)
        same(again[name][alg], expected)


def test_fit_each_seed_goes_on_where_a_run_diverges(runs, monkeypatch, capsys):
    """Seed 2 diverges a step earlier than seed 0: of the middle recipe, stopped at step 7, only
    seed 0 is left."""
    configs = [SGD, replace(until(EARLY), max_iters=7), until(EARLY)]
    experiments = {i: (MODEL, TASK, config) for i, config in enumerate(configs)}
    first = fit_each_seed(experiments, (0, 2), "cpu")
    assert capsys.readouterr().out == ""
    with monkeypatch.context() as patch:
        patch.setattr(data, "sample_ensemble", None)
        again = fit_each_seed(experiments, (0, 2), "cpu")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("6 of 6 runs loaded from runs/\n", "")
    for rows in (list(first.values()), list(again.values())):
        assert [[run is None for run in row] for row in rows] == [
            [False, False],
            [False, True],
            [True, True],
        ]
        same(rows[0][1], quiet(MODEL, TASK, configs[0], (2,), stored=False))
        same(rows[1][0], quiet(MODEL, TASK, configs[1], (0,), stored=False))
