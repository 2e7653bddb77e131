"""How linear attention is learned from small weights: gradient flow on the population loss.

One layer answers s^T M x / N, with M (d, d) made of its weights (models/heads.py). For covariates
of covariance Sigma and w ~ N(0, I) its population loss is a polynomial in the weights,

    E (s^T M x / N - y)^2 = tr Sigma - 2 tr(Sigma M Sigma) + tr(K M Sigma M^T)

with K = E (S / N)^2. Layers that are multiples of the identity have an integral in one variable in
its place (isotropic.py). So nothing is left to chance. arXiv 2501.16265.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from lintf.analysis import isotropic
from lintf.checks import check_int, check_real
from lintf.models.heads import Heads
from lintf.tasks.linear import LinearRegression

ACCURACY = {"rtol": 1e-7, "atol": 1e-12}


def moments(task: LinearRegression) -> tuple[Tensor, Tensor]:
    """Returns Sigma and K = (1 + 1/N) Sigma^2 + tr(Sigma) Sigma / N, (d, d) in float64. Raises
    ValueError for other tasks than x ~ N(0, Sigma), w ~ N(0, I) without noise."""
    if task.mode != "normal" or task.Sigma_w is not None or task.noise_std:
        raise ValueError(f"task must be normal, without Sigma_w and noise_std, got {task!r}")
    Sigma = torch.eye(task.d, dtype=torch.float64, device="cpu")
    if task.Sigma is not None:
        Sigma = Sigma.new_tensor(task.Sigma)
    return Sigma, (1 + 1 / task.N) * Sigma @ Sigma + Sigma.trace() / task.N * Sigma


def population_loss(M: Tensor, task: LinearRegression) -> Tensor:
    """Returns the expected squared error (...) of s^T M x / N, for M (..., d, d) in float64."""
    Sigma, K = moments(task)
    return Sigma.trace() + ((K @ M - 2 * Sigma) * (M @ Sigma)).sum((-2, -1))


def flow(
    model: Heads,
    task: LinearRegression,
    seed: int,
    first: float,
    last: float,
    points: int = 400,
    keep: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Follows gradient flow, d(weights)/dt = -grad of the population loss, and returns the "times"
    (T,), the "loss" (T,), the matrix "M" (T, d, d) and the weights by name, (T, ...), in float64.

    model: the heads, which also say how large the weights are at first.
    task: the law of the prompts, as for `moments`.
    seed: that of the first weights.
    first, last: the range of times.
    points: T, at how many times to look: at 0, and from the first to the last in equal ratios.
    keep: names of what is returned; None is all of it.
    """
    Sigma, K = moments(task)
    begin = model.init(torch.Generator().manual_seed(seed), torch.float64)
    sizes = [p.numel() for p in begin.values()]

    def weights(flat: Tensor) -> dict[str, Tensor]:
        parts = zip(model.shapes.items(), flat.split(sizes, -1), strict=True)
        return {name: part.unflatten(-1, shape) for (name, shape), part in parts}

    def slope(flat: Tensor) -> Tensor:
        params = weights(flat)
        downhill = 2 * (Sigma @ Sigma - K @ model.matrix(params) @ Sigma)
        return torch.cat([part.flatten() for part in _chain(params, downhill)])

    start = torch.cat([p.flatten() for p in begin.values()])
    times, found = _follow(slope, start, first, last, points)
    params = weights(found)
    M = model.matrix(params)
    tensors = {"times": times, "loss": population_loss(M, task), "M": M, **params}
    names = tensors if keep is None else keep
    return {name: tensors[name].contiguous() for name in names}


def _chain(params: dict[str, Tensor], downhill: Tensor) -> list[Tensor]:
    """Returns the slopes of the weights of heads, for that of M (d, d)."""
    v = params["v"][:, None, None]
    if "U" in params:
        return [(params["U"] * downhill).sum((1, 2)), v * downhill]
    k, q = params["k"], params["q"]
    return [(k @ downhill * q).sum((1, 2)), v * (q @ downhill.T), v * (k @ downhill)]


def layers_flow(
    n_layer: int,
    N: int,
    d: int,
    start: float,
    values: bool,
    first: float,
    last: float,
    points: int = 200,
) -> dict[str, Tensor]:
    """Follows gradient flow for layers that are multiples of the identity on x, w ~ N(0, I). Layer
    l has Q_l = -u_l I, P_l = p_l I and the value weight v_l, which multiplies what it adds to the
    labels. Returns "times" (T,), "loss" (T,), and "u", "p", "v" (T, L) each, in float64.

    n_layer: L.
    N, d: examples in a prompt, and their dimension.
    start: every weight's size at first, spread by 10 percent so that no two layers are alike.
    values: whether the v_l are learned; they are 1 where not.
    first, last, points: as for `flow`.
    """
    t, share = (torch.from_numpy(a) for a in isotropic.spectrum(N, d))
    names = ("u", "p", "v")[: 3 if values else 2]
    L = check_int("n_layer", n_layer, 1, 4)
    spread = 1 + 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal(3 * L))

    def loss(flat: Tensor) -> Tensor:
        u, p, v = (*flat.view(len(names), L), torch.ones(L, dtype=flat.dtype, device=flat.device))[
            :3
        ]
        r, now = torch.ones_like(t), t
        for layer in range(L):
            r = r * (1 - v[layer] * u[layer] * now)
            now = now * (1 - p[layer] * u[layer] * now) ** 2
        return d * (share * r**2).sum()

    slope = torch.func.grad(loss)
    begin = check_real("start", start, 0.0, above=True) * spread[: len(names) * L]
    times, found = _follow(lambda flat: -slope(flat), begin, first, last, points)
    losses = torch.stack([loss(flat) for flat in found])
    parts = found.view(len(times), len(names), L).unbind(1)
    fixed = torch.ones(len(times), L, dtype=t.dtype, device=t.device)
    weights = {"v": fixed} | dict(zip(names, parts, strict=True))
    return {"times": times, "loss": losses} | {k: p.contiguous() for k, p in weights.items()}


def _follow(
    slope: Callable[[Tensor], Tensor], start: Tensor, first: float, last: float, points: int
) -> tuple[Tensor, Tensor]:
    """Returns times (T,) and the solution (T, n) of d(flat)/dt = slope(flat) there."""
    check_real("last", last, check_real("first", first, 0.0, above=True), above=True)
    times = np.append(0.0, np.geomspace(first, last, check_int("points", points, 2) - 1))

    def right_side(_: float, flat: np.ndarray) -> np.ndarray:
        return slope(torch.from_numpy(flat)).numpy()

    span = (0.0, times[-1])
    found = solve_ivp(right_side, span, start.numpy(), "LSODA", times, **ACCURACY)
    if not found.success:
        raise RuntimeError(f"gradient flow could not be followed: {found.message}")
    return torch.from_numpy(times), torch.from_numpy(np.ascontiguousarray(found.y.T))
