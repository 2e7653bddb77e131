"""Second derivatives along lines of what is made of sums and products, such as a linear
transformer.

Along a line every number is a series v + a t + ... A product contributes to the second derivative
of the end result in two ways: by its factors' own terms in t^2, which came from products before it,
and by the product of its factors' terms in t. So only terms in t have to go through the model along
every direction. Those in t^2 count where they arise, times the derivative of the end result with
respect to that product, which is the same for all directions through one point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.linalg import vecdot


@dataclass(frozen=True)
class Series:
    """A series v + a t + ..., where None is 0; the leading axes of v and a broadcast.

    second: the terms in t^2 that arise in this or in what it is made of, each with the tensor in
        which it does; v is a function of these in autograd's graph.
    """

    v: Tensor
    a: Tensor | None = None
    second: dict[Tensor, Tensor] = field(default_factory=dict)

    def __add__(self, other: Series) -> Series:
        a = self.a if other.a is None else other.a if self.a is None else self.a + other.a
        return Series(self.v + other.v, a, self.second | other.second)

    def map(self, linear: Callable[[Tensor], Tensor]) -> Series:
        """Returns the series of a linear function of one tensor."""
        return Series(linear(self.v), None if self.a is None else linear(self.a), self.second)

    @property
    def T(self) -> Series:
        """The series of the transposed matrices, for matrices (..., d, d, B), prompt by prompt."""
        return self.map(lambda x: x.transpose(-3, -2))


def start(v: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Series:
    """Returns the series v + a t + b t^2 at the beginning of a graph."""
    v = v.detach().requires_grad_()
    return Series(v, a, {} if b is None else {v: b})


def times(product: Callable[[Tensor, Tensor], Tensor], x: Series, y: Series) -> Series:
    """Returns the series of a function that is linear in each of two tensors."""
    v = product(x.v, y.v)
    if x.a is None and y.a is None:
        return Series(v, None, x.second | y.second)
    if y.a is None:
        return Series(v, product(x.a, y.v.detach()), x.second | y.second)
    a = product(x.v.detach(), y.a)
    if x.a is None:
        return Series(v, a, x.second | y.second)
    return Series(v, a + product(x.a, y.v.detach()), x.second | y.second | {v: product(x.a, y.a)})


def squares(out: Series, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the sum of (out + y)^2 over the prompts, the last axis, and its first and second
    derivative, (...) each."""
    error, a = (out.v + y).detach(), torch.zeros_like(y) if out.a is None else out.a
    half = vecdot(a, a)
    if out.second:
        slopes = torch.autograd.grad(out.v, list(out.second), 2 * error)
        for slope, term in zip(slopes, out.second.values(), strict=True):
            # Of the axes that are this tensor's own, and the prompts.
            first = out.v.dim() - slope.dim() - 1
            half = half + vecdot(term.flatten(first), slope.flatten(first))
    return vecdot(error, error), 2 * vecdot(error, a), 2 * half
