"""Does today's code still give what is stored? `verify` re-runs the first steps of a run,
`reproduce` all of it."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lintf.training import measured, store
from lintf.training.config import FIRST_STEPS
from lintf.training.fit import fit
from lintf.training.history import Diverged
from lintf.training.run import OfANotebook, Run
from lintf.training.state import FINAL

# Relative to rounding, 6e-8 in float32: sums over a batch in another order differ by a few of
# these, 20 steps carry that on, to 1e-4 in the least stable trainings; a wrong step, seed, batch or
# formula changes the first digits.
RTOL = {"float32": 1e-3, "float64": 1e-9}
# L-BFGS divides by differences of gradients: on another processor 80 of its inner steps turned
# 1e-16 into 3e-5.
RTOL_LBFGS = 1e-3
# On another machine rounding differs, and where training is chaotic (SGD at a constant rate is) it
# grows until two runs differ as much as one of them from itself some steps later. So what was
# learned is compared in units of the stored run's own fluctuation over its last tenth, or of 1e-3
# of its size if it is at rest.
FLUCTUATIONS, AT_REST = 3.0, 1e-3
GONE = "it is gone, or was a link to nothing"


@dataclass(frozen=True)
class Outcome:
    """What became of one run: whether it came out as stored, and a line about it."""

    path: Path
    ok: bool | None  # None: its classes are those of a notebook, so that nobody else can say
    detail: str


def verify(path: Path) -> Outcome:
    """Runs the first steps (20, unless fewer were recorded) of a stored run again from its
    configuration: the losses and parameters recorded on the way must agree, step by step. Where the
    loss explodes, it must do so at the same step, and what follows is not compared: from there on
    rounding grows with the numbers. A damaged file does not agree with anything."""
    try:
        record = store.load(path)
    except store.StoreError as error:
        return Outcome(path, False, str(error))
    except FileNotFoundError:
        return Outcome(path, False, GONE)
    if "measure" in record.config:
        return _verify_result(path, record)
    stopped = record.meta.get("diverged")
    try:
        run = Run.of(record.config)
        short = replace(
            run.training, max_iters=min(run.training.first_steps, run.training.max_iters)
        )
        what = "its loss explodes at another step than the stored one's, or only one of them does"
        again = fit(
            run.model, run.task, short, (run.seed,), device="cpu", stored=False, progress=False
        )
    except OfANotebook as error:
        return Outcome(path, None, str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Outcome(path, False, f"its configuration does not fit today's code: {error!r}")
    except Diverged as error:
        again = error.history
        if stopped is None:
            what = f"{error}; the stored run did not"
    if store.canonical(run.config) != store.canonical(record.config):
        return Outcome(path, False, "its configuration is not one that today's code would write")
    steps, losses = record.tensors.get("steps"), record.tensors.get("loss")
    planned = [s for s in run.training.recorded_steps() if stopped is None or s <= stopped]
    if steps is None or losses is None or steps.tolist() != planned or len(losses) != len(steps):
        return Outcome(path, False, "its recorded steps are not those of its configuration")
    if stopped in planned and losses[-1].isfinite():
        return Outcome(
            path, False, f"diverged at step {stopped} when stored, where its loss is finite"
        )
    # The last of them is there for some strides only.
    common = int((steps <= short.max_iters).sum())
    before, now = (_explosion(v[:common]) for v in (losses, again.loss[0]))
    if now != before:
        return Outcome(path, False, what)
    gaps = {"loss": _gap(again.loss[0, :before], losses[:before])}
    last = min(common, before + 1)
    if before < common and not all(p[0, before].isfinite().all() for p in again.recorded.values()):
        last = before  # weights that overflowed at once
    for name, p in again.recorded.items():
        gaps[name] = _gap(p[0, :last], record.tensors.get(name, p[0, :0])[:last])
    kept = {
        n: record.tensors[f"{FINAL}{n}"]
        for n in run.model.shapes
        if f"{FINAL}{n}" in record.tensors
    }
    # The parameters at the end must have the metrics of the end.
    if stopped is None and run.model.save_final_params:
        if {n: tuple(p.shape) for n, p in kept.items()} != run.model.shapes:
            return Outcome(
                path, False, "its parameters after the last step are missing or of other shapes"
            )
        for name, value in run.model.metrics(kept, run.task).items():
            gaps[f"{name} at the end"] = _gap(value[None], record.tensors[name][-1:])
    allowed = RTOL_LBFGS if short.alg == "lbfgs" else RTOL[short.dtype]
    return _judge(path, f"first {short.max_iters} steps, relative", gaps, allowed)


def _verify_result(path: Path, record: store.Record) -> Outcome:
    """Computes a stored result (measured.py) again, all of it. What is measured at every step of a
    training is compared for its first steps: from there on rounding grows."""
    kept, shorter = record.tensors, {}
    try:
        given = record.config["arguments"].get("training")
        if given and given["record_every"] == 1:
            shorter["training"] = measured.argument(
                given | {"max_iters": min(FIRST_STEPS, given["max_iters"])}
            )
            kept = {name: t[:FIRST_STEPS] for name, t in kept.items()}
        found = measured.again(record, **shorter)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Outcome(path, False, f"its measure cannot be taken again: {error!r}")
    gaps = {"all": measured.largest_gap(found, kept)}
    single = any(t.dtype == torch.float32 for t in record.tensors.values())
    return _judge(path, "computed again, relative", gaps, RTOL["float32" if single else "float64"])


def _explosion(losses: torch.Tensor) -> int:
    """Returns the place of the first of the losses (n,) that is beyond ten times the first one, or
    not finite; n if none is."""
    beyond = ~(losses <= 10 * losses[0]) | ~losses.isfinite()
    return int(beyond.long().argmax()) if beyond.any() else len(losses)


def reproduce(paths: Iterable[Path], progress: bool = False) -> Generator[Outcome]:
    """Trains stored runs again from nothing, seeds of one configuration side by side, and compares
    what was learned."""
    groups: dict[tuple[str, int], list[tuple[Path, store.Record, Run]]] = {}
    for path in paths:
        try:
            record = store.load(path)
            run = Run.of(record.config)
        except store.StoreError as error:
            yield Outcome(path, False, str(error))
            continue
        except FileNotFoundError:
            yield Outcome(path, False, GONE)
            continue
        except OfANotebook as error:
            yield Outcome(path, None, str(error))
            continue
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            yield Outcome(path, False, f"its configuration does not fit today's code: {error!r}")
            continue
        alike = record.config | {
            "seed": 0,
            "task": record.config["task"] | dict.fromkeys(run.task.per_seed_fields),
        }
        if "diverged" in record.meta:  # it would stop the others
            alike = record.config
        nth = 0  # a group has each seed once
        while any(m.seed == run.seed for *_, m in groups.get((store.key(alike), nth), [])):
            nth += 1
        groups.setdefault((store.key(alike), nth), []).append((path, record, run))
    for group in groups.values():
        yield from _again(group, progress)


def _again(group: list[tuple[Path, store.Record, Run]], progress: bool) -> Iterator[Outcome]:
    """Trains the members of a group side by side."""
    paths, records, runs = zip(*group, strict=True)
    stopped = records[0].meta.get("diverged")  # then the group is this one run
    tasks = {m.seed: m.task for m in runs}
    try:
        again = fit(
            runs[0].model,
            tasks.__getitem__,
            runs[0].training,
            tuple(tasks),
            stored=False,
            progress=progress,
        )
    except (ValueError, Diverged) as error:
        as_stored = isinstance(error, Diverged) and stopped is not None
        what = (
            f"{error}, when stored at step {stopped}"
            if as_stored
            else f"could not be trained again: {error}"
        )
        yield from (Outcome(path, as_stored, what) for path in paths)
        return
    if stopped is not None:
        yield Outcome(paths[0], False, f"diverged at step {stopped} when stored, and does not now")
        return
    for e, (path, record) in enumerate(zip(paths, records, strict=True)):
        # Which a model that records nothing has, too.
        learned = again.recorded or {"loss": again.loss}
        stored = {name: record.tensors.get(name, p[e, :0]) for name, p in learned.items()}
        gaps = {name: _gap(p[e, -1:], stored[name][-1:]) for name, p in learned.items()}
        gaps = {name: gap / _fluctuation(stored[name]) for name, gap in gaps.items()}
        then = record.meta.get("seconds", math.nan)
        took = f"{again.meta[e]['seconds']:.0f} s for {len(group)} seeds, {then:.0f} s when stored"
        yield _judge(
            path, f"{took}; final parameters in units of the run's fluctuation", gaps, FLUCTUATIONS
        )


def _judge(path: Path, what: str, gaps: dict[str, float], allowed: float) -> Outcome:
    worst = max(gaps, key=lambda name: gaps[name])
    detail = f"{what}, largest difference {gaps[worst]:.1e} ({worst}), allowed {allowed:g}"
    return Outcome(path, gaps[worst] <= allowed, detail)


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Returns the Euclidean distance over the norm of b, the largest of all steps for (steps, ...);
    infinite where shapes differ or a number is not finite."""
    if a.shape != b.shape or not (a.isfinite().all() and b.isfinite().all()):
        return math.inf
    if not len(a):
        return 0.0
    a, b = a.double().reshape(len(a), -1), b.double().reshape(len(b), -1)
    # Squares could overflow.
    scale = b.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return float(((a - b) / scale).norm(dim=1).div((b / scale).norm(dim=1)).nan_to_num(0).amax(0))


def _fluctuation(snapshots: torch.Tensor) -> float:
    """Says how far the parameters (T, ...) still move late in a run, relative to their size: the
    root mean square distance of the last tenth of the snapshots from their mean. The last snapshot,
    which is to be compared, stays out."""
    tail = snapshots[-max(3, len(snapshots) // 10) - 1 : -1].double()
    tail = tail.reshape(len(tail), -1)
    spread = float((tail - tail.mean(0)).square().sum(1).mean().sqrt() / tail[-1].norm())
    return max(spread, AT_REST) if math.isfinite(spread) else AT_REST
