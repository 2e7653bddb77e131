"""The model in token space against the papers' definition written out in loops; the fast path
against token space."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lintf import kernel
from lintf.analysis.landscape import gradient
from lintf.analysis.solvers import GradientDescent
from lintf.analysis.theory import distance_to_identity, gradient_descent_weights
from lintf.models import gram
from lintf.models.base import FittedModel
from lintf.models.linear import ATTENTION, LinearTransformer
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Gram, Prompts
from lintf.tasks.linear import LinearRegression

ROOT = Path(__file__).parents[2]
BACKENDS = ("plain", "kernel")
REPRESENTATIONS = ("tokens", "gram")


def generator(seed):
    return torch.Generator().manual_seed(seed)


def setting(L, H, N, d, B, seed=0, lead=(), size=0.5, dtype=torch.float64):
    """Parameters (*lead, L, H, d, d), tokens and statistics (*lead, B, ...), of moderate values: a
    layer changes its input by a factor of about 1 + size^2."""
    g = generator(seed)
    scale = math.sqrt(size / (H * d * math.sqrt(1 + d / N)))
    params = {
        n: scale * torch.randn(*lead, L, H, d, d, generator=g, dtype=dtype) for n in ("P", "Q")
    }
    flat = LinearRegression(N, d, noise_std=0.3).sample(math.prod(lead) * B, g, "tokens", dtype)
    tokens = Prompts(flat.Z.view(*lead, B, N + 1, d + 1), flat.y.view(*lead, B))
    return params, tokens, tokens.gram()


def value_and_grad(loss, params):
    """The losses and the gradients of their sum with respect to P and Q."""
    P, Q = (p.detach().clone().requires_grad_() for p in (params["P"], params["Q"]))
    value = loss(P, Q)
    grads = torch.autograd.grad(value.sum(), (P, Q), allow_unused=True, materialize_grads=True)
    return [value.detach(), *grads]


def token_loss(tokens, **kwargs):
    def loss(P, Q):
        model = LinearTransformer(P.shape[-1], P.shape[-4], P.shape[-3], **kwargs)
        return (model.predict({"P": P, "Q": Q}, tokens) - tokens.y).square().mean(-1)

    return loss


def fast_loss(statistics, backend):
    return lambda P, Q: gram.mse(P, Q, statistics, backend)


def assert_close(ours, theirs, rtol):
    """Within rtol of each tensor's largest entry."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a - b).abs().max() <= rtol * b.abs().max()


# ---- the definition


def by_hand(P, Q, Z, attention, v=None):
    """The papers' block form in plain loops, for one prompt: Z <- Z + Attn M (Z P_full^T), Attn =
    sigma(Z Q_full Z^T), with the mask M = diag(1, ..., 1, 0) and the full matrices P_full = diag(P,
    v), where v is 1 unless it is given, and Q_full = diag(Q, 0)."""
    L, H, d, N = len(P), len(P[0]), len(P[0][0]), len(Z) - 1
    Z = [list(row) for row in Z]
    for layer in range(L):
        change = [[0.0] * (d + 1) for _ in Z]
        for h in range(H):
            corner = 1.0 if v is None else v[layer][h]
            P_full = [[P[layer][h][i][j] for j in range(d)] + [0.0] for i in range(d)] + [
                [0.0] * d + [corner]
            ]
            Q_full = [[Q[layer][h][i][j] for j in range(d)] + [0.0] for i in range(d)] + [
                [0.0] * (d + 1)
            ]
            for n in range(N + 1):
                scores = []
                for m in range(N):  # the mask leaves out the query
                    cells = [(i, j) for i in range(d + 1) for j in range(d + 1)]
                    scores.append(sum(Z[n][i] * Q_full[i][j] * Z[m][j] for i, j in cells))
                if attention == "linear":
                    a = [score / N for score in scores]
                elif attention == "relu":
                    a = [max(score, 0.0) / N for score in scores]
                elif attention == "exp":
                    a = [math.exp(score) / N for score in scores]
                else:
                    total = sum(math.exp(score) for score in scores)
                    a = [math.exp(score) / total for score in scores]
                for i in range(d + 1):
                    for m in range(N):
                        change[n][i] += a[m] * sum(P_full[i][j] * Z[m][j] for j in range(d + 1))
        Z = [[z + c for z, c in zip(*rows, strict=True)] for rows in zip(Z, change, strict=True)]
    return -Z[N][d]


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize(
    ("L", "H", "N", "d"), [(3, 2, 5, 4), (2, 3, 2, 5), (1, 2, 4, 3), (4, 1, 1, 2)]
)
def test_token_space_is_the_definition(attention, L, H, N, d):
    # Values grow by exponentials of exponentials with exp.
    params, tokens, _ = setting(L, H, N, d, B=6, size=0.1 if attention == "exp" else 0.5)
    ours = LinearTransformer(d, L, H, attention).predict(params, tokens)
    theirs = [
        by_hand(params["P"].tolist(), params["Q"].tolist(), Z, attention) for Z in tokens.Z.tolist()
    ]
    torch.testing.assert_close(
        ours, torch.tensor(theirs, dtype=torch.float64), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("attention", [name for name in ATTENTION if name != "linear"])
@pytest.mark.parametrize("tied", [False, True])
def test_labels_are_multiplied_by_v(attention, tied):
    """For members with prompts of their own, in layers that share v and in such that do not."""
    L, H, N, d, B, E = 3, 2, 5, 4, 6, 2
    params, tokens, _ = setting(1 if tied else L, H, N, d, B, lead=(E,), size=0.1)
    params["v"] = torch.randn(E, *params["Q"].shape[1:3], generator=generator(3)).double()
    model = LinearTransformer(d, L, H, attention, tied=tied, free_v=True)
    ours = model.predict(params, tokens)
    for e in range(E):
        P, Q, v = (params[name][e].tolist() * (L if tied else 1) for name in ("P", "Q", "v"))
        theirs = [by_hand(P, Q, Z, attention, v) for Z in tokens.Z[e].tolist()]
        expected = torch.tensor(theirs, dtype=torch.float64)
        torch.testing.assert_close(ours[e], expected, rtol=1e-11, atol=1e-12)


def test_v_is_a_parameter_where_it_is_free():
    free = LinearTransformer(d=3, n_layer=2, n_head=2, attention="exp", free_v=True)
    fixed = replace(free, free_v=False)
    assert free.config == fixed.config | {"free_v": True}
    assert free.label == fixed.label + "-v"
    assert free.shapes == fixed.shapes | {"v": (2, 2)}
    ours, theirs = free.init(generator(1)), fixed.init(generator(1))
    assert {name: p.shape for name, p in ours.items()} == free.shapes
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(ValueError, match="free_v must be False for linear attention"):
        LinearTransformer(free_v=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_number_worked_by_hand(backend):
    """Examples (1, 2) and (3, 4), query 5, Q = 0.1: out = 5 (0.1) (1*2 + 3*4) / 2 = 3.5, so the
    answer is -3.5."""
    tokens = Prompts(torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]]]), torch.tensor([-1.5]))
    params = {"P": torch.full((1, 1, 1, 1), 7.0), "Q": torch.full((1, 1, 1, 1), 0.1)}
    model = LinearTransformer(d=1, n_layer=1)
    for prompts in (tokens, tokens.gram()):
        torch.testing.assert_close(model.predict(params, prompts), torch.tensor([-3.5]))
    torch.testing.assert_close(
        gram.mse(params["P"], params["Q"], tokens.gram(), backend), torch.tensor(4.0)
    )


@pytest.mark.parametrize("attention", ATTENTION)
def test_ensemble_members_are_computed_as_alone(attention):
    """Leading axes: prompts of their own, or shared by all."""
    L, H, N, d, B = 3, 2, 5, 4, 6
    params, tokens, _ = setting(L, H, N, d, B, lead=(2, 3))
    model = LinearTransformer(d, L, H, attention)
    shared = Prompts(tokens.Z[0, 0], tokens.y[0, 0])
    own, same = model.predict(params, tokens), model.predict(params, shared)
    assert own.shape == same.shape == (2, 3, B)
    for i in range(2):
        for j in range(3):
            alone = {n: p[i, j] for n, p in params.items()}
            its = Prompts(tokens.Z[i, j], tokens.y[i, j])
            torch.testing.assert_close(own[i, j], model.predict(alone, its), rtol=1e-12, atol=1e-13)
            torch.testing.assert_close(
                same[i, j], model.predict(alone, shared), rtol=1e-12, atol=1e-13
            )


@pytest.mark.parametrize("attention", ATTENTION)
def test_loss_is_the_mean_squared_error(attention):
    params, tokens, statistics = setting(L=3, H=2, N=5, d=4, B=7, lead=(2,))
    model = LinearTransformer(4, 3, 2, attention)
    for prompts in (tokens, statistics) if attention == "linear" else (tokens,):
        predictions, losses = model.predict(params, prompts), model.loss(params, prompts)
        assert losses.shape == (2,)
        for e in range(2):
            pairs = zip(predictions[e].tolist(), prompts.y[e].tolist(), strict=True)
            assert losses[e].item() == pytest.approx(
                sum((p - y) ** 2 for p, y in pairs) / 7, rel=1e-12
            )


def test_trained_predicts_as_its_model():
    params, tokens, statistics = setting(L=2, H=1, N=5, d=3, B=7)
    model = LinearTransformer(3, 2)
    for prompts in (tokens, statistics):
        assert torch.equal(
            FittedModel(model, params).predict(prompts), model.predict(params, prompts)
        )


def test_predictions_leave_their_input_alone():
    params, tokens, statistics = setting(L=3, H=2, N=5, d=4, B=7)
    before = [
        t.clone()
        for t in (tokens.Z, tokens.y, statistics.S, statistics.s, statistics.x, *params.values())
    ]
    for prompts in (tokens, statistics):
        LinearTransformer(4, 3, 2).loss(params, prompts)
    after = (tokens.Z, tokens.y, statistics.S, statistics.s, statistics.x, *params.values())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_model_does_not_see_the_order_of_the_examples():
    params, tokens, _ = setting(L=3, H=2, N=5, d=4, B=7)
    shuffled = replace(tokens, Z=tokens.Z[:, [3, 0, 4, 1, 2, 5]])
    for attention in ATTENTION:
        a, b = (
            LinearTransformer(4, 3, 2, attention).predict(params, p) for p in (tokens, shuffled)
        )
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_init_is_normal_with_the_given_standard_deviation():
    params = LinearTransformer(d=7, n_layer=20, n_head=5, init_std=0.03).init(
        generator(0), torch.float64
    )
    for p in params.values():
        assert p.shape == (20, 5, 7, 7)
        assert stats.kstest(p.flatten() / 0.03, stats.norm.cdf).pvalue > 1e-5
    assert abs(
        stats.pearsonr(params["P"].flatten(), params["Q"].flatten()).statistic
    ) < 5 / math.sqrt(4900)


def test_init_depends_on_the_generator_alone():
    model = LinearTransformer()
    first, again, other = (model.init(generator(seed)) for seed in (1, 1, 2))
    for n in ("P", "Q"):
        assert first[n].dtype == torch.float32
        assert torch.equal(first[n], again[n])
        assert not (first[n] == other[n]).any()


# ---- the fast path is the same function


sizes = {
    "L": st.integers(1, 5),
    "H": st.integers(1, 3),
    "N": st.integers(1, 9),
    "B": st.integers(1, 37).filter(lambda B: B % 8),  # 8 doubles fill a SIMD register
    "seed": st.integers(0, 2**31),
}
examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@examples
@given(**sizes, d=st.integers(1, 7))
def test_plain_statistics_give_the_token_result(L, H, N, d, B, seed):
    params, tokens, statistics = setting(L, H, N, d, B, seed)
    ours = -gram.forward(params["P"], params["Q"], statistics)
    assert_close([ours], [LinearTransformer(d, L, H).predict(params, tokens)], 1e-10)
    theirs = value_and_grad(token_loss(tokens), params)
    assert_close(value_and_grad(fast_loss(statistics, "plain"), params), theirs, 1e-10)


@examples
@given(**sizes, d=st.sampled_from((1, 2, 3, 4, 5, 7)))  # each d is compiled once
def test_the_kernel_gives_the_token_result(L, H, N, d, B, seed):
    params, tokens, statistics = setting(L, H, N, d, B, seed)
    theirs = value_and_grad(token_loss(tokens), params)
    assert_close(value_and_grad(fast_loss(statistics, "kernel"), params), theirs, 1e-10)
    model = LinearTransformer(d, L, H)
    assert_close([model.predict(params, statistics)], [model.predict(params, tokens)], 1e-10)


@pytest.mark.parametrize("H", [1, 2])
def test_answers_after_each_layer_are_those_of_the_first_layers(H):
    g = generator(3)
    prompts = LinearRegression(N=7, d=3).sample(11, g, dtype=torch.float64)
    # Two members, five layers.
    P, Q = 0.5 * torch.randn(2, 2, 5, H, 3, 3, generator=g, dtype=torch.float64)
    found = gram.after_each(P, Q, prompts)
    assert found.shape == (5, 2, 11)
    for k in range(1, 6):
        assert_close(found[k - 1], gram.forward(P[:, :k], Q[:, :k], prompts), rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("B", [1024, 1025, 2500])
def test_batches_of_several_chunks(backend, B):
    params, tokens, statistics = setting(L=3, H=2, N=6, d=4, B=B)
    theirs = value_and_grad(token_loss(tokens), params)
    assert_close(value_and_grad(fast_loss(statistics, backend), params), theirs, 1e-11)


@pytest.mark.parametrize("L", [1, 2, 3, 5])
@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_is_the_float64_result_up_to_rounding(backend, L):
    params, _, statistics = setting(L, H=2, N=6, d=4, B=999)
    low = Gram(
        *(t.float() for t in (statistics.S, statistics.s, statistics.x, statistics.y)), statistics.N
    )
    ours = value_and_grad(fast_loss(low, backend), {n: p.float() for n, p in params.items()})
    theirs = value_and_grad(fast_loss(statistics, "plain"), params)
    eps = torch.finfo(torch.float32).eps
    # Some hundred operations on each prompt.
    assert_close([t.double() for t in ours], theirs, 100 * eps)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_losses_of_members_with_their_own_prompts(backend, lead):
    params, tokens, statistics = setting(L=4, H=2, N=6, d=3, B=11, lead=lead)
    theirs = value_and_grad(token_loss(tokens), params)
    assert theirs[0].shape == lead
    assert_close(value_and_grad(fast_loss(statistics, backend), params), theirs, 1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_losses_of_members_that_share_prompts(backend, lead):
    params, *_ = setting(L=4, H=2, N=6, d=3, B=11, lead=lead)
    _, tokens, statistics = setting(L=4, H=2, N=6, d=3, B=11, seed=1)
    theirs = value_and_grad(token_loss(tokens), params)
    assert_close(value_and_grad(fast_loss(statistics, backend), params), theirs, 1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_member_may_count_differently_in_the_gradient(backend):
    """The gradient of 2 loss_0 - 3 loss_1 + ... is that of each loss alone times its weight."""
    weights = torch.tensor([2.0, -3.0, 0.0], dtype=torch.float64)
    params, _, statistics = setting(L=3, H=2, N=6, d=4, B=11, lead=(3,))
    _, *plain = value_and_grad(fast_loss(statistics, backend), params)
    _, *ours = value_and_grad(lambda P, Q: gram.mse(P, Q, statistics, backend) * weights, params)
    assert_close(ours, [weights.view(3, 1, 1, 1, 1) * g for g in plain], 1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_member_alone_is_bitwise_the_same(backend):
    params, _, statistics = setting(L=3, H=2, N=6, d=4, B=1500, lead=(3,), dtype=torch.float32)
    together = value_and_grad(fast_loss(statistics, backend), params)
    for e in range(3):
        its = Gram(
            *(t[e : e + 1] for t in (statistics.S, statistics.s, statistics.x, statistics.y)),
            statistics.N,
        )
        alone = value_and_grad(
            fast_loss(its, backend), {n: p[e : e + 1] for n, p in params.items()}
        )
        assert all(torch.equal(a[0], t[e]) for a, t in zip(alone, together, strict=True))


def test_the_kernel_gives_the_same_bits_for_any_number_of_threads():
    params, _, statistics = setting(L=4, H=2, N=6, d=4, B=5000, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(value_and_grad(fast_loss(statistics, "kernel"), params))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_need_not_be_contiguous(backend):
    params, _, statistics = setting(L=3, H=2, N=6, d=4, B=11)
    theirs = value_and_grad(fast_loss(statistics, backend), params)
    strided = Gram(
        *(t.mT.contiguous().mT for t in (statistics.S, statistics.s, statistics.x)),
        statistics.y,
        N=6,
    )
    assert not strided.s.is_contiguous()
    apart = {n: p.mT.contiguous().mT for n, p in params.items()}
    P, Q = apart["P"].requires_grad_(), apart["Q"].requires_grad_()
    loss = gram.mse(P, Q, strided, backend)
    assert_close([loss.detach(), *torch.autograd.grad(loss, (P, Q))], theirs, 1e-14)


@pytest.mark.parametrize("L", [1, 2, 3, 4])
@pytest.mark.parametrize("how", ["tokens", *BACKENDS])
def test_the_last_P_has_gradient_zero(how, L):
    params, tokens, statistics = setting(L, H=2, N=6, d=4, B=11)
    loss = token_loss(tokens) if how == "tokens" else fast_loss(statistics, how)
    _, gP, gQ = value_and_grad(loss, params)
    assert (gP[-1] == 0).all()
    assert (gP[:-1].abs().amax((-3, -2, -1)) > 0).all()
    assert (gQ != 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("L", [1, 2, 3, 4])
def test_gradients_against_finite_differences(backend, L):
    params, _, statistics = setting(L, H=2, N=5, d=3, B=7)
    assert torch.autograd.gradcheck(
        lambda P, Q: gram.mse(P, Q, statistics, backend),
        [p.requires_grad_() for p in params.values()],
    )


def test_second_derivatives_of_the_plain_path():
    params, _, statistics = setting(L=3, H=1, N=5, d=2, B=7)
    assert torch.autograd.gradgradcheck(
        lambda P, Q: gram.mse(P, Q, statistics, "plain"),
        [p.requires_grad_() for p in params.values()],
    )


def test_the_kernel_refuses_second_derivatives():
    params, _, statistics = setting(L=2, H=1, N=5, d=2, B=7)
    P, Q = (p.requires_grad_() for p in params.values())
    (g,) = torch.autograd.grad(gram.mse(P, Q, statistics, "kernel"), Q, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(g.sum(), Q)


@pytest.mark.parametrize("which", [("Q",), ("P", "Q")])
def test_function_transforms_take_the_plain_path(which):
    """Second derivatives by torch.func, of all parameters or of one with the other fixed."""
    params, tokens, statistics = setting(L=2, H=1, N=5, d=2, B=7)
    model = LinearTransformer(2, 2)

    def loss(part):
        return model.loss({**params, **part}, statistics)

    ours = torch.func.jacrev(torch.func.grad(loss))({n: params[n] for n in which})
    for a in which:
        for b in which:
            theirs = torch.autograd.functional.hessian(
                lambda u, v, a=a, b=b: model.loss(
                    {**params, a: u, b: v} if a != b else {**params, a: u + v}, tokens
                ),
                (params[a], params[b] if a != b else torch.zeros_like(params[b])),
            )
            torch.testing.assert_close(ours[a][b], theirs[0][1], rtol=1e-10, atol=1e-12)


def test_statistics_alone_may_be_mapped_over():
    """vmap over the prompts, the parameters fixed outside."""
    params, _, statistics = setting(L=2, H=1, N=5, d=2, B=7)
    ys = torch.stack([statistics.y, -statistics.y, statistics.y + 1])
    ours = torch.func.vmap(
        lambda y: LinearTransformer(2, 2).loss(params, replace(statistics, y=y))
    )(ys)
    theirs = torch.stack(
        [LinearTransformer(2, 2).loss(params, replace(statistics, y=y)) for y in ys]
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_no_gradients_are_computed_without_need():
    params, _, statistics = setting(L=3, H=2, N=5, d=4, B=7)
    P, Q = params["P"], params["Q"]
    expected = gram.mse(P, Q, statistics, "plain")
    assert_close([gram.mse(P, Q, statistics, "kernel")], [expected], 1e-12)
    with torch.no_grad():
        loss = gram.mse(P.requires_grad_(), Q, statistics, "kernel")
    assert not loss.requires_grad
    assert_close([loss], [expected], 1e-12)


@pytest.mark.parametrize("name", ["P", "Q"])
def test_gradient_of_one_parameter_alone(name):
    params, tokens, statistics = setting(L=3, H=2, N=5, d=4, B=7)
    results = []
    for loss in (
        token_loss(tokens),
        fast_loss(statistics, "kernel"),
        fast_loss(statistics, "plain"),
    ):
        free = params[name].clone().requires_grad_()
        given = {**params, name: free}
        results.append(torch.autograd.grad(loss(given["P"], given["Q"]), free))
    assert_close(results[1], results[0], 1e-11)
    assert_close(results[2], results[0], 1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [False, True])
def test_compiled_predictions_of_an_ensemble(shared, dtype):
    """Of more prompts than a chunk, which the members share or not, and not a multiple of the
    lanes."""
    params, _, statistics = setting(
        L=3, H=2, N=6, d=4, B=1029, lead=() if shared else (3,), dtype=dtype
    )
    P, Q = (torch.stack([p, 0.5 * p, -p]) if shared else p for p in params.values())
    ours, plain = gram.predict(P, Q, statistics), -gram.forward(P, Q, statistics)
    assert_close([ours], [plain], 64 * torch.finfo(dtype).eps)


def test_predictions_have_derivatives():
    """Where these are asked for, the plain path serves."""
    params, _, statistics = setting(L=2, H=1, N=5, d=3, B=7)
    P, Q = (p.requires_grad_() for p in params.values())
    slopes = torch.autograd.grad(gram.predict(P, Q, statistics).sum(), (P, Q))
    assert_close(slopes, torch.autograd.grad(-gram.forward(P, Q, statistics).sum(), (P, Q)), 1e-14)


# ---- without the kernel


def test_the_kernel_is_here_and_is_what_auto_takes():
    params, _, statistics = setting(L=3, H=2, N=5, d=4, B=7)
    assert kernel.unavailable(4, torch.float64) is None
    auto, compiled = (
        gram.mse(params["P"], params["Q"], statistics, backend) for backend in ("auto", "kernel")
    )
    assert torch.equal(auto, compiled)


def test_the_kernel_can_be_switched_off(monkeypatch):
    params, _, statistics = setting(L=3, H=2, N=5, d=4, B=7)
    monkeypatch.setenv("LINTF_KERNEL", "off")
    P, Q = params["P"], params["Q"]
    assert kernel.unavailable(4, torch.float64) == "LINTF_KERNEL=off"
    assert torch.equal(gram.mse(P, Q, statistics), gram.mse(P, Q, statistics, "plain"))
    with pytest.raises(RuntimeError, match="kernel cannot be used: LINTF_KERNEL=off"):
        gram.mse(P, Q, statistics, "kernel")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ((2, torch.float16), "torch.float16"),
        ((33, torch.float32), "d = 33 > 32"),
        ((2, torch.float32, "cuda"), "cuda"),
    ],
)
def test_what_the_kernel_cannot_do_it_says(case, reason):
    assert reason in kernel.unavailable(*case)


def test_large_d_takes_the_plain_path():
    params, tokens, statistics = setting(L=2, H=1, N=4, d=33, B=3)
    assert_close(
        [LinearTransformer(33, 2).loss(params, statistics)],
        [token_loss(tokens)(*params.values())],
        1e-10,
    )


PROBE = """
import sys, torch
from lintf import LinearRegression, kernel
from lintf.models import gram
P = torch.full((2, 1, 3, 3), 0.1)
batch = LinearRegression(N=4, d=3).sample(7, torch.Generator().manual_seed(0))
print(kernel.unavailable(3, torch.float32))
assert torch.equal(gram.mse(P, P, batch), gram.mse(P, P, batch, "plain"))
try:
    gram.mse(P, P, batch, "kernel")
except RuntimeError as error:
    print(error)
"""


def broken_compiler(folder, text):
    path = folder / "c++"
    path.write_text(text)
    path.chmod(0o755)
    return {"CXX": str(path), "PATH": str(folder)}


@pytest.mark.parametrize(
    "what", ["no compiler", "compiler fails", "compiler is no program", "cache not writable"]
)
def test_without_a_compiler_the_plain_path_says_why(tmp_path, what):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    if what == "no compiler":
        environment |= {"CXX": "/nowhere/c++", "PATH": ""}
        reason = "no C++ compiler found"
    elif what == "compiler fails":
        environment |= broken_compiler(tmp_path, '#!/bin/sh\necho "no such flag" >&2\nexit 1\n')
        reason = "no such flag"
    elif what == "compiler is no program":
        environment |= broken_compiler(tmp_path, "neither a script nor a binary")
        reason = "c++"
    else:
        (tmp_path / "cache").write_text("a file where the folder should be")
        reason = "cache"
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().split("\nthe compiled kernel cannot be used: ")
    assert reason in first
    assert second == first


# ---- hand-built weights


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_k_layers_do_k_steps_of_gradient_descent(representation, k):
    N, d, eta = 6, 4, 0.03
    prompts = LinearRegression(N, d, noise_std=0.2).sample(
        9, generator(0), representation, torch.float64
    )
    params = gradient_descent_weights(k, eta, N, d, dtype=torch.float64)
    ours = LinearTransformer(d, k).predict(params, prompts)
    torch.testing.assert_close(
        ours, GradientDescent(k, eta).predict(prompts), rtol=1e-12, atol=1e-13
    )
    assert (params["P"] == 0).all()


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_preconditioned_steps(representation):
    """With any matrix, not only a symmetric one."""
    N, d, eta, k = 6, 4, 0.03, 3
    Pi = torch.eye(d, dtype=torch.float64) + 0.4 * torch.randn(
        d, d, generator=generator(1), dtype=torch.float64
    )
    prompts = LinearRegression(N, d).sample(9, generator(0), representation, torch.float64)
    ours = LinearTransformer(d, k).predict(
        gradient_descent_weights(k, eta, N, d, Pi, torch.float64), prompts
    )
    torch.testing.assert_close(
        ours, GradientDescent(k, eta, Pi).predict(prompts), rtol=1e-12, atol=1e-13
    )


def test_distance_to_identity_against_loops():
    M = torch.randn(2, 3, 5, 5, generator=generator(0), dtype=torch.float64)
    ours = distance_to_identity(M)
    assert ours.shape == (2, 3)
    for a in range(2):
        for b in range(3):
            m = M[a, b].tolist()
            mean = sum(m[i][i] for i in range(5)) / 5
            rest = sum((m[i][j] - mean * (i == j)) ** 2 for i in range(5) for j in range(5))
            total = sum(m[i][j] ** 2 for i in range(5) for j in range(5))
            assert ours[a, b].item() == pytest.approx(math.sqrt(rest / total), rel=1e-13)


def test_distance_to_identity_of_known_matrices():
    assert distance_to_identity(-0.7 * torch.eye(3)) < 1e-7
    assert distance_to_identity(torch.ones(3, 3).triu(1)).item() == pytest.approx(1.0, rel=1e-6)
    assert distance_to_identity(torch.diag(torch.tensor([1.0, 0.0]))).item() == pytest.approx(
        math.sqrt(0.5), rel=1e-6
    )
    assert distance_to_identity(torch.zeros(3, 3)).item() == 0  # 0 times the identity, as P = 0 is


@pytest.mark.parametrize("attention", ATTENTION)
def test_form_is_what_the_attention_needs(attention):
    model = LinearTransformer(3, 2, attention=attention)
    prompts = LinearRegression(4, 3).sample(7, generator(0), model.representation)
    assert isinstance(prompts, Gram) == (attention == "linear")
    assert model.predict(model.init(generator(1)), prompts).shape == (7,)


# ---- P held at zero


@pytest.mark.parametrize("attention", ATTENTION)
def test_without_P_the_model_is_the_free_one_with_P_0(attention):
    """Predictions, losses and gradients, for members with and without prompts of their own."""
    params, tokens, statistics = setting(L=3, H=2, N=5, d=4, B=7, lead=(2,))
    free = LinearTransformer(4, 3, 2, attention)
    held = replace(free, free_P=False)
    for prompts in (tokens, statistics) if attention == "linear" else (tokens,):
        for backend in BACKENDS if attention == "linear" else ("auto",):
            results = []
            for model in (held, free):
                Q = params["Q"].clone().requires_grad_()
                given = {"Q": Q} if model is held else {"P": torch.zeros_like(Q), "Q": Q}
                losses = model.loss(given, prompts, backend)
                results.append(
                    [model.predict(given, prompts).detach(), *torch.autograd.grad(losses.sum(), Q)]
                )
            assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_without_P_the_layers_do_gradient_descent():
    prompts = LinearRegression(6, 4).sample(9, generator(0), dtype=torch.float64)
    Q = gradient_descent_weights(3, 0.03, 6, 4, dtype=torch.float64)["Q"]
    ours = LinearTransformer(4, 3, free_P=False).predict({"Q": Q}, prompts)
    torch.testing.assert_close(
        ours, GradientDescent(3, 0.03).predict(prompts), rtol=1e-12, atol=1e-13
    )


def test_without_P_the_same_Q_is_drawn():
    free = LinearTransformer(d=3, n_layer=2, n_head=2)
    generators = generator(1), generator(1)
    ours, theirs = replace(free, free_P=False).init(generators[0]), free.init(generators[1])
    assert ours.keys() == {"Q"}
    assert torch.equal(ours["Q"], theirs["Q"])
    # And the same prompts after it.
    assert torch.equal(*(torch.randn(3, generator=g) for g in generators))


def test_the_configuration_of_the_free_model_is_as_it_was():
    free = LinearTransformer(d=3, n_layer=2)
    assert free.config == {
        "d": 3,
        "n_layer": 2,
        "n_head": 1,
        "attention": "linear",
        "init_std": 1e-4,
    }
    held = replace(free, free_P=False)
    assert held.config == free.config | {"free_P": False}
    assert LinearTransformer(**held.config) == held
    assert LinearTransformer(**free.config) == free
    assert (free.label, held.label) == ("linear-L2", "linear-L2-P0")
    assert replace(held, n_head=3, attention="relu").label == "relu-L2-H3-P0"


# ---- one P and one Q for all layers


@pytest.mark.parametrize("free_P", [True, False])
@pytest.mark.parametrize("attention", ATTENTION)
def test_tied_layers_are_equal_layers(attention, free_P):
    """Predictions, losses and gradients, which are summed over the layers."""
    params, tokens, statistics = setting(L=1, H=2, N=5, d=4, B=7, lead=(2,))
    if attention == "exp":  # or its sums overflow after a layer
        params = {name: 0.01 * p for name, p in params.items()}
    params = params if free_P else {"Q": params["Q"]}
    tied = LinearTransformer(4, 3, 2, attention, free_P=free_P, tied=True)
    for prompts in (tokens, statistics) if attention == "linear" else (tokens,):
        for backend in BACKENDS if attention == "linear" else ("auto",):
            results = []
            for model, layers in ((tied, 1), (replace(tied, tied=False), 3)):
                own = {n: p.repeat(1, layers, 1, 1, 1).requires_grad_() for n, p in params.items()}
                grads = torch.autograd.grad(
                    model.loss(own, prompts, backend).sum(), list(own.values())
                )
                results.append([model.predict(own, prompts).detach(), *(g.sum(1) for g in grads)])
            for ours, theirs in zip(*results, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_tied_parameters_do_for_any_number_of_layers():
    prompts = LinearRegression(6, 4).sample(9, generator(0), dtype=torch.float64)
    Q = gradient_descent_weights(1, 0.03, 6, 4, dtype=torch.float64)["Q"]
    for steps in (1, 2, 7):
        ours = LinearTransformer(4, steps, free_P=False, tied=True).predict({"Q": Q}, prompts)
        torch.testing.assert_close(
            ours, GradientDescent(steps, 0.03).predict(prompts), rtol=1e-12, atol=1e-13
        )


def test_the_configuration_of_tied_layers():
    tied = LinearTransformer(d=3, n_layer=2, n_head=2, tied=True)
    assert tied.config == replace(tied, tied=False).config | {"tied": True}
    assert LinearTransformer(**tied.config) == tied
    assert (tied.label, replace(tied, free_P=False).label) == (
        "linear-L2-H2-tied",
        "linear-L2-H2-P0-tied",
    )
    assert tied.shapes == dict.fromkeys("PQ", (1, 2, 3, 3))
    assert {n: p.shape for n, p in tied.init(generator(0)).items()} == tied.shapes
    params, prompts = (
        LinearTransformer(3, 2, 2).init(generator(0)),
        LinearRegression(4, 3).sample(5, generator(0)),
    )
    with pytest.raises(
        ValueError, match=r"parameters of shapes .*\(2, 2, 3, 3\).* do not fit .*tied=True"
    ):
        tied.loss(params, prompts)


@pytest.mark.parametrize("call", ["predict", "loss"])
@pytest.mark.parametrize(
    ("free_P", "names"), [(True, "Q"), (True, "P"), (False, "PQ"), (False, "P"), (True, "PQR")]
)
def test_parameters_are_those_of_the_model(call, free_P, names):
    model, prompts = (
        LinearTransformer(3, 2, free_P=free_P),
        LinearRegression(4, 3).sample(5, generator(0)),
    )
    with pytest.raises(
        ValueError, match=rf"parameters of shapes .*'{names[0]}'.*do not fit.*free_P={free_P}"
    ):
        getattr(model, call)({n: torch.zeros(2, 1, 3, 3) for n in names}, prompts)


@pytest.mark.parametrize("representation", ["gram", "tokens"])
def test_gradients_of_members(representation):
    """Of each member of the prompts, from parameters that all share, against autograd one by
    one."""
    model, task = LinearTransformer(d=3, n_layer=2, init_std=0.3), LinearRegression(N=6, d=3)
    params = model.init(torch.Generator().manual_seed(0), torch.float64)
    batches = sample_ensemble(
        [task] * 4,
        11,
        [torch.Generator().manual_seed(s) for s in range(4)],
        representation,
        torch.float64,
    )
    found = gradient(model, params, batches)
    for e in range(4):
        alone = task.sample(11, torch.Generator().manual_seed(e), representation, torch.float64)
        leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
        model.loss(leaves, alone).backward()
        for name, p in leaves.items():
            expected = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(found[name][e], expected, rtol=1e-12, atol=1e-14)
    assert not any(p.requires_grad for p in params.values())


def test_gradient_of_what_does_not_matter_is_zero():
    model, prompts = (
        LinearTransformer(d=3, n_layer=1, init_std=0.3),
        LinearRegression(N=6, d=3).sample(5, torch.Generator()),
    )
    found = gradient(model, model.init(torch.Generator()), prompts)
    assert found["P"].abs().max() == 0
    assert found["Q"].abs().max() > 0
