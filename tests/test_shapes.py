"""The shapes that tasks, batches and models promise, by the names of their axes, with every size
different."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from lintf.models.base import Model
from lintf.models.encoder import Encoder
from lintf.models.heads import Heads
from lintf.models.labels import LabelTransformer
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.base import Task, sample_ensemble
from lintf.tasks.batches import REPRESENTATIONS, Batch
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.kernels import KernelRegression
from lintf.tasks.levels import NoiseLevels
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall
from lintf.tasks.uniform import UniformRegression
from lintf.training.run import MODELS, TASKS

E, B, N, D, H = 2, 11, 7, 3, 13
TASK_OF = {
    "LinearRegression": LinearRegression(N, D),
    "NonlinearRegression": NonlinearRegression(N, D, hidden=5),
    "Recall": Recall(H=H),
    "ConditionedRegression": ConditionedRegression(N, D),
    "LogisticRegression": LogisticRegression(N, D),
    "UniformRegression": UniformRegression(N, D),
    "KernelRegression": KernelRegression(N, D),
    "NoiseLevels": NoiseLevels(N, D),
}
# A model, a task that it is trained on, and the axes of its answers; recall answers with logits.
PAIRS = {
    "linear": (LinearTransformer(D, 2), TASK_OF["LinearRegression"], "B"),
    "softmax": (LinearTransformer(D, 2, attention="softmax"), TASK_OF["LinearRegression"], "B"),
    "exp": (
        LinearTransformer(D, 2, attention="exp", free_v=True),
        TASK_OF["KernelRegression"],
        "B",
    ),
    "heads": (Heads(D, 2), TASK_OF["LinearRegression"], "B"),
    "labels": (LabelTransformer(D, 2), TASK_OF["NoiseLevels"], "B"),
    "mlp": (MLPTransformer(D, 2, hidden=5), TASK_OF["NonlinearRegression"], "B"),
    "recall": (RecallTransformer(), TASK_OF["Recall"], None),
    "encoder": (Encoder(D, 2, width=8), TASK_OF["ConditionedRegression"], "B"),
    "weights": (Encoder(D, 2, width=8, readout="w"), TASK_OF["LogisticRegression"], "B d"),
    "looped": (
        Looped(D, width=8, loops=3, supervised_loops=2),
        TASK_OF["LinearRegression"],
        "B N+1",
    ),
}


def sizes_of(t: Tensor, axes: str) -> dict[str, int]:
    """The size of each named axis, behind any leading ones; "N+1" is one more than N. Raises
    AssertionError where one name has two sizes."""
    names, sizes = axes.split(), {}
    for name, size in zip(names, t.shape[t.dim() - len(names) :], strict=True):
        base, _, more = name.partition("+")
        found = size - int(more or 0)
        assert sizes.setdefault(base, found) == found, f"{axes} of {tuple(t.shape)}"
    return sizes


def test_a_wrong_shape_is_seen():
    assert sizes_of(torch.empty(5, 4, 4, 3), "d d B") == {"d": 4, "B": 3}
    with pytest.raises(AssertionError, match="d d B of"):
        sizes_of(torch.empty(4, 5, 3), "d d B")


def test_all_kinds_are_here():
    assert set(map(type, TASK_OF.values())) == set(TASKS)
    assert {type(model) for model, *_ in PAIRS.values()} == set(MODELS)


def drawn(task: Task, representation: str) -> Batch:
    generators = [torch.Generator().manual_seed(seed) for seed in range(E)]
    return sample_ensemble([task] * E, B, generators, representation)


@pytest.mark.parametrize(
    ("task", "representation"),
    [(task, name) for task in TASK_OF.values() for name in task.representations],
    ids=str,
)
def test_what_is_drawn_has_the_named_axes(task, representation):
    batch = drawn(task, representation)
    assert type(batch) is REPRESENTATIONS[representation]
    assert batch.lead == (E,)
    assert set(batch.axes) == {
        field.name for field in fields(batch) if isinstance(getattr(batch, field.name), Tensor)
    }
    known = {"B": B, "d": D, "N": N, "H": H}
    for name, t in batch.tensors.items():
        assert t.shape[0] == E
        assert t.dim() == 1 + len(batch.axes[name].split())
        assert sizes_of(t, batch.axes[name]).items() <= known.items()


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shared", [True, False], ids=["prompts shared", "prompts of its own"])
def test_answers_and_losses_have_the_leading_axes_of_the_parameters(name, shared):
    model, task, answers = PAIRS[name]
    assert isinstance(model, Model)
    each = [model.init(torch.Generator().manual_seed(e)) for e in range(E)]
    assert {n: tuple(p.shape) for n, p in each[0].items()} == model.shapes
    params = {n: torch.stack([own[n] for own in each]) for n in each[0]}
    prompts = drawn(task, model.representation)
    prompts = prompts.member(0) if shared else prompts
    assert model.loss(params, prompts).shape == (E,)
    assert model.loss(each[0], prompts.member(0) if prompts.lead else prompts).shape == ()
    if answers is None:
        assert all(t.shape == (E, B, model.vocab) for t in model.logits(params, prompts))
        return
    found = model.predict(params, prompts)
    assert found.shape[0] == E
    assert found.dim() == 1 + len(answers.split())
    assert sizes_of(found, answers).items() <= {"B": B, "d": D, "N": N}.items()
