"""A page alone, as Colab gets it: its first cell fetches the project, installs what is missing, and
the page runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import threading
import tomllib
import venv
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.book


def setup_of(page: Path) -> str:
    """The cell of a page that the book does not show."""
    cells = [cell for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"]
    assert cells[0].metadata.get("tags") == ["remove-cell"], (
        "the first code cell must make the page run in Colab"
    )
    return cells[0].source


def test_all_pages_begin_with_the_same_cell():
    assert len({setup_of(page) for page in PAGES}) == 1


def test_the_ranges_leave_a_hosted_machine_as_it_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), (
            f"{requirement} could replace what is there"
        )


def test_the_cell_has_four_lines_and_no_address():
    cell = setup_of(PAGES[0])
    assert sum(bool(line.strip()) for line in cell.splitlines()) == 4
    assert not re.search(r"https://[\w.]", cell)


def test_no_file_holds_a_placeholder_for_the_address():
    command = [
        "git",
        "grep",
        "-lE",
        r"(github\.com|githubusercontent\.com|github\.io)[/:]*(OWNER|USER|YOUR)",
        "--",
        ".",
    ]
    found = subprocess.run(
        [*command, ":!tests"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (1, "")


def test_the_cell_does_nothing_elsewhere(tmp_path, monkeypatch):
    def no_command(*_: object) -> None:
        raise AssertionError("nothing may be run")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLAB_JUPYTER_IP", raising=False)
    monkeypatch.setattr(os, "system", no_command)
    before = list(sys.path)
    exec(setup_of(PAGES[0]), {})
    assert (Path.cwd(), sys.path, list(tmp_path.iterdir())) == (tmp_path, before, [])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the packages of this one, as a hosted machine has its
    own, but no lintf."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # Python 3.11 gives a new environment an old setuptools, which would hide the one that torch
    # asks for.
    subprocess.run(
        [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True
    )
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )
    # Paths named in such a file are searched, but their own .pth files are not read: lintf is not
    # found.
    (packages / "hosted.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [
        str(python),
        "-I",  # whatever PYTHONPATH says
        "-c",
        "import importlib.util as u; print(u.find_spec('torch') and not u.find_spec('lintf'))",
    ]
    assert (
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        == "True\n"
    )
    return python


class Sessions(BaseHTTPRequestHandler):
    """Colab's notebook server, which tells the kernel's machine what is open."""

    opened: ClassVar[str]

    def do_GET(self) -> None:
        path = f"fileId={quote(self.opened, safe='')}"
        session = {
            "path": path,
            "name": "page.ipynb",
            "type": "notebook",
            "notebook": {"path": path},
        }
        known = self.path == "/api/sessions"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps([session] if known else []).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def colab(
    tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[nbformat.NotebookNode, str], nbformat.NotebookNode]]:
    """Runs a notebook, opened from an address, where Colab would; its /content is a folder. Raises
    what a cell raised.

    The only address that leads to a project is https://github.com/somebody/a.fork-2, which is this
    checkout's last commit.
    """
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    content, kernel = tmp_path / "content", tmp_path / "kernels" / "bare"
    content.mkdir()
    kernel.mkdir(parents=True)
    start = [str(bare), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": start, "display_name": "bare", "language": "python"})
    )
    server = HTTPServer(("127.0.0.1", 0), Sessions)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    left_out = ("PYTHONPATH", "LINTF_RUNS", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {
        "COLAB_JUPYTER_IP": "127.0.0.1",
        "KMP_TARGET_PORT": str(server.server_port),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/somebody/a.fork-2",
        "GIT_CONFIG_KEY_1": "url.file:///nowhere/.insteadOf",
        "GIT_CONFIG_VALUE_1": "https://",
    }

    def run(notebook: nbformat.NotebookNode, opened: str) -> nbformat.NotebookNode:
        Sessions.opened = opened
        text = nbformat.writes(notebook).replace("/content/", f"{content}/")
        notebook = nbformat.reads(text, as_version=4)
        client = nbclient.NotebookClient(
            notebook, kernel_name="bare", timeout=600, resources={"metadata": {"path": content}}
        )
        client.execute(env=environment)
        return notebook

    yield run
    server.shutdown()
    server.server_close()


def cells(*sources: str) -> nbformat.NotebookNode:
    """A notebook with the cell for Colab, and then these."""
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(s) for s in (setup_of(PAGES[0]), *sources)]
    )


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(out.text for out in notebook.cells[-1].outputs)


FORK = "https://github.com/somebody/a.fork-2/blob/main/notebooks/01_simple_demo.ipynb"


def test_a_page_runs_where_there_is_nothing_else(tmp_path, bare, colab):
    """The page is the one of this checkout, the project that it fetches is the last commit of where
    it was opened."""
    packages = next(bare.parents[1].glob("lib/python*/site-packages"))
    before = {path.name for path in packages.iterdir()}
    page = colab(nbformat.read(PAGES[0], as_version=4), FORK)
    outputs = [out for cell in page.cells for out in cell.get("outputs", [])]
    assert sum("image/svg+xml" in out.get("data", {}) for out in outputs) >= 3
    installed = {path.name for path in packages.iterdir()} - before - {"__pycache__"}
    assert installed, "pip installed nothing"
    assert all("lintf" in name for name in installed), f"more than lintf was installed: {installed}"
    assert [path.name for path in (tmp_path / "content").iterdir()] == ["lintf-book"]

    # "Restart session": a new kernel, in Colab's own folder; and a copy in Drive, whose origin is
    # not said any more
    again = colab(
        cells(
            "import os; from lintf.training import store; next(store.runs()); print(os.getcwd())"
        ),
        "1a2B3c-drive",
    )
    assert printed(again) == f"{tmp_path / 'content' / 'lintf-book' / 'notebooks'}\n"
    assert [path.name for path in (tmp_path / "content").iterdir()] == ["lintf-book"]


def test_one_line_says_what_to_type_where_the_origin_is_not_known(tmp_path, colab):
    with pytest.raises(nbclient.exceptions.CellExecutionError) as error:
        colab(cells(), "1a2B3c-drive")
    assert error.value.ename == "AssertionError"
    said = re.fullmatch(
        r"where is this page from\? Run  (!git clone ADDRESS \S+)  with its .*", error.value.evalue
    )
    assert said[1].endswith(f"{tmp_path}/content/lintf-book")
    assert not list((tmp_path / "content").iterdir())
