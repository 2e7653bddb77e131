"""The package as a wheel, in an empty folder: all that it reads is in it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lintf.training import versions

ROOT = Path(__file__).parents[1]

USE = """
import lintf, torch
from lintf.analysis import states
from lintf.experiments import phase as phase_runs
from lintf.training import store, versions
from lintf import LinearTransformer
from lintf import LinearRegression
from lintf import TrainConfig
from lintf import fit

print(lintf.__file__)
print(len(states.sample_text()))
def search(*_):
    raise AssertionError("the optimum is in the package")
phase_runs.isotropic.optimum = search
print(len(phase_runs.best_layers(2, 20, 5, 1 / 20_000).a))
model, task = LinearTransformer(d=2, n_layer=1), LinearRegression(N=4, d=2)
config = TrainConfig(0.1, 3, 8)
history = fit(model, task, config, (0,), progress=False)
print(torch.isfinite(history.loss).all().item())
print(store.folder(), len(list(store.runs())))
print(versions.sources())
"""


def command(*arguments: str, **options: object) -> str:
    result = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what Git has, since a build leaves folders behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "LICENSE", "lintf"):
        command("cp", "-r", str(ROOT / name), str(source))
    options = (
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(out),
    )
    command(sys.executable, "-m", "pip", "wheel", *options, str(source))
    (file,) = out.iterdir()
    return file


def test_the_wheel_has_every_file_of_the_package(wheel):
    files = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "lintf").rglob("*") if path.is_file()
    }
    files = {
        name for name in files if "__pycache__" not in name and not name.endswith((".so", ".o"))
    }
    assert {
        "lintf/kernel/kernel.cpp",
        "lintf/kernel/lanes.h",
        "lintf/kernel/threads.h",
        "lintf/data/sample_text.txt",
        "lintf/data/optima.json",
    } <= files
    assert files == {
        name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("lintf/")
    }


def test_the_wheel_works_in_an_empty_folder(tmp_path, wheel):
    target, empty = tmp_path / "packages", tmp_path / "empty"
    empty.mkdir()
    options = ("--quiet", "--no-deps", "--no-index", "--target", str(target))
    command(sys.executable, "-m", "pip", "install", *options, str(wheel))
    own = {name: value for name, value in os.environ.items() if name != "LINTF_RUNS"}
    said = command(
        sys.executable, "-c", USE, cwd=empty, env={**own, "PYTHONPATH": str(target)}
    ).splitlines()
    assert said[0] == str(target / "lintf" / "__init__.py")
    assert int(said[1]) > 10
    assert said[2] == "2"
    assert said[3] == "True"
    assert said[4] == f"{empty / 'runs'} 1"
    assert said[5] == versions.sources(), (
        "a worker with the wheel has the same code as a caller with a checkout"
    )
