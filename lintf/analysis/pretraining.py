"""Pre-training one layer of linear attention as a ridge regression, after Lu et al. (arXiv
2405.11751).

Covariates are N(0, I / d), labels y = w.x + noise. A layer sees the examples of a prompt through
v = (d/N sum_i y_i x_i, 1/N sum_i y_i^2), of d + 1 numbers, and answers the query x with x^T Gamma
v. The answer is linear in Gamma, d x (d+1), so the best Gamma on n prompts is a ridge regression in
the d (d+1) products x_a v_b. With n = tau d^2 prompts its errors have deterministic limits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import linalg, optimize, special, stats
from torch import Tensor

Array = np.ndarray
MOST_STEPS = 5000  # of conjugate gradients; hundreds are usual


class Moments(NamedTuple):
    """What the error of a Gamma depends on, for a law of tasks: A = E w v^T (d, d+1), B = E v v^T
    (d+1, d+1), and the query label's mean square, noise and all."""

    A: Array
    B: Array
    power: float

    def score(self, Gamma: Array) -> float:
        """Returns the mean squared error of x^T Gamma v for a noisy label of the query."""
        linear, square = np.sum(Gamma * self.A), np.sum((Gamma @ self.B) * Gamma)
        return float(self.power + (square - 2 * linear) / len(Gamma))


def draw_tasks(
    k: int,
    d: int,
    sphere: bool,
    rng: np.random.Generator,
) -> Array:
    """Returns tasks w (k, d) from N(0, I).

    k, d: how many there are, and their dimension.
    sphere: whether all have the length sqrt(d).
    rng: where the numbers come from.
    """
    w = rng.standard_normal((k, d))
    return w * np.sqrt(d) / np.linalg.norm(w, axis=1, keepdims=True) if sphere else w


def draw_prompts(
    w: Array,
    N: int,
    noise: float,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Returns queries x (n, d), statistics v (n, d+1) and labels y (n,), at O(d) a prompt for any
    N, from their exact law: y_i^2 / (|w|^2 / d + noise) is chi^2; given the labels, sum_i y_i x_i
    is normal, with its mean along w, where its variance is smaller by the share of the noise.

    w: (n, d), the task of each prompt.
    N: examples in a prompt.
    noise: the variance of the label noise.
    rng: where the numbers come from.
    """
    n, d = w.shape
    length = np.linalg.norm(w, axis=1)
    power = length**2 / d + noise  # of a label
    squares = power * rng.chisquare(N, n)  # sum_i y_i^2
    g, u = rng.standard_normal((n, d)), w / length[:, None]
    along = np.sum(g * u, axis=1)
    spread = np.sqrt(squares / d)
    shift = length / d / power * squares + spread * (np.sqrt(noise / power) - 1) * along
    sums = spread[:, None] * g + shift[:, None] * u  # sum_i y_i x_i
    x = rng.standard_normal((n, d)) / np.sqrt(d)
    y = np.sum(x * w, axis=1) + np.sqrt(noise) * rng.standard_normal(n)
    return x, np.column_stack((d / N * sums, squares / N)), y


def of_tasks(
    w: Array,
    N: int,
    noise: float,
    as_if_equal: bool = False,
) -> Moments:
    """Returns the moments for tasks w (k, d), one as likely as the other.

    w, N, noise: as for `draw_prompts`.
    as_if_equal: takes sqrt(d) for the length of each task, whatever it is, as the paper's code does
        when it scores a Gamma.
    """
    k, d = w.shape
    power = noise + (np.ones(k) if as_if_equal else np.sum(w**2, axis=1) / d)
    B = np.empty((d + 1, d + 1))
    B[:d, :d] = (1 + 1 / N) * w.T @ w / k + d / N * power.mean() * np.eye(d)
    B[:d, d] = B[d, :d] = (1 + 2 / N) * power @ w / k
    B[d, d] = (1 + 2 / N) * np.mean(power**2)
    A = np.column_stack((w.T @ w / k, power @ w / k))
    return Moments(A, B, float(power.mean()))


def of_new_tasks(d: int, N: int, noise: float) -> Moments:
    """Returns the moments for a task that is drawn anew for every prompt, uniformly on the sphere
    of radius sqrt(d)."""
    power = 1 + noise
    top = 1 + 1 / N + d / N * power
    B = np.diag(np.append(np.full(d, top), (1 + 2 / N) * power**2))
    return Moments(np.eye(d, d + 1), B, power)


def ridge(
    x: Array,
    v: Array,
    y: Array,
    penalty: float,
    tolerance: float = 1e-12,
) -> Array:
    """Returns the Gamma that minimises sum_i (y_i - x_i^T Gamma v_i)^2 + penalty |Gamma|^2. With
    fewer prompts than unknowns it solves for one number a prompt: the Gram matrix is (x_i.x_j)
    (v_i.v_j). Else it goes by conjugate gradients, whose steps cost O(n d^2), preconditioned by v's
    covariance.

    x, v, y: n prompts, as `draw_prompts` gives them.
    penalty: at least 0.
    tolerance: of the conjugate gradients, relative to the right side.
    """
    if len(x) < x.shape[1] * v.shape[1]:
        gram = (x @ x.T) * (v @ v.T)
        gram[np.diag_indices_from(gram)] += penalty
        dual = linalg.solve(gram, y, assume_a="pos", overwrite_a=True, check_finite=False)
        return (x * dual[:, None]).T @ v
    inverse = np.linalg.inv(v.T @ v)
    Gamma, rest = 0.0, (x * y[:, None]).T @ v
    enough, step, size = tolerance * np.linalg.norm(rest), 0.0, 1.0
    for _ in range(MOST_STEPS):
        if np.linalg.norm(rest) <= enough:
            return Gamma
        toward = rest @ inverse
        last, size = size, np.sum(rest * toward)
        step = toward + size / last * step
        answers = np.sum((x @ step) * v, axis=1)
        normal = (x * answers[:, None]).T @ v + penalty * step
        length = size / np.sum(step * normal)
        Gamma, rest = Gamma + length * step, rest - length * normal
    raise ValueError(
        f"the regression on {len(x)} prompts is singular: take a larger penalty, or other than "
        f"about {x.shape[1] * v.shape[1]} prompts"
    )


def pretrained(
    *,
    d: int,
    N: int,
    tasks: int,
    prompts: int,
    noise: float,
    ridge_constant: float,
    sphere: bool,
    seeds: list[int],
) -> dict[str, Tensor]:
    """Pre-trains a layer for each seed, on tasks and prompts of its own, and returns its errors
    (seeds,): on new tasks, on those of the training, and on these as the paper's code scores them
    (`of_tasks`).

    d: dimension of the covariates.
    N: examples in a prompt.
    tasks: how many tasks there are; each has the same number of prompts.
    prompts: how many there are, up to less than one a task.
    noise: variance of the label noise.
    ridge_constant: the paper's lambda; the penalty is that times prompts / d.
    sphere: whether all tasks have the length sqrt(d).
    seeds: whole numbers.
    """
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        w = draw_tasks(tasks, d, sphere, rng)
        each = np.repeat(w, max(1, round(prompts / tasks)), axis=0)
        penalty = ridge_constant * len(each) / d
        Gamma = ridge(*draw_prompts(each, N, noise, rng), penalty)
        laws = (of_new_tasks(d, N, noise), of_tasks(w, N, noise), of_tasks(w, N, noise, True))
        found.append([law.score(Gamma) for law in laws])
    errors = torch.tensor(found, dtype=torch.float64, device="cpu")
    return dict(zip(("new", "training", "as_published"), errors.T.contiguous(), strict=True))


def effective_ridge(
    values: Array,
    weights: Array,
    tau: float,
    ridge_constant: float,
) -> float:
    """Returns the penalty xi that a ridge regression on finitely many prompts has in effect.

    values, weights: eigenvalues b (m,) of B, and weights such that tau (1 - ridge_constant / xi) is
        the sum of weight * b / (b + xi).
    tau: prompts over d^2.
    ridge_constant: as for `pretrained`.
    """

    def surplus(log_xi: float) -> float:
        xi = np.exp(log_xi)
        return tau * (1 - ridge_constant / xi) - weights @ (values / (values + xi))

    return float(np.exp(optimize.brentq(surplus, -60, 60, xtol=1e-13)))


def equivalent(
    train: Moments,
    test: Moments,
    tau: float,
    ridge_constant: float,
) -> float:
    """Returns the deterministic equivalent of the error of a pre-trained Gamma, at a finite d: as
    if the products x_a v_b were normal, of the same covariance.

    train, test: the laws of its own prompts and of those it is scored on.
    tau: prompts over d^2.
    ridge_constant: as for `pretrained`.
    """
    d = len(train.A)
    values, vectors = np.linalg.eigh(train.B)
    xi = effective_ridge(values, np.full(d + 1, 1 / d), tau, ridge_constant)
    shrunk = vectors / (values + xi) @ vectors.T  # (B + xi)^-1
    mean = train.A @ shrunk
    own, other = (np.sum(law.B * (shrunk @ train.B @ shrunk)) / d / tau for law in (train, test))
    return test.score(mean) + train.score(mean) * other / (1 - own)


def limit(
    tau: float,
    alpha: float,
    kappa: float,
    noise: float,
    ridge_constant: float,
) -> tuple[float, float]:
    """Returns the limits, for d without end, of the errors on new tasks and on those of the
    training.

    tau, alpha, kappa: prompts / d^2, examples / d, tasks / d.
    noise: variance of the label noise.
    ridge_constant: as for `pretrained`.
    """
    t, weights = marchenko_pastur(1 / kappa)
    q = (1 + noise) / alpha
    b = t + q
    xi = effective_ridge(b, weights, tau, ridge_constant)
    mean = t / (b + xi)
    training = weights @ (t - 2 * t * mean + b * mean**2) + noise
    new = weights @ (1 - 2 * mean + (1 + q) * mean**2) + noise
    own, other = (weights @ (law * b / (b + xi) ** 2) / tau for law in (b, 1 + q))
    training /= 1 - own
    return float(new + training * other), float(training)


def marchenko_pastur(ratio: float, nodes: int = 400) -> tuple[Array, Array]:
    """Returns the eigenvalues of the mean of w w^T over d / ratio tasks, and their weights: nodes
    of Gauss and Chebyshev's rule on Marchenko and Pastur's density, with the mass at 0 last."""
    middle, half = 1 + ratio, 2 * np.sqrt(ratio)
    angle = np.pi * np.arange(1, nodes + 1) / (nodes + 1)
    t = middle + half * np.cos(angle)
    weights = half**2 * np.sin(angle) ** 2 / (2 * ratio * (nodes + 1) * t)
    return np.append(t, 0.0), np.append(weights, max(0.0, 1 - 1 / ratio))


def bayes_errors(
    w: Array,
    N: int,
    noise: float,
    prompts: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, Array]]:
    """Returns the errors (prompts,) of two posterior means, averaged over queries and their noise:
    "discrete", for the tasks w as the only ones, and "ridge", for tasks from N(0, I); each on
    prompts with "training" tasks, one of w, and with "new" ones on the sphere.

    w: (k, d).
    N, noise, rng: as for `draw_prompts`.
    prompts: how many there are of each kind.
    """
    k, d = w.shape
    S = stats.wishart(N, np.eye(d) / d).rvs(prompts, random_state=rng)
    quadratic = np.stack([np.sum(w @ matrix * w, axis=1) for matrix in S])  # w^T S w
    truth = {"training": w[rng.integers(k, size=prompts)], "new": draw_tasks(prompts, d, True, rng)}
    found: dict[str, dict[str, Array]] = {"discrete": {}, "ridge": {}}
    for name, true in truth.items():
        z = np.sqrt(noise) * rng.standard_normal((prompts, d, 1))
        s = (S @ true[:, :, None] + np.linalg.cholesky(S) @ z)[..., 0]
        odds = special.softmax((s @ w.T - quadratic / 2) / noise, axis=1)
        shrunk = np.linalg.solve(S + noise * np.eye(d), s[..., None])[..., 0]
        for method, estimate in (("discrete", odds @ w), ("ridge", shrunk)):
            found[method][name] = np.mean((estimate - true) ** 2, axis=1) + noise
    return found
