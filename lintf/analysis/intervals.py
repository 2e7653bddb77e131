"""Numbers with 95 percent intervals: a mean over few seeds, and how heavy a tail is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from lintf.checks import check_int, check_real


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 percent interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def overlaps(self, other: Estimate) -> bool:
        """Says whether the two intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


def mean(values: Tensor) -> Estimate:
    """Returns the mean of values (n,) from a normal law, with Student's interval."""
    v = _values(values, 2)
    return published(float(v.mean()), float(v.std(ddof=1)), len(v))


def published(mean: float, std: float, n: int) -> Estimate:
    """Returns the same from a mean and a standard deviation over n values, which is what papers
    print as mean +- spread."""
    mean = check_real("mean", mean)
    half = stats.t.ppf(0.975, check_int("n", n, 2) - 1) * check_real("std", std, low=0.0) / n**0.5
    return Estimate(mean, mean - half, mean + half)


def kurtosis(values: Tensor, resamples: int = 400) -> Estimate:
    """Returns the excess kurtosis E (v - mean)^4 / sd^4 - 3, which is 0 for a normal distribution,
    of values (n,), with the percentile interval of a bootstrap. For tails so heavy that the fourth
    moment hardly exists, the interval is too short."""
    v = _values(values, 10)
    low, high = stats.bootstrap(
        (v,),
        stats.kurtosis,
        n_resamples=check_int("resamples", resamples, 1),
        batch=50,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(float(stats.kurtosis(v)), float(low), float(high))


def by_group(values: Tensor, groups: int) -> Tensor:
    """Returns the means of so many successive parts of the last axis, (..., n) -> (groups, ...),
    for bootstrap. Raises ValueError where the parts would not be equal."""
    n = values.shape[-1]
    if n % check_int("groups", groups, 1):
        raise ValueError(f"groups must divide the number of values, {n}, got {groups}")
    return values.unflatten(-1, (groups, -1)).mean(-1).movedim(-1, 0)


def bootstrap(
    values: Tensor, statistic: Callable[[np.ndarray], float], resamples: int = 1000
) -> Estimate:
    """Returns statistic(mean of values (n, ...) over the n) with the percentile interval of a
    bootstrap over the n, which must be independent of each other: seeds, prompts, or groups of
    prompts that have something in common."""
    v = values.detach().cpu().double().numpy()
    if len(v) < 2 or not np.isfinite(v).all():
        raise ValueError(f"values must be finite and at least two, got an array of shape {v.shape}")
    low, high = stats.bootstrap(
        (np.arange(len(v)),),
        lambda chosen: statistic(v[chosen].mean(0)),
        vectorized=False,
        n_resamples=check_int("resamples", resamples, 1),
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(float(statistic(v.mean(0))), float(low), float(high))


def tail_index(values: Tensor, share: float = 0.02) -> Estimate:
    """Returns Hill's estimate of alpha in P(v > t) ~ t^-alpha, from the largest `share` of values
    (n,): one over the mean of log(v_i / v_k) over the k largest, v_k the next, which must be
    positive. The smaller, the heavier; moments from alpha on do not exist. The interval is the
    asymptotic one, alpha (1 +- 1.96 / sqrt(k)). Light tails have no index: for them the estimate
    grows as the share shrinks, so compare at one share."""
    v = np.sort(_values(values, 10))[::-1]
    k = int(check_real("share", share) * len(v))
    if not 0 < share < 1 or k < 2 or v[k] <= 0 or v[0] == v[k]:
        raise ValueError(
            f"share must leave at least 2 of {len(v)} values, positive and not all equal, in "
            f"the tail, got {share!r}"
        )
    alpha = 1 / float(np.log(v[:k] / v[k]).mean())
    return Estimate(alpha, alpha * (1 - 1.96 / k**0.5), alpha * (1 + 1.96 / k**0.5))


def slope(x: Tensor, y: Tensor, block: int = 100, thin: int = 8, resamples: int = 100) -> Estimate:
    """Returns the median of the slopes between all pairs of points (x_i, y_i) (Theil and Sen), for
    a series whose neighbours are alike: the percentile interval is that of a bootstrap of whole
    blocks of successive points.

    x, y: (n,) each, n at least two blocks.
    block: how many successive points of the series are drawn together.
    thin: of these points every `thin`-th is used.
    resamples: how many series are drawn for the interval.
    Raises ValueError for values that are not finite or all equal, and for other lengths.
    """
    block = check_int("block", block, 1)
    thin = check_int("thin", thin, 1, block)
    x, y = _values(x, 2 * block), _values(y, 2 * block)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same length, got {len(x)} and {len(y)}")
    blocks = np.array_split(np.arange(len(x))[::thin], len(x) // block)
    rng, n = np.random.default_rng(0), len(blocks)

    def estimate(chosen: np.ndarray) -> float:
        i = np.concatenate([blocks[k] for k in chosen])
        return float(stats.theilslopes(y[i], x[i])[0])

    drawn = [estimate(rng.integers(n, size=n)) for _ in range(check_int("resamples", resamples, 1))]
    return Estimate(estimate(np.arange(n)), *(float(v) for v in np.quantile(drawn, [0.025, 0.975])))


def _values(values: Tensor, least: int) -> np.ndarray:
    """Returns the values as an array in float64. Raises ValueError for fewer than `least`, or such
    that are not finite or all equal."""
    v = values.detach().cpu().double().numpy()
    if v.ndim != 1 or len(v) < least or not np.isfinite(v).all() or np.ptp(v) == 0:
        raise ValueError(
            f"values must be at least {least} finite numbers, not all equal, got an array of "
            f"shape {v.shape}"
        )
    return v
