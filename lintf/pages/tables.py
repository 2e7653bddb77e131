"""One kind of table for all pages, and one way to write a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from lintf.checks import check_int

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BOX = '<div class="lintf-table" tabindex="0" role="region" aria-label="{}" style="overflow-x:auto">'


def number(value: float, digits: int = 3) -> str:
    """Returns a number as all pages write it: whole numbers with all of their digits, others with
    so many significant ones, and with a power of ten where they are below a thousandth or have
    more than five places before the point.

    value: the number; nan is "–".
    digits: how many of its digits are significant.
    """
    if isinstance(value, Integral):
        return f"{int(value):,}".replace("-", "−").replace(",", "\u202f")
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if value == 0 or -3 <= power < 5:
        text = f"{float(value):.{max(digits - 1 - power, 0)}f}" if value else "0"
    else:
        text = f"{mantissa}·10{str(power).translate(SUPERSCRIPTS)}"
    return text.replace("-", "−")


class Table:
    """A table that notebooks show as HTML, which takes its colours from the page, and terminals as
    text. Numbers are written by `number`."""

    def __init__(self, frame: pd.DataFrame, caption: str, digits: Mapping[str, int]) -> None:
        self.frame, self.caption, self.digits = frame, caption, digits

    def cells(self) -> list[list[str]]:
        """Returns what stands in each row."""
        columns = [
            [_text(value, self.digits[name]) for value in self.frame[name]] for name in self.frame
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    def __repr__(self) -> str:
        shown = pd.DataFrame(self.cells(), columns=list(self.frame)).to_string(index=False)
        return f"{self.caption}\n{shown}"

    def _repr_html_(self) -> str:
        right = [pd.api.types.is_numeric_dtype(self.frame[name]) for name in self.frame]
        head = _row("th", list(self.frame), right, ' scope="col"')
        body = "".join(_row("td", row, right) for row in self.cells())
        caption = escape(self.caption)
        return (
            f"{BOX.format(caption)}<table><caption>{caption}</caption>"
            f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
        )


def table(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    caption: str,
    digits: int | Mapping[str, int] = 3,
) -> Table:
    """Returns a table, to be the last value of a cell. Raises ValueError for one without rows or
    caption, and for digits of a column that is not there.

    rows: a mapping for each row, from the names of the columns to values, or a data frame, whose
        index is left out. Column names say their units.
    caption: what the rows are, in a sentence.
    digits: significant digits of numbers that are not whole; by column where they differ, the
        others have 3.
    """
    given_rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    frame = pd.DataFrame([{name: _plain(row[name]) for name in row} for row in given_rows])
    if frame.empty:
        raise ValueError("rows must have at least one row with one column, got none")
    if not caption.strip():
        raise ValueError("caption must say what the rows are, got an empty text")
    given = dict.fromkeys(frame, digits) if isinstance(digits, int) else dict(digits)
    unknown = [name for name in given if name not in frame]
    if unknown:
        raise ValueError(f"digits names columns {unknown}, which are not among {list(frame)}")
    for name, count in given.items():
        check_int(f"digits of {name!r}", count, 1)
    return Table(frame, caption, dict.fromkeys(frame, 3) | given)


def _plain(value: object) -> object:
    """A tensor with one number is that number."""
    return value.item() if hasattr(value, "item") else value


def _text(value: object, digits: int) -> str:
    """What stands in a cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value, digits) if isinstance(value, Real) else str(value)


def _row(tag: str, texts: Sequence[str], right: Sequence[bool], scope: str = "") -> str:
    """A row of HTML; columns of numbers stand right."""
    sides = ["right" if to_right else "left" for to_right in right]
    cells = [
        f'<{tag}{scope} style="text-align:{side}">{escape(str(text))}</{tag}>'
        for text, side in zip(texts, sides, strict=True)
    ]
    return f"<tr>{''.join(cells)}</tr>"
