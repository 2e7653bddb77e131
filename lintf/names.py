"""What to say about input that cannot be, such as a name that nothing has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WrongInput(ValueError):
    """The command line asks for something that is not there: one line that says what, and what there is instead."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: "; the nearest is ..." for the known name that is most like this one, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.5)
    return f"; the nearest is {near[0]}" if near else ""


def one_line(error: BaseException) -> str:
    """What an exception of foreign code says, and its kind, in one line of bearable length."""
    said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return said if len(said) < 400 else f"{said[:400]} ..."
