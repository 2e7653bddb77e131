"""One clear error for a parameter that cannot be right. It says its name, its value and what is
allowed.

Each check returns the value as a plain Python number or word, so that equal settings are equal in
every type.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, field, fields
from functools import partial
from numbers import Integral, Real
from typing import Any


def check_int(name: str, value: object, low: int, high: int | None = None) -> int:
    """Returns the value as an int where it is a whole number from low to high.

    name: what the value is of, for the message.
    value: what was given; True and False are no numbers.
    low, high: the bounds, which are allowed themselves; None is no upper bound.
    Raises ValueError for any other value.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bound = f">= {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")
    return int(value)


def check_real(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, *, above: bool = False
) -> float:
    """Returns the value as a float where it is a finite number from low to high.

    name: what the value is of, for the message.
    value: what was given; True and False are no numbers.
    low, high: the bounds, which are allowed themselves.
    above: whether low itself is refused.
    Raises ValueError for any other value.
    """
    ok = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or not low <= value <= high or (above and value == low):
        bound = "" if low == -math.inf else f" {'>' if above else '>='} {low:g}"
        bound += "" if high == math.inf else f"{' and' * bool(bound)} <= {high:g}"
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")
    return float(value)


def check_choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """Returns the value where it is one of the allowed words. Raises ValueError for another one,
    with the nearest word as a hint."""
    allowed = tuple(allowed)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}"
        )
    return value


def check_list(name: str, values: object) -> list:
    """Returns the values as a list. Raises ValueError for a text, for what is no series of values,
    and for none."""
    if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
        raise ValueError(f"{name} must be a list of at least one, got {values!r}")
    return list(values)


def check_bool(name: str, value: object) -> bool:
    """Returns the value where it is True or False. Raises ValueError for any other one."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def checked(
    default: Any, check: Callable[[str, object], object], *, later: bool = False, none: bool = False
) -> Any:
    """Makes a field of a `Checked` dataclass from what its values must pass.

    default: the value of a field that is not given; MISSING where it must be given.
    check: gets the field's name and value, returns the value as it is kept, or raises ValueError.
    later: whether older configurations lack the field. It stays out of the configuration while it
        has its default, so that older runs keep their names.
    none: whether None passes unchecked; it does where it is the default.
    """
    return field(
        default=default, metadata={"check": check, "later": later, "none": none or default is None}
    )


def whole(
    default: Any = MISSING,
    low: int = 1,
    high: int | None = None,
    *,
    later: bool = False,
    none: bool = False,
) -> Any:
    """Makes a field for a whole number from low to high.

    default, later, none: as for `checked`.
    low, high: the bounds, which are allowed themselves; None is no upper bound.
    """
    return checked(default, partial(check_int, low=low, high=high), later=later, none=none)


def real(
    default: Any = MISSING,
    low: float = 0.0,
    high: float = math.inf,
    *,
    above: bool = False,
    later: bool = False,
) -> Any:
    """Makes a field for a finite number from low to high.

    default, later: as for `checked`; None passes where it is the default.
    low, high: the bounds, which are allowed themselves.
    above: whether low itself is refused.
    """
    return checked(default, partial(check_real, low=low, high=high, above=above), later=later)


def one_of(default: Any, allowed: Iterable[str]) -> Any:
    """Makes a field for one of the allowed words."""
    return checked(default, partial(check_choice, allowed=tuple(allowed)))


def flag(default: bool, *, later: bool = False) -> Any:
    """Makes a field that is True or False; `later` as for `checked`."""
    return checked(default, check_bool, later=later)


class Checked:
    """A frozen dataclass whose fields say what they may be. Raises ValueError for one that is
    something else."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if "check" in spec.metadata and not (value is None and spec.metadata["none"]):
                set_fields(self, **{spec.name: spec.metadata["check"](spec.name, value)})

    def idle(self) -> set[str]:
        """Returns the names of the fields that change nothing, given the values of the others."""
        return set()

    @property
    def config(self) -> dict:
        """The fields by name, as they name a run: without those that change nothing (`idle`), and
        without the `later` ones that have their default."""
        left_out = {
            f.name
            for f in fields(self)
            if f.metadata.get("later") and getattr(self, f.name) == f.default
        }
        left_out |= self.idle()
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def set_fields(settings: object, **values: object) -> None:
    """Puts checked values into a frozen dataclass, from its __post_init__."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


class UsageError(ValueError):
    """The command line asks for something that is not there: one line that says what, and what
    there is instead."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message: "; the nearest is ..." for the known name that is most
    like this one, or "" where none is like it."""
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.5)
    return f"; the nearest is {near[0]}" if near else ""


def one_line(error: BaseException) -> str:
    """Returns what an exception of foreign code says, and its kind, in one line of bearable
    length."""
    said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return said if len(said) < 400 else f"{said[:400]} ..."
