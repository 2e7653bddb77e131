"""Values on the command line: Python's literals, as in the cell of a page; and words."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping

from lintf.checks import UsageError

OPENING = tuple("[({'\"")  # with which a word does not begin
PLAIN = (type(None), bool, int, float, str)
DEEPEST = 20  # brackets in each other: a list in a file of YAML may contain itself


def read_pair(pair: str) -> tuple[str, str]:
    """Returns a name and a text from "name=text". Raises UsageError for anything else."""
    key, equals, value = pair.partition("=")
    if not equals or not key.strip().isidentifier():
        raise UsageError(f"-p must be key=value, got {pair!r}")
    return key.strip(), value


def read_value(text: str, where: str) -> object:
    """Returns a Python literal; what is none is a word, such as adam or cuda:0, unless it begins
    like a list, a dictionary or a text in quotes. Raises UsageError, which says where the text is
    from."""
    text = text.strip()
    if not text:
        raise UsageError(f"{where}: a value is missing")
    try:
        value = literal(text)
    except ValueError:
        if text[0] in OPENING:
            raise UsageError(
                f"{where}: not a Python value; words in brackets need quotes: ['adam', 'sgd']"
            ) from None
        return text
    check_plain(value, where)
    return value


def literal(text: str) -> object:
    """Returns the value of a Python literal. Raises ValueError for what is none."""
    try:
        with warnings.catch_warnings():  # of a strange escape sequence, say
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a Python literal: {text!r:.80}") from error


def check_plain(value: object, where: str) -> None:
    """Raises UsageError for what a notebook cannot be given: papermill would turn it into a
    text."""
    if not is_plain(value):
        kinds = "None, True, False, numbers, texts, lists, and dictionaries whose keys are texts"
        raise UsageError(f"{where}: a value must be made of {kinds}, got {value!r:.80}")


def is_plain(value: object, depth: int = 0) -> bool:
    """Says whether a value is a number, a text or the like, or made of such by lists and
    dictionaries, DEEPEST at most."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return depth < DEEPEST and all(is_plain(each, depth + 1) for each in value)
    return isinstance(value, PLAIN)


def check_switches(given: Mapping[str, object], defaults: Mapping[str, object]) -> None:
    """Refuses true, no or null where the default is True, False or None: in Python these are words,
    and a word counts as true. Raises UsageError."""
    for name, value in given.items():
        default = defaults.get(name, "")
        if isinstance(default, bool) and isinstance(value, str):
            raise UsageError(f"{name} must be True or False, got {value!r}")
        if (
            default is None
            and isinstance(value, str)
            and value.lower() in ("null", "none", "nil", "~")
        ):
            raise UsageError(f"{name} is the word {value!r}; nothing is None in Python")
