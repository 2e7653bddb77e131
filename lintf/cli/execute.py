"""Running a page with papermill, in a kernel of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from lintf.checks import one_line
from lintf.cli import notebook
from lintf.training.progress import SILENCE, Screen, every

EVERY = 10.0  # seconds between two lines of progress where they are not overwritten, as in a log


class CellFailed(RuntimeError):
    """A page stopped at an error, which the message repeats."""


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
    finally:
        screen.end()


@contextmanager
def _no_stub(out: Path) -> Iterator[None]:
    """Takes the notebook away that papermill began, where running a page fails before any of its
    cells has run."""
    try:
        yield
    except BaseException:
        if notebook.is_output(out) and not any(
            cell.get("execution_count") for cell in notebook.read(out)["cells"]
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
    given["PYTHONPATH"] = os.pathsep.join(
        [str(notebook.ROOT), *filter(None, [given.get("PYTHONPATH")])]
    )
    given |= {"LINTF_PROGRESS": "text", "TQDM_NCOLS": str(screen.width)}
    if not screen.live:
        given["TQDM_MININTERVAL"] = str(EVERY)
    if runs := given.get("LINTF_RUNS"):
        given["LINTF_RUNS"] = str(Path(runs).absolute())
    return given
