"""The loss and gradient of a training step as one CUDA graph: on a GPU, hundreds of small kernels
become one launch.

The graph holds no more than that. Clipping, the optimiser and the learning rate stay outside, so
that a step is the same with and without it, up to the order in which a GPU adds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from lintf.models.base import Model, Params
from lintf.tasks.batches import Batch

Loss = Callable[[Model, Params, Batch], Tensor]  # (E,)
AFTER = (
    10  # so often a step must have been the same before it is captured; it has warmed up by then
)
# of the largest entry, for the first replay: far above rounding, far below a batch that is not read
TOLERANCE = 1e-3


def loss_on(device: torch.device, alg: str) -> Loss:
    """Returns how a training gets its losses. L-BFGS evaluates each member by itself, any number of
    times."""
    return Graphed(capture) if device.type == "cuda" and alg != "lbfgs" else eager


def eager(model: Model, params: Params, batch: Batch) -> Tensor:
    """Returns the losses (E,) without a graph."""
    return model.loss(params, batch)


def capture(loss: Callable[..., Tensor], samples: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Returns the same function as a graph for tensors like these, with its backward pass. Tensors
    at the samples' own addresses are read where they are, others are copied there. Raises
    RuntimeError where that cannot be done."""
    with torch.cuda.device(samples[0].device):
        stream = torch.cuda.current_stream()
        try:
            return torch.cuda.make_graphed_callables(loss, tuple(samples), allow_unused_input=True)
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own behind


class Graphed:
    """Losses of one training's steps, captured once a step has been the same `AFTER` times, and
    anew after a curriculum has changed it. Where a step cannot be captured, or its first replay is
    not what the step gives, it says so once and goes on without."""

    def __init__(self, capture: Callable[..., Callable[..., Tensor]]) -> None:
        self.capture, self.works = capture, True
        self.kind: object = None
        self.times = 0
        self.graph: Callable[..., Tensor] | None = None

    def __call__(self, model: Model, params: Params, batch: Batch) -> Tensor:
        parts = {f.name: getattr(batch, f.name) for f in fields(batch)}
        tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        kind = model, parts | {name: (t.shape, t.dtype) for name, t in tensors.items()}
        if kind != self.kind:
            self.kind, self.times, self.graph = kind, 0, None
        self.times += 1
        if self.times == AFTER and self.works:
            try:
                self.graph = self._captured(model, params, batch, tensors)
            except RuntimeError as error:
                self.works = False
                said = str(error).partition("\n")[0]
                warnings.warn(
                    f"no CUDA graph of the training step, which runs without one ({said})",
                    stacklevel=4,
                )
        if self.graph is None:
            return model.loss(params, batch)
        return self.graph(*params.values(), *tensors.values())

    def _captured(
        self, model: Model, params: Params, batch: Batch, tensors: dict[str, Tensor]
    ) -> Callable[..., Tensor]:
        def loss(*given: Tensor) -> Tensor:
            own = dict(zip(params, given, strict=False))
            return model.loss(
                own, replace(batch, **dict(zip(tensors, given[len(own) :], strict=True)))
            )

        # The same memory, without a past in autograd.
        leaves = [p.detach().requires_grad_() for p in params.values()]
        graph = self.capture(loss, [*leaves, *map(torch.zeros_like, tensors.values())])
        right = _with_gradients(model.loss(params, batch), params)
        found = _with_gradients(graph(*params.values(), *tensors.values()), params)
        if not all(map(_alike, found, right)):
            raise RuntimeError("its first replay differs from the step")
        return graph


def _with_gradients(loss: Tensor, params: Params) -> list[Tensor | None]:
    return [
        loss.detach(),
        *torch.autograd.grad(loss.sum(), list(params.values()), allow_unused=True),
    ]


def _alike(found: Tensor | None, right: Tensor | None) -> bool:
    if found is None or right is None:
        return found is right
    # A loss that is not finite is for the training to find.
    a, b = (found.nan_to_num(), right.nan_to_num())
    return bool(((a - b).abs() <= TOLERANCE * b.abs().max()).all())
