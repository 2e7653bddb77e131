"""How far a measured number may be from a published one: the rules, each with its reason.

A claim's ``holds`` is made by a rule and not by a number that happens to let it pass. Every rule
returns a :class:`Check`, which is true or false and says which rule was used, for the ledger.
Checks are joined with ``&``.

========================  =====================================================================
rule                      reason
========================  =====================================================================
:func:`read_off`          the width of a line in a figure
:func:`read_ratio`        the same, for the quotient of two numbers that were read off
:func:`printed`           the digits that were printed
:func:`by_chance`         Monte Carlo error, of so many prompts or test sets
:func:`overlap`           scatter of seeds, where both sides have an interval
:func:`above`, ...        an order, where ours has an interval
:func:`every`             an order that holds in each single case, or does not
:func:`trained`           what is left of a training that has converged
:func:`exact`             rounding
========================  =====================================================================

What is compared must have the same unit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from lintf.analysis.intervals import Estimate, mean

LOG_LINE = 10**0.1  # a line on a logarithmic axis is read to a tenth of a decade, 26 percent
LINE = 0.02  # a line on a linear axis is read to a fiftieth of the axis
ERRORS = 3.0  # standard errors: by chance alone one agreement in 370 is refused
SCATTER = 0.02  # of trained numbers about their optimum: Adam's last steps leave a percent or two
ROUNDING = 1e-10  # relative, in float64: half a million roundings of 2e-16


@dataclass(frozen=True)
class Check:
    """Whether something holds, and the rule that says so, in a word or two."""

    ok: bool
    rule: str

    def __bool__(self) -> bool:
        return self.ok

    def __and__(self, other: Check) -> Check:
        """Both, by both rules; a rule that both have is named once."""
        names = dict.fromkeys([*self.rule.split(", "), *other.rule.split(", ")])
        return Check(self.ok and other.ok, ", ".join(names))


def all_of(checks: Iterable[Check]) -> Check:
    """All of the checks; where there is nothing to check, nothing holds."""
    found = list(checks)
    return functools.reduce(Check.__and__, found) if found else Check(False, "nothing to compare")


def read_off(values: Any, published: float, span: float | None = None) -> Check:
    """Whether a number read off a figure lies within the values, widened by the line's width.

    values: a number, or one for each seed or test set.
    published: the number that was read off.
    span: the length of a linear axis; without it the axis is logarithmic.
    """
    v = _numbers(values)
    low, high = _widened(float(v.min()), float(v.max()), span)
    return Check(bool(low <= published <= high), "width of a line")


def read_range(values: Any, low: float, high: float, span: float | None = None) -> Check:
    """Whether all values lie in a range that was read off a figure, widened in the same way.

    values: a number, or one for each seed or test set.
    low, high: the ends of the range.
    span: as for `read_off`.
    """
    v = _numbers(values)
    low, high = _widened(low, high, span)
    return Check(bool(((low <= v) & (v <= high)).all()), "width of a line")


def _widened(low: float, high: float, span: float | None) -> tuple[float, float]:
    if span is None:
        return low / LOG_LINE, high * LOG_LINE
    return low - LINE * span, high + LINE * span


def read_ratio(values: Any, published: float) -> Check:
    """The same for the quotient of two numbers that were read off logarithmic axes: all values must
    be as near to it as two such lines allow."""
    v = (_numbers(values) / published).log().abs()
    return Check(float(v.max()) <= 2 * math.log(LOG_LINE), "width of two lines")


def printed(values: Any, *published: str) -> Check:
    """Whether the mean of the values, one for each seed, lies among numbers as they were printed:
    ``printed(v, "0.34", "0.35")``. It may be off by half a unit of their last digits, and by
    Student's 95 percent interval of its own."""
    v = _numbers(values).flatten()
    numbers, room = [float(text) for text in published], max(map(_half_unit, published))
    if len(v) > 1:
        room += mean(v).high - float(v.mean())
    ok = min(numbers) - room <= float(v.mean()) <= max(numbers) + room
    return Check(bool(ok), "digits printed" if len(v) == 1 else "digits printed, scatter of seeds")


def _half_unit(text: str) -> float:
    mantissa, _, power = text.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(power or 0) - digits) * (1 + 1e-9)  # a number on the edge is in


def by_chance(values: Any, expected: Any, standard_error: Any) -> Check:
    """Whether all values are as expected, to three standard errors. The largest of many values may
    be farther off, as far as chance takes the largest of so many."""
    v, e = _numbers(values), _numbers(expected)
    tiny = ROUNDING * (1 + e.abs())  # where nothing is random
    room = _bound(v.numel()) * _numbers(standard_error)
    ok = ((v - e).abs() <= room + tiny).all()
    return Check(bool(ok), "3 standard errors" if v.numel() == 1 else "Monte Carlo error")


def clear(z: Any) -> Check:
    """Whether differences, in standard errors, are all beyond three."""
    return Check(bool((_numbers(z) > ERRORS).all()), "3 standard errors")


def allowed(standard_error: Any, n: int = 1) -> float:
    """The largest deviation of n values that :func:`by_chance` lets pass, to be shown beside a
    number."""
    return _bound(n) * float(_numbers(standard_error).max())


def _bound(n: int) -> float:
    """How many standard errors the largest of n may be off: as rarely as one is by three."""
    return float(stats.norm.isf(stats.norm.sf(ERRORS) / max(n, 1)))


def overlap(ours: Estimate, theirs: Estimate | float) -> Check:
    """Whether two 95 percent intervals overlap, or ours has a number that is known exactly."""
    other = theirs if isinstance(theirs, Estimate) else Estimate(theirs, theirs, theirs)
    return Check(bool(ours.overlaps(other)), "95 % intervals")


def above(estimates: Estimate | Iterable[Estimate], than: float | Estimate) -> Check:
    """Whether all 95 percent intervals are above a number, or above another interval."""
    bound = than.high if isinstance(than, Estimate) else than
    return Check(all(bool(e.low > bound) for e in _estimates(estimates)), "95 % interval")


def below(estimates: Estimate | Iterable[Estimate], than: float | Estimate) -> Check:
    """Whether all 95 percent intervals are below a number, or below another interval."""
    bound = than.low if isinstance(than, Estimate) else than
    return Check(all(bool(e.high < bound) for e in _estimates(estimates)), "95 % interval")


def ordered(estimates: Iterable[Estimate]) -> Check:
    """Whether each 95 percent interval is above the next."""
    return all_of(above(a, b) for a, b in pairwise(estimates))


def every(*conditions: Any) -> Check:
    """Whether all conditions hold, in every seed, setting or step that they have an entry for."""
    held = (torch.as_tensor(c, device="cpu", dtype=torch.bool).all() for c in conditions)
    return Check(all(map(bool, held)), "every single case")


def trained(gaps: Any) -> Check:
    """Whether relative deviations are what a training that has converged leaves, two percent."""
    return _small(gaps, SCATTER, "scatter of a training, 2 %")


def exact(gaps: Any) -> Check:
    """Whether deviations, relative to what is compared, are rounding in float64."""
    return _small(gaps, ROUNDING, "rounding")


def _small(gaps: Any, bound: float, rule: str) -> Check:
    """Whether there are gaps, and all are below the bound."""
    v = _numbers(gaps).abs()
    return Check(v.numel() > 0 and bool((v < bound).all()), rule)


def _numbers(values: Any) -> Tensor:
    """Numbers in float64; what is not a number never passes a comparison."""
    if isinstance(values, Tensor):
        return values.detach().double().cpu()
    values = list(values) if isinstance(values, Iterable) else values
    return torch.as_tensor(values, dtype=torch.float64, device="cpu")


def _estimates(estimates: Estimate | Iterable[Estimate]) -> list[Estimate]:
    return [estimates] if isinstance(estimates, Estimate) else list(estimates)
