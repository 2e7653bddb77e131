"""Trainings that are killed, that meet another process, or that cannot write: what comes out is
what would have come out, and no file in runs/ is ever half a file."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest
from children import Nursery, digest

from lintf.models.linear import LinearTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.linear import LinearRegression
from lintf.tasks.recall import Recall
from lintf.training import fit as loop
from lintf.training import store
from lintf.training.fit import TrainConfig, fit
from lintf.training.run import Run
from lintf.training.state import TrainState

SEEDS = (0, 2)
MODEL, TASK = LinearTransformer(d=3, n_layer=2, init_std=0.1), LinearRegression(N=6, d=3)
SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))
ADAM = TrainConfig(lr=0.01, max_iters=40, B=20, record_every=10, clip=0.5)
EXPERIMENTS = {
    "new batches, Adam": (MODEL, TASK, ADAM),
    "batches redrawn": (
        MODEL,
        replace(TASK, Sigma=SIGMA),
        replace(ADAM, redraw_every=7, halve_every=15),
    ),
    "one batch, SGD": (
        MODEL,
        replace(TASK, mode="gamma"),
        replace(ADAM, lr=0.001, alg="sgd", redraw_every=None),
    ),
    "one batch, L-BFGS": (
        MODEL,
        TASK,
        TrainConfig(lr=0.5, max_iters=25, B=20, alg="lbfgs", redraw_every=None),
    ),
    "a training set of sentences": (
        RecallTransformer("reparam", "linear", vocab=12, n_trigger=2),
        Recall(H=8, vocab=12, n_trigger=2, n_output=2),
        TrainConfig(
            lr=0.1,
            max_iters=40,
            B=4,
            train_set_size=16,
            alg="sgd",
            momentum=0.0,
            normalize=True,
            dtype="float64",
        ),
    ),
}
SLOW = {"step": 0.002, "save": 0.008, "every": 0.02}
MOMENTS = ("in training", "in a save of a checkpoint", "in a save of a run")


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.close()


def members(experiment, seeds=SEEDS):
    return [Run(*experiment, seed) for seed in seeds]


def again(experiment, seeds=SEEDS, **options):
    return fit(*experiment, seeds, **{"device": "cpu", "progress": False} | options)


def uninterrupted(experiment, seeds=SEEDS):
    return digest(again(experiment, seeds, stored=False))


def temporary(folder):
    return set(folder.rglob(".*.safetensors.*"))


def counted(monkeypatch, experiment, **options):
    """What `fit` gives, and after how many steps."""
    steps, update = [], TrainState.update
    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "update", lambda *args: steps.append(1) or update(*args))
        return digest(again(experiment, **options)), len(steps)


# ---- kill -9


def test_kill_9_at_any_moment(runs, tmp_path, monkeypatch, nursery):
    """Each training is killed at random moments and goes on, again and again: in the midst of
    steps, of the saves of checkpoints and of the saves of runs. After each kill every file but the
    temporary ones is whole, and the result is the uninterrupted one, bit for bit. What the kills
    left behind goes when it is old."""
    rng, partial, seen, compared = random.Random(0), runs / ".partial", Counter(), 0
    *_, last = EXPERIMENTS.values()
    for name, experiment in EXPERIMENTS.items():
        whole, left, kills = uninterrupted(experiment), set(), 0
        start = time.monotonic()
        assert (
            nursery.train(tmp_path / "first", members(experiment), tmp_path / "result", **SLOW)[
                "digest"
            ]
            == whole
        )
        lasts = time.monotonic() - start
        while kills < 5 or (experiment is last and min(seen[moment] for moment in MOMENTS) < 3):
            pid = nursery.start(runs, members(experiment), tmp_path / "result", **SLOW)
            time.sleep(rng.uniform(0, lasts))
            os.kill(pid, signal.SIGKILL)
            status = nursery.wait(pid)
            for path in (*store.runs(), *partial.glob("*.safetensors")):
                store.load(path)
            # What is left of a training, and the machine, differ.
            lasts *= 0.8 if status == 0 else 1.1
            if status == 0:  # too late: it had ended before
                assert digest(again(experiment)) == whole, name
                compared += 1
                for path in store.runs():
                    path.unlink()
                continue
            assert status == -signal.SIGKILL
            new = temporary(runs) - left
            left, kills = left | new, kills + 1
            where = {"of a checkpoint" if p.parent == partial else "of a run" for p in new}
            seen["in a save " + where.pop() if new else "in training"] += 1
        for path in left:
            os.utime(path, times=(time.time() - 2 * store.ABANDONED,) * 2)
        saved = [store.load(path).meta["step"] for path in partial.glob("*.safetensors")]
        ended = len(list(store.runs())) == len(SEEDS)
        result, steps = counted(monkeypatch, experiment)
        assert result == whole, name
        assert steps == (0 if ended else experiment[2].max_iters - max(saved, default=0))
        assert len(list(store.runs())) == len(SEEDS)
        assert not list(partial.iterdir())
        store.save(next(store.runs()), store.load(next(store.runs())))
        assert not temporary(runs)
        compared += 1
        for path in store.runs():
            path.unlink()
    print(f"{sum(seen.values())} kills: {dict(seen)}, {compared} results compared")
    assert sum(seen.values()) >= 25


def test_a_young_temporary_file_may_be_somebody_elses(runs):
    """Saves remove those that nobody can still be writing."""
    path = store.path_of("a-run", {})
    runs.mkdir()
    old, young = (runs / f".{name}.safetensors.abcdefgh" for name in ("other-run", path.stem))
    for file, age in ((old, 1.1), (young, 0.9)):
        file.write_bytes(b"half")
        os.utime(file, times=(time.time() - age * store.ABANDONED,) * 2)
    store.save(path, store.Record({}, {}, {}))
    assert temporary(runs) == {young}
    assert list(store.runs()) == [path]


def test_killed_between_the_saves_of_two_runs(runs, monkeypatch):
    """All go on from the checkpoint, and the run that is there stays as it is."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    experiment, save = EXPERIMENTS["new batches, Adam"], store.save

    def interrupted(path, record):
        if list(store.runs()):
            raise KeyboardInterrupt
        save(path, record)

    with monkeypatch.context() as patch:
        patch.setattr(store, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            again(experiment)
    (first,) = store.runs()
    before = first.read_bytes()
    result, steps = counted(monkeypatch, experiment)
    # Its checkpoint was that of the last step.
    assert (result, steps) == (uninterrupted(experiment), 0)
    assert first.read_bytes() == before
    assert len(list(store.runs())) == 2
    assert not list((runs / ".partial").iterdir())


# ---- two processes


def test_two_processes_train_the_same(runs, tmp_path, nursery):
    """Side by side, with the same checkpoint: neither notices the other."""
    experiment = EXPERIMENTS["new batches, Adam"]
    whole, rng = uninterrupted(experiment), random.Random(1)
    for number in range(3):
        pids = []
        for i in range(2):
            time.sleep(i * rng.uniform(0, 0.05))
            pids.append(nursery.start(runs, members(experiment), tmp_path / f"result{i}", **SLOW))
        assert [nursery.wait(pid) for pid in pids] == [0, 0], number
        for i in range(2):
            assert json.loads((tmp_path / f"result{i}").read_text()) == {
                "digest": whole,
                "warnings": [],
            }
        assert sorted(store.runs()) == sorted(run.path for run in members(experiment))
        again(experiment)  # loads them, and clears away a checkpoint of the slower one
        assert not list((runs / ".partial").iterdir())
        assert digest(again(experiment)) == whole
        for path in store.runs():
            path.unlink()


def test_one_of_two_processes_is_killed(runs, tmp_path, nursery):
    experiment, rng, hits = EXPERIMENTS["new batches, Adam"], random.Random(2), 0
    whole = uninterrupted(experiment)
    while hits < 3:
        one, other = (
            nursery.start(runs, members(experiment), tmp_path / f"result{i}", **SLOW)
            for i in range(2)
        )
        time.sleep(rng.uniform(0.02, 0.2))
        os.kill(one, signal.SIGKILL)
        hits += nursery.wait(one) == -signal.SIGKILL
        assert nursery.wait(other) == 0
        assert json.loads((tmp_path / "result1").read_text()) == {"digest": whole, "warnings": []}
        assert len(list(store.runs())) == 2
        assert digest(again(experiment)) == whole
        assert not list((runs / ".partial").glob("*.safetensors"))
        for path in store.runs():
            path.unlink()


def test_two_processes_share_a_seed(runs, tmp_path, nursery):
    experiment = EXPERIMENTS["new batches, Adam"]
    sets = [(0, 1), (1, 2)]
    pids = [
        nursery.start(runs, members(experiment, s), tmp_path / f"result{s}", **SLOW) for s in sets
    ]
    assert [nursery.wait(pid) for pid in pids] == [0, 0]
    for s in sets:
        told = json.loads((tmp_path / f"result{s}").read_text())
        assert told == {"digest": uninterrupted(experiment, s), "warnings": []}
    assert len(list(store.runs())) == 3
    assert digest(again(experiment, (0, 1, 2))) == uninterrupted(experiment, (0, 1, 2))


# ---- no room, no right to write


def test_a_disk_that_is_full(runs, tmp_path, nursery):
    """No room for a checkpoint, for a run, or for either: the result is there, one warning names
    the first file, and no part of a file is left."""
    experiment = EXPERIMENTS["new batches, Adam"]
    experiment = (*experiment[:2], replace(experiment[2], record_every=1))
    whole, result = uninterrupted(experiment), tmp_path / "result"
    nursery.train(tmp_path / "room", members(experiment), result)
    size = max(path.stat().st_size for path in (tmp_path / "room").rglob("*.safetensors"))
    for limit, every, stored, named in (
        (size, 0.0, 2, ".partial/"),
        (size - 1, 1000.0, 0, members(experiment)[0].path.name),
        (1000, 0.0, 0, ".partial/"),
        (0, 0.0, 0, ".partial/"),
    ):
        told = nursery.train(
            runs, members(experiment), result, limit=limit, every=every, step=0.001
        )
        assert told["digest"] == whole
        (warning,) = told["warnings"]
        assert named in warning, warning
        assert "could not be saved" in warning
        assert "File too large" in warning
        assert "\n" not in warning
        assert len(list(store.runs())) == stored
        assert not temporary(runs)
        for path in store.runs():
            path.unlink()


def test_a_disk_that_fills_up(runs, tmp_path, monkeypatch, nursery):
    """The first checkpoints are written, later ones and the runs find no room: the last one that
    was written stays, and the training goes on from it when there is room again."""
    model, task, training = EXPERIMENTS["new batches, Adam"]
    experiment = (model, task, replace(training, record_every=1, max_iters=120))
    whole, result = uninterrupted(experiment), tmp_path / "result"
    nursery.train(tmp_path / "room", members(experiment), result)
    size = max(path.stat().st_size for path in (tmp_path / "room").rglob("*.safetensors"))
    told = nursery.train(runs, members(experiment), result, limit=size - 1)
    assert told["digest"] == whole
    assert len(told["warnings"]) == 1
    assert not list(store.runs())
    (checkpoint,) = (runs / ".partial").iterdir()
    step = store.load(checkpoint).meta["step"]
    assert step > 5
    assert counted(monkeypatch, experiment) == (whole, 120 - step)
    assert len(list(store.runs())) == 2
    assert not checkpoint.exists()


def test_a_read_only_folder(runs, tmp_path, nursery):
    """What is stored there is loaded without a word; what is not is trained, from a checkpoint if
    there is one."""
    experiment, more = EXPERIMENTS["new batches, Adam"], (0, 2, 5)
    result = tmp_path / "result"
    nursery.train(runs, members(experiment), result)
    pid = nursery.start(runs, members(experiment, more), result, every=0.0, step=0.01)
    while not list((runs / ".partial").glob("*.safetensors")):
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert nursery.wait(pid) == -signal.SIGKILL
    before = {path: path.read_bytes() for path in runs.rglob("*.safetensors")}
    tmp_path.chmod(0o755)  # pytest keeps it to itself
    folders = (runs, runs / ".partial")
    try:
        for folder in folders:
            folder.chmod(0o555)
        alone = nursery.train(runs, members(experiment), result, powerless=True)
        three = nursery.train(runs, members(experiment, more), result, powerless=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert alone == {"digest": uninterrupted(experiment), "warnings": []}
    assert three["digest"] == uninterrupted(experiment, more)
    (warning,) = three["warnings"]
    assert "could not be saved" in warning
    assert "Permission denied" in warning
    assert {path: path.read_bytes() for path in runs.rglob("*.safetensors")} == before
