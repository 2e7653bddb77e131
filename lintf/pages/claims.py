"""Claims: a published result beside our own, shown on the page, checked, and collected in the
ledger.

A page calls :func:`claim` once per result. The call shows one row and hands the same row to the
book (MyST-NB ``glue``, where it is installed). The ledger page of the book is made from these rows
and from nothing else. A published result that does not come back is shown as such, with the reason,
``why``.

Claims are about a page's own parameters. Where these are what runs, in the book and in the tests,
``LINTF_STRICT=1`` makes a claim that does not hold, or whose ``why`` is out of date, an error. For
everybody else it says so and the page goes on. Solutions of exercises do the same with
:func:`expect`.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from html import escape
from numbers import Real
from typing import Any

import numpy as np
from IPython import get_ipython
from IPython.display import display

try:
    from myst_nb import glue
except ImportError:  # Colab has no MyST-NB: there the row is shown and nothing is collected
    glue = None

KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
COLOURS = {"reproduced": "#2f9e63", "reproduced at a smaller scale": "#c98a1b"}
OTHER_COLOUR = "#c8453b"

_made: dict[str, str] = {}  # key -> statement, to refuse a key that is used twice


@dataclass(frozen=True, repr=False)
class Claim:
    """One row: what was published, what was measured here, and whether the claim holds."""

    key: str
    statement: str
    source: str
    published: str
    measured: str
    holds: bool
    scale: str | None = None
    why: str | None = None

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.holds != (self.why is None):  # never with the page's own parameters
            return f"{'holds' if self.holds else 'does not hold'} with these parameters"
        if not self.holds:
            return "not reproduced"
        return "reproduced" if self.scale is None else "reproduced at a smaller scale"

    def __repr__(self) -> str:
        lines = [
            f"[{self.verdict}] {self.statement}",
            f"  published  {self.published}  ({self.source})",
            f"  measured   {self.measured}",
        ]
        if self.scale is not None:
            lines.append(f"  scale      {self.scale}")
        if self.why is not None and not self.holds:
            lines.append(f"  why        {self.why}")
        return "\n".join(lines)

    def html(self) -> str:
        """The row as HTML that needs no style sheet and takes its text colour from the page."""
        colour = COLOURS.get(self.verdict, OTHER_COLOUR)
        facts = (
            f"published <b>{escape(self.published)}</b> ({escape(self.source)}), "
            f"measured <b>{escape(self.measured)}</b>"
        )
        if self.scale is not None:
            facts += f", with {escape(self.scale)}"
        if self.why is not None and not self.holds:
            facts += f". {escape(self.why)}"
        return (
            f'<div class="lintf-claim" id="claim-{self.key}" style="border-left:4px solid {colour};'
            'padding:.3em .8em;margin:.6em 0;line-height:1.6">'
            f"<div>{escape(self.statement)} "
            f'<b style="color:{colour};white-space:nowrap">{self.verdict}</b></div>'
            f'<div style="opacity:.85">{facts}</div></div>'
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """What notebooks show, and, as metadata, the fields that the ledger reads."""
        return {"text/plain": repr(self), "text/html": self.html()}, {"lintf_claim": asdict(self)}


def strict() -> bool:
    """Whether what does not hold is an error: where the environment has ``LINTF_STRICT=1``."""
    value = os.environ.get("LINTF_STRICT", "")
    if value not in ("", "0", "1"):
        raise ValueError(f"LINTF_STRICT must be 1, 0 or empty, got {value!r}")
    return value == "1"


def expect(holds: bool) -> None:
    """Say that a solution's result is another one with these parameters; where it is strict, raise
    AssertionError."""
    if strict() and not holds:
        raise AssertionError("this must hold with the page's own parameters")
    if not holds:
        print("With these parameters the result is another one.")


def claim(
    key: str,
    statement: str,
    source: str,
    published: str | float,
    measured: str | float,
    holds: bool,
    scale: str | None = None,
    why: str | None = None,
) -> None:
    """Show one claim and hand it to the ledger; where it is strict, raise AssertionError if it does
    not hold.

    ``key`` is ``page-slug``, such as ``"simple-demo-loss"``, written out as a literal; ``source``
    says where the number was published; ``scale`` says what was smaller here than there, if
    anything. ``why`` is for a published result that does not come back, and says why: with it the
    row is shown as not reproduced, and where it is strict the call raises if ``holds`` is True
    after all.
    """
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(
            f"claim key {key!r}: use page-slug in small letters, e.g. 'simple-demo-loss'"
        )
    if not isinstance(holds, (bool, np.bool_)):
        raise TypeError(f"claim {key!r}: holds must be True or False, not {holds!r}")
    if why is not None and not why.strip():
        raise ValueError(f"claim {key!r}: why must be a sentence, not {why!r}")
    insist = strict()
    if _made.setdefault(key, statement) != statement:  # running a cell again is fine
        raise ValueError(f"claim key {key!r} is already used for: {_made[key]}")
    row = Claim(
        key=key,
        statement=statement,
        source=source,
        published=_text(key, "published", published),
        measured=_text(key, "measured", measured),
        holds=bool(holds),
        scale=scale,
        why=why,
    )
    if glue is None or get_ipython() is None:
        display(row)
    else:
        glue(key, row)
    if insist and row.holds == (why is not None):
        raise AssertionError(
            f"claim {key!r} holds: its explanation of why it should not is out of date ({why})"
            if row.holds
            else (
                f"claim {key!r} does not hold: {statement}. Published: {row.published}. "
                f"Measured: {row.measured}."
            )
        )


def _text(key: str, name: str, value: str | float) -> str:
    """A string as it is, a number with four significant digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        return f"{float(value):.4g}" if not isinstance(value, int) else str(value)
    raise TypeError(f"claim {key!r}: {name} must be a string or a number, not {value!r}")
