"""Claims: a published result beside our own, shown on the page, checked, and collected in the
ledger.

A page calls :func:`claim` once per result. The call shows one row and hands the same row to the
book (MyST-NB ``glue``, where it is installed). The ledger page of the book is made from these rows
and from nothing else. Each row has one of five verdicts, :data:`VERDICTS`, which follow from the
arguments of the call.

Claims are about a page's own parameters. Where these are what runs, in the book and in the tests,
``LINTF_STRICT=1`` makes a claim that does not hold, or whose ``why`` is out of date, an error. For
everybody else it says so and the page goes on. Solutions of exercises do the same with
:func:`expect`, and numbers in the text with :func:`told`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from decimal import Decimal
from html import escape
from numbers import Real
from typing import Any

from IPython import get_ipython
from IPython.display import display

from lintf.pages.sources import links
from lintf.pages.tolerances import Check

try:
    from myst_nb import glue
except ImportError:  # Colab has no MyST-NB: there the row is shown and nothing is collected
    glue = None

KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
PUBLISHED = re.compile(r"(?P<quantity>[^:]+): (?P<published>.+) \[(?P<unit>[^\[\]]+)\]", re.DOTALL)
REPRODUCED = "reproduced"
# Each with its colour, on which white is read: 5.4 to 1 or more, on a light page as on a dark one.
VERDICTS = {
    REPRODUCED: "#147a45",
    "reproduced at a smaller scale": "#8a5a00",
    "not reproduced": "#b3261e",
    "not comparable": "#5f6368",
    "ours": "#1f5fa8",
}
BY_ARGUMENT = {  # the first of these arguments that a claim has decides
    "against": "ours",
    "missing": "not comparable",
    "why": "not reproduced",
    "scale": "reproduced at a smaller scale",
}
REMARKS = {  # how a row says them
    "scale": "; with {}",
    "why": ". Why: {}",
    "missing": ". Missing: {}",
    "rule": " <i>(rule: {})</i>",
}
OTHER_COLOUR = VERDICTS["not reproduced"]

_made: dict[str, str] = {}  # key -> statement, to refuse a key that is used twice


def verdict_of(arguments: Collection[str]) -> str:
    """The verdict of a claim with these arguments, if it comes out as it is written."""
    found = (verdict for name, verdict in BY_ARGUMENT.items() if name in arguments)
    return next(found, REPRODUCED)


@dataclass(frozen=True, repr=False)
class Claim:
    """One row: what was published, or what ours is held against; what was measured here; and
    whether the claim holds, by which rule."""

    key: str
    statement: str
    measured: str
    source: str | None = None
    published: str | None = None
    quantity: str | None = None
    unit: str | None = None
    against: str | None = None
    holds: bool | None = None
    rule: str | None = None
    scale: str | None = None
    why: str | None = None
    missing: str | None = None

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.missing is None and self.holds != (self.why is None):
            # never with the page's own parameters
            return f"{'holds' if self.holds else 'does not hold'} with these parameters"
        return verdict_of({name for name in BY_ARGUMENT if getattr(self, name) is not None})

    @property
    def beside(self) -> str:
        """What was published, with its quantity and unit, or what ours is held against."""
        if self.unit is None:
            return self.against if self.published is None else self.published
        return f"{self.quantity}: {self.published} [{self.unit}]"

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Where it was published: texts and addresses."""
        return [] if self.source is None else links(self.source)

    @property
    def remarks(self) -> dict[str, str]:
        """What is said of the verdict, by name; a reason only where it is one."""
        failed = self.why if self.holds is False else None
        said = {"scale": self.scale, "why": failed, "missing": self.missing, "rule": self.rule}
        return {name: text for name, text in said.items() if text is not None}

    def __repr__(self) -> str:
        place = "; ".join(text for text, _ in self.sources)
        lines = [
            f"[{self.verdict}] {self.statement}",
            f"  {'published' if self.against is None else 'against':9}  {self.beside}"
            + (f"  ({place})" if place else ""),
            f"  measured   {self.measured}",
        ]
        return "\n".join(lines + [f"  {name:9}  {text}" for name, text in self.remarks.items()])

    def html(self) -> str:
        """The row as HTML that needs no style sheet and takes its text colour from the page."""
        colour = VERDICTS.get(self.verdict, OTHER_COLOUR)
        places = "; ".join(
            f'<a href="{escape(address)}">{escape(text)}</a>' for text, address in self.sources
        )
        facts = "published" if self.against is None else "held against"
        facts += f" <b>{escape(self.beside)}</b>" + (f" ({places})" if places else "")
        facts += f", measured <b>{escape(self.measured)}</b>"
        for name, text in self.remarks.items():
            facts += REMARKS[name].format(escape(text))
        return (
            f'<div class="lintf-claim" id="claim-{self.key}" style="border-left:4px solid {colour};'
            'padding:.3em .8em;margin:.6em 0;line-height:1.6">'
            f"<div>{escape(self.statement)} "
            f'<b style="background:{colour};color:#fff;border-radius:.3em;padding:.05em .45em;'
            f'font-size:.9em;white-space:nowrap">{self.verdict}</b></div>'
            f"<div>{facts}</div></div>"
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """What notebooks show, and, as metadata, the fields that the ledger reads."""
        fields = asdict(self) | {"verdict": self.verdict, "beside": self.beside}
        return {"text/plain": repr(self), "text/html": self.html()}, {"lintf_claim": fields}


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


def told(phrase: str, says: float, measured: float) -> None:
    """Checks a number that the text of a page tells; where it is strict, raises AssertionError if
    the measured one does not round to it. With other parameters the text is not about them, and
    nothing is said.

    phrase: the words of the page, which a test looks up there: "a factor of seventy".
    says: the number that they say, as 70, 0.13 or 2.5.
    measured: what was measured. It may be half a unit of the last non-zero digit of `says` away:
        65 to 75, 0.125 to 0.135, 2.45 to 2.55.
    """
    half = 0.5 * 10.0 ** Decimal(repr(says)).normalize().as_tuple().exponent
    if strict() and not abs(measured - says) <= half * (1 + 1e-9):
        raise AssertionError(
            f"the text says {phrase!r}, which is {says} to within {half:g}; measured: {measured}"
        )


def claim(
    key: str,
    statement: str,
    source: str | None = None,
    *,
    measured: str | float,
    published: str | None = None,
    against: str | float | None = None,
    holds: Check | None = None,
    scale: str | None = None,
    why: str | None = None,
    missing: str | None = None,
) -> None:
    """Show one claim and hand it to the ledger; where it is strict, raise AssertionError if it does
    not hold.

    Of a published result a claim says where and what: ``source`` and ``published``. A result of
    this book, and a proof by computer, say what they are held ``against``. The verdict follows:

    ===============================  ==========================================================
    reproduced                       the same quantity, at the same scale
    reproduced at a smaller scale    with ``scale=``: what was smaller here
    not reproduced                   with ``why=``: the same quantity at the same scale has
                                     another result
    not comparable                   with ``missing=``: another scale, model or quantity, and
                                     what a comparison would take; ``holds`` is left out
    ours                             with ``against=``
    ===============================  ==========================================================

    key: ``page-slug``, such as ``"simple-demo-loss"``, written out as a literal.
    statement: the result, in one sentence.
    source: where it was published, as in ``"2306.00297, Fig. 4"`` (``sources.py``); of a
        result of ours, where that stands which it is held against, if anywhere.
    measured: what came out here, in the published quantity and unit.
    published: words, or ``"quantity: value [unit]"``, which a number must have.
    against: what a result of ours is held against: an exact value, another method.
    holds: a rule of ``tolerances.py``, applied to the numbers.
    scale: what was smaller here than there. A result of ours may say its scale too.
    why: for a published result that does not come back. Where it is strict the call raises if
        it comes back after all.
    missing: what keeps the two numbers from being compared.
    """
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(
            f"claim key {key!r}: use page-slug in small letters, e.g. 'simple-demo-loss'"
        )
    given = {"source": source, "published": published, "against": against, "holds": holds}
    _check_arguments(key, given | {"scale": scale, "why": why, "missing": missing})
    insist = strict()
    if _made.setdefault(key, statement) != statement:  # running a cell again is fine
        raise ValueError(f"claim key {key!r} is already used for: {_made[key]}")
    row = Claim(
        key=key,
        statement=statement,
        measured=_text(key, "measured", measured),
        source=source,
        **({} if published is None else _published(key, published)),
        against=None if against is None else _text(key, "against", against),
        holds=None if holds is None else holds.ok,
        rule=None if holds is None else holds.rule,
        scale=scale,
        why=why,
        missing=missing,
    )
    if glue is None or get_ipython() is None:
        display(row)
    else:
        glue(key, row)
    if insist and missing is None and row.holds == (why is not None):
        raise AssertionError(
            f"claim {key!r} holds: its explanation of why it should not is out of date ({why})"
            if row.holds
            else (
                f"claim {key!r} does not hold: {statement}. Beside: {row.beside}. "
                f"Measured: {row.measured}. Rule: {row.rule}."
            )
        )


def _check_arguments(key: str, given: dict[str, Any]) -> None:
    """Raise where the arguments say no verdict, or two."""
    published, against, missing = (given[name] for name in ("published", "against", "missing"))
    if (published is None) == (against is None) or (against is None and given["source"] is None):
        raise ValueError(
            f"claim {key!r}: a published result has source= and published=, one of ours against="
        )
    reasons = {name: given[name] for name in ("scale", "why", "missing") if given[name] is not None}
    for name, text in reasons.items():
        if not text.strip():
            raise ValueError(f"claim {key!r}: {name} must be a sentence, not {text!r}")
    if len(reasons) > 1:
        raise ValueError(
            f"claim {key!r}: at another scale a result is not comparable, and not 'not "
            "reproduced': of scale=, why= and missing= only one may be given"
        )
    if against is not None and not reasons.keys() <= {"scale"}:
        raise ValueError(f"claim {key!r}: why= and missing= are for published results")
    if missing is None and not isinstance(given["holds"], Check):
        raise TypeError(
            f"claim {key!r}: holds must be a rule of lintf.pages.tolerances, such as "
            f"tolerances.every(...), not {given['holds']!r}"
        )
    if missing is not None and given["holds"] is not None:
        raise ValueError(f"claim {key!r}: what is not comparable does not hold or fail")
    if given["source"] is not None:
        links(given["source"])


def _published(key: str, published: str | None) -> dict[str, str]:
    """The fields of a published result: a number has a quantity and a unit, words have not."""
    if not isinstance(published, str):
        raise TypeError(f"claim {key!r}: published must be a string, not {published!r}")
    found = PUBLISHED.fullmatch(published)
    if found is not None:
        return found.groupdict()
    if re.search(r"\d", published):
        raise ValueError(
            f"claim {key!r}: a published number has quantity and unit, as in "
            f"'test loss: 1.3e-3 [squared error]', not {published!r}"
        )
    return {"published": published}


def _text(key: str, name: str, value: str | float | None) -> str:
    """A string as it is, a number with four significant digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        return f"{float(value):.4g}" if not isinstance(value, int) else str(value)
    raise TypeError(f"claim {key!r}: {name} must be a string or a number, not {value!r}")
