"""Multiples of the identity: the Wishart spectrum against exact moments and against draws, the
residual against the model, the optimum against closed forms, gradient descent and another
search."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.optimize import differential_evolution, minimize

from lintf.analysis import isotropic
from lintf.analysis.isotropic import (
    best_gradient_descent,
    best_polynomial,
    chebyshev,
    optimum,
    population_loss,
    residual,
    spectrum,
    tied_optimum,
)
from lintf.analysis.theory import isotropic_weights, one_layer_optimum
from lintf.models.linear import LinearTransformer
from lintf.tasks.batches import Prompts
from lintf.tasks.integrate import integrate
from lintf.tasks.linear import LinearRegression

SHAPES = [
    (20, 5),
    (5, 20),
    (6, 4),
    (4, 7),
    (5, 5),
    (4, 4),
    (2, 3),
    (3, 2),
    (9, 1),
    (1, 9),
    (1, 1),
    (8, 9),
]
shapes = pytest.mark.parametrize(("N", "d"), SHAPES)


def squares(errors):
    """Mean and standard error of the squares, in numpy."""
    values = np.asarray(errors) ** 2
    return values.mean(), values.std() / math.sqrt(values.size)


# ---- the spectrum


def pairings(items):
    """All ways to pair up a list."""
    if not items:
        yield []
        return
    first, *rest = items
    for i, other in enumerate(rest):
        for pairs in pairings(rest[:i] + rest[i + 1 :]):
            yield [(first, other), *pairs]


def loops(labels, pairs):
    """How many different labels are left when those of paired factors are equal."""
    of = {label: label for label in labels}
    for p, q in pairs:
        old, new = of[labels[p]], of[labels[q]]
        of = {label: new if now == old else now for label, now in of.items()}
    return len(set(of.values()))


@cache
def wick(k):
    """E tr (X^T X)^k = sum of N^i d^j over the pairings of X_{i1 j1} X_{i1 j2} X_{i2 j2} X_{i2 j3}
    ... X_{ik j1}: each leaves i sums over examples and j over dimensions."""
    rows, columns = [p // 2 for p in range(2 * k)], [(p + 1) // 2 % k for p in range(2 * k)]
    return Counter(
        (loops(rows, pairs), loops(columns, pairs)) for pairs in pairings(list(range(2 * k)))
    )


def test_the_exact_moments_are_the_known_ones():
    for n, m in itertools.product(range(1, 5), repeat=2):
        known = n * m, n * m * (n + m + 1), n * m * (n**2 + m**2 + 3 * n * m + 3 * n + 3 * m + 4)
        assert known == tuple(
            sum(c * n**i * m**j for (i, j), c in wick(k).items()) for k in (1, 2, 3)
        )


@shapes
def test_moments_of_the_spectrum_are_exact(N, d):
    t, weights = spectrum(N, d)
    assert t.shape == weights.shape
    for k in range(6):
        exact = sum(count * N**i * d**j for (i, j), count in wick(k).items()) if k else d
        # Rounding grows with min(N, d).
        assert d * (weights @ (t * N) ** k) == pytest.approx(exact, rel=2e-11)


@shapes
def test_weights_are_a_probability(N, d):
    t, weights = spectrum(N, d)
    assert weights.sum() == pytest.approx(1, abs=2e-11)
    assert (weights >= 0).all()
    assert (t >= 0).all()
    assert weights[t == 0].sum() == pytest.approx(max(0, 1 - N / d), abs=1e-15)


@shapes
def test_the_spectrum_is_that_of_drawn_matrices(N, d):
    """Also for functions that are no polynomials: means over the d eigenvalues of one matrix are
    independent."""
    t, weights = spectrum(N, d)
    X = np.random.default_rng(N + 100 * d).normal(size=(10_000, N, d))
    drawn = np.linalg.eigvalsh(X.swapaxes(1, 2) @ X / N)
    size = max(N, d) / N  # of the eigenvalues
    for g in (
        lambda u: np.exp(-3 * u),
        lambda u: np.cos(4 * u),
        lambda u: u / (0.3 + u),
        lambda u: np.sqrt(0.1 + u),
    ):
        means = g(drawn / size).mean(1)
        error = means.std() / math.sqrt(len(means))
        assert abs(weights @ g(t / size) - means.mean()) < 5.5 * error


@pytest.mark.parametrize(("N", "d"), [(1, 1), (2, 1), (7, 1), (40, 1), (1, 2), (1, 9)])
def test_one_eigenvalue_is_chi_square(N, d):
    """Its characteristic function is (1 - 2iz)^(-m/2), m degrees of freedom; and for N = 1 the
    other d - 1 are 0."""
    t, weights = spectrum(N, d)
    for z in (-0.6, 0.1, 0.4):
        expected = ((1 - 2j * z) ** (-max(N, d) / 2) + d - 1) / d
        assert abs(weights @ np.exp(1j * z * N * t) - expected) < 1e-12


@pytest.mark.parametrize(
    ("N", "d"),
    [(13, 12), (15, 15), (20, 20), (25, 25), (30, 20), (12, 40), (250, 5), (5, 400), (1000, 3)],
)
def test_large_sizes_are_right_or_refused(N, d):
    try:
        t, weights = spectrum(N, d)
    except ValueError as refused:
        assert "N" in str(refused) or "d" in str(refused)  # noqa: PT017
        assert min(N, d) > 5  # a few eigenvalues are no difficulty
        return
    assert weights.min() >= 0
    for k in (0, 1, 2, 3, 4):
        exact = sum(count * N**i * d**j for (i, j), count in wick(k).items()) if k else d
        assert d * (weights @ (t * N) ** k) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("k", [10, 41, 80])
@pytest.mark.parametrize(("N", "d"), [(1, 1), (7, 1), (1, 4), (2, 2), (20, 2), (2, 9)])
def test_high_moments_are_exact(N, d, k):
    """The square of four layers' residual has degree 80. One eigenvalue is chi square. Two are s (1
    ± r) / 2 with s chi square of n m degrees of freedom and r^2 ~ Beta(1, (m - 1) / 2), by their
    joint density."""
    n, m = sorted((N, d))
    j = np.arange(k // 2 + 1)
    angle = 1.0
    if n == 2:
        even = np.exp(special.betaln(1 + j, (m - 1) / 2) - special.betaln(1, (m - 1) / 2))  # E r^2j
        angle = 2 * (special.comb(k, 2 * j) * even).sum() / 2.0**k
    log = k * math.log(2) + math.lgamma(n * m / 2 + k) - math.lgamma(n * m / 2) + math.log(angle)
    t, weights = spectrum(N, d)
    positive = t > 0
    ours = d * (weights[positive] * np.exp(k * np.log(N * t[positive]) - log)).sum()
    assert ours == pytest.approx(1, rel=1e-11)


# ---- the residual and the loss


def given(N, d, B, seed=0):
    """Prompts written out in numpy: X (B, N, d), w and x (B, d); as tokens and as statistics."""
    rng = np.random.default_rng(seed)
    X, w, x = rng.normal(size=(B, N, d)), rng.normal(size=(B, d)), rng.normal(size=(B, d))
    rows = np.concatenate(
        [np.dstack([X, X @ w[..., None]]), np.dstack([x[:, None], np.zeros((B, 1, 1))])], 1
    )
    tokens = Prompts(torch.tensor(rows), torch.tensor((x * w).sum(1)))
    return X, w, x, tokens


def some_layers(L, seed=0):
    """Of moderate size, positive and negative."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.8, 0.9, L), rng.uniform(-0.7, 0.8, L - 1)


@pytest.mark.parametrize("representation", ["tokens", "gram"])
@pytest.mark.parametrize(("L", "N", "d"), [(1, 6, 4), (2, 3, 5), (3, 6, 4), (4, 7, 2), (3, 4, 1)])
def test_the_residual_is_the_error_of_the_model(L, N, d, representation):
    """y - prediction = x^T R(S) w, with R by the eigenvectors of S."""
    a, b = some_layers(L)
    X, w, x, prompts = given(N, d, B=9)
    params = isotropic_weights(a, b, torch.eye(d, dtype=torch.float64))
    prompts = prompts if representation == "tokens" else prompts.gram()
    errors = (prompts.y - LinearTransformer(d, L).predict(params, prompts)).numpy()
    t, V = np.linalg.eigh(X.swapaxes(1, 2) @ X / N)
    expected = ((x[:, None] @ V)[:, 0] * residual(a, b, t) * (w[:, None] @ V)[:, 0]).sum(1)
    np.testing.assert_allclose(errors, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("L", [1, 2, 3, 4])
def test_the_residual_is_a_polynomial_of_its_degree(L):
    """Differences of that order are constant and not 0, in whole numbers; and r(0) = 1."""
    degree, rng = (3**L - 1) // 2, np.random.default_rng(L)
    a, b = ([int(v) for v in rng.choice([-3, -2, 2, 3], size)] for size in (L, L - 1))
    values = residual(a, b, np.array(range(degree + 4), dtype=object))
    assert values[0] == 1
    differences = np.diff(values, degree)
    assert set(differences) == {differences[0]}
    assert differences[0] != 0


# Light tails at N = 20.
LAYERS = {1: ((0.7,), ()), 2: ((0.5, 1.2), (0.6,)), 3: ((0.3, 0.6, 1.1), (0.5, 0.4))}


@pytest.mark.parametrize("L", [1, 2, 3])
@pytest.mark.parametrize(("N", "d"), [(20, 5), (12, 14)])
def test_population_loss_is_the_mean_over_prompts(N, d, L):
    """Plain, and with the weights and the query averaged out, which leaves less to chance."""
    (a, b), model = LAYERS[L], LinearTransformer(d, L)
    if d > N:
        a = tuple(v / 3 for v in a)  # larger eigenvalues
    exact = population_loss(a, b, N, d)
    params = isotropic_weights(a, b, torch.eye(d, dtype=torch.float64))
    task = LinearRegression(N, d)
    prompts = task.sample(
        20_000 if d == 5 else 2000, torch.Generator().manual_seed(L), dtype=torch.float64
    )
    mean, error = squares(model.predict(params, prompts) - prompts.y)
    assert abs(mean - exact) < 5.5 * error
    assert error < 0.1 * exact
    batch = task.sample(
        500 if d == 5 else 60, torch.Generator().manual_seed(10 + L), dtype=torch.float64
    )
    points = integrate([task], batch)
    losses = (model.predict(params, points) - points.y).square().view(-1, d * d).mean(1).numpy()
    assert abs(losses.mean() - exact) < 5.5 * losses.std() / math.sqrt(len(losses))


def loss_and_gradient(a, b, t, weights):
    """E r^2 and its derivatives along a and b."""
    r = residual(a, b, t)
    return weights @ r**2, 2 * isotropic._jacobian(a, b, t) @ (weights * r)


@pytest.mark.parametrize("L", [1, 2, 3, 4])
def test_loss_and_gradient_against_autograd(L):
    a, b = some_layers(L, seed=L)
    t, weights = spectrum(6, 4)
    theta = torch.tensor([*a, *b], dtype=torch.float64, requires_grad=True)
    r, now = torch.ones(len(t), dtype=torch.float64), torch.tensor(t)
    for layer in range(L):
        r = r * (1 - theta[layer] * now)
        if layer < L - 1:
            now = now * (1 - theta[layer] * theta[L + layer] * now) ** 2
    loss = (torch.tensor(weights) * r**2).sum()
    (expected,) = torch.autograd.grad(loss, theta)
    ours, gradient = loss_and_gradient(a, b, t, weights)
    assert ours == pytest.approx(loss.item(), rel=1e-11)
    assert 4 * ours == pytest.approx(population_loss(a, b, 6, 4), rel=1e-12)
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-9, atol=1e-11 * ours)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_gradient_against_differences_of_the_loss(L):
    (a, b), h = LAYERS[L], 1e-5
    theta, unit = np.array([*a, *b]), np.eye(2 * L - 1)
    _, gradient = loss_and_gradient(theta[:L], theta[L:], *spectrum(8, 3))
    for g, e in zip(gradient, unit, strict=True):
        up, down = (population_loss(v[:L], v[L:], 8, 3) for v in (theta + h * e, theta - h * e))
        assert 3 * g == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-8 * up / h)


@pytest.mark.parametrize(("count", "N", "d"), [(1, 7, 3), (5, 6, 4), (14, 3, 5), (41, 20, 5)])
def test_few_nodes_that_are_exact_for_polynomials(count, N, d):
    """Up to degree 2 count - 1, which for 41 nodes are the squares of what four layers can be."""
    t, weights = spectrum(N, d)
    nodes, few = isotropic._gauss(count, t, weights)
    assert len(nodes) == count
    assert (few > 0).all()
    z, own = 2 * t / t.max() - 1, 2 * nodes / t.max() - 1
    for degree in range(2 * count):
        p = np.polynomial.Chebyshev.basis(degree)
        assert few @ p(own) == pytest.approx(weights @ p(z), abs=1e-13)
    if count == 41:
        a, b = isotropic.optimum(4, N, d).a, isotropic.optimum(4, N, d).b
        assert d * few @ residual(a, b, nodes) ** 2 == pytest.approx(
            population_loss(a, b, N, d), rel=1e-9
        )


# ---- the optimum


@pytest.mark.parametrize(("N", "d"), [(20, 5), (3, 4), (1, 1), (4, 1)])
def test_one_layer_has_a_closed_form(N, d):
    best, a = optimum(1, N, d), N / (N + 1 + d)
    assert best.a == pytest.approx((a,), rel=1e-7)
    assert best.b == ()
    assert best.loss == pytest.approx(d * (1 - a), rel=1e-12)  # d (1 - 2a + a^2 (N + 1 + d) / N)
    Q = isotropic_weights(best.a, best.b, torch.eye(d, dtype=torch.float64))["Q"][0, 0]
    torch.testing.assert_close(Q, one_layer_optimum(LinearRegression(N, d)), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ("L", "N", "d"), [(1, 20, 5), (2, 20, 5), (3, 20, 5), (4, 20, 5), (2, 3, 8), (3, 7, 3)]
)
def test_at_the_optimum_the_gradient_is_zero(L, N, d):
    """Relative to the loss and to the parameters; and no direction leads down, by differences of
    the gradient."""
    best, (t, weights), h = optimum(L, N, d), spectrum(N, d), 1e-5
    theta = np.log([*best.a, *best.b])

    def gradient(theta):
        loss, g = loss_and_gradient(np.exp(theta[:L]), np.exp(theta[L:]), t, weights)
        return g * np.exp(theta) / loss  # of log loss by log parameters

    assert np.abs(gradient(theta)).max() < 1e-5
    hessian = np.array(
        [(gradient(theta + h * e) - gradient(theta - h * e)) / (2 * h) for e in np.eye(2 * L - 1)]
    )
    assert np.linalg.eigvalsh(hessian).min() > 1e-3
    assert best.loss == population_loss(best.a, best.b, N, d)


@pytest.mark.parametrize(("N", "d", "most"), [(20, 5, 4), (7, 3, 3), (3, 8, 3)])
def test_more_layers_are_better_and_gradient_descent_is_not(N, d, most):
    losses = [optimum(L, N, d).loss for L in range(1, most + 1)]
    descent = [best_gradient_descent(L, N, d).loss for L in range(1, most + 1)]
    assert losses[0] == pytest.approx(descent[0], rel=1e-12)
    for L in range(1, most):
        assert losses[L] < losses[L - 1]
        assert losses[L] < descent[L]
        assert descent[L] < descent[L - 1]


@pytest.mark.parametrize("L", [2, 3])
def test_another_search_finds_nothing_better(L):
    """Nelder-Mead from the best of random starts of both signs over three decades."""
    t, weights = spectrum(20, 5)
    rng, found = np.random.default_rng(2024 + L), []

    def log_loss(theta):
        return math.log(weights @ residual(theta[:L], theta[L:], t) ** 2)

    for attempt in range(10):
        starts = np.exp(rng.uniform(math.log(0.03), math.log(30), (200, 2 * L - 1)))
        if attempt % 2:
            starts *= rng.choice([-1, 1], starts.shape)
        start = min(starts, key=log_loss)
        found.append(
            minimize(
                log_loss, start, method="Nelder-Mead", options={"maxiter": 1000, "fatol": 1e-6}
            ).fun
        )
    best = math.log(optimum(L, 20, 5).loss / 5)
    assert min(found) > best - 1e-3
    assert min(found) < best + 0.2  # it is a search


@pytest.mark.parametrize(
    ("L", "N", "d"), [(2, 20, 5), (3, 20, 5), (4, 20, 5), (2, 6, 4), (4, 6, 4), (3, 5, 8)]
)
def test_another_search_finds_no_better_tied_layers(L, N, d):
    """Differential evolution over all a and b within reach, without gradients."""
    ours = tied_optimum(L, N, d)
    assert len({*ours.a}) == len({*ours.b}) == 1

    def log_loss(theta):
        a, b = theta
        return math.log(population_loss([a] * L, [b] * (L - 1), N, d))

    other = differential_evolution(
        log_loss, [(0.0, 6.0), (-2.0, 2.0)], rng=0, popsize=40, tol=1e-10, polish=True
    )
    assert math.log(ours.loss) <= other.fun + 1e-9
    assert math.log(ours.loss) == pytest.approx(log_loss((ours.a[0], ours.b[0])), abs=1e-12)


@pytest.mark.parametrize(("L", "N", "d"), [(2, 20, 5), (4, 20, 5), (3, 5, 8)])
def test_tied_layers_lie_between_gradient_descent_and_free_ones(L, N, d):
    tied = tied_optimum(L, N, d)
    assert optimum(L, N, d).loss < tied.loss < best_gradient_descent(L, N, d).loss
    # rare prompts weigh on the loss, and leaving them out helps
    assert tied_optimum(L, N, d, rare=1e-4).loss <= population_loss(tied.a, tied.b, N, d, rare=1e-4)


@pytest.mark.parametrize(
    ("steps", "N", "d"), [(1, 20, 5), (2, 20, 5), (3, 6, 7), (5, 20, 5), (4, 9, 1)]
)
def test_best_gradient_descent_against_a_grid(steps, N, d):
    best = best_gradient_descent(steps, N, d)
    assert best.b == (0.0,) * (steps - 1)
    assert best.a == (best.a[0],) * steps
    t, weights = spectrum(N, d)
    grid = np.linspace(0, 2, 4001)
    losses = d * ((1 - grid[:, None] * t) ** (2 * steps) @ weights)  # r = (1 - a t)^steps
    assert best.loss <= losses.min() * (1 + 1e-12)
    assert best.loss == pytest.approx(losses.min(), rel=1e-4)
    assert abs(best.a[0] - grid[losses.argmin()]) <= grid[1]


# ---- the best polynomial


@pytest.mark.parametrize("degree", [1, 2, 4, 13, 40])
@pytest.mark.parametrize(("N", "d"), [(20, 5), (3, 7), (6, 1)])
def test_the_best_polynomial_is_orthogonal_to_all_changes(N, d, degree):
    """E r^2 is smallest among polynomials with value 1 at 0 where E r t q = 0 for every q of lower
    degree."""
    best, (t, weights) = best_polynomial(degree, N, d), spectrum(N, d)
    assert len(best.a) == degree
    assert best.b == (0.0,) * (degree - 1)
    assert list(best.a) == sorted(best.a)
    assert best.a[0] > 0
    r = np.prod(1 - t[:, None] * np.array(best.a), 1)
    assert best.loss == pytest.approx(d * (weights @ r**2), rel=1e-11)
    for k in range(degree):
        q = special.eval_laguerre(k, t * N / 2)  # as large as it gets where the eigenvalues are
        size = math.sqrt((weights @ (r**2 * t)) * (weights @ (q**2 * t)))
        assert abs(weights @ (r * t * q)) < 1e-9 * size


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_the_best_polynomial_against_least_squares(degree):
    t, weights = spectrum(20, 5)
    powers, root = t[:, None] ** np.arange(1, degree + 1), np.sqrt(weights)
    c = np.linalg.lstsq(powers * root[:, None], -root, rcond=None)[0]
    assert best_polynomial(degree, 20, 5).loss == pytest.approx(
        5 * (weights @ (1 + powers @ c) ** 2), rel=1e-9
    )


def test_the_best_polynomial_bounds_what_the_layers_can_do():
    assert best_polynomial(1, 20, 5).a == pytest.approx(optimum(1, 20, 5).a, rel=1e-7)
    assert best_polynomial(1, 20, 5).loss == pytest.approx(optimum(1, 20, 5).loss, rel=1e-12)
    for L in (2, 3, 4):
        assert best_polynomial((3**L - 1) // 2, 20, 5).loss < optimum(L, 20, 5).loss
        assert best_polynomial(L, 20, 5).loss < best_gradient_descent(L, 20, 5).loss
        assert best_polynomial(L, 20, 5).loss < best_polynomial(L - 1, 20, 5).loss
    assert optimum(2, 20, 5).loss < best_polynomial(2, 20, 5).loss  # P that is not 0 helps


# ---- Chebyshev


@pytest.mark.parametrize("degree", [1, 2, 4, 13])
def test_chebyshev_has_the_smallest_maximum(degree):
    """Value 1 at 0, and degree + 1 extrema of one size and alternating sign; any other polynomial
    is larger."""
    low, high, rng = 0.4, 2.3, np.random.default_rng(degree)
    assert chebyshev(degree, low, high, np.array([0.0])) == pytest.approx(1, rel=1e-12)
    extrema = (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * np.arange(degree + 1) / degree)
    at = chebyshev(degree, low, high, extrema)
    size = abs(at[0])
    np.testing.assert_allclose(at, size * (-1.0) ** np.arange(degree + 1), rtol=1e-9)
    t = np.linspace(low, high, 2001)
    ours = chebyshev(degree, low, high, t)
    assert np.abs(ours).max() == pytest.approx(size, rel=1e-9)
    fitted = np.polynomial.Chebyshev.fit(t, ours, degree)
    np.testing.assert_allclose(fitted(t), ours, atol=1e-10 * size)  # a polynomial of that degree
    for _ in range(20):
        roots = rng.uniform(low, high, degree)
        assert np.abs(np.prod(1 - t[:, None] / roots, 1)).max() > size
        near = np.polynomial.Polynomial([0.0, *rng.normal(0, 1e-3 * size, degree)])  # 0 at 0
        assert np.abs(ours + near(t)).max() > size * (1 + 1e-9)


@pytest.mark.parametrize(("N", "d"), [(20, 5), (7, 4), (3, 5), (6, 1)])
def test_density_is_that_of_the_eigenvalues(N, d):
    """Against a histogram of drawn ones, within 5 standard errors; in one dimension against
    chi^2."""
    t, rho = isotropic.density(N, d)
    X = np.random.default_rng(0).normal(size=(20_000, N, d))
    drawn = np.linalg.eigvalsh(X.transpose(0, 2, 1) @ X / N)[:, -min(N, d) :].ravel()
    edges = np.quantile(drawn, [0.2, 0.5, 0.8])
    for low, high in itertools.pairwise(edges):
        fine = np.linspace(low, high, 2001)
        share = np.trapezoid(np.interp(fine, t, rho), fine) * d / min(N, d)
        # Eigenvalues of one matrix are not independent.
        error = (0.3 * 0.7 * min(N, d) / len(drawn)) ** 0.5
        assert abs(((drawn > low) & (drawn < high)).mean() - share) < 5 * error + 1e-3
    if d == 1:
        np.testing.assert_allclose(rho, N * stats.chi2.pdf(N * t, N), rtol=1e-8, atol=1e-100)


# ---- rare eigenvalues


def test_rare_eigenvalues_are_left_out():
    """The largest ones, of which fewer than `rare` are expected in a prompt; drawn ones agree."""
    whole_t, whole_w = isotropic.spectrum(20, 5)
    t, w = isotropic.spectrum(20, 5, rare=1e-4)
    np.testing.assert_array_equal(t, whole_t[: len(t)])
    np.testing.assert_array_equal(w, whole_w[: len(t)])
    assert 5 * whole_w[len(t) :].sum() < 1e-4 <= 5 * whole_w[len(t) - 1 :].sum()
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100_000, 20, 5))
    largest = np.linalg.eigvalsh(X.transpose(0, 2, 1) @ X / 20)[:, -1]
    assert (largest > t[-1]).sum() <= 10 + 5 * 10**0.5  # 10 expected


def test_the_loss_on_prompts_that_are_met():
    """At multiples with a heavy tail, a mean over drawn prompts is that without the rarest, not the
    expectation."""
    a, b = (0.378, 2.397, 9.564), (0.905, 0.565)
    prompts = LinearRegression(N=20, d=5).sample(
        400_000, torch.Generator().manual_seed(0), dtype=torch.float64
    )
    model = LinearTransformer(d=5, n_layer=3)
    errors = (
        model.predict(isotropic_weights(a, b, torch.eye(5, dtype=torch.float64)), prompts)
        - prompts.y
    ).square()
    met = isotropic.population_loss(a, b, 20, 5, rare=1 / 400_000)
    assert abs(float(errors.mean()) - met) < 5 * float(errors.std()) / 400_000**0.5
    assert isotropic.population_loss(a, b, 20, 5) > 30 * met


def test_the_optimum_for_prompts_that_are_met():
    everywhere, met = isotropic.optimum(3, 20, 5), isotropic.optimum(3, 20, 5, rare=1e-6)
    assert met.loss < 0.8 * everywhere.loss
    assert met.loss <= isotropic.population_loss(everywhere.a, everywhere.b, 20, 5, rare=1e-6)
    assert isotropic.population_loss(met.a, met.b, 20, 5) > everywhere.loss


@pytest.mark.parametrize("rare", [-1e-3, 1.0, 2, math.nan, None, "0"])
def test_a_share_that_is_none(rare):
    with pytest.raises(ValueError, match="rare must be"):
        isotropic.spectrum(20, 5, rare)


def test_the_local_optimum_downhill():
    """Near its start, with a zero gradient by central differences, and not the global one."""
    start = [0.71, 2.63, 7.11, 0.35, 0.35]
    found = isotropic.local_optimum(start[:3], start[3:], 20, 5)
    theta = np.array(found.a + found.b)
    assert np.abs(theta / start - 1).max() < 0.05
    for i in range(5):
        step = 1e-5 * theta[i] * np.eye(5)[i]
        up, down = (
            math.log(isotropic.population_loss(v[:3], v[3:], 20, 5))
            for v in (theta + step, theta - step)
        )
        assert abs(up - down) / 2e-5 < 1e-5
    assert found.loss > 1.1 * isotropic.optimum(3, 20, 5).loss
