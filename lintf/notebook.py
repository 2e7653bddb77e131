"""The pages of the book as programs: find one by a part of its name, and run it with other parameters."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lintf.names import WrongInput, nearest
from lintf.pages import assigned

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
EVERY = 10.0  # seconds between two lines of progress where they are not overwritten, as in a log


class CellFailed(RuntimeError):
    """A page stopped at an error, which the message repeats."""


def pages() -> list[Path]:
    """The pages of the checkout that the package stands in, by number; none without a checkout."""
    return sorted(path for path in FOLDER.glob("*.ipynb") if re.fullmatch(r"\d\d_\w+", path.stem))


def find(name: str) -> Path:
    """The notebook that is meant by a path, a number (8 or 08), a page's name (08_loss) or a part of it. Raises
    WrongInput for none and for several."""
    path = Path(name)
    if path.suffix in (".ipynb", ".py") and path.with_suffix(".ipynb").is_file():
        return path.with_suffix(".ipynb").resolve()
    known, part = pages(), path.name.removesuffix(".ipynb").removesuffix(".py").lower()
    if not known:
        raise WrongInput(f"no page {name!r}: {FOLDER} has none; the pages come with a checkout of the project")
    found = matching(part)
    if not found:
        names = [p.stem for p in known]
        by_word = {word.lower(): stem for stem in reversed(names) for word in (stem, stem[3:], *stem[3:].split("_"))}
        raise WrongInput(f"no page {name!r}{_page_of(part, by_word)}; the pages are {', '.join(names)}")
    if len(found) > 1:
        raise WrongInput(f"{name!r} could be {', '.join(p.stem for p in found)}")
    return found[0]


def _page_of(part: str, by_word: Mapping[str, str]) -> str:
    said = nearest(part, by_word)
    word = said.rpartition(" ")[2]
    return said.removesuffix(word) + by_word[word] if said else ""


def matching(part: str) -> list[Path]:
    """The pages that have this number or name; else all with this in their name."""
    part, known = part.lower(), pages()
    exact = [p for p in known if part in (p.stem.lower(), p.stem[3:].lower(), p.stem[:2], p.stem[:2].lstrip("0"))]
    return exact or [p for p in known if part in p.stem.lower()]


def title(page: Path) -> str:
    """The first heading."""
    return "".join(_cells(page)[0]["source"]).splitlines()[0].lstrip("# ")


def parameters_source(page: Path) -> str:
    """The cell that papermill looks for, with a reason on each line; "" if there is none."""
    tagged = [cell for cell in _cells(page) if "parameters" in cell["metadata"].get("tags", [])]
    return "".join(tagged[0]["source"]) if tagged else ""


def code(page: Path) -> list[str]:
    """The sources of the code cells."""
    return ["".join(cell["source"]) for cell in _cells(page) if cell["cell_type"] == "code"]


def _cells(page: Path) -> list[dict]:
    return json.loads(page.read_text(encoding="utf-8"))["cells"]


def read_parameters(pairs: Sequence[str], files: Sequence[str] = ()) -> dict[str, object]:
    """Parameters from YAML files, then from texts "key=value" with the value in YAML; the last one counts. Raises
    WrongInput."""
    given: dict[str, object] = {}
    for file in files:
        try:
            content = read_yaml(Path(file).read_text(encoding="utf-8"), f"-f {file}")
        except (OSError, UnicodeDecodeError) as error:
            raise WrongInput(f"-f {file}: cannot be read ({error})") from error
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise WrongInput(f"-f {file}: must hold lines 'name: value', got {str(content)[:80]!r}")
        given |= content
    for pair in pairs:
        key, value = read_pair(pair)
        given[key] = read_yaml(value, f"-p {pair}")
    return given


def read_pair(pair: str) -> tuple[str, str]:
    """A name and a text from "name=text". Raises WrongInput."""
    key, equals, value = pair.partition("=")
    if not equals or not key.strip().isidentifier():
        raise WrongInput(f"-p must be key=value, got {pair!r}")
    return key.strip(), value


def read_yaml(text: str, where: str) -> object:
    """YAML, and what it takes for a word although it is a number or nothing in Python: 1e-3 and None. Raises
    WrongInput, which says where the text is from."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    number = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("None$"), ["N"])
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise WrongInput(f"{where}: not a value in YAML ({str(error).splitlines()[0]})") from error


def check_run(page: Path, out: Path, given: Mapping[str, object]) -> None:
    """Refuse, before a kernel starts, parameters that the page does not have, and a file for the result that is
    something else. Raises WrongInput."""
    check_names(page.stem, given, assigned(parameters_source(page)))
    if out.suffix != ".ipynb":
        raise WrongInput(f"-o must end in .ipynb, got {str(out)!r}")
    if not out.resolve().parent.is_dir():
        raise WrongInput(f"-o {out}: there is no folder {out.resolve().parent}")
    if out.exists() and not _is_output(out):
        raise WrongInput(f"{out} is there and is not the result of an earlier run: name another file with -o")


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises WrongInput for a parameter that its owner does not have."""
    known = list(known)
    for name in given:
        if name not in known:
            has = f"{owner} has {', '.join(known) or 'no parameters'}"
            raise WrongInput(f"unknown parameter {name!r}{nearest(name, known)}; {has}")


def _is_output(path: Path) -> bool:
    """Whether papermill has written this notebook."""
    try:
        return path.resolve() not in pages() and "papermill" in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    except (ValueError, KeyError, TypeError, OSError):
        return False


def run(page: Path, out: Path, given: Mapping[str, object], quiet: bool = False) -> None:
    """Run a page with papermill, in the page's own folder, and show its progress unless `quiet`. The notebook is
    written to `out` after every cell. Raises CellFailed."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    screen = Screen()
    bar = {"desc": page.stem, "file": screen, "ncols": screen.width, "mininterval": 0 if screen.live else EVERY}
    try:
        with _environment(screen):
            papermill.execute_notebook(
                str(page),
                str(out.resolve()),
                dict(given),
                cwd=str(page.parent),
                progress_bar=False if quiet else bar,
                stderr_file=None if quiet else screen,
                coalesce_streams=True,  # of a training's progress the notebook keeps the last state
                extra_arguments=["--IPKernelApp.log_level=50"],  # else it complains of its port, and when stopped
            )
    except papermill.PapermillExecutionError as error:
        said = re.sub(r"\x1b\[[\d;]*m", "", f"{error.ename}: {error.evalue}").strip()
        where = f"In [{error.exec_count}] of {page.stem}"
        raise CellFailed(f"{where} failed: {said if len(said) < 600 else said[:600] + ' ...'}") from error
    except DeadKernelError as error:
        raise CellFailed(f"the kernel of {page.stem} died, which a lack of memory can do") from error


@contextmanager
def _environment(screen: Screen) -> Iterator[None]:
    """What the notebook's process inherits: this lintf; progress as text, as wide as the screen; runs/ where it is."""
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["LINTF_PROGRESS"] = "text"
    os.environ["TQDM_NCOLS"] = str(screen.width)
    if not screen.live:
        os.environ["TQDM_MININTERVAL"] = str(EVERY)
    if runs := os.environ.get("LINTF_RUNS"):
        os.environ["LINTF_RUNS"] = str(Path(runs).resolve())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Screen(io.TextIOBase):
    """stderr for the progress bars of two processes: in a terminal each overwrites the other, elsewhere each state is a
    line of its own."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.width = shutil.get_terminal_size((100, 24)).columns - 1

    def write(self, text: str) -> int:
        if self.live:
            sys.stderr.write(text.replace("\r", "\r\x1b[K"))
        else:
            sys.stderr.writelines(f"{line.rstrip()}\n" for line in re.split(r"[\r\n]", text) if line.strip())
        sys.stderr.flush()
        return len(text)
