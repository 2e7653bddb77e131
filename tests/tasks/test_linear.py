"""The law of the prompts: moments and distributions against theory, both forms against each other,
exact identities.

Means may miss their expectation by 5 standard errors, Kolmogorov-Smirnov tests may have p > 1e-5;
seeds are fixed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from lintf.tasks import linear
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Gram, Prompts
from lintf.tasks.linear import MODES, LinearRegression

SIGMA = ((2.0, 0.6, -0.3), (0.6, 1.0, 0.2), (-0.3, 0.2, 0.5))
SIGMA_W = ((0.7, -0.4, 0.1), (-0.4, 1.5, 0.3), (0.1, 0.3, 0.9))
OTHER = ((1.0, 0.9, 0.0), (0.9, 1.2, 0.1), (0.0, 0.1, 3.0))
NO_WEIGHTS = tuple(tuple(1e-20 * (i == j) for j in range(3)) for i in range(3))  # y is its noise
BOTH = (("tokens", 1), ("gram", 2))  # each with its own seed
# E|x'|^2 and E|x'|^4 in d = 3; for gamma: k = 0.1, scale 10
RADIUS = {"normal": (3.0, 15.0), "sphere": (1.0, 1.0), "gamma": (1.0, 11.0)}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def draw(task, B, representation, seed=0):
    return task.sample(B, generator(seed), representation=representation, dtype=torch.float64)


def assert_mean(samples, expected, sigmas=5.0):
    """The mean over the last axis is within some standard errors of the expectation, entry by
    entry."""
    error = samples.std(-1) / math.sqrt(samples.shape[-1])
    expected = torch.as_tensor(expected, dtype=samples.dtype)
    assert expected.shape == error.shape
    gap = (samples.mean(-1) - expected).abs()
    assert (gap <= sigmas * error + 1e-12).all(), (
        f"off by {(gap / error).max():.1f} standard errors"
    )


def assert_law(samples, cdf):
    assert stats.kstest(np.asarray(samples).ravel(), cdf, method="asymp").pvalue > 1e-5


def assert_same_law(a, b, what=""):
    assert (
        stats.ks_2samp(np.asarray(a).ravel(), np.asarray(b).ravel(), method="asymp").pvalue > 1e-5
    ), what


def outer(S, T):
    return torch.einsum("ij...,kl...->ijkl...", S, T)


def pairings(M):
    """M_ij M_kl + M_ik M_jl + M_il M_jk"""
    return sum(
        torch.einsum(f"{p},{q}->ijkl", M, M) for p, q in (("ij", "kl"), ("ik", "jl"), ("il", "jk"))
    )


def moments_of_S(mode, N, Sigma):
    """E S and E[S_ij S_kl] for a sum of N outer products of x = Sigma^(1/2) r u."""
    r2, r4 = RADIUS[mode]
    d = len(Sigma)
    mean = r2 / d * Sigma
    return N * mean, N * r4 / (d * (d + 2)) * pairings(Sigma) + N * (N - 1) * outer(mean, mean)


# ---- shapes and exact identities


def test_shapes_of_both_forms():
    task = LinearRegression(N=5, d=3)
    tokens, gram = (
        task.sample(7, generator(0), representation=representation)
        for representation in ("tokens", "gram")
    )
    assert isinstance(tokens, Prompts)
    assert (tokens.Z.shape, tokens.y.shape, tokens.N) == ((7, 6, 4), (7,), 5)
    assert isinstance(gram, Gram)
    assert [t.shape for t in (gram.S, gram.s, gram.x, gram.y)] == [(3, 3, 7), (3, 7), (3, 7), (7,)]
    assert gram.N == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", MODES)
def test_dtype_is_the_one_asked_for(mode, dtype):
    representations = ("tokens", "gram")
    tokens, gram = (
        LinearRegression(3, 2, mode).sample(5, generator(0), representation, dtype)
        for representation in representations
    )
    assert {t.dtype for t in (tokens.Z, tokens.y, gram.S, gram.s, gram.x, gram.y)} == {dtype}


def test_float64_draws_are_not_rounded_float32_draws():
    for representation in LinearRegression.representations:
        for mode in MODES:
            x = draw(LinearRegression(3, 4, mode), 50, representation).gram().S
            assert (x != x.float().double()).float().mean() > 0.9


@pytest.mark.parametrize("mode", MODES)
def test_a_reduced_token_batch_is_its_statistics(mode):
    task = LinearRegression(4, 3, mode, SIGMA, SIGMA_W, noise_std=0.3)
    tokens = draw(task, 5, "tokens")
    gram = tokens.gram()
    for b in range(5):
        S, s = np.zeros((3, 3)), np.zeros(3)
        for n in range(4):
            x, y = tokens.Z[b, n, :3].numpy(), float(tokens.Z[b, n, 3])
            for i in range(3):
                s[i] += y * x[i]
                for j in range(3):
                    S[i, j] += x[i] * x[j]
        np.testing.assert_allclose(gram.S[..., b], S, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(gram.s[..., b], s, rtol=1e-13, atol=1e-14)
        np.testing.assert_array_equal(gram.x[..., b], tokens.Z[b, 4, :3])
    assert torch.equal(gram.y, tokens.y)
    assert gram.N == 4


def test_a_reduced_ensemble_is_the_members_reduced():
    batch = sample_ensemble(
        [LinearRegression(4, 3)] * 2, 5, [generator(1), generator(2)], "tokens", torch.float64
    )
    for e in range(2):
        alone = Prompts(batch.Z[e], batch.y[e]).gram()
        for name in ("S", "s", "x", "y"):
            torch.testing.assert_close(
                getattr(batch.gram(), name)[e], getattr(alone, name), rtol=1e-13, atol=1e-14
            )


def test_the_query_has_label_0_in_the_tokens():
    assert (draw(LinearRegression(4, 3, noise_std=0.5), 6, "tokens").Z[:, -1, -1] == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_noiseless_tokens_are_linear_in_one_w_per_prompt(mode):
    tokens = draw(
        LinearRegression(9, 3, mode if mode != "gamma" else "normal", SIGMA, SIGMA_W), 20, "tokens"
    )
    seen = []
    for Z, y in zip(tokens.Z.numpy(), tokens.y.numpy(), strict=True):
        w, residual, *_ = np.linalg.lstsq(Z[:-1, :-1], Z[:-1, -1])
        assert residual < 1e-20
        assert y == pytest.approx(w @ Z[-1, :-1], rel=1e-8, abs=1e-10)
        seen.append(w)
    assert np.ptp(seen, axis=0).min() > 0.1  # new in every prompt


@pytest.mark.parametrize("mode", ["normal", "sphere"])
def test_noiseless_statistics_are_linear_in_one_w_per_prompt(mode):
    gram = draw(LinearRegression(9, 3, mode, SIGMA, SIGMA_W), 20, "gram")
    w = torch.linalg.solve(gram.S.movedim(-1, 0), gram.s.T)
    torch.testing.assert_close((w * gram.x.T).sum(-1), gram.y, rtol=1e-8, atol=1e-9)
    assert torch.equal(gram.S, gram.S.transpose(0, 1))


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", ["normal", "sphere"])
@pytest.mark.parametrize(("N", "d"), [(1, 4), (2, 5), (3, 4), (4, 4), (7, 4)])
def test_S_has_rank_N_where_N_is_below_d(N, d, mode, representation):
    Sigma = (torch.eye(d) + 0.3).tolist()
    S = draw(LinearRegression(N, d, mode, Sigma), 200, representation).gram().S.movedim(-1, 0)
    eigenvalues = torch.linalg.eigvalsh(S) / torch.linalg.matrix_norm(S)[:, None]
    rank = min(N, d)
    assert (eigenvalues[:, : d - rank].abs() < 1e-13).all()
    assert (eigenvalues[:, d - rank :] > 1e-9).all()


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
def test_one_example_in_one_dimension(mode, representation):
    """N = d = 1: S = x_1^2, s = w S, y = w x."""
    gram = draw(LinearRegression(1, 1, mode), 5000, representation).gram()
    S, w = gram.S[0, 0], gram.s[0] / gram.S[0, 0]
    law = {"normal": stats.chi2(1).cdf, "gamma": stats.gamma(0.1, scale=10).cdf}
    if mode == "sphere":
        torch.testing.assert_close(S, torch.ones_like(S), rtol=1e-14, atol=0)
        torch.testing.assert_close(gram.x.abs(), torch.ones_like(gram.x), rtol=1e-14, atol=0)
        assert_mean(gram.x[0], 0.0)
    else:
        assert_law(S, law[mode])
    torch.testing.assert_close(gram.y, w * gram.x[0], rtol=1e-12, atol=0)
    assert_law(w, stats.norm.cdf)


# ---- moments


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("N", [1, 2, 5])
def test_first_and_second_moments_of_S(N, mode, representation):
    S = draw(LinearRegression(N, 3, mode, SIGMA, SIGMA_W), 15_000, representation).gram().S
    mean, second = moments_of_S(mode, N, torch.tensor(SIGMA, dtype=torch.float64))
    assert_mean(S, mean)
    assert_mean(outer(S, S), second)


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
def test_moments_of_query_and_labels(mode, representation):
    """The query is drawn like an example; y and s come from one w ~ N(0, Sigma_w), new in each
    prompt."""
    N, noise_std = 4, 0.5
    gram = draw(
        LinearRegression(N, 3, mode, SIGMA, SIGMA_W, noise_std), 20_000, representation
    ).gram()
    Sigma, Sigma_w = (torch.tensor(M, dtype=torch.float64) for M in (SIGMA, SIGMA_W))
    (cov_x, x4), (mean_S, S2) = moments_of_S(mode, 1, Sigma), moments_of_S(mode, N, Sigma)
    x, s, y = gram.x, gram.s, gram.y
    xx, ss, xs = (torch.einsum("i...,j...->ij...", a, b) for a, b in ((x, x), (s, s), (x, s)))
    assert_mean(x, torch.zeros(3))
    assert_mean(s, torch.zeros(3))
    assert_mean(xx, cov_x)
    assert_mean(outer(xx, xx), x4)
    assert_mean(outer(xx, gram.S), outer(cov_x, mean_S))  # independent
    assert_mean(y.square(), (Sigma_w * cov_x).sum())
    assert_mean(y * xs, cov_x @ Sigma_w @ mean_S)
    assert_mean(ss, torch.einsum("ikjl,kl->ij", S2, Sigma_w) + noise_std**2 * mean_S)


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", ["normal", "sphere"])
def test_weights_are_normal_with_covariance_Sigma_w(mode, representation):
    gram = draw(LinearRegression(8, 3, mode, SIGMA, SIGMA_W), 20_000, representation).gram()
    w = torch.linalg.solve(gram.S.movedim(-1, 0), gram.s.T).T
    assert_mean(torch.einsum("ib,jb->ijb", w, w), SIGMA_W)
    assert_mean(torch.einsum("ib,jb->ijb", w, gram.S[0]), torch.zeros(3, 3))  # independent
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.tensor(SIGMA_W, dtype=w.dtype)), w, upper=False
    )
    assert_law(white, stats.norm.cdf)


def test_identity_is_the_default_covariance():
    gram = draw(LinearRegression(6, 3), 20_000, "gram")
    w = torch.linalg.solve(gram.S.movedim(-1, 0), gram.s.T).T
    assert_mean(gram.S, 6 * torch.eye(3))
    assert_mean(torch.einsum("ib,jb->ijb", w, w), torch.eye(3))


# ---- distributions


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("N", [3, 9, 10, 12, 20])
def test_quadratic_forms_of_a_wishart_matrix_are_chi_square(N, dtype):
    """For any a: a^T S a / a^T Sigma a ~ chi^2_N, and a^T Sigma^-1 a / a^T S^-1 a ~
    chi^2_(N-d+1)."""
    a, Sigma = (
        torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64),
        torch.tensor(SIGMA, dtype=torch.float64),
    )
    S = LinearRegression(N, 3, Sigma=SIGMA).sample(20_000, generator(0), dtype=dtype).S.double()
    representation = torch.einsum("i,ijb,j->b", a, S, a) / (a @ Sigma @ a)
    inverse = torch.linalg.inv(S.movedim(-1, 0))
    assert_law(representation, stats.chi2(N).cdf)
    assert_mean((representation - N).square(), 2.0 * N)
    assert_law(
        (a @ Sigma.inverse() @ a) / torch.einsum("i,bij,j->b", a, inverse, a),
        stats.chi2(N - 3 + 1).cdf,
    )


@pytest.mark.parametrize("N", [1, 2, 9, 10, 40])
def test_chi_square_in_the_tails(N):
    """d = 1, where S ~ chi^2_N: a million draws, so that the outer hundred-thousandths are seen
    too."""
    S = LinearRegression(N, 1).sample(1_000_000, generator(0)).S.flatten().double().numpy()
    assert_law(S, stats.chi2(N).cdf)
    for p in (1e-5, 1e-4, 1e-3):
        for beyond in ((stats.chi2(N).ppf(p) > S).sum(), (stats.chi2(N).isf(p) < S).sum()):
            assert abs(beyond - 1e6 * p) < 5 * math.sqrt(1e6 * p)


def test_determinant_of_a_wishart_matrix():
    """|S| / |Sigma| is a product of independent chi^2 of N, N - 1, N - 2 degrees of freedom
    (Bartlett)."""
    S = draw(LinearRegression(4, 3, Sigma=SIGMA), 10_000, "gram").S.movedim(-1, 0)
    ratio = torch.linalg.det(S) / torch.linalg.det(torch.tensor(SIGMA, dtype=torch.float64))
    rng = np.random.default_rng(5)
    assert_same_law(ratio.log(), np.log(rng.chisquare([4, 3, 2], (10_000, 3))).sum(1))


def test_normal_covariates_are_normal():
    Z = draw(LinearRegression(4, 3, Sigma=SIGMA), 5000, "tokens").Z
    x = Z[..., :3].flatten(0, 1).T
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.tensor(SIGMA, dtype=x.dtype)), x, upper=False
    )
    assert_law(white, stats.norm.cdf)
    assert_mean(torch.einsum("ib,jb->ijb", white, white), torch.eye(3))


@pytest.mark.parametrize("mode", ["sphere", "gamma"])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_directions_are_uniform(mode, d):
    """A coordinate u of a uniform direction in d dimensions: (1 + u) / 2 ~ Beta((d-1)/2,
    (d-1)/2)."""
    x = draw(LinearRegression(3, d, mode), 4000, "tokens").Z[..., :d].flatten(0, 1)
    r = x.norm(dim=-1)
    u = x / r[:, None]
    for i in range(d):
        assert_law((1 + u[:, i]) / 2, stats.beta((d - 1) / 2, (d - 1) / 2).cdf)
    assert_mean(torch.einsum("bi,bj->ijb", u, u), torch.eye(d) / d)
    if mode == "gamma":  # radius and direction are independent
        assert stats.spearmanr(r, u[:, 0].abs()).pvalue > 1e-5


@pytest.mark.parametrize("representation", LinearRegression.representations)
def test_sphere_has_radius_1(representation):
    task = LinearRegression(4, 3, "sphere")
    gram = draw(task, 500, representation).gram()
    torch.testing.assert_close(
        gram.x.norm(dim=0), torch.ones(500, dtype=torch.float64), rtol=1e-14, atol=0
    )
    trace = gram.S.diagonal().sum(-1)  # sum of the squared radii of the examples
    torch.testing.assert_close(trace, torch.full_like(trace, 4), rtol=1e-14, atol=0)


def test_sphere_tokens_have_radius_1():
    x = draw(LinearRegression(4, 3, "sphere"), 500, "tokens").Z[..., :3]
    torch.testing.assert_close(
        x.norm(dim=-1), torch.ones(500, 5, dtype=torch.float64), rtol=1e-14, atol=0
    )


def test_no_direction_is_undefined():
    """A hundred million float32 draws, of which none may be 0: x / |x| would be NaN, and end a
    training."""
    for seed in range(5):
        S = LinearRegression(1000, 1, "sphere").sample(20_000, generator(seed)).S
        torch.testing.assert_close(S, torch.full_like(S, 1000))


def test_gamma_radius():
    """|x|^2 ~ Gamma(0.1, scale 10), of mean 1 and variance 10, for examples and query alike."""
    Z = draw(LinearRegression(4, 3, "gamma"), 60_000, "tokens").Z
    for r2 in (Z[:, :4, :3].square().sum(-1).flatten(), Z[:, 4, :3].square().sum(-1)):
        assert_law(r2, stats.gamma(0.1, scale=10).cdf)
        assert_mean(r2, 1.0)
        assert_mean((r2 - 1).square(), 10.0)


def test_gamma_radius_in_the_statistics():
    """The trace of S is a sum of N of them, so Gamma(0.1 N, scale 10)."""
    gram = draw(LinearRegression(4, 3, "gamma"), 10_000, "gram")
    assert_law(gram.S.diagonal().sum(-1), stats.gamma(0.4, scale=10).cdf)
    assert_law(gram.x.square().sum(0), stats.gamma(0.1, scale=10).cdf)


def test_gamma_of_shape_five_halves_is_normal_in_five_dimensions(monkeypatch):
    monkeypatch.setattr(linear, "GAMMA_SHAPE", 2.5)
    x = draw(LinearRegression(2, 5, "gamma"), 3000, "tokens").Z[..., :5].flatten(0, 1)
    for i in range(5):
        assert_law(x[:, i], stats.norm.cdf)
    assert_mean(torch.einsum("bi,bj->ijb", x, x), torch.eye(5))


# ---- label noise


@pytest.mark.parametrize("mode", MODES)
def test_noise_of_the_tokens_is_iid_normal_and_not_on_the_answer(mode):
    tokens = draw(LinearRegression(4, 3, mode, Sigma_w=NO_WEIGHTS, noise_std=0.3), 4000, "tokens")
    noise = tokens.Z[:, :4, 3].T / 0.3
    assert_law(noise, stats.norm.cdf)
    assert_mean(torch.einsum("mb,nb->mnb", noise, noise), torch.eye(4))
    assert_mean(torch.einsum("mb,bni->mnib", noise, tokens.Z[:, :4, :3]), torch.zeros(4, 4, 3))
    assert tokens.y.abs().max() < 1e-8


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", ["normal", "sphere"])
def test_given_S_the_noise_of_s_is_normal_with_covariance_S(mode, representation):
    gram = draw(
        LinearRegression(6, 3, mode, SIGMA, NO_WEIGHTS, noise_std=0.3), 8000, representation
    ).gram()
    root = torch.linalg.cholesky(gram.S.movedim(-1, 0))
    white = torch.linalg.solve_triangular(root, gram.s.T[..., None], upper=False)[..., 0].T / 0.3
    assert_law(white, stats.norm.cdf)
    zz = torch.einsum("ib,jb->ijb", white, white)
    assert_mean(zz, torch.eye(3))
    size = gram.S[0, 0] / gram.S[0, 0].mean()
    assert_mean(zz * size, torch.eye(3) * float(size.mean()))  # whatever S is
    assert gram.y.abs().max() < 1e-8


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", ["normal", "sphere"])
def test_noise_lies_in_the_span_of_too_few_examples(mode, representation):
    """N < d: s^T S^+ s / noise_std^2 ~ chi^2 of N degrees of freedom, and s is in the range of
    S."""
    gram = draw(
        LinearRegression(2, 3, mode, SIGMA, NO_WEIGHTS, noise_std=0.3), 8000, representation
    ).gram()
    S, s = gram.S.movedim(-1, 0), gram.s.T
    half = torch.einsum("bij,bj->bi", torch.linalg.pinv(S, rtol=1e-12, hermitian=True), s)
    assert_law((s * half).sum(-1) / 0.09, stats.chi2(2).cdf)
    rest = (torch.einsum("bij,bj->bi", S, half) - s).norm(dim=-1) / s.norm(dim=-1)
    assert rest.median() < 1e-12
    assert rest.max() < 1e-6  # a nearly singular pair of examples


# ---- both forms are one law


def statistics(gram):
    """Non-linear functions of a prompt that see S, s, x and y together."""
    S = gram.S.movedim(-1, 0)
    top, vectors = torch.linalg.eigh(S)
    ridge = torch.linalg.solve(S + torch.eye(S.shape[-1], dtype=S.dtype), gram.s.T)
    return {
        "largest eigenvalue": top[:, -1],
        "regularised log det": torch.logdet(S + torch.eye(S.shape[-1], dtype=S.dtype)),
        "first entry": S[:, 0, 0],
        "off-diagonal": S[:, 0, 1],
        "ridge error": (ridge * gram.x.T).sum(-1) - gram.y,
        "step error": (gram.s * gram.x).sum(0) - gram.y,
        "s along the top": (vectors[..., -1] * gram.s.T).sum(-1).abs(),
        "|s|": gram.s.norm(dim=0),
        "y": gram.y,
    }


@pytest.mark.parametrize(("N", "d"), [(2, 3), (5, 3), (20, 2)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("noise_std", [0.0, 0.7])
def test_both_forms_have_one_law(mode, N, d, noise_std):
    Sigma, Sigma_w = (tuple(row[:d] for row in M[:d]) for M in (SIGMA, SIGMA_W))
    task = LinearRegression(N, d, mode, Sigma, Sigma_w, noise_std)
    tokens, gram = (
        statistics(draw(task, 3000, "tokens", seed=1).gram()),
        statistics(draw(task, 3000, "gram", seed=2)),
    )
    for name in tokens:
        assert_same_law(tokens[name], gram[name], name)


@pytest.mark.parametrize("mode", ["normal", "sphere"])
def test_log_det_of_both_forms(mode):
    task = LinearRegression(5, 3, mode, SIGMA)
    a, b = (
        torch.logdet(draw(task, 3000, representation, seed).gram().S.movedim(-1, 0))
        for representation, seed in BOTH
    )
    assert a.isfinite().all()
    assert b.isfinite().all()
    assert_same_law(a, b)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("representation", LinearRegression.representations)
def test_float32_and_float64_have_one_law(mode, representation):
    task = LinearRegression(4, 3, mode, SIGMA, SIGMA_W, 0.4)
    low = task.sample(3000, generator(1), representation=representation).gram()
    low = replace(low, **{k: getattr(low, k).double() for k in ("S", "s", "x", "y")})
    low, high = statistics(low), statistics(draw(task, 3000, representation, seed=2).gram())
    for name in low:
        assert_same_law(low[name], high[name], name)


# ---- seeds, generators, ensembles


def tensors(batch):
    return (
        [batch.Z, batch.y] if isinstance(batch, Prompts) else [batch.S, batch.s, batch.x, batch.y]
    )


def assert_equal(a, b):
    for s, t in zip(tensors(a), tensors(b), strict=True):
        assert s.shape == t.shape
        assert torch.equal(s, t)


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
def test_a_seed_means_the_same_prompts(mode, representation):
    task = LinearRegression(4, 3, mode, SIGMA, noise_std=0.1)
    first, again, other = (
        task.sample(50, generator(seed), representation=representation) for seed in (3, 3, 4)
    )
    assert_equal(first, again)
    for s, t in zip(tensors(first), tensors(other), strict=True):
        differing = s != t
        assert differing[s != 0].float().mean() > 0.9


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
def test_a_generator_goes_on(mode, representation):
    g, task = generator(3), LinearRegression(4, 3, mode)
    a, b = (
        task.sample(40, g, representation=representation),
        task.sample(40, g, representation=representation),
    )
    assert not set(a.y.tolist()) & set(b.y.tolist())


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
def test_prompts_of_a_batch_differ(mode, representation):
    gram = draw(LinearRegression(4, 3, mode), 2000, representation).gram()
    assert len(set(gram.y.tolist())) == len(set(gram.S[0, 1].tolist())) == 2000


@pytest.mark.parametrize("mode", MODES)
def test_no_hidden_random_state(mode):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = LinearRegression(4, 3, mode).sample(20, generator(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    torch.rand(3)
    assert_equal(first, LinearRegression(4, 3, mode).sample(20, generator(0)))


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("N", "d"), [(2, 3), (4, 3), (9, 2), (10, 1), (15, 5)])
def test_a_seed_means_the_same_prompts_in_every_precision_and_without_compiled_code(
    monkeypatch, mode, representation, N, d
):
    """Up to rounding: near u = 1 float32 gives Box and Muller's sqrt(-2 ln u) to some 1e-4 only."""
    Sigma, Sigma_w = ([[float(i == j) + 0.3 for j in range(d)] for i in range(d)] for _ in range(2))
    for task in (
        LinearRegression(N, d, mode),
        LinearRegression(N, d, mode, Sigma, Sigma_w, noise_std=0.4),
    ):
        compiled, exact = (
            task.sample(37, generator(1), representation, dtype)
            for dtype in (torch.float32, torch.float64)
        )
        monkeypatch.setenv("LINTF_KERNEL", "off")
        plain = task.sample(37, generator(1), representation)
        monkeypatch.delenv("LINTF_KERNEL")
        for c, p, e in zip(tensors(compiled), tensors(plain), tensors(exact), strict=True):
            torch.testing.assert_close(c.double(), e, rtol=1e-3, atol=1e-4 * float(e.abs().max()))
            torch.testing.assert_close(p, c, rtol=1e-3, atol=1e-4 * float(e.abs().max()))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
def test_the_number_of_threads_does_not_matter(threads, mode, representation):
    tasks = [LinearRegression(6, 5, mode, Sigma=(torch.eye(5) + 0.2).tolist(), noise_std=0.2)] * 3
    batches = []
    for n in (1, 2):
        threads(n)
        batches.append(
            sample_ensemble(tasks, 1500, [generator(s) for s in range(3)], representation)
        )
    assert_equal(*batches)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("representation", LinearRegression.representations)
@pytest.mark.parametrize("mode", MODES)
def test_a_member_gets_what_it_gets_alone(mode, representation, dtype):
    """Bit for bit, with other covariances beside it, and so do the draws that follow."""
    base = LinearRegression(4, 3, mode, noise_std=0.2)
    covariances = ((None, None), (SIGMA, None), (OTHER, SIGMA_W), (None, OTHER))
    tasks = [replace(base, Sigma=S, Sigma_w=W) for S, W in covariances]
    together, alone = ([generator(s) for s in (5, 6, 7, 8)] for _ in range(2))
    for B in (37, 6):
        batch = sample_ensemble(tasks, B, together, representation, dtype)
        for e, (task, g) in enumerate(zip(tasks, alone, strict=True)):
            single = task.sample(B, g, representation, dtype)
            for s, t in zip(tensors(batch), tensors(single), strict=True):
                assert torch.equal(s[e], t)
        assert batch.gram().N == 4


@pytest.mark.parametrize("representation", LinearRegression.representations)
def test_each_member_has_its_own_covariances(representation):
    tasks = [
        LinearRegression(6, 3, Sigma=S, Sigma_w=W)
        for S, W in ((None, OTHER), (SIGMA, None), (OTHER, SIGMA_W))
    ]
    batch = sample_ensemble(
        tasks, 20_000, [generator(s) for s in range(3)], representation, torch.float64
    ).gram()
    identity = torch.eye(3).tolist()
    for e, task in enumerate(tasks):
        Sigma, Sigma_w = (
            torch.tensor(M or identity, dtype=torch.float64) for M in (task.Sigma, task.Sigma_w)
        )
        assert_mean(batch.S[e], 6 * Sigma)
        assert_mean(batch.y[e].square(), (Sigma * Sigma_w).sum())


def test_covariances_may_come_as_tensors_arrays_or_lists():
    expected = LinearRegression(4, 3, Sigma=SIGMA)
    for given in (
        torch.tensor(SIGMA, dtype=torch.float64),
        np.array(SIGMA),
        [list(row) for row in SIGMA],
    ):
        task = LinearRegression(4, 3, Sigma=given)
        assert task == expected
        assert hash(task) == hash(expected)


def test_a_covariance_computed_in_float32_is_accepted():
    """U D^2 U^T in torch's default precision is symmetric only up to rounding."""
    U = torch.linalg.svd(torch.rand(5, 5, generator=generator(0)))[0]
    D = torch.tensor([1, 1, 0.5, 0.25, 1])
    task = LinearRegression(Sigma=U @ D.diag() @ D.diag() @ U.T)
    np.testing.assert_allclose(task.Sigma, (U @ D.diag().square() @ U.T).double(), atol=1e-6)
    assert np.array_equal(task.Sigma, np.transpose(task.Sigma))


def test_statistics_of_a_huge_context_take_no_memory_for_it():
    """N = 10^9 examples, drawn as one Wishart matrix."""
    N = 10**9
    S = draw(LinearRegression(N, 3, Sigma=SIGMA), 2000, "gram").S
    gap, Sigma = (
        S - N * torch.tensor(SIGMA, dtype=S.dtype)[..., None],
        torch.tensor(SIGMA, dtype=S.dtype),
    )
    assert_mean(gap, torch.zeros(3, 3))
    assert_mean(gap.square() / N, Sigma.diagonal().outer(Sigma.diagonal()) + Sigma.square())


def test_moving_keeps_everything():
    task = LinearRegression(4, 3)
    for representation in LinearRegression.representations:
        batch = task.sample(5, generator(0), representation=representation)
        moved = batch.to("cpu")
        assert_equal(batch, moved)
        assert moved.N == 4
