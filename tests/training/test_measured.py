"""Results that are computed once and kept: asked for again they are not computed again; verify
computes them anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lintf.experiments import adam_sgd
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.training import measured as here
from lintf.training import store
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.measured import measured
from lintf.training.verify import verify

MODEL, TASK = LinearTransformer(d=3, n_layer=2, init_std=0.1), LinearRegression(N=6, d=3)
TRAINING = TrainConfig(lr=0.01, max_iters=30, B=20, record_every=10)
CONDITION = {"model": MODEL, "task": TASK, "training": TRAINING, "seeds": [4, 1], "steps": [0, 30]}
CONDITION |= {"prompts": 17, "prompt_seeds": [5, 6, 7]}
EVERY = {"model": MODEL, "task": TASK, "training": replace(TRAINING, record_every=1), "seed": 4}
EVERY |= {"prompts": 17, "prompt_seed": 5}
calls: list[dict] = []


def scores(
    model: LinearTransformer, task: LinearRegression, seed: int, names: list[str]
) -> dict[str, torch.Tensor]:
    """A measure of these tests."""
    calls.append({"seed": seed})
    params = model.init(torch.Generator().manual_seed(seed), torch.float64)
    prompts = task.sample(9, torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {name: model.predict(params, prompts) for name in names}


GIVEN = {"model": MODEL, "task": TASK, "seed": 3, "names": ["a", "b"]}


def test_it_is_computed_once(runs):
    calls.clear()
    first = measured(scores, **GIVEN)
    again = measured(scores, **GIVEN)
    assert len(calls) == 1
    assert first.keys() == again.keys() == {"a", "b"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert [path.parent for path in here.results()] == [runs / "measured"]
    assert not list(store.runs())
    for other in (
        {"seed": 4},
        {"names": ["a"]},
        {"task": replace(TASK, N=7)},
        {"model": replace(MODEL, n_layer=1)},
    ):
        measured(scores, **GIVEN | other)
    assert len(calls) == 5
    assert len(list(here.results())) == 5


def test_verify_computes_it_again(runs):
    found = measured(adam_sgd.condition_numbers, **CONDITION)["kappa"]
    assert found.shape == (3, 2, 2)
    (path,) = here.results()
    assert verify(path).ok
    record = store.load(path)
    store.save(path, replace(record, tensors={"kappa": found * 1.01}))
    outcome = verify(path)
    assert not outcome.ok
    assert "computed again" in outcome.detail
    store.save(path, replace(record, tensors={"other": found}))
    assert not verify(path).ok


def test_condition_numbers_are_those_of_the_models(runs):
    from lintf.analysis.landscape import condition_number, hessian_diagonal

    found = measured(adam_sgd.condition_numbers, **CONDITION)["kappa"]
    run = fit(MODEL, TASK, TRAINING, (4, 1), progress=False)
    for s, seed in enumerate((5, 6, 7)):
        prompts = TASK.sample(17, torch.Generator().manual_seed(seed))
        for e in range(2):
            for t, step in enumerate((0, 30)):
                params = {name: p[e, 0] for name, p in run.at([step]).items()}
                exact = condition_number(hessian_diagonal(MODEL, params, prompts))
                torch.testing.assert_close(found[s, e, t], exact, rtol=1e-4, atol=0)


def test_along_a_training_only_the_first_steps_are_compared(runs):
    """On another processor the later ones differ, where training is chaotic."""
    found = measured(adam_sgd.smoothness, **EVERY)
    assert found["smoothness"].shape == found["norm"].shape == (30,)
    (path,) = here.results()
    assert verify(path).ok
    record = store.load(path)
    for step, ok in ((25, True), (19, False)):
        changed = {name: t.clone() for name, t in record.tensors.items()}
        changed["norm"][step] *= 2
        store.save(path, replace(record, tensors=changed))
        assert verify(path).ok is ok


def test_lengths_of_noise_are_those_of_the_vectors(runs):
    from lintf.analysis.landscape import gradient_noise

    given = {"model": MODEL, "task": TASK, "B": 7, "batches": 5, "seed": 2, "reference": 50}
    g = torch.Generator().manual_seed(2)
    vectors = gradient_noise(MODEL, MODEL.init(g), TASK, 7, 5, g, 50)
    expected = torch.stack([v.square().sum().sqrt() for v in vectors])
    torch.testing.assert_close(measured(adam_sgd.lengths_of_noise, **given)["lengths"], expected)


def test_what_cannot_be_stored_is_returned(runs, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(store, "save", full)
    with pytest.warns(UserWarning, match="no space left; the result is not kept"):
        assert set(measured(scores, **GIVEN)) == {"a", "b"}


def test_a_damaged_file_is_named(runs):
    measured(scores, **GIVEN)
    (path,) = here.results()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(store.StoreError, match=path.name):
        measured(scores, **GIVEN)
    assert not verify(path).ok


def test_a_measure_that_is_gone_is_named(runs, monkeypatch):
    measured(scores, **GIVEN)
    (path,) = here.results()
    assert verify(path).ok
    monkeypatch.delattr(f"{__name__}.scores")
    outcome = verify(path)
    assert not outcome.ok
    assert f"scores of {__name__} cannot be imported here" in outcome.detail


def test_numbers_that_do_not_exist_are_the_same_where_they_are_in_both():
    """Such as the mean over a bin in which there is nothing."""
    kept = {"a": torch.tensor([1.0, torch.nan, 2.0])}
    assert here.largest_gap({"a": torch.tensor([1.0, torch.nan, 2.0])}, kept) == 0
    assert here.largest_gap({"a": torch.tensor([1.0, torch.nan, 4.0])}, kept) == pytest.approx(
        2 / 5**0.5
    )
    for other in ([1.0, 0.0, 2.0], [torch.nan, torch.nan, 2.0], [1.0, torch.nan, torch.inf]):
        assert here.largest_gap({"a": torch.tensor(other)}, kept) == torch.inf
