"""One clear error for a parameter that cannot be right: its name, its value, what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from numbers import Integral, Real


def check_int(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")


def check_real(name: str, value: object, low: float = -math.inf, *, above: bool = False) -> None:
    """A finite number >= low (> low with `above`)."""
    ok = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or value < low or (above and value == low):
        bound = "" if low == -math.inf else f" {'>' if above else '>='} {low:g}"
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")
