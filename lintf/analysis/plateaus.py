"""Where the loss of one layer rests on its way down, and when it goes on.

Heads with separate keys and queries (models/heads.py) learn one eigenvalue of the covariance after
the other, and the loss goes down a staircase. Its heights are known exactly, and so is its time
course for heads that begin on the eigenvectors. arXiv 2501.16265.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.signal import find_peaks
from torch import Tensor

from lintf.analysis.dynamics import moments, population_loss
from lintf.models.heads import Heads
from lintf.tasks.linear import LinearRegression

HALF = (
    1 - 0.5**0.5
)  # of an entry of M, where half of its drop is done: the loss is a parabola in it


def _squares(
    eigenvalues: Sequence[float],
    N: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the eigenvalues of Sigma and of K = E (S / N)^2, (d,) each."""
    lam = np.asarray(eigenvalues, dtype=float)
    K = (1 + 1 / N) * lam**2
    K += lam.sum() / N * lam
    return lam, K


def heights(eigenvalues: Sequence[float], N: int) -> np.ndarray:
    """Returns the population loss (d + 1,) of one layer that has learned none, the first, the first
    two, ..., all of the eigenvalues of Sigma, with prompts of N examples."""
    lam, K = _squares(eigenvalues, N)
    gains = lam**3 / K
    learned = np.append(0.0, gains.cumsum())
    return lam.sum() - learned


def fixed_point(
    task: LinearRegression,
    learned: Sequence[int],
) -> dict[str, Tensor]:
    """Returns weights of d heads of rank one, by name, at which gradient flow rests, for a diagonal
    Sigma: head m holds eigenvalue m where learned[m] is 1, and is zero where it is 0."""
    Sigma, K = moments(task)
    chosen = torch.as_tensor(learned, dtype=Sigma.dtype, device=Sigma.device)
    entries = Sigma.diagonal() / K.diagonal()
    a = (chosen * entries) ** (1 / 3)
    rows = torch.diag(a).unsqueeze(1)
    return {
        "v": a,
        "k": rows,
        "q": rows.clone(),
    }


def loss_and_slope(
    task: LinearRegression,
    learned: Sequence[int],
) -> tuple[float, float]:
    """Returns the population loss of these weights and its largest slope, by automatic
    differentiation. Arguments as in `fixed_point`."""
    weights = fixed_point(task, learned)
    for p in weights.values():
        p.requires_grad_()
    heads = Heads(d=task.d, n_head=task.d)
    loss = population_loss(heads.matrix(weights), task)
    slopes = torch.autograd.grad(loss, list(weights.values()))
    steepest = max(slope.abs().max().item() for slope in slopes)
    return loss.item(), steepest


def logistic(
    found: Mapping[str, Tensor],
    task: LinearRegression,
    share: float = 1e-6,
) -> dict[str, Tensor]:
    """Returns the course of merged heads on round covariates, Sigma = lam I, by the logistic
    equation: M = sigma I / sqrt(d) with d(sigma)/dt = 4 sigma (lam^2 sqrt(d) - K lam sigma). It
    begins where the flow has come to a share of the end. These are the "times" (T,), "sigma" (T,),
    the "loss" (T,), and "off", by how much the flow's own sigma (T,) differs, in parts of the end.

    found: the "times" and "M" of the flow.
    task: its law.
    share: where the curve begins.
    """
    lam, K = _corner(task, 0)
    root = task.d**0.5
    end = lam * root / K
    trace = found["M"].diagonal(dim1=1, dim2=2).sum(1)
    ours = trace / root
    begin = int((ours < share * end).sum())
    times = found["times"][begin:]
    ours = ours[begin:]
    rate = 4 * lam**2 * root
    decay = torch.exp(-rate * (times - times[0]))
    ahead = (end / ours[0] - 1) * decay
    sigma = end / (1 + ahead)
    unit = torch.eye(task.d, dtype=sigma.dtype, device=sigma.device) / root
    M = sigma[:, None, None] * unit
    return {
        "times": times,
        "sigma": sigma,
        "loss": population_loss(M, task),
        "off": (ours - sigma) / end,
    }


def _corner(task: LinearRegression, m: int) -> tuple[float, float]:
    """Returns the m-th entries on the diagonals of Sigma and K."""
    Sigma, K = moments(task)
    return float(Sigma[m, m]), float(K[m, m])


def half_times(
    found: Mapping[str, Tensor],
    levels: np.ndarray,
) -> np.ndarray:
    """Returns when the loss has done half of each drop, (len(levels) - 1,); nan if never.

    found: the "times" (T,) and the "loss" (T,) of a flow.
    levels: the heights from which and to which it drops, falling.
    """
    times = found["times"].numpy()
    loss = found["loss"].numpy()
    halves = (levels[:-1] + levels[1:]) / 2
    reached = np.interp(-halves, -loss, times)
    return np.where(halves > loss[-1], reached, np.nan)


def rests(
    found: Mapping[str, Tensor],
    levels: np.ndarray,
) -> list[int]:
    """Returns the places in time, (len(levels)), where the loss moves least: before, between and
    after the drops. Arguments as in `half_times`."""
    times = found["times"].numpy()
    loss = found["loss"].numpy()
    slope = np.abs(np.gradient(loss))
    edges = [-1.0, *half_times(found, levels), np.inf]
    places = []
    for begin, end in pairwise(edges):
        inside = (begin < times) & (times < end)
        there = np.where(inside, slope, np.inf)
        places.append(int(there.argmin()))
    return places


def count_drops(loss: Tensor) -> int:
    """Returns how often a loss (T,) falls fastest: the maxima of its speed that stand out by a
    hundredth of the largest one."""
    speed = -np.gradient(loss.numpy())
    peaks, _ = find_peaks(speed, prominence=0.01 * speed.max())
    return len(peaks)


def climbing_time(to: np.ndarray | float, start: float, lam: float, K: float) -> np.ndarray | float:
    """Returns the time in which a head on an eigenvector, v = a and k = q = a e_m, grows from one
    size to another, by the closed solution of da/dt = 2 a^2 lam (lam - K a^3).

    to, start: sizes a, below the end (lam / K)^(1/3).
    lam, K: the eigenvalues of Sigma and of K = E (S / N)^2.
    """
    end = (lam / K) ** (1 / 3)
    passed = _clock(to / end) - _clock(start / end)
    return passed / (2 * lam**2 * end)


def _clock(z: np.ndarray | float) -> np.ndarray | float:
    """An integral of 1 / (z^2 (1 - z^3))."""
    angle = np.arctan((2 * z + 1) / 3**0.5) / 3**0.5
    logarithms = np.log1p(z + z**2) / 6 - np.log1p(-z) / 3
    return logarithms - 1 / z - angle


def staircase(eigenvalues: Sequence[float], N: int, start: float, times: np.ndarray) -> np.ndarray:
    """Returns the population loss (T,) along gradient flow for heads of rank one that begin on the
    eigenvectors.

    eigenvalues: of Sigma.
    N: examples in a prompt.
    start: the size a of every head at first, below all of their ends.
    times: (T,).
    """
    lam, K = _squares(eigenvalues, N)
    loss = np.full(len(times), lam.sum())
    for one, k in zip(lam, K, strict=True):
        end = (one / k) ** (1 / 3)
        sizes = np.geomspace(start, (1 - 1e-9) * end, 2000)
        reached = climbing_time(sizes, start, one, k)
        size = np.interp(times, reached, sizes)
        done = (size / end) ** 3
        gain = one**3 / k
        loss -= gain * (2 * done - done**2)
    return loss


def half_climbed(eigenvalues: Sequence[float], N: int, start: float) -> np.ndarray:
    """Returns when each drop of `staircase` is half done (d,); arguments as there."""
    lam, K = _squares(eigenvalues, N)
    half = (1 - 0.5**0.5) ** (1 / 3)  # of the end: the loss falls as 2 z^3 - z^6
    halves = [
        climbing_time(half * (a / k) ** (1 / 3), start, a, k) for a, k in zip(lam, K, strict=True)
    ]
    return np.array(halves)


def foretold(
    found: Mapping[str, Tensor],
    task: LinearRegression,
) -> np.ndarray:
    """Returns when each drop should be half done (d,), told from the weights at the time when the
    one before it is; the first drop from the weights at the start. Each head that has not done a
    drop is followed as if it were alone and lay along its eigenvector already, and the fastest
    one counts; infinity where none arrives.

    found: what `flow` returns for heads of rank one.
    task: its law, with a diagonal Sigma whose entries fall.
    """
    Sigma, _ = moments(task)
    levels = heights(Sigma.diagonal().numpy(), task.N)
    free = set(range(found["v"].shape[1]))
    instants = found["times"].numpy()
    now = 0
    times = []
    for m, half in enumerate(half_times(found, levels)):
        waits = {None: np.inf}
        for head in free:
            waits[head] = _alone(found, task, m, now, head)
        first = min(waits, key=waits.get)
        times.append(instants[now] + waits[first])
        free.discard(first)
        after = int(np.searchsorted(instants, half))
        now = min(after, len(instants) - 1)
    return np.array(times)


def _alone(
    found: Mapping[str, Tensor],
    task: LinearRegression,
    m: int,
    now: int,
    head: int,
) -> float:
    """Returns how long a head needs from its weights at a time until half of drop m is done."""
    lam, K = _corner(task, m)
    parts = [
        found["v"][now, head],
        found["k"][now, head, 0, m],
        found["q"][now, head, 0, m],
    ]
    begin = torch.stack(parts).numpy()

    def speed(_: float, z: np.ndarray) -> np.ndarray:
        v, k, q = z
        others = np.array([k * q, v * q, v * k])
        left = lam - K * z.prod()
        return 2 * lam * left * others

    def arrived(_: float, z: np.ndarray) -> float:
        return z.prod() - HALF * lam / K

    arrived.terminal = True
    span = (0.0, 3 * float(found["times"][-1]))
    solved = solve_ivp(speed, span, begin, "LSODA", events=arrived, rtol=1e-8)
    ends = solved.t_events[0]
    return float(ends[0]) if len(ends) else np.inf
