"""Batches of prompts in the representations that models read: tokens, statistics, sentences,
labelled points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts side by side, as tensors. What is not a tensor, such as a number of examples, they
    all share.

    axes: for each tensor, the names of its axes, the same for the same size; leading axes, if any,
        are ensemble members. The prompts, B, lie along the first of these axes, or along the last
        one where `prompts_last`.
    """

    axes: ClassVar[dict[str, str]]
    prompts_last: ClassVar[bool] = False

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {name: getattr(self, name) for name in self.axes}

    @property
    def lead(self) -> torch.Size:
        """The sizes of the leading axes, which are ensemble members."""
        name, axes = next(iter(self.axes.items()))
        number = len(axes.split())
        return getattr(self, name).shape[:-number]

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Returns the batch of the changed tensors."""
        return replace(self, **{name: change(t) for name, t in self.tensors.items()})

    def to(self, where: torch.device | str | torch.dtype) -> Self:
        """Returns the batch on another device, or with floating-point numbers of another dtype."""
        cast = isinstance(where, torch.dtype)
        return self.map(lambda t: t if cast and not t.is_floating_point() else t.to(where))

    def member(self, e: int) -> Self:
        """Returns the prompts of member e alone."""
        return self.map(lambda t: t[e])

    def take(self, i: Tensor) -> Self:
        """Returns the prompts i[e] of each member e, of E, for i (E, k)."""
        axis = -1 if self.prompts_last else 0
        rows = i.to(next(iter(self.tensors.values())).device)
        return self.map(
            lambda t: torch.stack(
                [own.index_select(axis, k) for own, k in zip(t, rows, strict=True)]
            )
        )

    def split(self, parts: int) -> Self:
        """Returns prompts without leading axes as (parts, ...): so many batches, one after the
        other."""
        if self.prompts_last:
            return self.map(lambda t: t.unflatten(-1, (parts, -1)).movedim(-2, 0).contiguous())
        return self.map(lambda t: t.unflatten(0, (parts, -1)))

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """Returns batches without leading axes as one, one after the other."""
        first = batches[0]
        axis = -1 if first.prompts_last else 0
        return replace(
            first,
            **{name: torch.cat([b.tensors[name] for b in batches], axis) for name in first.axes},
        )

    @staticmethod
    def stack(batches: Sequence[Batch]) -> Batch:
        """Returns batches of several members, side by side along a new leading axis."""
        first = batches[0]
        return replace(
            first, **{name: torch.stack([b.tensors[name] for b in batches]) for name in first.axes}
        )


@dataclass(frozen=True, eq=False)
class Gram(Batch):
    """What linear attention knows of a batch of prompts. The batch is the last axis, because every
    operation on the statistics is the same small one for all prompts.

    S: (..., d, d, B), sum_i x_i x_i^T, a sum over the examples.
    s: (..., d, B), sum_i y_i x_i.
    x: (..., d, B), the query.
    y: (..., B), the query's label, which is to be predicted.
    N: how many examples went into the sums.
    Leading axes, if any, are ensemble members.
    """

    axes: ClassVar[dict[str, str]] = {"S": "d d B", "s": "d B", "x": "d B", "y": "B"}
    prompts_last: ClassVar[bool] = True

    S: Tensor
    s: Tensor
    x: Tensor
    y: Tensor
    N: int

    @property
    def d(self) -> int:
        """The dimension of the covariates."""
        return self.x.shape[-2]

    def gram(self) -> Gram:
        """Returns itself, as other prompts return their statistics."""
        return self


@dataclass(frozen=True, eq=False)
class Prompts(Batch):
    """A batch of prompts as tokens.

    Z: (..., B, N+1, d+1), row i is (x_i, y_i), the last row is the query (x_q, 0).
    y: (..., B), the query's label.
    Leading axes, if any, are ensemble members.
    """

    axes: ClassVar[dict[str, str]] = {"Z": "B N+1 d+1", "y": "B"}

    Z: Tensor
    y: Tensor

    @staticmethod
    def of(X: Tensor, y: Tensor) -> Prompts:
        """Returns the prompts of covariates X (..., B, N+1, d) and labels y (..., B, N+1); the last
        of each is the query's."""
        context = torch.cat((y[..., :-1], torch.zeros_like(y[..., -1:])), -1)
        return Prompts(torch.cat((X, context.unsqueeze(-1)), -1), y[..., -1])

    @property
    def N(self) -> int:
        """The number of examples."""
        return self.Z.shape[-2] - 1

    @property
    def d(self) -> int:
        """The dimension of the covariates."""
        return self.Z.shape[-1] - 1

    @property
    def labels(self) -> Tensor:
        """The labels y_1, ..., y_N and the query's: (..., B, N+1). Where the examples have label
        noise, so have the first N."""
        return torch.cat((self.Z[..., :-1, -1], self.y.unsqueeze(-1)), -1)

    def gram(self) -> Gram:
        """Returns the statistics of these very prompts."""
        X, Y, x = self.Z[..., :-1, :-1], self.Z[..., :-1, -1:], self.Z[..., -1, :-1]
        S, s = X.mT @ X, (X.mT @ Y)[..., 0]  # (..., B, d, d), (..., B, d)
        return Gram(
            S.movedim(-3, -1).contiguous(), s.mT.contiguous(), x.mT.contiguous(), self.y, self.N
        )


@dataclass(frozen=True, eq=False)
class Labelled(Batch):
    """A batch of labelled points: Z (..., B, N+1, d+1), row i = (x_i, label -1 or 1), the last row
    a point without a label (0), from which the answer is read, and w (..., B, d), the weights to be
    found."""

    axes: ClassVar[dict[str, str]] = {"Z": "B N+1 d+1", "w": "B d"}

    Z: Tensor
    w: Tensor

    @property
    def d(self) -> int:
        """The dimension of the points."""
        return self.Z.shape[-1] - 1


@dataclass(frozen=True, eq=False)
class Sentences(Batch):
    """A batch of sentences: tokens z (..., B, H), the token `next` (..., B) that is to be
    predicted, and the `output` (..., B) that followed the trigger: they differ where the next token
    is the noise token. All int64."""

    axes: ClassVar[dict[str, str]] = {"z": "B H", "next": "B", "output": "B"}

    z: Tensor
    next: Tensor
    output: Tensor


@dataclass(frozen=True, eq=False)
class Levels(Batch):
    """What a layer that reads labels, too, knows of a batch of prompts, each with label noise of a
    level of its own.

    G: (..., B, d+1, d+1), the sum of z z^T over the examples z = (x, y).
    x: (..., B, d), the query.
    w: (..., B, d), the weights that made the labels.
    level: (..., B), the standard deviation of the label noise.
    N: how many examples went into the sums.
    """

    axes: ClassVar[dict[str, str]] = {"G": "B d+1 d+1", "x": "B d", "w": "B d", "level": "B"}

    G: Tensor
    x: Tensor
    w: Tensor
    level: Tensor
    N: int

    @property
    def d(self) -> int:
        """The dimension of the covariates."""
        return self.x.shape[-1]

    @property
    def y(self) -> Tensor:
        """The query's label, without noise, (..., B)."""
        return (self.x * self.w).sum(-1)


REPRESENTATIONS = {
    "tokens": Prompts,
    "gram": Gram,
    "labels": Labelled,
    "sentences": Sentences,
    "levels": Levels,
}
