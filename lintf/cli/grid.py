"""Grids of parameters, from texts such as "n_layer=1,2,3" and "N=5:80:x2"."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from lintf.checks import UsageError
from lintf.cli.values import OPENING, literal, read_pair, read_value

MOST = 100_000  # cells
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER}):({NUMBER})(?::(x?)({NUMBER}))?")
RANGES = (
    "a range is FIRST:LAST, FIRST:LAST:STEP or FIRST:LAST:xFACTOR, from FIRST towards "
    "LAST, which can be reached"
)


def axes(texts: Sequence[str]) -> dict[str, list[object]]:
    """Returns the values of each parameter, in the order of the texts "name=values". Values are
    separated by commas, and each is a Python literal, a word, or a range with both ends: 1:4 is
    1,2,3,4; 0:1:0.25 goes by steps, 5:80:x2 by factors. A list in brackets is one value. Raises
    UsageError for what is malformed, empty, or there twice."""
    found: dict[str, list[object]] = {}
    for text in texts:
        name, values = read_pair(text)
        if name in found:
            raise UsageError(
                f"-p {text}: {name} is there twice; its values are separated by commas"
            )
        found[name] = [value for piece in _pieces(values, text) for value in _values(piece, text)]
        seen: set[str] = set()
        for value in found[name]:
            written = repr(value)
            if written in seen:
                raise UsageError(f"-p {text}: {written} is there twice")
            seen.add(written)
    if not found:
        raise UsageError("the grid is empty: give at least one -p NAME=VALUES")
    size(found)
    return found


def size(grid: Mapping[str, Sequence[object]]) -> int:
    """Returns the number of cells. Raises UsageError for more than MOST."""
    cells = 1
    for values in grid.values():
        cells *= len(values)
    if cells > MOST:
        raise UsageError(f"the grid has {cells} cells; {MOST} are allowed")
    return cells


def cells(grid: Mapping[str, Sequence[object]]) -> Iterator[dict[str, object]]:
    """Yields every combination; the last parameter changes fastest."""
    return (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))


def _pieces(text: str, whole: str) -> list[str]:
    """Returns what stands between commas. A value that begins like a list or a quoted text ends
    where it is a literal."""
    pieces, rest = [], text.split(",")
    while rest:
        piece = rest.pop(0).lstrip()
        while piece[:1] in OPENING and rest and not _is_literal(piece):
            piece += f",{rest.pop(0)}"
        pieces.append(piece.strip())
    if not all(pieces):
        raise UsageError(f"-p {whole}: a value is missing")
    return pieces


def _is_literal(text: str) -> bool:
    try:
        literal(text)
    except ValueError:
        return False
    return True


def _values(piece: str, whole: str) -> list[object]:
    """Returns the values of one piece between commas."""
    match = RANGE.fullmatch(piece)
    if match:
        return _range(match, whole)
    if re.match(rf"{NUMBER}\s*:", piece):
        raise UsageError(f"-p {whole}: cannot read {piece!r}; {RANGES}")
    return [read_value(piece, f"-p {whole}")]


def _range(match: re.Match[str], whole: str) -> list[object]:
    """Returns the values of a range, exact in decimal numbers: 0.1:0.3:0.1 ends with 0.3."""
    texts = (match[1], match[2], match[4] or "1")
    first, last, step = map(Decimal, texts)
    factor = bool(match[3])
    forward = step > 1 if factor else step > 0
    if (factor and not (step > 0 and step != 1 and first > 0)) or not step:
        raise UsageError(f"-p {whole}: {match[0]} never ends; {RANGES}")
    values, value = [], first
    while value <= last if forward else value >= last:
        if len(values) == MOST:
            raise UsageError(f"-p {whole}: {match[0]} has more than {MOST} values")
        values.append(value)
        value = value * step if factor else value + step
    if not values:
        raise UsageError(f"-p {whole}: {match[0]} has no values; {RANGES}")
    whole_numbers = all(re.fullmatch(r"[-+]?\d+", text) for text in texts)
    return [int(v) if whole_numbers else float(v) for v in values]


def label(parameters: Mapping[str, object]) -> str:
    """Returns "name=value" for all parameters, in one line."""
    return " ".join(f"{name}={value}" for name, value in parameters.items())
