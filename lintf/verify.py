"""Does today's code still give what is stored? `verify` re-runs the first steps of a run, `reproduce` all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lintf import store
from lintf.settings import FIRST_STEPS
from lintf.train import Diverged, History, Member, fit

# Relative to rounding, 6e-8 in float32: sums over a batch in another order differ by a few of these, 20 steps carry
# that on; a wrong step, seed, batch or formula changes the loss in its first digits.
LOSS_RTOL = {"float32": 1e-4, "float64": 1e-9}
# A whole run carries rounding further, and two of its steps may part: what must agree is what was learned.
FINAL_RTOL = 1e-2


@dataclass(frozen=True)
class Outcome:
    path: Path
    ok: bool
    detail: str


def verify(path: Path) -> Outcome:
    """Re-run the first 20 steps of a stored run from its configuration: losses and their last parameters must agree.
    Raises StoreError for a damaged file."""
    record = store.load(path)
    member = Member.of(record.config)
    if store.canonical(member.config) != store.canonical(record.config):
        return Outcome(path, False, "its configuration is not one that this code would write")
    short = replace(member.training, max_iters=min(FIRST_STEPS, member.training.max_iters))
    try:
        again = fit(member.model, member.task, short, (member.seed,), device="cpu", stored=False, progress=False)
    except Diverged as error:
        return Outcome(path, False, f"{error}; the stored run did not")
    n = short.max_iters
    rtol = LOSS_RTOL[short.dtype]
    gaps = {"loss": _gap(again.loss[0, :n], record.tensors["loss"][:n])}
    gaps |= {name: _gap(again.params[name][0, n - 1], record.tensors[name][n - 1]) for name in again.params}
    same_steps = torch.equal(again.steps[:n], record.tensors["steps"][:n])
    worst = max(gaps, key=lambda name: gaps[name])
    detail = f"first {n} steps, largest relative difference {gaps[worst]:.1e} ({worst}), allowed {rtol:.0e}"
    return Outcome(path, same_steps and gaps[worst] <= rtol, detail)


def reproduce(paths: Iterable[Path]) -> Iterable[Outcome]:
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
        members = [Member.of(record.config) for _, record in group]
        tasks = {m.seed: m.task for m in members}
        again = fit(members[0].model, tasks.__getitem__, members[0].training, tuple(tasks), stored=False)
        for e, (path, record) in enumerate(group):
            yield _compare(path, record, again, e)


def _compare(path: Path, record: store.Record, again: History, e: int) -> Outcome:
    gaps = {name: _gap(p[e], record.tensors[name][-1]) for name, p in again.final.items()}
    worst = max(gaps, key=lambda name: gaps[name])
    then, now = record.meta["seconds"], again.meta[e]["seconds"]
    detail = f"final parameters, largest relative difference {gaps[worst]:.1e} ({worst}), allowed {FINAL_RTOL:.0e}"
    took = f"{now:.0f} s for {len(again.seeds)} seeds, {then:.0f} s when it was stored"
    return Outcome(path, gaps[worst] <= FINAL_RTOL, f"{detail}; {took}")


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Euclidean distance over the norm of b; infinite where shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).double().norm() / b.double().norm().clamp_min(torch.finfo(torch.float64).tiny))
