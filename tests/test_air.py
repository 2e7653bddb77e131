"""How dense the code is: lines that can be read aloud. The columns are ruff's to count."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
SEVERAL = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def docstrings(source: str) -> set[int]:
    """The lines of the docstrings."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        owner = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if owner and ast.get_docstring(node) is not None:
            lines |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    return lines


def density(source: str) -> tuple[int, int]:
    """Tokens of code, and the lines on which there are any."""
    left_out, number, lines = docstrings(source), 0, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT and token.start[0] not in left_out:
            number += 1
            lines |= {*range(token.start[0], token.end[0] + 1)}
    return number, len(lines)


def test_tokens_are_counted():
    source = '''"""Not this."""\n\nx = [1, 2]  # nor this\n\n\ndef f(a):\n    """Nor this."""\n'''
    assert density(source) == (7 + 6, 2)


@pytest.mark.parametrize(("folder", "most"), [("lintf", 10.6), ("notebooks", 11.4)])
def test_a_line_holds_few_tokens(folder, most):
    """Wide lines were 12.4 and 10.9; the codebases of the field have 7 to 9."""
    counts = [density(path.read_text(encoding="utf-8")) for path in (ROOT / folder).rglob("*.py")]
    number, lines = map(sum, zip(*counts, strict=True))
    assert number / lines <= most, f"{number} tokens on {lines} lines"


def tangled(source: str) -> Iterator[str]:
    """Comprehensions with more than one `for`, and a condition."""
    for node in ast.walk(ast.parse(source)):
        parts = node.generators if isinstance(node, SEVERAL) else []
        if len(parts) > 1 and any(part.ifs for part in parts):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_comprehension_does_three_things():
    assert list(tangled("[a for b in c for a in b if a]"))
    found = {}
    for path in (ROOT / "lintf").rglob("*.py"):
        found[path.name] = list(tangled(path.read_text(encoding="utf-8")))
    assert not any(found.values()), {name: lines for name, lines in found.items() if lines}
