"""Series against torch's forward mode, twice, through the same polynomial written in numbers."""

from __future__ import annotations

import pytest
import torch
from torch.func import jvp

from lintf.models.gram import apply, dot, product
from lintf.models.series import Series, squares, start, times

# PyTorch's own forward mode says this when it is first used.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
D, B, ROUNDING = 3, 5, 1000 * torch.finfo(torch.float64).eps
FIXED, LINE, PARABOLA = 1, 2, 3  # terms of what goes in


@pytest.mark.parametrize("lead", [(), (2, 4)])
@pytest.mark.parametrize("A_terms", [FIXED, LINE, PARABOLA])
@pytest.mark.parametrize("x_terms", [FIXED, LINE, PARABOLA])
def test_first_and_second_derivative_of_the_squares(x_terms, A_terms, lead):
    """Of out = x . (x + A A^T A x) + x_0 with lines (*lead) through one point; A and what is made
    of it go in twice."""
    g = torch.Generator().manual_seed(1)

    def terms(count, *shape):
        given = [
            torch.randn(*(lead if k else ()), *shape, B, generator=g, dtype=torch.float64)
            for k in range(count)
        ]
        return given + [None] * (PARABOLA - count)

    A, x, y = (
        terms(A_terms, D, D),
        terms(x_terms, D),
        torch.randn(B, generator=g, dtype=torch.float64),
    )

    def series_of(A, x):
        AAA = times(product, times(product, A, A.T), A)
        return times(dot, x, x + times(apply, AAA, x)) + x.map(lambda x: x[..., 0, :])

    def loss(t):
        A_t, x_t = (sum(p * t**k for k, p in enumerate(part) if p is not None) for part in (A, x))
        AAA = torch.einsum("...ijb,...kjb,...klb->...ilb", A_t, A_t, A_t)
        out = (x_t * (x_t + torch.einsum("...ijb,...jb->...ib", AAA, x_t))).sum(-2) + x_t[..., 0, :]
        return (out + y).square().sum(-1)

    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    slope = lambda t: jvp(loss, (t,), (one,))  # noqa: E731
    (value, first), (_, second) = jvp(slope, (zero,), (one,))
    for found, exact in zip(
        squares(series_of(start(*A), start(*x)), y), (value, first, second), strict=True
    ):
        assert (found - exact).abs().max() <= ROUNDING * max(
            1.0, float(second.abs().max()), float(value.abs().max())
        )
        assert found.shape in {exact.shape, ()}  # where nothing moves there is one point


def test_sums_leave_out_what_is_nothing():
    v, a = torch.ones(2, B), torch.full((2, B), 3.0)
    assert (Series(v) + Series(v)).a is None
    for both in (Series(v, a) + Series(v), Series(v) + Series(v, a)):
        assert torch.equal(both.v, 2 * v)
        assert torch.equal(both.a, a)
    assert times(dot, Series(v), Series(v)).a is None
