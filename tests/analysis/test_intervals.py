"""Means and tails with their intervals, against scipy and explicit formulas, and how often they
cover the truth.

Simulated shares may miss their expectation by 4 standard errors; seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from refusals import refused
from scipy import stats

from lintf.analysis.intervals import (
    Estimate,
    bootstrap,
    by_group,
    kurtosis,
    mean,
    published,
    slope,
    tail_index,
)

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def pareto(alpha, *shape, seed=0):
    """P(v > t) = t^-alpha for t >= 1."""
    return (1 - torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)) ** (
        -1 / alpha
    )


def assert_covers(estimates, truth, expected=0.95):
    share, n = np.mean([e.low <= truth <= e.high for e in estimates]), len(estimates)
    assert abs(share - expected) <= 4 * math.sqrt(expected * (1 - expected) / n)


def assert_close(estimate, value, low, high, rel=1e-9):
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (value, low, high), rel=rel
    )


# ---- means


@pytest.mark.parametrize("n", [2, 3, 6, 50])
def test_a_mean_has_the_interval_of_scipy(n):
    v = 3 + 2 * normal(n)
    low, high = stats.t.interval(0.95, n - 1, loc=np.mean(v.numpy()), scale=stats.sem(v.numpy()))
    assert_close(mean(v), v.mean().item(), low, high)
    assert_close(published(v.mean().item(), v.std().item(), n), v.mean().item(), low, high)
    assert_close(mean(v.float().requires_grad_()), v.mean().item(), low, high, rel=1e-5)


def test_a_published_mean_by_hand():
    """t(0.975) is 4.3027 for 2 degrees of freedom."""
    assert_close(published(0.5, 0.1, 3), 0.5, 0.5 - 0.24841, 0.5 + 0.24841, rel=1e-4)
    assert_close(published(-1, 0, 2), -1, -1, -1)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_how_often_a_mean_is_covered(n):
    assert_covers([mean(v) for v in 5 + 3 * normal(2000, n)], 5)


def test_a_mean_goes_with_shift_and_scale():
    v, e = normal(6), mean(normal(6))
    assert_close(mean(7 * v + 2), 7 * e.value + 2, 7 * e.low + 2, 7 * e.high + 2)
    assert_close(mean(-v), -e.value, -e.high, -e.low)


# ---- a bootstrap of any statistic


def test_a_bootstrapped_mean_has_nearly_the_interval_of_student():
    """The percentile interval of a mean of n normal values is sqrt((n - 1) / n) z / t as long:
    0.978 for n = 60. Its ends are quantiles of 4000 draws, known to 2 percent of the half length (4
    standard errors are 9 percent)."""
    v = 3 + 2 * normal(60)
    found, student = bootstrap(v, float, resamples=4000), mean(v)
    assert found.value == pytest.approx(student.value, rel=1e-12)
    half = (student.high - student.low) / 2
    assert found.low == pytest.approx(student.low, abs=0.11 * half)
    assert found.high == pytest.approx(student.high, abs=0.11 * half)
    assert bootstrap(v, float, resamples=4000) == found


def test_a_bootstrap_covers_a_slope():
    """Groups of 3 points each on a line of slope 2, with noise. The interval of 40 groups covers a
    little less than 95 percent; of 200 intervals 4 standard errors are 6 percent."""
    x = np.arange(3.0)
    lines = 2 * torch.from_numpy(x) + normal(200, 40, 3)
    found = [bootstrap(v, lambda y: np.polyfit(x, y, 1)[0], resamples=300) for v in lines]
    assert 0.87 <= np.mean([e.low <= 2 <= e.high for e in found]) <= 1


@pytest.mark.parametrize(
    "v", [torch.ones(1), torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.inf])]
)
def test_a_bootstrap_needs_two_finite_values(v):
    refused(lambda: bootstrap(v, float), "values")


def test_means_of_groups():
    values = torch.arange(24.0).reshape(2, 12)
    found = by_group(values, 3)
    assert found.tolist() == [[1.5, 13.5], [5.5, 17.5], [9.5, 21.5]]
    refused(lambda: by_group(values, 5), "groups", 5, 12)
    refused(lambda: by_group(values, 0), "groups", 0)


def test_a_bootstrap_needs_resamples():
    refused(lambda: bootstrap(normal(5), float, resamples=0), "resamples", 0)


# ---- kurtosis


def test_kurtosis_by_hand():
    for v in (normal(10), normal(57, seed=3) ** 3):
        numbers = v.tolist()
        centre = sum(numbers) / len(numbers)
        second, fourth = (sum((x - centre) ** k for x in numbers) / len(numbers) for k in (2, 4))
        estimate = kurtosis(v)
        assert estimate.value == pytest.approx(fourth / second**2 - 3, rel=1e-9)
        assert estimate.low <= estimate.high


# Of the standardised law: moments 4, 6 and 8. The sample's kurtosis of a symmetric law has n times
# the variance m8 - 4 m4 m6 - m4^2 + 4 m4^3.
@pytest.mark.parametrize(
    ("draw", "m4", "m6", "m8"),
    [
        (lambda n: normal(n), 3, 15, 105),
        (
            lambda n: torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=F64),
            9 / 5,
            27 / 7,
            9,
        ),
    ],
    ids=["normal", "uniform"],
)
def test_kurtosis_of_known_laws(draw, m4, m6, m8):
    n = 20_000
    error = math.sqrt((m8 - 4 * m4 * m6 - m4**2 + 4 * m4**3) / n)
    estimate = kurtosis(draw(n), resamples=1000)
    assert abs(estimate.value - (m4 - 3)) <= 4 * error
    assert estimate.low <= estimate.value <= estimate.high
    # 1000 resamples give 5%.
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_kurtosis_knows_no_scale_and_gives_the_same_twice():
    v = normal(300)
    e = kurtosis(v)
    assert e == kurtosis(v)
    for other in (7 * v + 2, -v, 1e-6 * v):
        assert_close(kurtosis(other), e.value, e.low, e.high, rel=1e-6)
    assert_close(kurtosis(v.float().requires_grad_()), e.value, e.low, e.high, rel=1e-4)


# ---- the tail's index


def test_tail_index_by_hand():
    """The 3 largest of 12 values over the 4th, whatever their order and the others."""
    v = torch.tensor([-50.0, 1.0, 8.0, 0.0, 2.0, 1.5, 16.0, 1.0, -3.0, 0.5, 4.0, 1.0])
    alpha = 3 / (math.log(4) + math.log(2) + math.log(8))
    half = 1.96 * alpha / math.sqrt(3)
    assert_close(tail_index(v, 0.25), alpha, alpha - half, alpha + half, rel=1e-6)
    assert_close(
        tail_index(v.flip(0).requires_grad_(), 0.25), alpha, alpha - half, alpha + half, rel=1e-6
    )


@pytest.mark.parametrize("share", [0.02, 0.1, 0.9])
@pytest.mark.parametrize("alpha", [0.5, 2.0, 7.0])
def test_tail_index_of_an_exact_power_law(alpha, share):
    estimate = tail_index(pareto(alpha, 20_000), share)
    error = alpha / math.sqrt(share * 20_000)
    assert abs(estimate.value - alpha) <= 4 * error
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.2)


@pytest.mark.parametrize("k", [10, 200])
def test_how_often_the_index_is_covered(k):
    """k alpha over the estimate is Gamma(k) distributed: an interval on either side, exactly, for
    any k."""
    half = 1.96 / math.sqrt(k)
    exact = stats.gamma.cdf(k * (1 + half), k) - stats.gamma.cdf(k * (1 - half), k)
    assert exact == pytest.approx(0.95, abs=0.01)
    assert_covers([tail_index(v, (k + 0.5) / 1000) for v in pareto(3.0, 2000, 1000)], 3.0, exact)


def test_only_the_tail_counts_and_no_scale():
    v = pareto(2.0, 1000)
    e = tail_index(v, 0.1)
    for scale in (1e-9, 30.0, 1e12):
        assert_close(tail_index(scale * v, 0.1), e.value, e.low, e.high)
    assert tail_index(torch.where(v < v.quantile(0.8), -v, v), 0.1) == e
    assert tail_index(v.square(), 0.1).value == pytest.approx(e.value / 2)
    assert tail_index(v) == tail_index(v, 0.02) != e


def test_a_light_tail_has_a_larger_index():
    v = normal(20_000).abs()
    assert tail_index(v).value > 3 * tail_index(pareto(2.0, 20_000)).value
    assert tail_index(v, 0.005).value > tail_index(v, 0.05).value


# ---- the slope of a series


def test_slope_by_hand():
    """The median over all pairs of every third point, some of them far off."""
    x, y = normal(40).cumsum(0), normal(40, seed=1)
    y = 2 * x + y.cumsum(0)
    y[::12] += 500
    points = list(zip(x[::3].tolist(), y[::3].tolist(), strict=True))
    pairs = [(b[1] - a[1]) / (b[0] - a[0]) for i, b in enumerate(points) for a in points[:i]]
    estimate = slope(x, y, block=10, thin=3)
    assert estimate.value == pytest.approx(np.median(pairs))
    assert estimate.low < estimate.value < estimate.high
    assert estimate == slope(x, y, block=10, thin=3)


def test_the_slope_of_a_line_is_exact_and_that_of_noise_is_near():
    x = normal(2000).cumsum(0)
    assert_close(slope(x, 5 - 3 * x), -3, -3, -3)
    noisy = slope(x, 5 - 3 * x + normal(2000, seed=1))
    assert noisy.low < -3 < noisy.high < -2.9
    assert_close(slope(10 * x, 2 * (5 - 3 * x)), -0.6, -0.6, -0.6)


def test_neighbours_that_are_alike_widen_the_interval():
    """Noise that stays for 50 points tells less than as many draws of it."""
    t, draws = torch.linspace(0, 1, 2000, dtype=F64), normal(2000)
    alike = slope(t, draws[:40].repeat_interleave(50))
    fresh = slope(t, draws)
    assert alike.high - alike.low > 1.7 * (fresh.high - fresh.low)


# ---- estimates


def test_overlaps():
    def interval(low, high):
        return Estimate((low + high) / 2, low, high)

    for other, expected in (
        ((2, 3), True),
        ((0, 9), True),
        ((1.5, 1.6), True),
        ((2.1, 3), False),
        ((-2, 0.9), False),
    ):
        assert (
            interval(1, 2).overlaps(interval(*other))
            == interval(*other).overlaps(interval(1, 2))
            == expected
        )


def test_an_estimate_reads_well():
    assert str(Estimate(1.23456, 1.0, 12345.6)) == "1.23 (1 to 1.23e+04)"


@pytest.mark.parametrize(("estimate", "least"), [(mean, 2), (kurtosis, 10), (tail_index, 10)])
def test_values_that_have_no_interval(estimate, least):
    v = pareto(2.0, 200)
    with_nan, with_inf = v.clone(), v.clone()
    with_nan[3], with_inf[3] = math.nan, math.inf
    for wrong in (v[: least - 1], v[:0], v[0], v.view(20, 10), torch.ones(50), with_nan, with_inf):
        refused(
            lambda wrong=wrong: estimate(wrong),
            f"at least {least} finite numbers, not all equal",
            tuple(wrong.shape),
        )


def test_bad_input():
    v = pareto(2.0, 100)
    for n in (1, 0, 2.0, True, None):
        refused(lambda n=n: published(1.0, 0.1, n), f"n must be an integer >= 2, got {n!r}")
    for std in (-0.1, math.nan, math.inf, "1"):
        refused(
            lambda std=std: published(1.0, std, 3), f"std must be a finite number >= 0, got {std!r}"
        )
    for value in (math.nan, math.inf, "1"):
        refused(
            lambda value=value: published(value, 0.1, 3),
            f"mean must be a finite number, got {value!r}",
        )
    for resamples in (0, 1.5, None):
        refused(
            lambda r=resamples: kurtosis(v, r),
            f"resamples must be an integer >= 1, got {resamples!r}",
        )
    for share in (0, -0.1, 1, 1.5, 0.019, math.nan, math.inf, "0.5", None):
        refused(lambda share=share: tail_index(v, share), "share must", repr(share))


def test_series_that_have_no_slope():
    x = normal(200)
    refused(
        lambda: slope(x, x[:-1], block=50), "x and y must have the same length, got 200 and 199"
    )
    for a, b in ((x[:199], x[:199]), (x, torch.ones(200)), (x, x * math.nan)):
        refused(lambda a=a, b=b: slope(a, b), "at least 200 finite numbers, not all equal")
    for wrong in (0, -1, 1.5, None):
        for name in ("block", "thin", "resamples"):
            refused(
                lambda kw={name: wrong}: slope(x, x, **kw),
                f"{name} must be an integer",
                f"got {wrong!r}",
            )


def test_tails_that_have_no_index():
    for v in (
        pareto(2.0, 100) - 40,
        -pareto(2.0, 100),
        torch.cat((torch.zeros(99), torch.ones(1))),
    ):
        refused(
            lambda v=v: tail_index(v, 0.1), "share must leave at least 2 of 100 values", "positive"
        )
    cut = pareto(2.0, 100).clamp(max=1.1)  # more than the tail are equal
    refused(lambda: tail_index(cut, 0.1), "tail")
