"""The pages of the book as programs: find one by a part of its name, and run it with other
parameters."""

from __future__ import annotations

import ast
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from lintf.checks import UsageError, nearest, one_line
from lintf.cli.values import check_plain, check_switches, is_plain, read_pair, read_value
from lintf.pages.parameters import assigned
from lintf.training.progress import SILENCE, Screen, every

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
EVERY = 10.0  # seconds between two lines of progress where they are not overwritten, as in a log
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


class CellFailed(RuntimeError):
    """A page stopped at an error, which the message repeats."""


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
        cells = _content(page)["cells"]
        return [
            (c["cell_type"], "".join(c["source"]), c.get("metadata", {}).get("tags", []))
            for c in cells
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{page}: not a notebook of Jupyter's format 4 ({one_line(error)})"
        ) from error


def _content(page: Path) -> dict:
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
    if out.exists() and not _is_output(out):
        raise UsageError(
            f"{out} is there and is not the result of an earlier run: name another file with -o"
        )


def check_language(page: Path) -> None:
    """Raises UsageError for a notebook that says it is not in Python."""
    head = _content(page).get("metadata") or {}
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


def _is_output(path: Path) -> bool:
    """Says whether papermill has written this notebook."""
    try:
        return (
            Path(os.path.realpath(path)) not in pages()
            and "papermill" in _content(path)["metadata"]
        )
    except (UsageError, KeyError, TypeError, OSError):
        return False


def run(page: Path, out: Path, given: Mapping[str, object], quiet: bool = False) -> None:
    """Runs a page with papermill, in the page's own folder.

    page: the notebook. given: its parameters by name.
    out: the notebook to write, after every cell; nothing is left of one without a first cell.
    quiet: whether its progress is not shown.
    Raises CellFailed where it stops at an error, or cannot be run.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    screen = Screen(page.stem)
    bar = {
        "desc": page.stem,
        "file": screen,
        "ncols": screen.width,
        "mininterval": 0 if screen.live else EVERY,
    }
    try:
        with _no_stub(out), nullcontext() if quiet else every(SILENCE, screen.still):
            papermill.execute_notebook(
                _path(page),
                _path(out.absolute()),
                {name: _lists(value) for name, value in given.items()},
                kernel_name="python3",
                language="python",
                kernel_manager_class=_kernel(page.parent, _environment(screen)),
                progress_bar=False if quiet else bar,
                stderr_file=None if quiet else screen,
                on_cell_execute=screen.begin,
                coalesce_streams=True,  # of a training's progress the notebook keeps the last state
                # Else it complains of its port, and when stopped.
                extra_arguments=["--IPKernelApp.log_level=50"],
            )
    except papermill.PapermillExecutionError as error:
        said = re.sub(r"\x1b\[[\d;]*m", "", f"{error.ename}: {error.evalue}").strip()
        where = f"In [{error.exec_count}] of {page.stem}"
        raise CellFailed(
            f"{where} failed: {said if len(said) < 600 else said[:600] + ' ...'}"
        ) from error
    except DeadKernelError as error:
        raise CellFailed(
            f"the kernel of {page.stem} died, which a lack of memory can do"
        ) from error
    except Exception as error:  # of papermill, of Jupyter, of the disk: none of the page's own
        raise CellFailed(f"{page.stem} could not be run ({one_line(error)})") from error


@contextmanager
def _no_stub(out: Path) -> Iterator[None]:
    """Takes the notebook away that papermill began, where running a page fails before any of its
    cells has run."""
    try:
        yield
    except BaseException:
        if _is_output(out) and not any(
            cell.get("execution_count") for cell in _content(out)["cells"]
        ):
            with suppress(OSError):
                out.unlink()
        raise


def _path(path: Path) -> str:
    """Returns a path for papermill, to which braces in a path are places for parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _lists(value: object) -> object:
    """Returns the same without tuples, which papermill would turn into texts."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value


def _kernel(folder: Path, environment: Mapping[str, str]) -> type:
    """Returns what starts this Python's own kernel, in a folder and with an environment, whatever
    kernel a notebook names and whatever kernels the user has installed."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    class Own(AsyncKernelManager):
        def __init__(self, **options: object) -> None:
            super().__init__(**options, kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))

        async def start_kernel(self, **options: object) -> None:
            await super().start_kernel(**options, cwd=str(folder), env=dict(environment))

    return Own


def _environment(screen: Screen) -> dict[str, str]:
    """Returns what the notebook's process is given: this lintf; progress as text, as wide as the
    screen; runs/ where it is."""
    given = dict(os.environ)
    given["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [given.get("PYTHONPATH")])])
    given |= {"LINTF_PROGRESS": "text", "TQDM_NCOLS": str(screen.width)}
    if not screen.live:
        given["TQDM_MININTERVAL"] = str(EVERY)
    if runs := given.get("LINTF_RUNS"):
        given["LINTF_RUNS"] = str(Path(runs).absolute())
    return given
