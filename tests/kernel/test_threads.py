"""The same numbers with one thread and with two: bit for bit in the compiled kernel, elsewhere up
to rounding."""

from __future__ import annotations

import pytest
import torch

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
from lintf.training.fit import TrainConfig, fit
from lintf.training.history import History

STEPS = 3
LINEAR, TASK = LinearTransformer(d=3, n_layer=2, init_std=0.3), LinearRegression(N=20, d=3)
ADAM = TrainConfig(lr=1e-3, max_iters=STEPS, B=50)
SGD = TrainConfig(
    lr=0.1, max_iters=STEPS, B=512, alg="sgd", momentum=0.0, normalize=True, dtype="float64"
)
FAMILIES = {
    "linear, plain PyTorch": (LINEAR, TASK, ADAM),
    "ReLU attention, tokens": (LinearTransformer(3, 2, 1, "relu", 0.3), TASK, ADAM),
    "encoder": (Encoder(d=3, width=16, norm=True), ConditionedRegression(20, 3), ADAM),
    "encoder, softmax and MLP": (
        Encoder(d=3, width=16, attention="softmax", norm=True, mlp=True, readout="w", positions=21),
        LogisticRegression(20, 3),
        ADAM,
    ),
    "looped": (Looped(d=3, width=16, loops=2, supervised_loops=2, positions=41), TASK, ADAM),
    "looped LSTM": (
        Looped(d=3, width=16, loops=2, supervised_loops=2, positions=41, cell="lstm"),
        TASK,
        ADAM,
    ),
    "recall": (RecallTransformer("reparam", "softmax"), Recall(H=64), SGD),
    "recall, a matrix": (RecallTransformer("origin", "relu"), Recall(H=64), SGD),
    "non-linear": (MLPTransformer(d=3, hidden=16), NonlinearRegression(N=20, d=3), ADAM),
}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trained(experiment, number, threads) -> History:
    threads(number)
    history = fit(*experiment, (0, 1), stored=False, progress=False, device="cpu")
    assert [meta["threads"] for meta in history.meta] == [number] * 2
    return history


def tensors(history):
    return {
        "loss": history.loss,
        **history.recorded,
        **{f"final {n}": p for n, p in history.saved_final.items()},
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_training_with_one_thread_and_with_two(name, threads, monkeypatch):
    """A sum over a batch in another order differs by a few units of rounding of its largest terms,
    and each step adds as many: 100 units a step are allowed, of a tensor's largest entry."""
    monkeypatch.setenv("LINTF_KERNEL", "off")
    experiment = FAMILIES[name]
    one, two = (tensors(trained(experiment, number, threads)) for number in (1, 2))
    worst = 0.0
    for n, p in one.items():
        unit = torch.finfo(p.dtype).eps * p.abs().max()
        worst = max(worst, float((two[n] - p).abs().max() / unit) if unit else 0.0)
    print(f"{name}: {worst:.0f} units of rounding")
    assert worst <= 100 * STEPS
    assert any(
        (p[:, 0] != p[:, -1]).any()
        for n, p in one.items()
        if n != "loss" and not n.startswith("final")
    )


def test_the_compiled_kernel_does_not_see_the_threads(threads, monkeypatch):
    """Neither in the prompts nor in the loss."""
    monkeypatch.setenv("LINTF_KERNEL", "on")
    one, two = (
        tensors(trained((LINEAR, TASK, TrainConfig(0.01, 30, 3000)), n, threads)) for n in (1, 2)
    )
    assert all(torch.equal(p, two[n]) for n, p in one.items())


def test_tokens_of_linear_attention(threads):
    """Which training takes by their statistics: the loss and its gradient."""
    tokens = TASK.sample(5000, torch.Generator().manual_seed(0), "tokens", torch.float32)
    params = LINEAR.init(torch.Generator().manual_seed(1), torch.float32)
    found = []
    for number in (1, 2):
        threads(number)
        free = {n: p.clone().requires_grad_() for n, p in params.items()}
        loss = LINEAR.loss(free, tokens)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in free.values())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(
            a, b, rtol=0, atol=100 * torch.finfo(a.dtype).eps * float(b.abs().max())
        )
