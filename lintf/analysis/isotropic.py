"""The best linear transformer among multiples of the identity: Q_l = -a_l I and P_l = b_l I.

For x ~ N(0, I) and w ~ N(0, I) such a transformer treats every eigendirection of S / N by itself.
With eigenvalue t, a layer does to the residual r (which starts at 1) and to t

    r <- r (1 - a t)        t <- t (1 - a b t)^2

so that the last r is a polynomial in the first t, of degree (3^L - 1) / 2, with r(0) = 1. The
population loss is E sum_i r(t_i)^2 over the d eigenvalues: exact, as an integral over their
density. Rotated prompts (tasks/rotated.py) have the same optimum with Q_l = -a_l Sigma^-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special
from scipy.optimize import OptimizeResult, least_squares, minimize_scalar

from lintf.checks import check_int, check_real

PANELS, ORDER = 40, 16  # of the quadrature in the root of the eigenvalue
DEGREE = 100  # polynomials up to this degree are integrated to rounding
# Random starts of the search for the optimum, and how many of them are improved.
DRAWN, KEPT = (6000, 60)


def spectrum(N: int, d: int, rare: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Nodes t_k and weights w_k with E (1/d) sum_i g(t_i) = sum_k w_k g(t_k) for the eigenvalues
    t_i of S / N, where S = X^T X and X has N rows N(0, I_d). For N < d the first node is 0: d - N
    of the eigenvalues are.

    rare: eigenvalues so large that fewer than `rare` of them, or larger, are expected in a prompt
    are left out. A mean over 1 / rare prompts is a mean over the others, but for luck. Raises
    ValueError unless 0 <= rare < 1.
    """
    if check_real("rare", rare, 0.0) >= 1:
        raise ValueError(f"rare must be < 1, got {rare!r}")
    nodes, weights, _ = _wishart(check_int("N", N, 1), check_int("d", d, 1))
    met = d * np.cumsum(weights[::-1])[::-1] >= rare
    return nodes[met], weights[met]


def density(N: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns points t > 0 and the density there of an eigenvalue of S / N. For N < d it integrates
    to N / d only."""
    nodes, weights, spacing = _wishart(check_int("N", N, 1), check_int("d", d, 1))
    return nodes[nodes > 0], weights[nodes > 0] / spacing


@lru_cache(maxsize=64, typed=True)
def _wishart(N: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns nodes and weights of all eigenvalues, and how much of the axis a node > 0 stands for.

    The eigenvalues of a real Wishart matrix have the joint density prod |x_i - x_j| prod w(x_i), w
    = x^a e^(-x/2). Its integrals are Pfaffians (de Bruijn), and so is their generating function:
    with polynomials p_j below degree n and e_k(x) = int sgn(y - x) p_k(y) w(y) dy, the density of
    all is tr(A^-1 D(x)) / 2 for D_jk = w (p_j e_k - e_j p_k) and A = int D / 2, with a border of
    p_j w and its integral for odd n.
    """
    n, m = sorted((N, d))
    a = (m - n - 1) / 2
    # x = u^2 makes half-integer powers smooth; Gauss-Legendre on panels, integrals up to each node
    k = a + 2 * n + DEGREE
    edges = np.linspace(0, np.sqrt(2 * (k + 10 * np.sqrt(k) + 50)), PANELS + 1)
    z, weight = np.polynomial.legendre.leggauss(ORDER)
    half = np.diff(edges)[:, None] / 2
    u = edges[:-1, None] + half * (1 + z)
    x, du = u**2, half * weight
    primitives = [np.polynomial.Legendre(c).integ(lbnd=-1)(z) for c in np.eye(ORDER)]
    # int_-1^z_i f
    up_to = np.stack(primitives, 1) @ np.linalg.inv(np.polynomial.legendre.legvander(z, ORDER - 1))
    gamma = special.gammaln(a + 1 + np.arange(n))
    law = 2 * np.exp((2 * a + 1) * np.log(u) - x / 2 - gamma[0] - (a + 1) * np.log(2))
    norms = np.exp((gamma - special.gammaln(1 + np.arange(n)) - gamma[0]) / 2)
    # (n, PANELS, ORDER).
    p = np.stack([special.eval_genlaguerre(j, a, x / 2) / norms[j] for j in range(n)])
    f = p * law
    whole = (f * du).sum(-1)  # (n, PANELS)
    before = np.cumsum(whole, 1) - whole
    below = before[..., None] + (f @ up_to.T) * half
    e = whole.sum(1)[:, None, None] - 2 * below
    D = f[:, None] * e - e[:, None] * f  # (n, n, PANELS, ORDER)
    if n % 2:
        D = np.pad(D, ((0, 1), (0, 1), (0, 0), (0, 0)))
        D[:n, n], D[n, :n] = f, -f
    total = (D * du).sum((-1, -2))
    A = total.copy()
    A[:n, :n] /= 2
    rho = np.einsum("kj,jkpq->pq", np.linalg.inv(A), D) / 2 * du
    nodes, weights, spacing = x.ravel() / N, rho.ravel() / d, (2 * u * du).ravel() / N
    if not abs(weights.sum() - n / d) < 1e-10:
        raise ValueError(
            f"the eigenvalues' density for N = {N} and d = {d} is lost to rounding: both are "
            "too large"
        )
    if d > N:
        nodes, weights = np.append(0.0, nodes), np.append(1 - N / d, weights)
    return nodes, weights, spacing


def residual(a: Sequence[float], b: Sequence[float], t: np.ndarray) -> np.ndarray:
    """Returns r(t) after layers with a (L,) and b (L - 1,), at eigenvalues t of S / N."""
    r = np.ones_like(t)
    for layer, step in enumerate(a):
        r = r * (1 - step * t)
        if layer < len(b):
            t = t * (1 - step * b[layer] * t) ** 2
    return r


def population_loss(
    a: Sequence[float], b: Sequence[float], N: int, d: int, rare: float = 0.0
) -> float:
    """Returns E (prediction - y)^2 = d E r(t)^2, exact up to rounding for L <= 4, but for
    eigenvalues rarer than `rare`.

    a, b: (L,) and (L - 1,), the layers' numbers. N, d, rare: as for `spectrum`.
    """
    t, weights = spectrum(N, d, rare)
    return d * float(weights @ residual(a, b, t) ** 2)


def chebyshev(degree: int, low: float, high: float, t: np.ndarray) -> np.ndarray:
    """Returns at t the polynomial with value 1 at 0 that stays smallest in modulus on [low, high].

    degree: that of the polynomial. low, high: the ends of the interval. t: points, of any shape.
    """
    return special.eval_chebyt(degree, (2 * t - high - low) / (high - low)) / special.eval_chebyt(
        degree, (-high - low) / (high - low)
    )


@dataclass(frozen=True)
class Isotropic:
    """Layers Q_l = -a_l I, P_l = b_l I, and their population loss on N examples in d dimensions."""

    a: tuple[float, ...]  # (L,)
    b: tuple[float, ...]  # (L - 1,)
    loss: float


@lru_cache(maxsize=64, typed=True)
def optimum(n_layer: int, N: int, d: int, rare: float = 0.0) -> Isotropic:
    """Returns the best member of the family. Its 2L - 1 numbers have many local optima, so the best
    of some thousand random ones are improved by Levenberg and Marquardt's method, in float64, and
    the best of those is it. With `rare` it is the optimum for prompts that can be met.

    n_layer: L, from 1 to 4. N, d, rare: as for `spectrum`.
    """
    L = check_int("n_layer", n_layer, 1, 4)
    # Exact for the squares of these residuals.
    t, weights = _gauss((3**L + 1) // 2, *spectrum(N, d, rare))
    rng, starts = np.random.default_rng(0), []
    # The steps grow from layer to layer.
    centre = np.log([*(0.4 * 3.3 ** np.arange(L)), *[0.5] * (L - 1)])
    for _ in range(KEPT):
        some = np.exp(centre + rng.normal(0, 0.8, (DRAWN // KEPT, 2 * L - 1)))
        a, b = np.split(some.T[..., None], [L])  # (L, starts, 1), (L - 1, starts, 1)
        starts.append(some[(residual(a, b, t) ** 2 @ weights).argmin()])
    for steps, count in ((30, KEPT // 8), (1000, 1)):
        found = sorted(
            (_downhill(start, L, t, weights, steps) for start in starts),
            key=lambda result: result.cost,
        )
        starts = [result.x for result in found[:count]]
    best = starts[0].tolist()
    return Isotropic(
        tuple(best[:L]), tuple(best[L:]), population_loss(best[:L], best[L:], N, d, rare)
    )


@lru_cache(maxsize=64, typed=True)
def tied_optimum(n_layer: int, N: int, d: int, rare: float = 0.0) -> Isotropic:
    """Returns the best member of the family whose layers share one a and one b: the best points of
    a grid, improved by Levenberg and Marquardt's method.

    n_layer: from 2 to 4. N, d, rare: as for `optimum`.
    """
    L, (t, weights) = check_int("n_layer", n_layer, 2, 4), spectrum(N, d, rare)
    a, b = np.meshgrid(np.linspace(0.05, 4, 80), np.linspace(-1, 1, 81), indexing="ij")
    losses = (
        residual(a[..., None] * np.ones((L, 1, 1, 1)), b[..., None] * np.ones((L - 1, 1, 1, 1)), t)
        ** 2
        @ weights
    )
    tie = np.repeat(np.eye(2), (L, L - 1), 0)  # (2L - 1, 2)
    best = np.argsort(losses, axis=None)[:KEPT]
    starts = np.stack((a.ravel()[best], b.ravel()[best]), 1)
    found = min(
        (_downhill(start, L, t, weights, 1000, tie) for start in starts[:: KEPT // 8]),
        key=lambda r: r.cost,
    )
    a, b = ([v] * k for v, k in zip(found.x.tolist(), (L, L - 1), strict=True))
    return Isotropic(tuple(a), tuple(b), population_loss(a, b, N, d, rare))


def local_optimum(
    a: Sequence[float], b: Sequence[float], N: int, d: int, rare: float = 0.0
) -> Isotropic:
    """Returns the local optimum downhill from the given numbers.

    a, b: (L,) and (L - 1,), where it starts. N, d, rare: as for `optimum`.
    """
    best = _downhill(np.array([*a, *b]), len(a), *spectrum(N, d, rare), steps=1000).x.tolist()
    a, b = best[: len(a)], best[len(a) :]
    return Isotropic(tuple(a), tuple(b), population_loss(a, b, N, d, rare))


@lru_cache(maxsize=64, typed=True)
def best_polynomial(degree: int, N: int, d: int) -> Isotropic:
    """Returns the best with b = 0, as many layers as the degree: any polynomial of this degree with
    value 1 at 0 and positive roots 1 / a_l, in ascending order of a. The best one is orthogonal to
    all lower ones under the eigenvalues' density times t, so that its roots are the eigenvalues of
    that density's Jacobi matrix, which Lanczos' recursion gives."""
    check_int("degree", degree, 1)
    t, weights = spectrum(N, d)
    roots, _ = _gauss(degree, t, weights * t)
    a, b = (1 / roots[::-1]).tolist(), [0.0] * (degree - 1)
    return Isotropic(tuple(a), tuple(b), population_loss(a, b, N, d))


@lru_cache(maxsize=64, typed=True)
def best_gradient_descent(steps: int, N: int, d: int) -> Isotropic:
    """Returns gradient descent with the best step size: b = 0 and equal a."""
    check_int("steps", steps, 1)

    def loss(a: float) -> float:
        return population_loss([a] * steps, [0.0] * (steps - 1), N, d)

    a = float(minimize_scalar(loss, bounds=(0, 2), method="bounded", options={"xatol": 1e-10}).x)
    return Isotropic((a,) * steps, (0.0,) * (steps - 1), loss(a))


def _gauss(count: int, t: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns nodes and weights (count,) with the same sums as t and its weights for all
    polynomials of degree < 2 count: eigenvalues of the Jacobi matrix, which Lanczos' recursion
    gives, and one over the sum of the squares of the orthonormal polynomials at each."""
    basis = [np.zeros_like(t), np.sqrt(weights / weights.sum())]
    diagonal, beside = [], [0.0]
    for _ in range(count):
        diagonal.append(basis[-1] @ (t * basis[-1]))
        v = t * basis[-1] - diagonal[-1] * basis[-1] - beside[-1] * basis[-2]
        v -= sum(u * (u @ v) for u in basis)  # against rounding
        beside.append(np.linalg.norm(v))
        basis.append(v / beside[-1])
    nodes = np.linalg.eigvalsh(
        np.diag(diagonal) + np.diag(beside[1:-1], 1) + np.diag(beside[1:-1], -1)
    )
    before, p, squares = np.zeros(count), np.ones(count), np.ones(count)
    for middle, low, high in zip(diagonal[:-1], beside, beside[1:-1], strict=False):
        before, p = p, ((nodes - middle) * p - low * before) / high
        squares += p**2
    return nodes, weights.sum() / squares


def _downhill(
    start: np.ndarray,
    L: int,
    t: np.ndarray,
    weights: np.ndarray,
    steps: int,
    tie: np.ndarray | None = None,
) -> OptimizeResult:
    """Runs Levenberg and Marquardt's method for at most so many steps, for (a, b) = tie theta;
    without tie theta is (a, b)."""
    tie, root = np.eye(2 * L - 1) if tie is None else tie, np.sqrt(weights)

    def scaled(theta: np.ndarray) -> np.ndarray:
        a, b = np.split(tie @ theta, [L])
        return root * residual(a, b, t)

    def slopes(theta: np.ndarray) -> np.ndarray:
        a, b = np.split(tie @ theta, [L])
        return (root * (tie.T @ _jacobian(a, b, t))).T

    limits = {"max_nfev": steps, "ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
    # A trial step may leave the range of numbers.
    with np.errstate(over="ignore", invalid="ignore"):
        return least_squares(scaled, start, slopes, method="lm", **limits)


def _jacobian(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Returns the derivatives (2L - 1, len(t)) of the residual along a and b, forwards through the
    layers."""
    along_a, along_b = np.split(np.eye(len(a) + len(b))[..., None], [len(a)])
    r, dr, dt = np.ones_like(t), 0.0, 0.0
    for layer, step in enumerate(a):
        dr = dr * (1 - step * t) - r * (along_a[layer] * t + step * dt)
        r = r * (1 - step * t)
        if layer < len(b):
            g = 1 - step * b[layer] * t
            dg = -(along_a[layer] * b[layer] + step * along_b[layer]) * t - step * b[layer] * dt
            t, dt = t * g**2, g * (g * dt + 2 * t * dg)
    return dr
