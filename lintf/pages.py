"""What a page does with its parameters: refuse the misspelt ones.

Papermill writes the parameters it is given into a cell of its own, right after the page's
``parameters`` cell, and only warns about a name that the page does not have. The page would then run
for its full time on its defaults, so the next cell of every page calls :func:`check_parameters`.
"""

from __future__ import annotations

import ast
import difflib

from IPython import get_ipython

from lintf import claims

INJECTED = "# Parameters\n"  # the first line of the cell that papermill writes


def assigned(source: str) -> dict[str, ast.expr]:
    """The names that a cell assigns at top level, with their value expressions."""
    found: dict[str, ast.expr] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            found.update({t.id: node.value for t in node.targets if isinstance(t, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def check_parameters() -> None:
    """Refuse a parameter that the page does not have; with changed ones, explore.

    Call it in the cell after the ``parameters`` cell. Where papermill changed a value, the claims of
    the page are shown but not asserted, since they are about the page's own parameters.
    """
    shell = get_ipython()
    cells = [] if shell is None else shell.user_ns["In"]
    places = [i for i, source in enumerate(cells) if source.startswith(INJECTED)]
    if not places:
        return
    defaults, given = assigned(cells[places[-1] - 1]), assigned(cells[places[-1]])
    for name in given:
        if name not in defaults:
            close = difflib.get_close_matches(name, defaults, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown parameter {name!r}.{hint} This page has: {', '.join(defaults)}.")
    claims.explore(any(ast.dump(given[name]) != ast.dump(defaults[name]) for name in given))
