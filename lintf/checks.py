"""One clear error for a parameter that cannot be right: its name, its value, what is allowed.

Each check returns the value as a plain Python number or word, so that equal settings are equal in every type.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real


def check_int(name: str, value: object, low: int, high: int | None = None) -> int:
    """A whole number from low to high (no upper bound for None)."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bound = f">= {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")
    return int(value)


def check_real(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, *, above: bool = False
) -> float:
    """A finite number >= low (> low with `above`) and <= high."""
    ok = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or not low <= value <= high or (above and value == low):
        bound = "" if low == -math.inf else f" {'>' if above else '>='} {low:g}"
        bound += "" if high == math.inf else f"{' and' * bool(bound)} <= {high:g}"
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")
    return float(value)


def check_choice(name: str, value: object, allowed: Iterable[str]) -> str:
    allowed = tuple(allowed)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")
    return value


def check_list(name: str, values: object) -> list:
    """At least one value."""
    if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
        raise ValueError(f"{name} must be a list of at least one, got {values!r}")
    return list(values)


def settle(settings: object, **values: object) -> None:
    """Put checked values into a frozen dataclass, from its __post_init__."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)
