"""Claims: a published result beside our own, shown on the page, checked, and collected in the ledger.

A page calls :func:`claim` once per result. The call shows one row, hands the same row to the book
(MyST-NB ``glue``, where it is installed), and raises where the claim does not hold. The ledger page
of the book is made from these rows and from nothing else. A published result that does not come back
is shown as such, with the reason: then ``why`` must be given, and the call raises if the claim holds
after all.
"""

from __future__ import annotations

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
_exploring = False


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
        if not self.holds:
            return "does not hold" if self.why is None else "not reproduced"
        return "reproduced" if self.scale is None else "reproduced at a smaller scale"

    def __repr__(self) -> str:
        lines = [
            f"[{self.verdict}] {self.statement}",
            f"  published  {self.published}  ({self.source})",
            f"  measured   {self.measured}",
        ]
        if self.scale is not None:
            lines.append(f"  scale      {self.scale}")
        if self.why is not None:
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
        if self.why is not None:
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


def explore(on: bool = True) -> None:
    """From here on show claims without asserting or collecting them: for your own parameters."""
    global _exploring
    _exploring = on


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
    """Show one claim, hand it to the ledger, and raise AssertionError where it does not hold.

    ``key`` is ``page-slug``, such as ``"simple-demo-loss"``, written out as a literal; ``source`` says
    where the number was published; ``scale`` says what was smaller here than there, if anything. ``why``
    is for a published result that does not come back, and says why: with it the row is shown as not
    reproduced, and the call raises where ``holds`` is True after all.
    """
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(f"claim key {key!r}: use page-slug in small letters, e.g. 'simple-demo-loss'")
    if not isinstance(holds, (bool, np.bool_)):
        raise TypeError(f"claim {key!r}: holds must be True or False, not {holds!r}")
    if why is not None and not why.strip():
        raise ValueError(f"claim {key!r}: why must be a sentence, not {why!r}")
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
    if _exploring or glue is None or get_ipython() is None:
        display(row)
    else:
        glue(key, row)
    if row.holds and why is not None and not _exploring:
        raise AssertionError(f"claim {key!r} holds: its explanation of why it should not is out of date ({why})")
    if not row.holds and why is None and not _exploring:
        raise AssertionError(
            f"claim {key!r} does not hold: {statement}. Published: {row.published}. "
            f"Measured: {row.measured}. (Parameters of your own? Call lintf.claims.explore() first.)"
        )


def _text(key: str, name: str, value: str | float) -> str:
    """A string as it is, a number with four significant digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        return f"{float(value):.4g}" if not isinstance(value, int) else str(value)
    raise TypeError(f"claim {key!r}: {name} must be a string or a number, not {value!r}")
