"""The pages of the book as programs: find one by a part of its name, and read what its cells
say."""

from __future__ import annotations

import ast
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lintf.checks import UsageError, nearest, one_line
from lintf.cli.values import check_plain, check_switches, is_plain, read_pair, read_value
from lintf.pages.parameters import assigned

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
# What an expression in a parameters cell may call for its value to be known without the page: it
# can do no harm.
PURE = (
    abs,
    bool,
    dict,
    float,
    int,
    len,
    list,
    max,
    min,
    pow,
    range,
    reversed,
    round,
    set,
    sorted,
    str,
    sum,
    tuple,
)


def pages() -> list[Path]:
    """Returns the pages of the checkout that the package stands in, by number; none without a
    checkout."""
    return sorted(
        p for p in FOLDER.glob("*.ipynb") if re.fullmatch(r"\d\d_\w+", p.stem) and p.is_file()
    )


def find(name: str) -> Path:
    """Returns the notebook that is meant by a path, a number (8 or 08), a page's name (08_loss) or
    a part of it. Raises UsageError for none and for several."""
    path = Path(name)
    if path.suffix in (".ipynb", ".py") and path.with_suffix(".ipynb").is_file():
        return path.with_suffix(".ipynb").resolve()
    known, part = pages(), path.name.removesuffix(".ipynb").removesuffix(".py").lower()
    if not known:
        raise UsageError(
            f"no page {name!r}: {FOLDER} has none; the pages come with a checkout of the project"
        )
    found = matching(part)
    if not found:
        names = [p.stem for p in known]
        by_word = {
            word.lower(): stem
            for stem in reversed(names)
            for word in (stem, stem[3:], *stem[3:].split("_"))
        }
        raise UsageError(
            f"no page {name!r}{_page_of(part, by_word)}; the pages are {', '.join(names)}"
        )
    if len(found) > 1:
        raise UsageError(f"{name!r} could be {', '.join(p.stem for p in found)}")
    return found[0]


def _page_of(part: str, by_word: Mapping[str, str]) -> str:
    said = nearest(part, by_word)
    word = said.rpartition(" ")[2]
    return said.removesuffix(word) + by_word[word] if said else ""


def matching(part: str) -> list[Path]:
    """Returns the pages that have this number or name; else all with this in their name."""
    part, known = part.lower(), pages()
    exact = [
        p
        for p in known
        if part in (p.stem.lower(), p.stem[3:].lower(), p.stem[:2], p.stem[:2].lstrip("0"))
    ]
    return exact or [p for p in known if part in p.stem.lower()]


def title(page: Path) -> str:
    """Returns the first heading; the file's name if there is none."""
    text = "\n".join(source for kind, source, _ in _cells(page) if kind == "markdown")
    heads = (line for line in text.splitlines() if line.startswith("#"))
    return next(heads, page.stem).lstrip("# ")


def parameters_source(page: Path) -> str:
    """Returns the cell that papermill looks for, with a reason on each line; "" if there is
    none."""
    return next((source for _, source, tags in _cells(page) if "parameters" in tags), "")


def code(page: Path) -> list[str]:
    """Returns the sources of the code cells."""
    return [source for kind, source, _ in _cells(page) if kind == "code"]


def _cells(page: Path) -> list[tuple[str, str, list[str]]]:
    """Returns kind, source and tags of each cell. Raises UsageError for what is no notebook."""
    try:
        cells = read(page)["cells"]
        return [
            (c["cell_type"], "".join(c["source"]), c.get("metadata", {}).get("tags", []))
            for c in cells
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{page}: not a notebook of Jupyter's format 4 ({one_line(error)})"
        ) from error


def read(page: Path) -> dict:
    """Returns a notebook as it is stored. Raises UsageError for what is none."""
    try:
        content = json.loads(page.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{page}: cannot be read as a notebook ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{page}: not a notebook, but {content!r:.80}")
    return content


def read_parameters(pairs: Sequence[str], files: Sequence[str] = ()) -> dict[str, object]:
    """Returns parameters from YAML files, as papermill reads them, then from texts "key=value"; the
    last one counts. Raises UsageError."""
    given: dict[str, object] = {}
    for file in files:
        given |= _read_file(file)
    for pair in pairs:
        key, text = read_pair(pair)
        given[key] = read_value(text, f"-p {pair}")
    return given


def _read_file(file: str) -> dict[str, object]:
    from papermill.iorw import read_yaml_file

    try:
        with warnings.catch_warnings():  # papermill warns of a name that does not end in .yaml
            warnings.simplefilter("ignore")
            content = read_yaml_file(str(Path(file)))
    except Exception as error:  # of the disk, of YAML, of papermill
        raise UsageError(f"-f {file}: cannot be read ({one_line(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"-f {file}: must hold lines 'name: value', got {str(content)[:80]!r}")
    for key, value in content.items():
        check_plain(value, f"-f {file}: {key}")
    return content


def defaults(page: Path) -> dict[str, object]:
    """Returns the parameters of a page whose values follow from Python's own numbers, texts and
    lists, and from each other: 2 ** 3, list(range(N)). What the others are, only the page can
    say."""
    space: dict[str, object] = {"__builtins__": {f.__name__: f for f in PURE}}
    source = parameters_source(page)
    names = assigned(source)
    statements = ast.parse(source).body if names else []
    for node in statements:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            text = ast.unparse(node)
            for name in assigned(text):
                space.pop(name, None)
            with suppress(Exception):  # a name or a module of the page's own
                exec(text, space)
    return {name: space[name] for name in names if name in space and is_plain(space[name])}


def check_run(page: Path, out: Path, given: Mapping[str, object]) -> None:
    """Refuses, before a kernel starts, parameters that the page does not have, and a file for the
    result that is something else. Raises UsageError."""
    check_names(page.stem, given, assigned(parameters_source(page)))
    check_switches(given, defaults(page))
    check_language(page)
    if out.suffix != ".ipynb":
        raise UsageError(f"-o must end in .ipynb, got {str(out)!r}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"-o {out}: there is no folder {out.absolute().parent}")
    if out.exists() and not is_output(out):
        raise UsageError(
            f"{out} is there and is not the result of an earlier run: name another file with -o"
        )


def check_language(page: Path) -> None:
    """Raises UsageError for a notebook that says it is not in Python."""
    head = read(page).get("metadata") or {}
    for key, name in (("kernelspec", "language"), ("language_info", "name")):
        language = (head.get(key) or {}).get(name, "python")
        if not str(language).lower().startswith(("python", "ipython")):
            raise UsageError(f"{page.name} is in the language {language}; only Python can be run")


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises UsageError for a parameter that its owner does not have."""
    known = list(known)
    for name in given:
        if name not in known:
            has = f"{owner} has {', '.join(known) or 'no parameters'}"
            raise UsageError(f"unknown parameter {name!r}{nearest(name, known)}; {has}")


def is_output(path: Path) -> bool:
    """Says whether papermill has written this notebook."""
    try:
        return Path(os.path.realpath(path)) not in pages() and "papermill" in read(path)["metadata"]
    except (UsageError, KeyError, TypeError, OSError):
        return False
