"""Checkpoints and runs that are not what they should be, among many that are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import test_faults
import torch
from children import digest
from test_faults import (
    ADAM,
    EXPERIMENTS,
    MODEL,
    SEEDS,
    TASK,
    again,
    counted,
    members,
    uninterrupted,
)

from lintf.training import checkpoint, store, versions
from lintf.training import fit as loop
from lintf.training.several import fit_many, is_stored
from lintf.training.state import TrainState


def test_a_damaged_file_among_many(runs):
    """It is named, nothing is trained and no other file is touched; without it one run is trained
    again."""
    experiments = {
        lr: (MODEL, TASK, replace(ADAM, lr=lr, max_iters=5)) for lr in (0.01, 0.02, 0.03, 0.04)
    }
    first = fit_many(experiments, SEEDS, "cpu")
    damaged = members(experiments[0.03])[1].path
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in store.runs()}
    with pytest.raises(store.StoreError, match=damaged.name):
        fit_many(experiments, SEEDS, "cpu")
    assert {path: path.read_bytes() for path in store.runs()} == before
    damaged.unlink()
    second = fit_many(experiments, SEEDS, "cpu")
    assert [digest(run) for run in first.values()] == [digest(run) for run in second.values()]
    assert sum(path.read_bytes() != content for path, content in before.items()) == 1


def checkpointed(monkeypatch, experiment):
    """The path of the checkpoint of an interrupted training."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    left, update = iter(range(10)), TrainState.update

    def interrupted(*args):
        next(left)
        update(*args)

    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "update", interrupted)
        with pytest.raises(StopIteration):
            again(experiment)
    return loop.Checkpoint([m.config for m in members(experiment)]).path


def test_a_checkpoint_of_another_training_is_refused(runs, monkeypatch):
    ours, theirs = EXPERIMENTS["new batches, Adam"], (MODEL, TASK, replace(ADAM, lr=0.02))
    path = checkpointed(monkeypatch, ours)
    other = checkpointed(monkeypatch, theirs)
    other.replace(path)
    with pytest.raises(store.StoreError, match=f"{path.name}: its name does not fit"):
        again(ours)
    again(ours, (0,))
    members(ours)[0].path.replace(path)
    with pytest.raises(store.StoreError, match=f"{path.name}: its name does not fit"):
        again(ours)


@pytest.mark.parametrize("change", [{"lintf": "0123456789ab"}, {"torch": "2.99.0"}])
def test_a_checkpoint_of_other_code_waits_for_it(runs, monkeypatch, change):
    """The training begins anew, and one line says so. That code still goes on where it stood; when
    the runs are stored no checkpoint is left."""
    experiment = EXPERIMENTS["new batches, Adam"]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "CODE", checkpoint.CODE | change)
        theirs = checkpointed(patch, experiment)
        step = store.load(theirs).meta["step"]
    content = theirs.read_bytes()
    with pytest.warns(
        UserWarning, match=f"{theirs.name}: another version .* begins anew"
    ) as caught:
        ours = checkpointed(monkeypatch, experiment)
    assert len(caught) == 1
    assert caught[0].filename == test_faults.__file__  # points at the line that calls fit
    assert ours != theirs
    assert theirs.read_bytes() == content
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "CODE", checkpoint.CODE | change)
        assert counted(monkeypatch, experiment) == (
            uninterrupted(experiment),
            experiment[2].max_iters - step,
        )
    assert not list((runs / ".partial").iterdir())


def test_a_checkpoint_from_before_these_names(runs, monkeypatch):
    """Its name was the key of the runs alone, and nothing in it says which code wrote it."""
    experiment = EXPERIMENTS["new batches, Adam"]
    path = checkpointed(monkeypatch, experiment)
    config = {"members": [m.config for m in members(experiment)]}
    old = path.with_name(f"{store.key(config)}.safetensors")
    store.save(old, replace(store.load(path), config=config))
    path.unlink()
    with pytest.warns(UserWarning, match=f"{old.name}: another version"):
        assert counted(monkeypatch, experiment) == (
            uninterrupted(experiment),
            experiment[2].max_iters,
        )
    assert not list((runs / ".partial").iterdir())


def test_the_code_of_a_checkpoint_is_all_of_the_package():
    assert {"lintf": versions.sources(), "torch": torch.__version__} == checkpoint.CODE


def test_parts_that_other_threads_made_are_recorded(runs, monkeypatch, request):
    """Only up to rounding is such a run what one process would have made: its header says of what
    it is made."""
    number = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(number))
    experiment = EXPERIMENTS["new batches, Adam"]
    torch.set_num_threads(2)
    step = store.load(checkpointed(monkeypatch, experiment)).meta["step"]
    torch.set_num_threads(1)
    (meta, _) = again(experiment).meta
    (part,) = meta["before"]
    assert (part["until"], part["how"]["threads"], meta["threads"]) == (step, 2, 1)
    assert part["how"] | {"threads": 1} == {name: meta[name] for name in part["how"]}


def test_the_path_of_each_part_is_recorded(runs, monkeypatch):
    """Compiled, then plain."""
    monkeypatch.setenv("LINTF_KERNEL", "on")
    experiment = EXPERIMENTS["new batches, Adam"]
    checkpointed(monkeypatch, experiment)
    monkeypatch.setenv("LINTF_KERNEL", "off")
    (meta, _) = again(experiment).meta
    assert [part["how"]["path"] for part in meta["before"]] == ["compiled kernel"]
    assert meta["path"] == "plain PyTorch"


def test_a_run_from_one_process_after_another_has_one_header(runs, monkeypatch):
    experiment = EXPERIMENTS["new batches, Adam"]
    checkpointed(monkeypatch, experiment)
    assert all("before" not in meta for meta in again(experiment).meta)


def test_a_run_that_cannot_be_saved_costs_no_other(runs):
    experiment, seeds = EXPERIMENTS["new batches, Adam"], (0, 2, 5)
    first, *others = (m.path for m in members(experiment, seeds))

    def save(path, record, save=store.save):
        if path == first:
            raise OSError(f"{path} could not be saved (as a test wants it)")
        save(path, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "save", save)
        with pytest.warns(UserWarning, match=first.name) as caught:
            assert digest(again(experiment, seeds)) == uninterrupted(experiment, seeds)
    assert len(caught) == 1
    assert list(store.runs()) == sorted(others)


@pytest.mark.parametrize("where", [".", ".partial"])
def test_a_folder_that_cannot_be_looked_into(runs, monkeypatch, where):
    """No run or checkpoint is there, as far as anybody can see."""
    experiment, stat = EXPERIMENTS["new batches, Adam"], Path.stat
    closed = runs / where
    closed.mkdir(parents=True)

    def refused(path, **options):
        if closed in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    whole = uninterrupted(experiment)
    monkeypatch.setattr(Path, "stat", refused)
    assert digest(again(experiment)) == whole
    assert is_stored(experiment, SEEDS)


def test_the_left_over_checkpoint_of_stored_runs_is_cleared_away(runs, monkeypatch):
    """Of a second process that was killed after the first one had ended."""
    experiment = EXPERIMENTS["new batches, Adam"]
    path = checkpointed(monkeypatch, experiment)
    content = path.read_bytes()
    again(experiment)
    assert not path.exists()
    path.write_bytes(content)
    assert counted(monkeypatch, experiment) == (uninterrupted(experiment), 0)
    assert not path.exists()
