"""Every notebook, with the tiny parameters of presets/smoke, through its live path: nothing is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.papermill
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def papermill(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a page as a reader would from the command line, with an empty folder for its runs."""
    command = [sys.executable, "-m", "papermill", str(page), str(folder / "out.ipynb"), "--no-progress-bar"]
    environment = {**os.environ, "LINTF_RUNS": str(folder / "runs")}
    (folder / "runs").mkdir()
    return subprocess.run(
        [*command, "--cwd", str(page.parent), *options], env=environment, capture_output=True, text=True, check=False
    )


@each_page
def test_the_page_trains_with_tiny_parameters(page, tmp_path):
    preset = ROOT / "presets" / "smoke" / f"{page.stem}.yaml"
    assert preset.exists(), f"every page has tiny parameters: write {preset.relative_to(ROOT)}"
    result = papermill(page, tmp_path, "-f", str(preset))
    assert result.returncode == 0, result.stderr
    if re.search(r"\b(fit|trained)\(", page.read_text()):  # one page only draws prompts
        assert list((tmp_path / "runs").iterdir()), "the page kept no run: did it train?"


@each_page
def test_an_unknown_parameter_is_refused(page, tmp_path):
    result = papermill(page, tmp_path, "-p", "n_layr", "4")
    assert result.returncode != 0
    assert "unknown parameter 'n_layr'" in result.stderr
    assert not list((tmp_path / "runs").iterdir()), "refused before any training"
