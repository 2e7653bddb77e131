"""Every notebook, with the tiny parameters of presets/smoke, through its live path: nothing is
loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from lintf.training import versions

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.papermill
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture(autouse=True)
def not_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINTF_STRICT", raising=False)


def edited(page: Path, given: dict[str, object]) -> nbformat.NotebookNode:
    """The page with these values typed into its parameters cell, in place of its own."""
    notebook = nbformat.read(page, as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    for name, value in given.items():
        line = rf"(?ms)^{name} = .*?(?=  # )"
        cell.source, count = re.subn(
            line, lambda _, n=name, v=value: f"{n} = {v!r}", cell.source, count=1
        )
        assert count == 1, f"{page.stem} has no line for {name}"
    return notebook


def run_all(notebook: nbformat.NotebookNode) -> None:
    """Run all cells in a kernel, in the pages' folder; raises where one stops."""
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(PAGES[0].parent)}}
    ).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


# Run by IPython when a kernel starts: notes every file that is opened from then on.
NOTE = """
import os, sys
def note(event, arguments, opened=open({file!r}, "a", buffering=1)):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        name = os.fsdecode(arguments[0])
        opened.write(os.path.abspath(name) + "\\t" + name + "\\n")
sys.addaudithook(note)
"""


def note_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which kernels from now on write the names of the files that they open."""
    file, startup = (
        folder / "opened.txt",
        folder / "ipython" / "profile_default" / "startup" / "note.py",
    )
    startup.parent.mkdir(parents=True)
    startup.write_text(NOTE.format(file=str(file)))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    return file


def of_the_checkout(file: Path) -> dict[Path, str]:
    """The noted files that belong to the checkout, and are neither an environment in it nor
    compiled from the rest, and the name by which each was opened."""
    lines = [
        line.split("\t")
        for line in file.read_text().splitlines()
        if line.startswith(f"{ROOT}{os.sep}")
    ]
    found = {Path(path): name for path, name in lines if Path(path).is_file()}
    return {
        p: n
        for p, n in found.items()
        if p.suffix != ".pyc" and ".venv" not in p.relative_to(ROOT).parts
    }


def shown(notebook: nbformat.NotebookNode) -> str:
    """All text that the cells gave."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "\n".join(
        out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in outputs
    )


# Between two runs in one kernel: says what the first one has kept, and forgets all names and what
# was run.
BETWEEN = "import os\nprint(*os.listdir(os.environ['LINTF_RUNS']), sep='\\n')\n%reset -f"


@each_page
def test_the_page_trains_with_tiny_parameters_and_runs_to_its_end_when_they_are_typed_in(
    page, tmp_path, runs, monkeypatch
):
    """With the cell that papermill writes, and then, with what that trained, with the parameters
    cell edited by hand: in one kernel, since to start it costs more than to run."""
    preset = ROOT / "presets" / "smoke" / f"{page.stem}.yaml"
    assert preset.exists(), f"every page has tiny parameters: write {preset.relative_to(ROOT)}"
    given = yaml.safe_load(preset.read_text())
    notebook = parameterize_notebook(load_notebook_node(str(page)), given)
    between = nbformat.v4.new_code_cell(BETWEEN)
    notebook.cells += [between, *edited(page, given).cells]
    runs.mkdir()
    opened = note_files(tmp_path, monkeypatch)
    run_all(notebook)
    (out,) = between.outputs
    before = set(out.text.split())
    if re.search(r"\b(fit|trained)\(", page.read_text()):  # one page only draws prompts
        assert before, "the page kept no run: did it train?"
    assert {path.name for path in runs.iterdir()} == before, "typed in, the parameters are the same"
    read, renewing = (
        of_the_checkout(opened),
        set(versions.files(ROOT, (*versions.PAGES_READ, "runs"))),
    )
    assert f"{ROOT / 'lintf'}{os.sep}" in opened.read_text(), "nothing was noted"
    assert set(read) <= renewing, "the page reads what does not renew it in the book and in sweeps"
    assert all(map(os.path.isabs, read.values())), (
        "elsewhere than in the pages' folder the page would not find it"
    )


def test_500_steps_typed_into_the_first_page_run_to_the_end(runs):
    notebook = edited(PAGES[0], {"max_iters": 500})
    run_all(notebook)
    assert "[does not hold with these parameters] With Adam, the test loss" in shown(notebook)


def test_the_same_stops_where_it_is_strict(runs, monkeypatch):
    monkeypatch.setenv("LINTF_STRICT", "1")
    with pytest.raises(nbclient.exceptions.CellExecutionError) as error:
        run_all(edited(PAGES[0], {"max_iters": 5, "B": 8}))
    assert error.value.ename == "AssertionError"
    assert error.value.evalue.startswith("claim 'simple-demo-loss' does not hold: ")


@pytest.mark.parametrize("workers", [[], ["-n", "2", "--dist", "loadfile"]], ids=["alone", "two"])
def test_nbval_is_strict_without_being_told(workers):
    """Cells share a kernel, also with several workers, and what does not hold is a failure."""
    cells = [
        nbformat.v4.new_code_cell(s)
        for s in ("from lintf import expect", "expect(True)", "expect(False)")
    ]
    (ROOT / "_build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "_build") as folder:
        for name in "ab":
            nbformat.write(nbformat.v4.new_notebook(cells=cells), f"{folder}/{name}.ipynb")
        command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", *workers, folder]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "2 failed, 4 passed" in result.stdout, result.stdout
    assert "must hold with the page's own parameters" in result.stdout


def test_papermill_ends_at_an_unknown_parameter(tmp_path, runs):
    """As a reader calls it, with a file of parameters and one more; test_bad_pages.py has each page
    refuse it."""
    runs.mkdir()
    options = ["--no-progress-bar", "--cwd", str(PAGES[0].parent), "-p", "n_layr", "4"]
    options += ["-f", str(ROOT / "presets" / "smoke" / f"{PAGES[0].stem}.yaml")]
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(PAGES[0]),
        str(tmp_path / "out.ipynb"),
        *options,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "unknown parameter 'n_layr'" in result.stderr
    assert not list(runs.iterdir()), "refused before any training"
