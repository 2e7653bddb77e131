"""The linearity score against least squares solved in other ways, its invariances and its chance
level.

Simulated scores may miss their law by 4 standard errors; seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy import stats

from lintf.analysis import linearity
from lintf.analysis.linearity import (
    explained,
    held_out,
    linear_map,
    norms_and_cosines,
    null_score,
    score,
    scores,
    scores_at_lag,
)

F64 = torch.float64


def normal(*shape, seed=0, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def related(n=41, dim=5, width=3, seed=0):
    """Layers that are partly related, with means."""
    x = normal(n, dim, seed=seed) @ normal(dim, dim, seed=seed + 1) + 2
    return x, (x @ normal(dim, width, seed=seed + 2)).tanh() + 0.3 * normal(
        n, width, seed=seed + 3
    ) - 1


# ---- the score


def by_lstsq(x, y, centre=True):
    """The definition, step by step in NumPy: centre, divide by the Frobenius norm, solve."""
    X, Y = (t.numpy() - t.numpy().mean(0) * centre for t in (x, y))
    X, Y = X / np.linalg.norm(X), Y / np.linalg.norm(Y)
    return 1 - np.square(X @ np.linalg.lstsq(X, Y, rcond=None)[0] - Y).sum()


@pytest.mark.parametrize("centre", [True, False])
def test_the_score_is_that_of_least_squares(centre):
    x, y = related()
    assert score(x, y, centre) == pytest.approx(by_lstsq(x, y, centre), rel=1e-12)
    assert 0.1 < score(x, y) < 0.99
    assert score(x, y) != pytest.approx(score(x, y, False), abs=1e-3)


def test_one_column_each_is_the_squared_correlation():
    x, y = normal(30, 1), normal(30, 1, seed=1)
    y = y + x
    assert score(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2, rel=1e-12)


def test_a_score_by_hand():
    """x = (1, 0, -1, 0) explains the first of two equal columns."""
    x = torch.tensor([[1.0], [0.0], [-1.0], [0.0]])
    y = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]]) + 7
    assert score(x, y) == pytest.approx(0.5, rel=1e-12)
    assert explained(x, y).tokens.tolist() == pytest.approx([1, 0, 1, 0], abs=1e-12)


def test_a_linear_map_has_score_one():
    x = normal(41, 5)
    assert score(x, x @ normal(5, 3, seed=1) + 4) == pytest.approx(1, abs=1e-14)
    assert score(x, x) == pytest.approx(1, abs=1e-14)


def test_what_is_orthogonal_has_score_zero():
    Q = torch.linalg.qr(torch.cat((torch.ones(20, 1, dtype=F64), normal(20, 7)), 1))[0]
    assert score(Q[:, 1:5], Q[:, 5:]) == pytest.approx(0, abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.integers(1, 6),
    st.floats(-50, 50),
    st.floats(0.01, 100),
)
def test_invariances(seed, dim, width, shift, factor):
    """X -> X M + a, Y -> c Y R + b."""
    x, y = related(dim + 12, dim, width, seed)
    # Singular values >= 1/2.
    M = torch.eye(dim, dtype=F64) + 0.5 * torch.linalg.qr(normal(dim, dim, seed=seed + 4))[0]
    R = torch.linalg.qr(normal(width, width, seed=seed + 5))[0]
    expected = score(x, y)
    assert 0 <= expected <= 1 + 1e-12
    assert score(x @ M + shift, y) == pytest.approx(expected, abs=1e-10)
    assert score(x, -factor * y @ R + shift) == pytest.approx(expected, abs=1e-10)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    assert score(x[order], y[order]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_rank(dtype):
    """Columns that repeat others change nothing, though rounding makes them independent."""
    x, y = related(60, 4, 3)
    x = x.to(dtype)
    expected = score(x, y)
    more = torch.cat(
        (x, x[:, :1], 0 * x, 0 * x[:, :1] + 1e3, (x @ x.new_tensor(normal(4, 5).tolist())) / 3), 1
    )
    assert more.shape[1] == 15
    assert score(more, y) == pytest.approx(expected, abs=100 * torch.finfo(dtype).eps)
    counted = np.linalg.matrix_rank((more - more.mean(0)).double().numpy(), tol=1e-4)
    assert counted == linearity._svd(more, "x", True)[0].shape[1] == 4


def test_a_small_direction_counts():
    """An outlier of size 10^4 in another direction does not hide it, in single precision."""
    x = normal(200, 2, dtype=torch.float32)
    wide = torch.cat((x, 1e4 * normal(200, 1, seed=1, dtype=torch.float32)), 1)
    assert score(wide, x) == pytest.approx(1, abs=1e-6)


def test_single_precision_is_computed_in_double():
    x, y = (t.float() for t in related())
    assert score(x, y) == pytest.approx(score(x.double(), y.double()), abs=1e-14)
    assert explained(x, y).error.dtype == F64


def test_input_is_left_alone():
    x, y = related()
    copies = x.clone(), y.clone()
    score(x, y)
    held_out(x, y, torch.arange(41))
    assert all(torch.equal(a, b) for a, b in zip((x, y), copies, strict=True))


def test_tokens_average_to_the_score():
    x, y = related()
    e = explained(x, y)
    A = np.linalg.lstsq(*((t - t.mean(0)).numpy() for t in (x, y)), rcond=None)[0]
    rows = zip((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy(), strict=True)
    by_loop = [1 - np.square(a @ A - b).sum() / np.square(b).sum() for a, b in rows]
    np.testing.assert_allclose(e.tokens, by_loop, rtol=1e-9)
    assert float((e.size * e.tokens).sum() / e.size.sum()) == pytest.approx(e.score, rel=1e-12)
    assert e.score == pytest.approx(score(x, y), rel=1e-12)


def test_without_the_residual_the_same_is_left_unexplained():
    """(1 - s') |Y - X|^2 = (1 - s) |Y|^2 with centred X and Y."""
    x, y = related(width=5)
    y = y + x
    X, Y = x - x.mean(0), y - y.mean(0)
    without = 1 - (1 - score(x, y)) * float(Y.square().sum() / (Y - X).square().sum())
    assert score(x, y - x) == pytest.approx(without, rel=1e-11)
    np.testing.assert_allclose(explained(x, y - x).error, explained(x, y).error, rtol=1e-9)


@pytest.mark.parametrize("centre", [True, False])
def test_all_pairs(centre):
    layers = torch.stack([related(width=5, seed=s)[1] + normal(41, 5) for s in range(4)])
    found = scores(layers, centre)
    expected = [[score(x, y, centre) for y in layers] for x in layers]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.dtype == F64
    for k in range(4):
        assert scores_at_lag(found, k).tolist() == [found[i, i + k] for i in range(4 - k)]
    assert scores(list(related())).shape == (2, 2)


# ---- chance, other tokens, intervals


def test_chance_is_the_law_of_scores_of_noise():
    n, dim, width, times = 30, 4, 3, 400
    drawn = [score(normal(n, dim, seed=s), normal(n, width, seed=10_000 + s)) for s in range(times)]
    law = null_score(n, dim, width)
    assert law.value == pytest.approx(dim / (n - 1))
    assert abs(np.mean(drawn) - law.value) <= 4 * np.std(drawn) / math.sqrt(times)
    a, b = dim * width / 2, (n - 1 - dim) * width / 2
    assert np.std(drawn) == pytest.approx(
        math.sqrt(a * b / (a + b) ** 2 / (a + b + 1)), rel=4 / math.sqrt(2 * times)
    )
    assert stats.kstest(drawn, stats.beta(a, b).cdf).pvalue > 0.001
    inside = np.mean([law.low <= s <= law.high for s in drawn])
    assert abs(inside - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / times)


def test_the_published_score_of_random_pairs():
    """22,986 tokens of dimension 768 (arXiv 2405.12250's code, repeated by others): 0.03338."""
    law = null_score(22_986, 768, 768)
    assert law.low < 0.03338080644607544 < law.high
    assert law.high - law.low < 3e-4


def test_held_out_by_loop():
    x, y = related(n=60)
    groups = torch.arange(60) // 4 * 3 + 7  # fifteen of four tokens
    e, ours = held_out(x, y, groups, 3), np.full(60, math.nan)
    for k in range(3):
        test = np.isin(np.arange(60) // 4, np.arange(k, 15, 3))
        X, Y = x.numpy(), y.numpy()
        one = np.ones((60, 1))
        # With an intercept.
        A = np.linalg.lstsq(np.hstack((X, one))[~test], Y[~test], rcond=None)[0]
        ours[test] = np.square(np.hstack((X, one))[test] @ A - Y[test]).sum(1)
        np.testing.assert_allclose(
            e.size[test], np.square(Y[test] - Y[~test].mean(0)).sum(1), rtol=1e-12
        )
    np.testing.assert_allclose(e.error, ours, rtol=1e-9)
    assert e.score < score(x, y)


def test_held_out_noise_is_below_zero():
    """A map of noise adds |A|^2: -dim / (n - dim - 2) for n tokens behind it, less the error of the
    mean."""
    n, dim, width, folds = 400, 20, 30, 4
    found = [
        held_out(
            normal(n, dim, seed=s), normal(n, width, seed=100 + s), torch.arange(n), folds
        ).score
        for s in range(20)
    ]
    m = n * (folds - 1) / folds
    assert np.mean(found) == pytest.approx(
        -dim / (m - dim - 2), abs=4 * np.std(found) / math.sqrt(20) + 1e-3
    )


@pytest.mark.parametrize("n_twins", [0, 2])
def test_the_map_is_that_of_least_squares(n_twins):
    """Also the smallest of many."""
    x, y = related()
    x = torch.cat((x, x[:, :n_twins]), 1)
    X, Y = (t.numpy() - t.numpy().mean(0) for t in (x, y))
    np.testing.assert_allclose(
        linear_map(x, y), np.linalg.lstsq(X, Y, rcond=1e-10)[0], rtol=1e-8, atol=1e-12
    )
    assert linear_map(x, y).shape == (5 + n_twins, 3)


def test_held_out_of_a_linear_map():
    x = normal(50, 4)
    e = held_out(x, x @ normal(4, 3, seed=1) + 3, torch.arange(50) // 5)
    assert e.score == pytest.approx(1, abs=1e-13)


def test_interval():
    """Against a bootstrap in a loop, and against the standard error of a mean where all sizes are
    1."""
    x, y = related(n=200)
    e, groups = explained(x, y), torch.arange(200) // 10
    found = e.interval(groups)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(2000):
        chosen = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(20, size=20)])
        drawn.append(1 - float(e.error[chosen].sum() / e.size[chosen].sum()))
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = high - low
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * width)
    assert found.value == e.score
    plain = linearity.Explained(normal(4000).abs(), torch.ones(4000, dtype=F64)).interval(
        torch.arange(4000)
    )
    error = float(normal(4000).abs().std()) / math.sqrt(4000)
    assert plain.high - plain.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_profiles():
    layers = normal(3, 7, 5)
    norms, cosines = norms_and_cosines(layers)
    for layer in range(3):
        assert norms[layer] == pytest.approx(np.mean([np.linalg.norm(t) for t in layers[layer]]))
    for layer in range(2):
        pairs = zip(layers[layer].numpy(), layers[layer + 1].numpy(), strict=True)
        assert cosines[layer] == pytest.approx(
            np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
        )


# ---- what is refused


@pytest.mark.parametrize(
    "call", [score, explained, linear_map, lambda x, y: held_out(x, y, torch.arange(len(x)), 2)]
)
def test_bad_activations(call):
    x, y = related()
    for wrong, said in (
        (x[0], "(5,)"),
        (x.half(), "float16"),
        (x.long(), "int64"),
        (x[:, :0], "(41, 0)"),
    ):
        refused(lambda wrong=wrong: call(wrong, y), "x must be a float32 or float64 tensor", said)
        if wrong.dim() == 2:
            refused(
                lambda wrong=wrong: call(x, wrong), "y must be a float32 or float64 tensor", said
            )
    refused(lambda: call(x, y[:-1]), "same tokens", "(41, 5)", "(40, 3)")
    for value in (math.nan, math.inf):
        bad = x.clone()
        bad[3, 2] = value
        refused(lambda bad=bad: call(bad, y), "x must have finite activations, got 1 that are not")
        refused(lambda bad=bad: call(y, bad), "y must have finite activations, got 1 that are not")
    for dtype in (torch.float32, F64):
        flat = torch.full((41, 4), 0.1, dtype=dtype)
        refused(lambda flat=flat: call(x, flat), "y must vary", "constant")
        refused(lambda flat=flat: call(flat, y), "x must vary", "constant")


def test_too_few_tokens():
    x, y = related(n=6)
    refused(
        lambda: score(x, y),
        "x must have more than dim + 1 tokens",
        "1 by construction",
        "n = 6",
        "dim = 5",
    )
    refused(
        lambda: score(x[:5], y[:5], False), "x must have more than dim tokens", "n = 5", "dim = 5"
    )
    assert 1 - score(x, y, False) > 1e-6
    assert 1 - score(*related(n=7)) > 1e-6
    refused(lambda: scores([related(n=50)[0], torch.ones(50, 3)]), "layers[1] must vary")
    refused(lambda: scores([x, y]), "layers[0]", "n = 6")
    refused(lambda: scores([related(n=9)[0], related(n=8)[0]]), "same tokens")
    big, other = related(n=8)
    refused(lambda: held_out(big, other, torch.arange(8), 4), "n = 6")  # of the other folds


def test_bad_numbers():
    x, y = related()
    table = scores([x, y])
    for k in (-1, 2, 1.0, None, True):
        refused(lambda k=k: scores_at_lag(table, k), f"k must be an integer from 0 to 1, got {k!r}")
    for folds in (1, 0, 2.0, None):
        refused(
            lambda f=folds: held_out(x, y, torch.arange(41), f),
            f"folds must be an integer >= 2, got {folds!r}",
        )
    refused(lambda: held_out(x, y, torch.arange(41) % 3, 4), "groups", "at least 4 values", "3")
    refused(lambda: held_out(x, y, torch.arange(40), 4), "groups", "(41,)", "(40,)")
    refused(lambda: explained(x, y).interval(torch.zeros(41)), "groups", "at least 2 values")
    refused(
        lambda: explained(x, y).interval(torch.arange(41), 0),
        "resamples must be an integer >= 1, got 0",
    )
    for n, dim, width, name in (
        (5, 4, 1, "n"),
        (9, 0, 1, "dim"),
        (9, 2, 0, "width"),
        (9.0, 2, 1, "n"),
    ):
        refused(lambda n=n, d=dim, w=width: null_score(n, d, w), f"{name} must be an integer")
