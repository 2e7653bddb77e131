"""In-context recall: the sampler against its law, the look-ups against one-hot tokens of the
paper's width 128.

Frequencies may miss their expectation by 5 standard errors; seeds are fixed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from lintf.experiments import recall as runs_of_recall
from lintf.models import recall
from lintf.models.linear import LinearTransformer
from lintf.models.recall import ATTENTION, VARIANTS, RecallTransformer
from lintf.tasks import randoms
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Sentences
from lintf.tasks.linear import LinearRegression
from lintf.tasks.recall import Recall, cross_entropy
from lintf.training import fit as loop
from lintf.training import store
from lintf.training.config import TrainConfig
from lintf.training.data import Batches
from lintf.training.fit import fit
from lintf.training.run import Run
from lintf.training.state import normalize_gradients
from lintf.training.verify import reproduce, verify

F64 = torch.float64
TRAINING = TrainConfig(
    lr=0.1,
    max_iters=6,
    B=7,
    alg="sgd",
    momentum=0.0,
    normalize=True,
    record_every=2,
    dtype="float64",
)
NOISE = (0.0, 0.3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def quiet(*args, **kwargs):
    return fit(*args, **{"stored": False, "progress": False, "device": "cpu"} | kwargs)


def frequency(events, p):
    """events: booleans, independent of each other."""
    error = math.sqrt(p * (1 - p) / events.numel())
    assert abs(float(events.double().mean()) - p) <= 5 * error + 1e-12


# ---- sentences


def read(task, sentence, following, output):
    """What a reader makes of one sentence, word by word: the places of the two bigrams, None for
    one that is absent."""
    n, tau = len(sentence), task.vocab - 1
    q = sentence[-1]
    assert q in (range(task.n_trigger) if task.alpha == 0 else (0,))
    places = [h for h in range(n - 1) if sentence[h] == q]
    assert all(sentence[h] >= task.n_trigger for h in range(n - 1) if h not in places)
    noise = [h for h in places if sentence[h + 1] == tau]
    (place,) = (h for h in places if sentence[h + 1] != tau)
    assert place <= n - 3
    assert sentence.count(tau) == len(noise) == (1 if task.alpha else 0)
    if noise:
        assert abs(noise[0] - place) >= 2
        assert noise[0] <= n - 3
    assert sentence[place + 1] == output
    assert following in ((output, tau) if task.alpha else (output,))
    outputs = range(task.n_trigger, task.n_trigger + task.n_output)
    assert (output not in outputs and output < tau) if task.unseen else output in outputs
    return q, place, noise[0] if noise else None


@pytest.mark.parametrize("alpha", NOISE)
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("H", [None, 9])
def test_every_sentence_is_as_described(alpha, unseen, H):
    task = Recall(alpha, H or (6 if alpha else 3), vocab=11, n_trigger=3, n_output=2, unseen=unseen)
    batch = task.sample(4001, generator())
    assert batch.z.shape == (4001, task.H)
    assert batch.z.dtype == batch.next.dtype == batch.output.dtype == torch.int64
    found = [
        read(task, *row)
        for row in zip(*(t.tolist() for t in (batch.z, batch.next, batch.output)), strict=True)
    ]
    q, place, noise = zip(*found, strict=True)
    places, triggers = range(task.H - 2), range(1 if alpha else 3)
    for k in triggers:
        frequency(torch.tensor(q) == k, 1 / len(triggers))
    for h in places:
        frequency(torch.tensor(place) == h, 1 / len(places))
    outputs = range(5, 10) if unseen else range(3, 5)
    for y in outputs:
        frequency(batch.output == y, 1 / len(outputs))
    if alpha:
        frequency(batch.next == 10, alpha)
        frequency((batch.next == 10)[batch.output == outputs[0]], alpha)  # whatever the output
        for h in places:  # the second place is uniform over what the first one leaves
            left = [other for other in places if abs(other - h) >= 2]
            here = torch.tensor([n for p, n in zip(place, noise, strict=True) if p == h])
            for other in left:
                frequency(here == other, 1 / len(left))
    else:
        assert torch.equal(batch.next, batch.output)


def test_other_tokens_are_uniform_and_independent():
    task = Recall(0.3, 8, vocab=11, n_trigger=3, n_output=2)
    z = task.sample(20_001, generator()).z
    free = z[(z[:, 6] >= 3) & (z[:, 6] < 10) & (z[:, 5] >= 3) & (z[:, 5] < 10)]
    free = free[(free[:, 5] > 4) & (free[:, 4] != 0)]  # neither is an output
    for token in range(3, 10):
        frequency(free[:, 6] == token, 1 / 7)
        frequency(free[free[:, 5] == 7][:, 6] == token, 1 / 7)


def test_members_get_what_they_get_alone_and_a_seed_means_one_batch():
    task = Recall(0.3, 17, vocab=12)
    together = sample_ensemble([task] * 3, 5, [generator(s) for s in (4, 0, 9)], "sentences")
    for e, seed in enumerate((4, 0, 9)):
        alone = task.sample(5, generator(seed))
        for name in ("z", "next", "output"):
            assert torch.equal(getattr(together, name)[e], getattr(alone, name))
    assert not torch.equal(together.z[0], together.z[1])
    one = generator(4)
    assert not torch.equal(task.sample(5, one).z, task.sample(5, one).z)


@given(st.integers(1, 2**31), st.integers(0, 2**32 - 1))
def test_below_is_the_floor_of_word_times_bound(bound, word):
    assert randoms.below(np.array([word], dtype=np.uint32), bound)[0] == word * bound // 2**32
    several = randoms.below(np.array([word, word], dtype=np.uint32), np.array([bound, 1]))
    assert several.tolist() == [word * bound // 2**32, 0]


def test_bayes_risk_is_what_the_best_predictor_gets():
    task = Recall(0.3, 20, vocab=12)
    batch = task.sample(40_001, generator())
    losses = torch.where(batch.next == 11, -math.log(0.3), -math.log(0.7)).double()
    assert abs(losses.mean() - task.bayes_risk) <= 5 * losses.std() / math.sqrt(len(losses))
    assert Recall().bayes_risk == 0
    assert cross_entropy(0.5, 0.5) == pytest.approx(math.log(2), rel=1e-15)
    believed = torch.tensor(0.3, dtype=F64, requires_grad=True)
    coin = torch.distributions.Bernoulli(torch.tensor(0.3, dtype=F64))
    assert coin.entropy().item() == pytest.approx(task.bayes_risk, rel=1e-14)
    excess = torch.distributions.kl_divergence(
        coin, torch.distributions.Bernoulli(believed * 0 + 0.41)
    )
    assert cross_entropy(0.3, 0.41) - task.bayes_risk == pytest.approx(excess.item(), rel=1e-13)


# ---- the models


def dense(model, weights, sentences, width):
    """The paper's definition with one-hot tokens (B, H, width) and square matrices: logits of the
    attention and of the feed-forward layer."""
    W, V, F = weights
    n, z = model.vocab, sentences.z
    x = functional.one_hot(z, width).to(W)
    x[:, 1:] += functional.one_hot(z[:, :-1] + n, width).to(W)
    end = x[:, -1]
    scores = torch.einsum("bi,ij,bhj->bh", end, W, x)
    a = {"linear": scores, "relu": (scores + 1e-8).clamp(min=0), "softmax": scores.softmax(1)}[
        model.attention
    ]
    m = torch.einsum("bh,bhi->bi", a, x)
    return (m @ V.T)[:, :n], ((end + model.kappa * m) @ F.T)[:, :n]


def dense_weights(model, params, width):
    """Square matrices, entry by entry, for one member."""
    n, q, tau = model.vocab, 0, model.vocab - 1
    W, V, F = (torch.zeros(width, width, dtype=F64) for _ in range(3))
    if model.variant == "origin":
        W[: 2 * n, : 2 * n], V[:n, : 2 * n], F[:n, : 2 * n] = params["W"], params["V"], params["F"]
        return W, V, F
    V = torch.eye(width, dtype=F64)
    if model.variant == "reparamW":
        W[: 2 * n, : 2 * n] = params["W"]
    elif model.alpha:
        W[q, n + q], W[q, tau] = params["lam"][0], -params["lam"][0]
    else:
        for k in range(model.n_trigger):
            W[k, n + k] = params["lam"][k]
    if model.alpha:
        F[tau, q], F[tau, n + q] = math.log(model.alpha / (1 - model.alpha)), 1.0
    return W, V, F


def drawn(model, lead=(), seed=1):
    """Weights of every size: zeros would hide mistakes."""
    g = generator(seed)
    return {
        name: 0.3 * torch.randn(*lead, *shape, generator=g, dtype=F64)
        for name, shape in model.shapes.items()
    }


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("kappa", [0.0, 1.0, 0.7])
@pytest.mark.parametrize("alpha", NOISE)
def test_look_ups_are_the_dense_definition(kind, attention, kappa, alpha):
    """Values and gradients, those of the dense form's superfluous entries too: they are 0."""
    vocab, width = 13, 29
    model = RecallTransformer(kind, attention, kappa, alpha, vocab, n_trigger=3)
    batch = Recall(alpha, 11, vocab, n_trigger=3, n_output=2).sample(17, generator())
    params = {name: p.requires_grad_() for name, p in drawn(model).items()}
    square = dense_weights(model, params, width)
    for got, want in zip(
        model.logits(params, batch), dense(model, square, batch, width), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    loss = model.loss(params, batch)
    expected = functional.cross_entropy(sum(dense(model, square, batch, width)), batch.next)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(expected, list(params.values()), retain_graph=True)
    for got, want in zip(torch.autograd.grad(loss, list(params.values())), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)
        assert want.any() or kind != "origin"
    if kind == "origin":
        W, V, F = (M.detach().requires_grad_() for M in square)
        logits = sum(dense(model, (W, V, F), batch, width))
        gW, gV, gF = torch.autograd.grad(functional.cross_entropy(logits, batch.next), (W, V, F))
        for g in (gW[26:], gW[:, 26:], gV[13:], gV[:, 26:], gF[13:], gF[:, 26:]):
            assert not g.any()


@pytest.mark.parametrize("attention", ATTENTION)
def test_members_side_by_side(attention):
    """Each with its own sentences, or all with the same ones."""
    model = RecallTransformer("origin", attention, 1.0, vocab=13, n_trigger=3)
    task = Recall(0.3, 11, 13, n_trigger=3, n_output=2)
    params = drawn(model, (2, 3))
    own = sample_ensemble([task] * 6, 7, [generator(s) for s in range(6)], "sentences")
    own = Sentences(*(t.view(2, 3, *t.shape[1:]) for t in (own.z, own.next, own.output)))
    shared = task.sample(7, generator(8))
    for i in range(2):
        for j in range(3):
            alone = {name: p[i, j] for name, p in params.items()}
            here = Sentences(own.z[i, j], own.next[i, j], own.output[i, j])
            torch.testing.assert_close(
                model.loss(params, own)[i, j], model.loss(alone, here), rtol=1e-13, atol=0
            )
            torch.testing.assert_close(
                model.loss(params, shared)[i, j], model.loss(alone, shared), rtol=1e-13, atol=0
            )


def test_small_losses_keep_their_digits():
    """lam = 200: 12 of 13 logits are 0, and the loss is log(1 + 12 exp(-200)), beyond what 1 + ...
    can hold."""
    model, task = RecallTransformer(vocab=13), Recall(H=11, vocab=13)
    lam = torch.full((5,), 200.0, dtype=F64, requires_grad=True)
    loss = model.loss({"lam": lam}, task.sample(50, generator()))
    assert loss.item() == pytest.approx(12 * math.exp(-200), rel=1e-12)
    assert torch.autograd.grad(loss, lam)[0].sum().item() == pytest.approx(
        -12 * math.exp(-200), rel=1e-12
    )


@pytest.mark.parametrize("attention", ["linear", "relu"])
def test_reparametrised_models_have_a_risk_in_closed_form(attention):
    """Without noise log(1 + (n - 1) exp(-lam)), for any output; with noise and kappa = 1 it tends
    to Bayes'."""
    task = Recall(H=20, vocab=13)
    model = RecallTransformer(attention=attention, vocab=13)
    for unseen in (False, True):
        batch = replace(task, unseen=unseen).sample(50, generator())
        for lam in (0.0, 1.5, 7.0):
            theory = runs_of_recall.excess_in_theory(task, torch.tensor(lam, dtype=F64))
            assert theory.item() == pytest.approx(math.log1p(12 * math.exp(-lam)), rel=1e-12)
            loss = model.loss({"lam": torch.full((5,), lam, dtype=F64)}, batch)
            # The ReLU's shift.
            assert loss.item() == pytest.approx(math.log1p(12 * math.exp(-lam)), rel=1e-7)
    for alpha in (0.2, 0.5, 0.8):
        noisy, gamma = Recall(alpha, 20, 13), math.log(alpha / (1 - alpha))
        for kappa in (0.0, 1.0):
            model = RecallTransformer(attention=attention, kappa=kappa, alpha=alpha, vocab=13)
            batch = noisy.sample(50, generator())
            share = float((batch.next == 12).double().mean())
            for lam in (0.5, 40.0):
                loss = model.loss({"lam": torch.full((1,), lam, dtype=F64)}, batch)
                logits = torch.tensor([lam, gamma + kappa * lam, *[0.0] * 11], dtype=F64)
                right = (1 - share) * logits[0] + share * logits[1]
                assert loss.item() == pytest.approx((logits.logsumexp(0) - right).item(), rel=1e-6)
            if kappa:
                expected = noisy.bayes_risk + runs_of_recall.excess_in_theory(
                    noisy, torch.tensor(1.5, dtype=F64)
                )
                seen = model.metrics({"lam": torch.full((1,), 1.5, dtype=F64)}, noisy)
                assert seen["population_loss"].item() == pytest.approx(expected.item(), rel=1e-7)
                assert loss.item() == pytest.approx(cross_entropy(share, alpha), rel=1e-7)


def test_observed_means_are_those_of_the_dense_form():
    model, task = RecallTransformer("origin", "softmax", 0.7, vocab=13), Recall(0.3, 11, 13)
    params = drawn(model, (3,))
    seen = model.metrics(params, replace(task, unseen=True))
    again = model.metrics(params, task)
    # Both laws are always measured.
    assert all(torch.equal(seen[name], again[name]) for name in seen)
    assert len(seen) == 14
    for name, law in (("population", task), ("unseen", replace(task, unseen=True))):
        batch = law.sample(recall.TESTS, generator(2**32 - 1))
        for e in range(3):
            weights = dense_weights(model, {n: p[e] for n, p in params.items()}, 26)
            attention, feedforward = dense(model, weights, batch, 26)
            p, each = (attention + feedforward).softmax(1), range(len(batch.next))
            expected = {
                "loss": -(0.7 * p[each, batch.output].log() + 0.3 * p[:, 12].log()).mean(),
                "p_output": p[each, batch.output].mean(),
                "p_noise": p[:, 12].mean(),
                "attention": attention[each, batch.output].mean(),
                "attention_max": attention.max(1).values.mean(),
                "noise": feedforward[:, 12].mean(),
                "noise_max": feedforward.max(1).values.mean(),
            }
            for key, value in expected.items():
                torch.testing.assert_close(seen[f"{name}_{key}"][e], value, rtol=1e-11, atol=1e-13)


# ---- training


def by_hand(model, batches, lr):
    """Losses and weights of normalised gradient descent from zero, one member."""
    params = {n: torch.zeros(s, dtype=F64, requires_grad=True) for n, s in model.shapes.items()}
    losses = []
    for batch in batches:
        loss = functional.cross_entropy(sum(model.logits(params, batch)), batch.next)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, list(params.values()))
        with torch.no_grad():
            for p, g in zip(params.values(), grads, strict=True):
                if g.any():
                    p -= lr * g / g.pow(2).sum().sqrt()
    return losses, params


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("alpha", NOISE)
def test_fit_is_normalised_gradient_descent(kind, attention, alpha):
    model = RecallTransformer(kind, attention, 1.0, 0.0 if kind == "origin" else alpha, vocab=13)
    task, training = Recall(alpha, 11, 13), replace(TRAINING, record_every=1)
    history = quiet(model, task, training, seeds=(5, 2))
    for e, seed in enumerate((5, 2)):
        g = generator(seed)
        batches = [task.sample(7, g) for _ in range(7)]
        losses, params = by_hand(model, batches[:6], 0.1)
        torch.testing.assert_close(
            history.loss[e, :6], torch.tensor(losses, dtype=F64), rtol=1e-9, atol=0
        )
        last = functional.cross_entropy(sum(model.logits(params, batches[6])), batches[6].next)
        torch.testing.assert_close(history.loss[e, 6], last.detach(), rtol=1e-9, atol=0)
        for name, value in model.metrics(params, task).items():
            torch.testing.assert_close(history.metrics[name][e, -1], value, rtol=1e-8, atol=1e-12)
    assert not history.params


def test_weights_are_kept_where_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    task, bare = Recall(0.3, 11, 13), RecallTransformer("origin", vocab=13)
    model, training = replace(bare, save_final_params=True), replace(TRAINING, record_every=1)
    history = quiet(model, task, training, seeds=(5, 2), stored=True)
    plain = quiet(bare, task, training, seeds=(5, 2), stored=True)
    assert {n: tuple(p.shape[1:]) for n, p in history.saved_final.items()} == model.shapes
    assert not history.params
    assert not plain.saved_final
    for call in (
        lambda: history.at([0]),
        lambda: history.losses(model, task.sample(3, generator())),
    ):
        with pytest.raises(
            ValueError,
            match=r"this run has metrics at its steps \(population_loss, .*no parameters",
        ):
            call()
    assert all(torch.equal(history.metrics[n], plain.metrics[n]) for n in plain.metrics)
    assert history.metrics.keys() == plain.metrics.keys()
    for e, seed in enumerate((5, 2)):
        g = generator(seed)
        _, params = by_hand(bare, [task.sample(7, g) for _ in range(6)], 0.1)
        for name, p in params.items():
            torch.testing.assert_close(
                history.final_params[name][e], p.detach(), rtol=1e-8, atol=1e-12
            )
    assert len(list(store.runs())) == 4
    assert not [outcome for outcome in map(verify, store.runs()) if not outcome.ok]
    assert "save_final_params" not in bare.config
    assert Run(model, task, training, 5).config["model"]["keep_weights"] is True


def test_tiny_gradients_have_a_direction_too():
    grads = [
        torch.tensor([[3e-200, 4e-200], [0.0, 0.0], [0.0, -2.0]], dtype=F64),
        torch.zeros(3, 2, 2, dtype=F64),
    ]
    normalize_gradients(grads)
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]], dtype=F64)
    torch.testing.assert_close(grads[0], expected, rtol=1e-15, atol=0)
    assert not grads[1].any()


def test_a_pool_is_gone_through_once_an_epoch_in_new_orders():
    model, task = RecallTransformer(vocab=13), Recall(H=11, vocab=13)
    members = [Run(model, task, replace(TRAINING, train_set_size=21), seed) for seed in (3, 8)]
    generators = [generator(3), generator(8)]
    batches = Batches(members, generators, torch.device("cpu"))
    pools = [task.sample(21, generator(seed)) for seed in (3, 8)]
    steps = [batches.at(step) for step in range(9)]
    orders = []
    for e, train_set in enumerate(pools):
        rows = {tuple(row) for row in train_set.z.tolist()}
        assert len(rows) == 21
        for epoch in range(3):
            seen = torch.cat([steps[3 * epoch + k].z[e] for k in range(3)])
            assert {tuple(row) for row in seen.tolist()} == rows
            orders.append(tuple(map(tuple, seen.tolist())))
        for batch in steps:
            for row, following in zip(batch.z[e], batch.next[e], strict=True):
                (i,) = (train_set.z == row).all(1).nonzero()[:, 0].tolist()
                assert train_set.next[i] == following
    assert len(set(orders)) == 6


def interrupt(monkeypatch, after, *args):
    """fit, stopped like by Ctrl-C when the loss is asked for the after-th time."""
    calls, loss = [], RecallTransformer.loss

    def counted(*inner):
        calls.append(0)
        if len(calls) > after:
            raise KeyboardInterrupt
        return loss(*inner)

    with monkeypatch.context() as patch:
        patch.setattr(RecallTransformer, "loss", counted)
        with pytest.raises(KeyboardInterrupt):
            quiet(*args, stored=True)


@pytest.mark.parametrize("train_set_size", [None, 21])
def test_interrupted_and_resumed_is_the_same_run(tmp_path, monkeypatch, train_set_size):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    model, task = RecallTransformer("origin", vocab=13), Recall(0.3, 11, 13)
    training = replace(TRAINING, train_set_size=train_set_size, max_iters=11)
    whole = quiet(model, task, training, seeds=(5, 2))
    for after in (2, 2, 3):
        interrupt(monkeypatch, after, model, task, training, (5, 2))
    assert list(tmp_path.glob(".partial/*.safetensors"))
    resumed = quiet(model, task, training, seeds=(5, 2), stored=True)
    assert torch.equal(resumed.loss, whole.loss)
    assert all(torch.equal(resumed.metrics[n], whole.metrics[n]) for n in whole.metrics)
    loaded = quiet(model, task, training, seeds=(2,), stored=True)
    assert torch.equal(loaded.loss[0], whole.loss[1])
    assert torch.equal(loaded.metrics["unseen_loss"][0], whole.metrics["unseen_loss"][1])


def test_runs_are_verified_and_reproduced(tmp_path, monkeypatch):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    for kind in VARIANTS:
        model = RecallTransformer(kind, "relu", 1.0, 0.0 if kind == "origin" else 0.3, vocab=13)
        quiet(
            model,
            Recall(0.3, 11, 13),
            replace(TRAINING, train_set_size=14),
            seeds=(5, 2),
            stored=True,
        )
    paths = list(store.runs())
    assert len(paths) == 6
    assert not [outcome for outcome in map(verify, paths) if not outcome.ok]
    assert not [outcome for outcome in reproduce(paths) if not outcome.ok]
    assert all(
        path.name.startswith(("origin-relu-FA-", "reparam-relu-FA-", "reparamW-relu-FA-"))
        for path in paths
    )
    record = store.load(paths[0])
    assert Run.of(record.config).path == paths[0]
    for name in ("unseen_noise_max", "population_loss", "loss"):
        wrong = record.tensors | {name: record.tensors[name] * 1.001 + 1e-6}
        store.save(paths[0], store.Record(record.config, wrong, record.meta))
        assert not verify(paths[0]).ok


def test_old_runs_keep_their_names():
    """Fields that came later are left out of the configuration where they change nothing."""
    config = TrainConfig(lr=0.1, max_iters=3, B=2, alg="sgd").config
    assert not {"normalize", "train_set_size", "integrate"} & set(config)
    assert TRAINING.config["normalize"] is True
    assert replace(TRAINING, train_set_size=14).config["train_set_size"] == 14


# ---- the shared trainings


def test_the_thirteen_models():
    assert len(set(runs_of_recall.NAMES)) == 13
    for name in runs_of_recall.NAMES:
        model = runs_of_recall.named(name, 0.2)
        assert model.label == name
        assert model.alpha == (0.0 if name.startswith("origin") else 0.2)
    with pytest.raises(
        ValueError,
        match=r"each name must be one of .*got 'origin-linaer-F' \(did you mean 'origin-li",
    ):
        runs_of_recall.named("origin-linaer-F")


def test_samples_give_the_models_their_own_share_of_noise(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    names, seeds = ("reparam-linear-FA", "origin-linear-FA"), (3, 1)
    runs = runs_of_recall.trained_on_samples(names, (0.4,), 0.1, 3, 28, 14, 11, seeds, "cpu")
    assert list(runs) == [(name, 0.4) for name in names]
    task = Recall(0.4, 11)
    shares = [runs_of_recall.noise_share(task, 28, seed) for seed in seeds]
    assert len(set(shares)) == 2
    for e, (seed, share) in enumerate(zip(seeds, shares, strict=True)):
        model = RecallTransformer("reparam", "linear", 1.0, share)
        (member,) = (Run(model, task, runs_of_recall.config(0.1, 6, 14, 2, 28), seed),)
        train_set = Batches([member], [generator(seed)], torch.device("cpu")).train_set
        assert (train_set.next == 59).double().mean() == pytest.approx(share)
        assert torch.equal(
            quiet(model, task, member.training, seeds=(seed,)).loss[0], runs[names[0], 0.4].loss[e]
        )
        assert runs[names[0], 0.4].seeds == seeds
    capsys.readouterr()
    again = runs_of_recall.trained_on_samples(names, (0.4,), 0.1, 3, 28, 14, 11, seeds, "cpu")
    assert capsys.readouterr().out == f"4 of 4 runs loaded from {tmp_path.name}/\n"
    for key, run in runs.items():
        assert all(torch.equal(again[key].metrics[n], run.metrics[n]) for n in run.metrics)
    with pytest.raises(ValueError, match="n must be a multiple of B = 14, got 30"):
        runs_of_recall.trained_on_samples(names, (0.4,), 0.1, 3, 30, 14, 11, seeds)
    with pytest.raises(
        ValueError, match=r"n must be large enough for noise and outputs .* got 1 with"
    ):
        runs_of_recall.noise_share(task, 1, 0)


def test_new_sentences_for_several_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("LINTF_RUNS", str(tmp_path))
    runs = runs_of_recall.trained(
        ("reparam-relu-F",), (0.0, 0.4), (0.1, 0.5), 4, 6, 11, (3, 1), "cpu"
    )
    assert list(runs) == [("reparam-relu-F", a, lr) for a in (0.0, 0.4) for lr in (0.1, 0.5)]
    for (name, alpha, lr), run in runs.items():
        again = quiet(
            runs_of_recall.named(name, alpha),
            Recall(alpha, 11),
            runs_of_recall.config(lr, 4, 6, 1),
            seeds=(3, 1),
        )
        assert torch.equal(again.loss, run.loss)


# ---- wrong input


@pytest.mark.parametrize("alpha", [-0.1, 1, 1.0, 2, math.nan, math.inf, "0.5", None, True])
def test_alpha_must_be_a_probability_below_one(alpha):
    for build in (Recall, lambda alpha: RecallTransformer(alpha=alpha)):
        with pytest.raises(ValueError, match="alpha must be") as error:
            build(alpha=alpha)
        assert repr(alpha) in str(error.value)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Recall(H=2), "H must be an integer >= 3, got 2"),
        (lambda: Recall(0.2, H=5), "H must be an integer >= 6, got 5"),
        (lambda: Recall(H=256.0), "H must be an integer >= 3, got 256.0"),
        (lambda: Recall(vocab=10), "vocab must be an integer >= 11, got 10"),
        (lambda: Recall(n_trigger=0), "n_trigger must be an integer >= 1, got 0"),
        (lambda: Recall(n_output=0), "n_output must be an integer >= 1, got 0"),
        (lambda: Recall(unseen=1), "unseen must be True or False, got 1"),
        (
            lambda: RecallTransformer("orign"),
            "variant must be one of 'origin', 'reparam', 'reparamW', got 'orign' (did",
        ),
        (
            lambda: RecallTransformer(attention="sofmax"),
            "attention must be one of 'linear', 'relu', 'softmax', got",
        ),
        (lambda: RecallTransformer(kappa=-1), "kappa must be a finite number >= 0, got -1"),
        (
            lambda: RecallTransformer(save_final_params=1),
            "save_final_params must be True or False, got 1",
        ),
        (lambda: RecallTransformer(vocab=7), "vocab must be an integer >= 8, got 7"),
        (lambda: replace(TRAINING, normalize="yes"), "normalize must be True or False, got 'yes'"),
        (lambda: replace(TRAINING, alg="adam"), "normalize must be False for adam"),
        (lambda: replace(TRAINING, clip=1.0), "normalize must be False for sgd with clip = 1.0"),
        (
            lambda: replace(TRAINING, train_set_size=20),
            "train_set_size must be a multiple of B = 7, and redraw_every 1, got 20",
        ),
        (
            lambda: replace(TRAINING, train_set_size=14, redraw_every=2),
            "train_set_size must be a multiple of B = 7, and redraw_every 1",
        ),
        (
            lambda: replace(TRAINING, train_set_size=14, integrate=True),
            "integrate must be False with train_set_size, got True",
        ),
        (
            lambda: replace(TRAINING, train_set_size=0),
            "train_set_size must be an integer >= 1, got 0",
        ),
        (lambda: Recall().sample(0, generator()), "B must be an integer >= 1, got 0"),
        (
            lambda: runs_of_recall.trained(("reparam-relu-F",), (1.0,), (0.1,), 4, 6, 11, (0,)),
            "alpha must be a probab",
        ),
    ],
)
def test_wrong_settings(build, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        build()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("model", "task", "said"),
    [
        (
            RecallTransformer(),
            LinearRegression(d=120),
            "it trains on 'sentences', these prompts have 'gram' and 'tokens'",
        ),
        (LinearTransformer(d=120), Recall(), "it trains on 'gram', these prompts have 'sentences'"),
        (
            RecallTransformer(),
            Recall(vocab=61),
            "model with d = 120 and task with d = 122 do not fit",
        ),
        (
            RecallTransformer(),
            Recall(0.5),
            "do not fit: vocab, n_trigger, or noise in only one of them",
        ),
        (RecallTransformer("reparamW", alpha=0.5), Recall(), "noise in only one of them"),
        (RecallTransformer(n_trigger=4), Recall(), "do not fit: vocab, n_trigger"),
    ],
)
def test_models_and_tasks_that_do_not_fit(model, task, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        quiet(model, task, TRAINING)
    assert said in str(error.value)
    fits = RecallTransformer("origin"), Recall(0.5)
    assert quiet(*fits, replace(TRAINING, max_iters=1)).loss.shape == (1, 2)


def test_wrong_parameters_and_forms():
    model, batch = (
        RecallTransformer("origin", vocab=13),
        Recall(H=11, vocab=13).sample(3, generator()),
    )
    params = model.init(generator())
    for wrong in (
        {},
        params | {"lam": params["W"]},
        params | {"V": params["W"]},
        {"W": params["W"]},
    ):
        with pytest.raises(
            ValueError, match=r"parameters .* do not fit RecallTransformer\(variant='origin'"
        ):
            model.loss(wrong, batch)
    with pytest.raises(ValueError, match="representation must be one of 'sentences', got 'gram'"):
        sample_ensemble([Recall()], 3, [generator()], "gram")
    with pytest.raises(ValueError, match="tasks of one ensemble may differ in"):
        sample_ensemble([Recall(), Recall(0.5)], 3, [generator(), generator(1)], "sentences")
