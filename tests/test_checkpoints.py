"""Checkpoints and runs that are not what they should be, among many that are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from children import digest
from test_faults import ADAM, MODEL, PLANS, SEEDS, TASK, again, counted, members, uninterrupted

from lintf import store, train
from lintf.several import fit_all
from lintf.state import State


def test_a_damaged_file_among_many(runs):
    """It is named, nothing is trained and no other file is touched; without it one run is trained again."""
    plans = {lr: (MODEL, TASK, replace(ADAM, lr=lr, max_iters=5)) for lr in (0.01, 0.02, 0.03, 0.04)}
    first = fit_all(plans, SEEDS, "cpu")
    damaged = members(plans[0.03])[1].path
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in store.runs()}
    with pytest.raises(store.StoreError, match=damaged.name):
        fit_all(plans, SEEDS, "cpu")
    assert {path: path.read_bytes() for path in store.runs()} == before
    damaged.unlink()
    second = fit_all(plans, SEEDS, "cpu")
    assert [digest(run) for run in first.values()] == [digest(run) for run in second.values()]
    assert sum(path.read_bytes() != content for path, content in before.items()) == 1


def checkpointed(monkeypatch, plan):
    """The path of the checkpoint of an interrupted training."""
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    left, update = iter(range(10)), State.update

    def interrupted(*args):
        next(left)
        update(*args)

    with monkeypatch.context() as patch:
        patch.setattr(State, "update", interrupted)
        with pytest.raises(StopIteration):
            again(plan)
    return train.Checkpoint([m.config for m in members(plan)]).path


def test_a_checkpoint_of_another_training_is_refused(runs, monkeypatch):
    ours, theirs = PLANS["new batches, Adam"], (MODEL, TASK, replace(ADAM, lr=0.02))
    path = checkpointed(monkeypatch, ours)
    other = checkpointed(monkeypatch, theirs)
    other.replace(path)
    with pytest.raises(store.StoreError, match=f"{path.name}: its name does not fit"):
        again(ours)
    again(ours, (0,))
    members(ours)[0].path.replace(path)
    with pytest.raises(store.StoreError, match=f"{path.name}: its name does not fit"):
        again(ours)


@pytest.mark.parametrize("change", ["less", "more", "shape", "no step"])
def test_a_checkpoint_of_another_version_is_refused(runs, monkeypatch, change):
    """Undamaged, and of this very configuration, but not what today's code would write."""
    plan = PLANS["new batches, Adam"]
    path = checkpointed(monkeypatch, plan)
    record = store.load(path)
    tensors, meta = dict(record.tensors), dict(record.meta)
    if change == "less":
        tensors.pop("params.Q")
    elif change == "more":
        tensors["another"] = tensors["params.Q"].clone()
    elif change == "shape":
        tensors["params.Q"] = tensors["params.Q"][:, :, :, :2]
    else:
        meta.pop("step")
    store.save(path, store.Record(record.config, tensors, meta))
    with pytest.raises(store.StoreError, match=f"{path.name}: of another version"):
        again(plan)
    store.save(path, record)
    assert counted(monkeypatch, plan) == (
        uninterrupted(plan),
        plan[2].max_iters - meta.get("step", record.meta["step"]),
    )


def test_the_left_over_checkpoint_of_stored_runs_is_cleared_away(runs, monkeypatch):
    """Of a second process that was killed after the first one had ended."""
    plan = PLANS["new batches, Adam"]
    path = checkpointed(monkeypatch, plan)
    content = path.read_bytes()
    again(plan)
    assert not path.exists()
    path.write_bytes(content)
    assert counted(monkeypatch, plan) == (uninterrupted(plan), 0)
    assert not path.exists()
