"""Docstrings say what a caller needs: sentences, and a list of the arguments where there are many.

gamma, delta: shape, unit, and what None means.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lintf"
FILES = sorted(PACKAGE.rglob("*.py"))
MANY = 4  # so many arguments are listed
# Names before a colon, where a line or a sentence begins.
ENTRY = re.compile(r"(?:^|(?<=[.;] ))((?:\w+, )*\w+): ", re.MULTILINE)
BASE = re.compile(r"Arguments\s+as\s+in\s+`(?:\w+\.)*(\w+)`")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parts(source: str, name: str) -> Iterator[tuple[str, ast.AST, ast.ClassDef | None]]:
    """The functions and classes of a module that are public, by their names, and the class that
    each is in. __init__ counts, with its class's docstring beside its own."""

    def inside(
        owner: ast.Module | ast.ClassDef, name: str
    ) -> Iterator[tuple[str, ast.AST, ast.ClassDef | None]]:
        around = owner if isinstance(owner, ast.ClassDef) else None
        for node in owner.body:
            if isinstance(node, Function | ast.ClassDef) and (
                not node.name.startswith("_") or node.name == "__init__"
            ):
                yield f"{name}.{node.name}", node, around
                if isinstance(node, ast.ClassDef):
                    yield from inside(node, f"{name}.{node.name}")

    return inside(ast.parse(source), name)


def text_of(node: ast.AST, around: ast.ClassDef | None) -> str:
    """The docstring; with that of the class for its __init__."""
    own = ast.get_docstring(node) or ""
    if around is not None and node.name == "__init__":
        own += "\n" + (ast.get_docstring(around) or "")
    return own


def arguments(node: Function) -> list[str]:
    """Their names, without self and cls."""
    a = node.args
    found = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    return [one.arg for one in found if one is not None and one.arg not in ("self", "cls")]


def unlisted(source: str, module: str) -> Iterator[str]:
    """Functions with many arguments, and which of these their lists leave out. A method of a class
    that has a base may point to the method of the same name there."""
    for name, node, around in parts(source, module):
        if not isinstance(node, Function) or len(arguments(node)) < MANY:
            continue
        text = text_of(node, around)
        pointed = BASE.search(text)
        if pointed and around is not None and around.bases and pointed[1] == node.name:
            continue
        listed = {own for names in ENTRY.findall(text) for own in names.split(", ")}
        if left := [own for own in arguments(node) if own not in listed]:
            yield f"{name}: {', '.join(left)}"


def unsaid(source: str, module: str) -> Iterator[str]:
    """Public parts without a docstring, and docstrings of any part that do not end a sentence. A
    module's own, __init__ and what a protocol of Python defines need none."""
    for name, node, _ in parts(source, module):
        if ast.get_docstring(node) is None and node.name != "__init__":
            yield f"{name} has no docstring"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | Function | ast.ClassDef):
            text = ast.get_docstring(node)
            if text is not None and not text.endswith("."):
                yield f"{module}: {text[-40:]!r} does not end with a full stop"


GOOD = '''
"""A module."""
class Law:
    """A law."""
    def draw(self, a, b, c=None, *, d=1):
        """Draws.

        a, b: numbers. c: a number; None is none.
        d: the last.
        """
class Own(Law):
    """A law of one's own."""
    def draw(self, a, b, c=None, *, d=1):
        """Draws at once. Arguments as in `Law.draw`."""
    def __init__(self, a, b, c):
        self._hidden(a, b, c, 1)
    def _hidden(self, a, b, c, d):
        return a
'''


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("a, b: numbers.", "b: numbers for a.", ["m.Law.draw: a"]),
        ("d: the last.", "The last is d.", ["m.Law.draw: d"]),
        ('*, d=1):\n        """Draws.', '*, d=1, **e):\n        """Draws.', ["m.Law.draw: e"]),
        ("`Law.draw`", "`Law.take`", ["m.Own.draw: a, b, c, d"]),
        ("Own(Law)", "Own", ["m.Own.draw: a, b, c, d"]),
        ("a, b, c):\n        self", "a, b, c, d):\n        self", ["m.Own.__init__: a, b, c, d"]),
        ("_hidden(self", "seen(self", ["m.Own.seen: a, b, c, d", "m.Own.seen has no docstring"]),
        ('"""A law."""', "x = 1", ["m.Law has no docstring"]),
        ("A module.", "A module", ["m: 'A module' does not end with a full stop"]),
        ("return a", '"""A part"""', ["m: 'A part' does not end with a full stop"]),
    ],
)
def test_these_tests_can_fail(old, new, found):
    assert [*unlisted(GOOD, "m"), *unsaid(GOOD, "m")] == []
    assert old in GOOD
    bad = GOOD.replace(old, new)
    assert [*unlisted(bad, "m"), *unsaid(bad, "m")] == found


def test_the_package_is_read():
    names = {
        name for path in FILES for name, *_ in parts(path.read_text(encoding="utf-8"), path.stem)
    }
    assert {"fit.fit", "base.Task.draw_ensemble", "history.Diverged.__init__"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE.parent)))
def test_many_arguments_are_listed(path):
    assert list(unlisted(path.read_text(encoding="utf-8"), path.stem)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE.parent)))
def test_docstrings_are_sentences(path):
    assert list(unsaid(path.read_text(encoding="utf-8"), path.stem)) == []
