"""Taylor series of second order in place of numbers: what a polynomial does along a line, exactly.

Everything that a linear transformer computes is made of sums and products, so that a series goes through it as a
number does. A matrix that the line does not move is a series without higher terms; these are not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Series:
    """v + a t + b t^2, where None is 0; the terms' leading axes broadcast."""

    v: Tensor
    a: Tensor | None = None
    b: Tensor | None = None

    def __add__(self, other: Series) -> Series:
        pairs = zip((self.v, self.a, self.b), (other.v, other.a, other.b), strict=True)
        return Series(*(y if x is None else x if y is None else x + y for x, y in pairs))

    def map(self, linear: Callable[[Tensor], Tensor]) -> Series:
        """Of a linear function of one tensor."""
        return Series(*(None if x is None else linear(x) for x in (self.v, self.a, self.b)))

    @property
    def T(self) -> Series:
        """Of matrices (..., d, d, B), prompt by prompt."""
        return self.map(lambda x: x.transpose(-3, -2))


def times(product: Callable[[Tensor, Tensor], Tensor], x: Series, y: Series) -> Series:
    """Of a function that is linear in each of two tensors."""

    def term(*pairs: tuple[Tensor | None, Tensor | None]) -> Tensor | None:
        found = [product(p, q) for p, q in pairs if p is not None and q is not None]
        return sum(found[1:], found[0]) if found else None

    return Series(
        product(x.v, y.v),
        term((x.v, y.a), (x.a, y.v)),
        term((x.v, y.b), (x.a, y.a), (x.b, y.v)),
    )


def squared(error: Series) -> tuple[Tensor, Tensor, Tensor]:
    """(...) each: the sum of error^2 over the last axis, and its first and second derivative at t = 0."""
    square = times(torch.mul, error, error).map(lambda x: x.sum(-1))
    none = torch.zeros_like(square.v)
    slope, bend = (none if x is None else x for x in (square.a, square.b))
    return square.v, slope, 2 * bend
