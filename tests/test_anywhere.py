"""A page alone, as Colab gets it: its first cell fetches the project, installs what is missing, and the page runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.book


def setup_of(page: Path) -> str:
    """The cell of a page that the book does not show."""
    cells = [cell for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"]
    assert cells[0].metadata.get("tags") == ["remove-cell"], "the first code cell must make the page run in Colab"
    return cells[0].source


def test_all_pages_begin_with_the_same_cell():
    assert len({setup_of(page) for page in PAGES}) == 1


def test_the_ranges_leave_a_hosted_machine_as_it_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), f"{requirement} could replace what is there"


def test_the_cell_does_nothing_where_lintf_is_installed(tmp_path, monkeypatch):
    def no_command(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be run")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", no_command)
    before = list(sys.path)
    exec(setup_of(PAGES[0]), {})
    assert (Path.cwd(), sys.path, list(tmp_path.iterdir())) == (tmp_path, before, [])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the packages of this one, as a hosted machine has its own, but no lintf."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # Python 3.11 gives a new environment an old setuptools, which would hide the one that torch asks for.
    subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True)
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    # Paths named in such a file are searched, but their own .pth files are not read: lintf is not found.
    (packages / "hosted.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [
        str(python),
        "-c",
        "import importlib.util as u; print(u.find_spec('torch') and not u.find_spec('lintf'))",
    ]
    assert subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout == "True\n"
    return python


def run_page(page: Path, python: Path, folder: Path) -> nbformat.NotebookNode:
    """Execute a page in a folder of its own, with the project's address leading to this checkout."""
    work, kernel = folder / "content", folder / "kernels" / "bare"
    work.mkdir(exist_ok=True)
    kernel.mkdir(parents=True, exist_ok=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": start, "display_name": "bare", "language": "python"}))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LINTF_RUNS")}
    environment |= {
        "JUPYTER_PATH": str(folder),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": re.search(r'address = "(.*?)"', setup_of(page)).group(1),
    }
    command = [sys.executable, "-m", "papermill", str(page), str(folder / "out.ipynb"), "-k", "bare"]
    command += ["--cwd", str(work), "--no-progress-bar"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return nbformat.read(folder / "out.ipynb", as_version=4)


def test_a_page_runs_where_there_is_nothing_else(tmp_path, bare):
    """The page is the one of this checkout, the project that it fetches is the last commit."""
    packages = next(bare.parents[1].glob("lib/python*/site-packages"))
    before = {path.name for path in packages.iterdir()}
    outputs = [out for cell in run_page(PAGES[0], bare, tmp_path).cells for out in cell.get("outputs", [])]
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 3
    installed = {path.name for path in packages.iterdir()} - before - {"__pycache__"}
    assert installed, "pip installed nothing"
    assert all("lintf" in name for name in installed), f"more than lintf was installed: {installed}"

    v4 = nbformat.v4  # another page, in a new kernel: everything is there
    cells = [v4.new_code_cell(source) for source in (setup_of(PAGES[0]), "from lintf import store; next(store.runs())")]
    cells[0].metadata["tags"] = ["remove-cell"]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "next.ipynb")
    run_page(tmp_path / "next.ipynb", bare, tmp_path)
    assert [path.name for path in (tmp_path / "content").iterdir()] == ["lintf-book"]
