"""Does today's code still give what is stored? `verify` re-runs the first steps of a run, `reproduce` all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lintf import store
from lintf.member import Member
from lintf.settings import FIRST_STEPS
from lintf.train import Diverged, fit

# Relative to rounding, 6e-8 in float32: sums over a batch in another order differ by a few of these, 20 steps carry
# that on; a wrong step, seed, batch or formula changes the loss in its first digits.
RTOL = {"float32": 1e-4, "float64": 1e-9}
# On another machine rounding differs, and where training is chaotic (SGD at a constant rate is) it grows until two runs
# differ as much as one of them from itself some steps later. So what was learned is compared in units of the stored
# run's own fluctuation over its last tenth, or of 1e-3 of its size if it is at rest.
FLUCTUATIONS, AT_REST = 3.0, 1e-3


@dataclass(frozen=True)
class Outcome:
    path: Path
    ok: bool
    detail: str


def verify(path: Path) -> Outcome:
    """Re-run the first 20 steps of a stored run from its configuration: the losses and parameters recorded on the way
    must agree. Raises StoreError for a damaged file."""
    record = store.load(path)
    try:
        member = Member.of(record.config)
        short = replace(member.training, max_iters=min(FIRST_STEPS, member.training.max_iters))
        again = fit(member.model, member.task, short, (member.seed,), device="cpu", stored=False, progress=False)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Outcome(path, False, f"its configuration does not fit today's code: {error!r}")
    except Diverged as error:
        return Outcome(path, False, f"{error}; the stored run did not")
    if store.canonical(member.config) != store.canonical(record.config):
        return Outcome(path, False, "its configuration is not one that today's code would write")
    steps = record.tensors.get("steps")
    if steps is None or steps.tolist() != member.training.recorded_steps():
        return Outcome(path, False, "its recorded steps are not those of its configuration")
    common = int((steps <= short.max_iters).sum())  # step 20 is there for some strides only
    now = {"loss": again.loss[0]} | {name: p[0] for name, p in again.params.items()}
    gaps = {name: _gap(t[:common], record.tensors.get(name, t[:0])[:common]) for name, t in now.items()}
    return _judge(path, f"first {short.max_iters} steps, relative", gaps, RTOL[short.dtype])


def reproduce(paths: Iterable[Path]) -> Iterator[Outcome]:
    """Train stored runs again from nothing, seeds of one configuration side by side, and compare what was learned."""
    groups: dict[tuple[str, int], list[tuple[Path, store.Record]]] = {}
    for path in paths:
        record = store.load(path)
        alike = store.key(record.config | {"seed": 0, "task": record.config["task"] | {"Sigma": None, "Sigma_w": None}})
        nth = 0  # a group has each seed once
        while any(r.config["seed"] == record.config["seed"] for _, r in groups.get((alike, nth), [])):
            nth += 1
        groups.setdefault((alike, nth), []).append((path, record))
    for group in groups.values():
        try:
            members = [Member.of(record.config) for _, record in group]
            tasks = {m.seed: m.task for m in members}
            again = fit(members[0].model, tasks.__getitem__, members[0].training, tuple(tasks), stored=False)
        except (KeyError, TypeError, ValueError, AttributeError, Diverged) as error:
            yield from (Outcome(path, False, f"could not be trained again: {error}") for path, _ in group)
            continue
        for e, (path, record) in enumerate(group):
            gaps = {name: _gap(p[e], record.tensors[name][-1]) for name, p in again.final.items()}
            gaps = {name: gap / _fluctuation(record.tensors[name]) for name, gap in gaps.items()}
            took = (
                f"{again.meta[e]['seconds']:.0f} s for {len(group)} seeds, {record.meta['seconds']:.0f} s when stored"
            )
            yield _judge(path, f"{took}; final parameters in units of the run's fluctuation", gaps, FLUCTUATIONS)


def _judge(path: Path, what: str, gaps: dict[str, float], allowed: float) -> Outcome:
    worst = max(gaps, key=lambda name: gaps[name])
    detail = f"{what}, largest difference {gaps[worst]:.1e} ({worst}), allowed {allowed:g}"
    return Outcome(path, gaps[worst] <= allowed, detail)


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Euclidean distance over the norm of b; infinite where shapes differ or a number is not finite."""
    if a.shape != b.shape:
        return math.inf
    gap = float((a - b).double().norm() / b.double().norm().clamp_min(torch.finfo(torch.float64).tiny))
    return gap if math.isfinite(gap) else math.inf


def _fluctuation(snapshots: torch.Tensor) -> float:
    """How far the parameters (T, ...) still move late in a run, relative to their size: the root mean square distance
    of the last tenth of the snapshots from their mean. The last snapshot, which is to be compared, stays out."""
    tail = snapshots[-max(3, len(snapshots) // 10) - 1 : -1].double().flatten(1)
    spread = float((tail - tail.mean(0)).square().sum(1).mean().sqrt() / tail[-1].norm())
    return max(spread, AT_REST) if math.isfinite(spread) else AT_REST
