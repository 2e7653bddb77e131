"""Every stored run with damage: refused by name, or the very same record. And nothing anywhere is
unpickled."""

from __future__ import annotations

import ast
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from lintf.training import store
from lintf.training.store import Record, StoreError

ROOT = Path(__file__).parents[1]
STORED = sorted((ROOT / "runs").rglob("*.safetensors"))


def content(r: Record) -> tuple:
    """Every bit of it."""
    tensors = {
        n: (t.dtype, tuple(t.shape), t.contiguous().numpy().tobytes()) for n, t in r.tensors.items()
    }
    return tensors, store.canonical(r.config), store.canonical(r.meta)


def outcome(path: Path, whole: tuple) -> str:
    """Any other exception than StoreError, and any other record, fails the test."""
    try:
        record = store.load(path)
    except StoreError as error:
        message = str(error)
    else:
        assert content(record) == whole, "other numbers"
        return "identical"
    assert str(path) in message
    assert "\n" not in message
    return "refused"


def damage(path: Path, folder: Path, truncations: int, flips: int, rng: random.Random) -> Counter:
    """What becomes of a copy that is cut at random lengths, and of one in which one random byte is
    another."""
    data, whole, seen = path.read_bytes(), content(store.load(path)), Counter()
    copy = folder / path.name
    copy.write_bytes(data)
    assert outcome(copy, whole) == "identical"
    with open(copy, "r+b", buffering=0) as file:
        for _ in range(flips):
            place = rng.randrange(len(data))
            os.pwrite(file.fileno(), bytes([data[place] ^ rng.randrange(1, 256)]), place)
            seen["flips " + outcome(copy, whole)] += 1
            os.pwrite(file.fileno(), data[place : place + 1], place)
        for length in sorted((rng.randrange(len(data)) for _ in range(truncations)), reverse=True):
            file.truncate(length)
            seen["truncations " + outcome(copy, whole)] += 1
    copy.unlink()
    return seen


def damage_all(folder: Path, truncations: int, flips: int) -> None:
    rng, seen = random.Random(0), Counter()
    for path in STORED:
        seen += damage(path, folder, truncations, flips, rng)
    print(f"{len(STORED)} files: {dict(seen)}")
    assert seen["truncations refused"] == len(STORED) * truncations
    assert seen["flips refused"] + seen["flips identical"] == len(STORED) * flips
    assert seen["flips identical"] < 0.001 * len(STORED) * flips


def test_every_stored_file_damaged_a_few_times(tmp_path):
    damage_all(tmp_path, 1, 3)


@pytest.mark.faults
def test_every_stored_file_damaged_many_times(tmp_path):
    damage_all(tmp_path, 50, 200)


# ---- nothing is ever unpickled

UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
LOADERS = {"torch", "torch.jit", "torch.hub", "torch.package", "torch.serialization", "numpy"}
SOURCES = sorted(
    path
    for place in ("lintf", "notebooks", "benchmarks", "book", "tests")
    for path in ROOT.glob(f"{place}/**/*.py")
)


def dotted(node: ast.AST, modules: dict[str, str]) -> str:
    """The full name of a chain of attributes of a module, such as "torch.jit.load"; empty for
    anything else."""
    if isinstance(node, ast.Name):
        return modules.get(node.id, "")
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value, modules)):
        return f"{owner}.{node.attr}"
    return ""


def unpicklers(source: str) -> list[str]:
    """The ways to unpickle something that Python code has, each with its line."""
    tree, modules, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    safe = {"SafeLoader"} | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and [ast.unparse(base) for base in node.bases] == ["yaml.SafeLoader"]
    }
    names = [(name, 0) for name in modules.values()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.append((dotted(node, modules), node.lineno))
            if node.attr in ("read_pickle", "to_pickle"):
                found.append(f"line {node.lineno}: {node.attr}")
        elif isinstance(node, ast.Call):
            called = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            options = {k.arg: getattr(k.value, "value", "?") for k in node.keywords}
            if called in ("__import__", "import_module"):
                names += [(str(getattr(a, "value", "")), node.lineno) for a in node.args]
            if (
                options.get("allow_pickle", False) is not False
                or options.get("weights_only", True) is not True
            ):
                found.append(f"line {node.lineno}: {called} with a pickle allowed")
            if dotted(node.func, modules) == "yaml.load":
                loader = ast.unparse(
                    (node.args[1:] or [k.value for k in node.keywords if k.arg == "Loader"])[0]
                )
                if loader.rpartition(".")[2] not in safe:
                    found.append(f"line {node.lineno}: yaml.load with {loader}")
    for name, line in names:
        owner, _, last = name.rpartition(".")
        unsafe_yaml = owner == "yaml" and last.removesuffix("_all") in ("full_load", "unsafe_load")
        if (
            name.partition(".")[0] in UNPICKLERS
            or (owner in LOADERS and last in ("load", "save"))
            or unsafe_yaml
        ):
            found.append(f"line {line}: {name}")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads as parse",
        "import cloudpickle as c",
        "import importlib\nimportlib.import_module('dill')",
        "__import__('marshal')",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x')",
        "from torch import load",
        "from torch import jit\njit.load('x')",
        "import torch.jit\nf = torch.jit.load",
        "import numpy as np\nnp.load('x')",
        "from numpy import lib\nlib.format.read_array(f, allow_pickle=True)",
        "import pandas as pd\npd.read_pickle('x')",
        "import yaml\nyaml.load(f, yaml.Loader)",
        "from yaml import unsafe_load",
        "import yaml\nclass Mine(yaml.Loader): ...\nyaml.load(f, Mine)",
    ],
)
def test_the_search_finds(code):
    assert unpicklers(code)


def test_nothing_can_unpickle():
    found = {path.name: ways for path in SOURCES if (ways := unpicklers(path.read_text()))}
    assert not found
    for place in ("lintf", "notebooks", "benchmarks", "book", "tests"):
        assert any(path.is_relative_to(ROOT / place) for path in SOURCES)


def test_models_of_others_are_never_unpickled():
    """transformers unpickles old weights where it is not told otherwise."""
    calls = [
        (path.name, call)
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Model.from_pretrained")
    ]
    assert [name for name, _ in calls] == ["states.py"]
    assert "'use_safetensors': True" in ast.unparse(
        ast.parse((ROOT / "lintf" / "analysis" / "states.py").read_text())
    )
    assert "**options" in ast.unparse(calls[0][1])


def test_the_folder_of_runs_holds_safetensors_only():
    """Which begin with the length of a JSON header, and the header: no pickle and no zip does. That
    nothing follows the tensors is for `load`, which the tests above run on every file."""
    files = [path for path in (ROOT / "runs").rglob("*") if path.is_file()]
    assert sorted(files) == STORED
    assert len(files) > 700
    for path in files:
        with open(path, "rb") as file:
            length, start = int.from_bytes(file.read(8), "little"), file.read(1)
        assert start == b"{", path
        assert 8 + length < path.stat().st_size, path
