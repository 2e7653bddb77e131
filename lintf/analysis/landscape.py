"""The loss landscape around a model: gradients and their noise, condition number, directional
smoothness.

Functions of (model, parameters, prompts) for any model of this package. Leading axes of the
parameters, such as those of a training's snapshots, are measured at once. Derivatives are exact up
to rounding; second ones come from series for linear transformers on statistics (lines.cpp,
linear_series.py) and along single parameters of an MLPTransformer (mlp_hessian.py), else from
torch.func. A Looped model has them for supervised_loops = loops only: else no gradient goes through
its first loops, and what is followed down is no function's slope.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel  # fast attention has no second derivative

from lintf import kernel
from lintf.analysis import linear_series, mlp_hessian
from lintf.checks import check_choice, check_int
from lintf.models.base import Model, Params
from lintf.models.gram import BACKENDS
from lintf.models.linear import LinearTransformer
from lintf.models.mlp import MLPTransformer
from lintf.tasks.base import Task, sample_ensemble
from lintf.tasks.batches import Batch, Gram

CHUNK = 20_000  # prompts drawn at once for the noise: fixed, since it decides which a seed gives
DIRECTIONS = 4  # second derivatives of torch.func, or gradients, computed at once: more need GB


def gradient(model: Model, params: Params, prompts: Batch) -> Params:
    """Returns the gradient of the loss, each ensemble member's own; leading axes are those of the
    parameters or the prompts."""
    lead = torch.broadcast_shapes(model.check_params(params), prompts.lead)
    own = {
        n: p.detach().expand(*lead, *model.shapes[n]).clone().requires_grad_()
        for n, p in params.items()
    }
    with torch.enable_grad():
        loss = model.loss(own, prompts).sum()
    found = torch.autograd.grad(loss, list(own.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(own, found, strict=True))


def gradient_noise(
    model: Model,
    params: Params,
    task: Task,
    B: int,
    n: int,
    generator: torch.Generator,
    reference: int = 100_000,
) -> Tensor:
    """Returns the vectors g_B - g, (n, size), for the gradients g_B on n batches of B fresh prompts
    and the mean gradient g. Entries come in the parameters' order.

    model, params: a model and its parameters, which have no leading axes here, on the CPU.
    task: the law of the prompts.
    B, n: prompts in a batch, and batches.
    generator: on the CPU.
    reference: how many other prompts g is estimated from, by the mean over them.
    Raises ValueError for leading axes, and numbers below 1.
    """
    if model.check_params(params):
        raise ValueError(
            f"params must have no leading axes for the gradient noise, got {_shapes(params)}"
        )
    B, n, reference = (
        check_int("B", B, 1),
        check_int("n", n, 1),
        check_int("reference", reference, 1),
    )
    dtype, at_once = next(iter(params.values())).dtype, max(1, CHUNK // B)

    def gradients(batches: int, size: int) -> Tensor:
        """Returns gradients (batches, all parameters), on batches of that size."""
        drawn = sample_ensemble([task], batches * size, [generator], model.representation, dtype)
        found = gradient(model, params, drawn.member(0).split(batches))
        return torch.cat([g.flatten(1) for g in found.values()], 1)

    parts = [min(CHUNK, reference - first) for first in range(0, reference, CHUNK)]
    g = (sum(size * gradients(1, size)[0].double() for size in parts) / reference).to(dtype)
    counts = [min(at_once, n - first) for first in range(0, n, at_once)]
    return torch.cat([gradients(count, B) - g for count in counts])


def hessian_diagonal(model: Model, params: Params, prompts: Batch, backend: str = "auto") -> Tensor:
    """Returns d^2 loss / d theta_i^2, (..., n), for each of the n entries of the parameters, in
    their order.

    model, params: a model and its parameters (..., shape).
    prompts: without leading axes; all parameters share them.
    backend: "kernel" is the compiled code, "plain" is PyTorch, "auto" takes the kernel where it
        can.
    Raises RuntimeError where "kernel" cannot be had.
    """
    lead, flat = _flat(model, params, prompts)
    if _compiled(model, flat, prompts, backend):
        return _lines(model, flat, _units(flat), prompts)[2].view(*lead, -1)
    kernel.keep_freed_memory()
    members = [{n: p[e] for n, p in flat.items()} for e in range(math.prod(lead))]
    return torch.stack([_diagonal(model, one, prompts) for one in members]).view(*lead, -1)


def condition_number(diagonal: Tensor) -> Tensor:
    """Returns the largest |entry| of Hessian diagonals (..., n) over the median one (the lower of
    the two in the middle for an even n), (...). It is the robust condition number of arXiv
    2310.01082, whose median counts all parameters, also those of the last P, which are 0."""
    return diagonal.abs().amax(-1) / diagonal.abs().median(-1).values


def directional_derivatives(
    model: Model, params: Params, directions: Params, prompts: Batch, backend: str = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns loss, slope and curvature, (...) each, that is the value and the first and second
    derivative of t -> loss(params + t direction) at t = 0.

    model, params, prompts, backend: as for `hessian_diagonal`.
    directions: (..., shape) like the parameters, not scaled to length 1.
    """
    lead, flat = _flat(model, params, prompts)
    if _shapes(params) != _shapes(directions):
        raise ValueError(
            f"directions must have the parameters' shapes {_shapes(params)}, got "
            f"{_shapes(directions)}"
        )
    if any(directions[n].dtype != p.dtype for n, p in params.items()):
        raise ValueError(
            "directions must have the dtypes of the parameters, got "
            f"{[v.dtype for v in directions.values()]}"
        )
    directions = {n: directions[n].detach().reshape(flat[n].shape) for n in flat}
    if _compiled(model, flat, prompts, backend):
        found = _lines(model, flat, {n: v.unsqueeze(1) for n, v in directions.items()}, prompts)
        return tuple(part.view(lead) for part in found)
    kernel.keep_freed_memory()
    if _on_statistics(model, prompts):
        found = linear_series.directional_derivatives(
            *model.layers(flat), *model.layers(directions), prompts
        )
        return tuple(part.view(lead) for part in found)

    def one(p: Params, v: Params) -> tuple[Tensor, Tensor, Tensor]:
        slopes = grad_and_value(lambda q: model.loss(q, prompts))
        (gradient, loss), (turned, _) = jvp(slopes, (p,), (v,))
        return loss, *(sum((g[n] * v[n]).sum() for n in v) for g in (gradient, turned))

    found = _one_place(math.prod(lead), 3, flat)
    with sdpa_kernel(SDPBackend.MATH):
        for some, p, v in zip(found.split(DIRECTIONS), _some(flat), _some(directions), strict=True):
            some.copy_(torch.stack(vmap(one)(p, v), 1))
    return tuple(part.view(lead) for part in found.unbind(1))


def directional_smoothness(
    model: Model, snapshots: Params, prompts: Batch, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Returns two tensors (T - 1,): the second derivative of the loss along the unit vector of each
    step taken, and the norm of the gradient at its start. A step of length 0 gives nan.

    snapshots: the parameters (T, shape) at T successive steps.
    model, prompts, backend: as for `hessian_diagonal`.
    """
    lead = model.check_params(snapshots)
    if len(lead) != 1 or lead[0] < 2:
        raise ValueError(
            "snapshots must have no leading axes but that of T >= 2 steps, got "
            f"{_shapes(snapshots)}"
        )
    here = {n: p[:-1] for n, p in snapshots.items()}
    steps = {n: p.diff(dim=0) for n, p in snapshots.items()}
    length, norms = _lengths(steps), _one_place(lead[0] - 1, 1, here)
    for some, p in zip(norms.split(DIRECTIONS), _some(here), strict=True):
        some.copy_(_lengths(gradient(model, p, prompts)).unsqueeze(1))
    unit = {n: v / length.view(-1, *[1] * (v.dim() - 1)) for n, v in steps.items()}
    return directional_derivatives(model, here, unit, prompts, backend)[2], norms.squeeze(1)


def _some(params: Params) -> Iterator[Params]:
    """Yields a few members at a time."""
    for parts in zip(*(p.split(DIRECTIONS) for p in params.values()), strict=True):
        yield dict(zip(params, parts, strict=True))


def _one_place(members: int, numbers: int, params: Params) -> Tensor:
    """Returns memory (members, numbers) for results that come a few members at a time: small
    tensors that stayed between large ones would keep their memory from being used again."""
    like = next(iter(params.values()))
    return torch.empty(members, numbers, dtype=like.dtype, device=like.device)


def _lengths(vectors: Params) -> Tensor:
    """Returns the Euclidean length of each member's vector, (members,)."""
    return sum(v.flatten(1).square().sum(1) for v in vectors.values()).sqrt()


def _diagonal(model: Model, params: Params, prompts: Batch) -> Tensor:
    """Returns hessian_diagonal of one member, in PyTorch."""
    if isinstance(model, MLPTransformer):
        return mlp_hessian.hessian_diagonal(model, params, prompts)
    if not _on_statistics(model, prompts):
        return _func_diagonal(model, params, prompts)
    if model.tied:  # an entry moves all layers
        lines = _units({n: p[None] for n, p in params.items()})
        point = {n: params[n].expand_as(v) for n, v in lines.items()}
        return linear_series.directional_derivatives(
            *model.layers(point), *model.layers(lines), prompts
        )[2]
    found = linear_series.hessian_diagonal(*model.layers(params), prompts)
    return torch.cat([found[name].flatten() for name in params])


def _units(params: Params) -> Params:
    """Returns the directions (n, shape) along each of the n entries of parameters (..., shape) with
    one leading axis."""
    sizes = [p[0].numel() for p in params.values()]
    p = next(iter(params.values()))
    rows = torch.eye(sum(sizes), dtype=p.dtype, device=p.device).split(sizes, 1)
    return {
        n: row.reshape(-1, *p.shape[1:]) for (n, p), row in zip(params.items(), rows, strict=True)
    }


def _func_diagonal(model: Model, params: Params, prompts: Batch) -> Tensor:
    """Differentiates along each parameter tensor by itself: a derivative goes through nothing but
    what depends on that tensor."""

    def of(name: str) -> Tensor:
        slopes = grad(lambda p: model.loss({**params, name: p}, prompts))

        def entry(direction: Tensor) -> Tensor:
            return (jvp(slopes, (params[name],), (direction,))[1] * direction).sum()

        n = params[name].numel()
        unit = torch.eye(n, dtype=params[name].dtype, device=params[name].device).view(
            n, *params[name].shape
        )
        return vmap(entry, chunk_size=DIRECTIONS)(unit)

    with sdpa_kernel(SDPBackend.MATH):
        return torch.cat([of(name) for name in params])


def _lines(
    model: LinearTransformer, params: Params, directions: Params, gram: Gram
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what kernel.lines does, in the parameters' dtype."""
    (P, Q), (dP, dQ) = model.layers(params), model.layers(directions)
    return kernel.lines(P, Q, dP, dQ, gram.S, gram.s, gram.x, gram.y, gram.N).to(Q.dtype).unbind(-1)


def _on_statistics(model: Model, prompts: Batch) -> bool:
    return (
        isinstance(model, LinearTransformer)
        and model.attention == "linear"
        and isinstance(prompts, Gram)
    )


def _compiled(model: Model, params: Params, prompts: Batch, backend: str) -> bool:
    """Says whether the compiled code does it. Raises RuntimeError where it is asked for and cannot
    be had."""
    check_choice("backend", backend, BACKENDS)
    p = next(iter(params.values()))
    why_not = "it is for linear transformers on Gram statistics"
    if _on_statistics(model, prompts):
        why_not = kernel.unavailable(model.d, p.dtype, p.device.type, "lines")
    if backend == "kernel" and why_not:
        raise RuntimeError(f"the compiled kernel cannot be used: {why_not}")
    return backend != "plain" and not why_not


def _flat(model: Model, params: Params, prompts: Batch) -> tuple[torch.Size, Params]:
    """Returns the leading axes, and the parameters with these made one."""
    lead = model.check(params, prompts)
    if 0 in lead or prompts.lead:
        raise ValueError(
            f"there must be parameters, got leading axes {tuple(lead)}, and prompts without "
            "leading axes"
        )
    model.check_differentiable()
    kinds = {
        (t.dtype, t.device)
        for t in (*params.values(), *prompts.tensors.values())
        if t.is_floating_point()
    }
    if len(kinds) > 1:
        raise ValueError(
            f"parameters and prompts must have one dtype and device, got {sorted(map(str, kinds))}"
        )
    return lead, {n: p.detach().reshape(-1, *model.shapes[n]) for n, p in params.items()}


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in params.items()}
