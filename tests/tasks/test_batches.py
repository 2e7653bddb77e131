"""What all batches of prompts can do, whatever they hold: against slices by hand, all dimensions
different."""

from __future__ import annotations

import pytest
import torch

from lintf.tasks.base import sample_ensemble, sample_groups
from lintf.tasks.batches import Batch, Gram, Prompts
from lintf.tasks.levels import NoiseLevels
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.recall import Recall

E, B, N, D = 2, 6, 5, 3
LINEAR = LinearRegression(N, D)
CASES = [
    (LINEAR, "gram"),
    (LINEAR, "tokens"),
    (LogisticRegression(N, D), "labels"),
    (Recall(H=7), "sentences"),
    (NoiseLevels(N, D), "levels"),
]
LAST = {"gram"}  # the forms whose prompts lie along the last axis


def generators(members):
    return [torch.Generator().manual_seed(s) for s in range(members)]


def prompt(representation: str, t: torch.Tensor, i: int) -> torch.Tensor:
    """Prompt i of one member's tensor."""
    return t[..., i] if representation in LAST else t[i]


@pytest.fixture(params=CASES, ids=[representation for _, representation in CASES])
def case(request: pytest.FixtureRequest) -> tuple[str, Batch]:
    task, representation = request.param
    return representation, sample_ensemble([task] * E, B, generators(E), representation)


def test_members_are_those_along_the_leading_axis(case):
    _, batch = case
    assert batch.lead == (E,)
    for e in range(E):
        alone = batch.member(e)
        assert alone.lead == ()
        assert all(torch.equal(t, batch.tensors[name][e]) for name, t in alone.tensors.items())
    together = Batch.stack([batch.member(e) for e in range(E)])
    assert type(together) is type(batch)
    assert all(torch.equal(t, batch.tensors[name]) for name, t in together.tensors.items())


def test_prompts_are_taken_in_the_order_asked_for(case):
    representation, batch = case
    chosen = torch.tensor([[4, 0, 4, 1], [5, 3, 2, 2]])
    taken = batch.take(chosen)
    for name, t in taken.tensors.items():
        for e in range(E):
            for k in range(4):
                assert torch.equal(
                    prompt(representation, t[e], k),
                    prompt(representation, batch.tensors[name][e], int(chosen[e, k])),
                )


def test_splitting_and_joining(case):
    representation, batch = case
    one = batch.member(1)
    parts = one.split(3)
    assert parts.lead == (3,)
    for name, t in parts.tensors.items():
        for part in range(3):
            for k in range(2):
                assert torch.equal(
                    prompt(representation, t[part], k),
                    prompt(representation, one.tensors[name], 2 * part + k),
                )
    again = Batch.join([parts.member(part) for part in range(3)])
    assert all(torch.equal(t, one.tensors[name]) for name, t in again.tensors.items())


def test_to_keeps_all(case):
    _, batch = case
    moved = batch.to("cpu")
    assert all(torch.equal(t, batch.tensors[name]) for name, t in moved.tensors.items())


def test_prompts_of_covariates_and_labels():
    g = torch.Generator().manual_seed(1)
    X, y = torch.randn(E, B, N + 1, D, generator=g), torch.randn(E, B, N + 1, generator=g)
    prompts = Prompts.of(X, y)
    assert (prompts.N, prompts.d, prompts.lead) == (N, D, (E,))
    assert torch.equal(prompts.Z[..., :D], X)
    assert torch.equal(prompts.Z[..., :N, D], y[..., :N])
    assert not prompts.Z[..., N, D].any()
    assert torch.equal(prompts.labels, y)
    gram = prompts.gram()
    assert isinstance(gram, Gram)
    for e in range(E):
        for b in range(B):
            S = sum(torch.outer(x, x) for x in X[e, b, :N])
            s = sum(label * x for label, x in zip(y[e, b, :N], X[e, b, :N], strict=True))
            torch.testing.assert_close(gram.S[e, ..., b], S)
            torch.testing.assert_close(gram.s[e, :, b], s)


def test_groups_are_samples_one_after_the_other():
    (g,) = generators(1)
    groups = sample_groups(LINEAR, 3, 2, g)
    (g,) = generators(1)
    by_hand = [LINEAR.sample(2, g) for _ in range(3)]
    assert torch.equal(groups.S, torch.cat([part.S for part in by_hand], -1))
