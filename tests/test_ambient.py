"""What a process has set for itself, such as torch's default dtype and device, changes no number of
lintf."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lintf.analysis.landscape import directional_derivatives, gradient, hessian_diagonal
from lintf.analysis.solvers import LeastSquares, best_gradient_descent
from lintf.analysis.theory import one_layer_optimum
from lintf.models.encoder import Encoder
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall
from lintf.tasks.rotated import rotated_task
from lintf.training.config import DTYPES, TrainConfig
from lintf.training.fit import fit

PACKAGE = Path(__file__).parents[1] / "lintf"
TRAININGS = {
    "kernel": (LinearTransformer(d=3, n_layer=3), rotated_task(1, N=2, scales=(1.0, 0.5, 2.0)), {}),
    "integrated": (
        LinearTransformer(d=3, n_layer=2),
        LinearRegression(N=12, d=3),
        {"integrate": True},
    ),
    "gamma": (
        LinearTransformer(d=3, n_layer=2),
        LinearRegression(N=4, d=3, mode="gamma", noise_std=0.1),
        {},
    ),
    "tokens": (
        LinearTransformer(d=3, n_layer=2, attention="softmax"),
        LinearRegression(N=4, d=3),
        {"alg": "lbfgs"},
    ),
    "mlp": (MLPTransformer(d=3, hidden=2, n_layer=2), NonlinearRegression(N=4, d=3, hidden=2), {}),
    "recall": (
        RecallTransformer("reparam", alpha=0.5),
        Recall(0.5),
        {"alg": "sgd", "normalize": True, "train_set_size": 16},
    ),
    "encoder": (
        Encoder(d=3, width=8, n_head=2, norm=True, mlp=True, positions=9),
        ConditionedRegression(4, 3),
        {},
    ),
    "logistic": (Encoder(d=3, width=8, n_head=2, readout="w"), LogisticRegression(N=6, d=3), {}),
    "looped": (
        Looped(d=3, width=8, n_head=2, loops=3, supervised_loops=2, n_last_tokens=4),
        LinearRegression(N=4, d=3),
        {},
    ),
}


def digest(tensors: dict[str, torch.Tensor]) -> str:
    h = hashlib.sha256()
    for name, t in sorted(tensors.items()):
        h.update(
            f"{name} {t.dtype} {t.device} {tuple(t.shape)}".encode()
            + t.contiguous().numpy().tobytes()
        )
    return h.hexdigest()


def measured() -> dict[str, str]:
    """A digest of each of many results."""
    found = {}
    for name, (model, task, how) in TRAININGS.items():
        for dtype in DTYPES:
            training = TrainConfig(**{"lr": 0.01, "max_iters": 3, "B": 8, "dtype": dtype} | how)
            run = fit(model, task, training, (0, 5), device="cpu", stored=False, progress=False)
            found[f"{name} {dtype}"] = digest(
                run.recorded | run.final_params | {"loss": run.loss, "steps": run.steps}
            )
    model, task, _ = TRAININGS["kernel"]
    for dtype in DTYPES.values():
        generator = torch.Generator().manual_seed(3)
        params, other, gram = (
            model.init(generator, dtype),
            model.init(generator, dtype),
            task.sample(5, generator, dtype=dtype),
        )
        tokens = task.sample(5, generator, "tokens", dtype)
        results = {
            "S": gram.S,
            "s": gram.s,
            "Z": tokens.Z,
            "diagonal": hessian_diagonal(model, params, gram),
        }
        results |= {
            f"along {i}": v
            for i, v in enumerate(directional_derivatives(model, params, other, gram))
        }
        results |= {f"gradient of {n}": v for n, v in gradient(model, params, tokens).items()}
        results |= {
            "least squares": LeastSquares(0.1).predict(gram),
            "optimum": one_layer_optimum(task),
        }
        results |= {
            "descent": best_gradient_descent(2, tokens, -one_layer_optimum(task)).predict(gram)
        }
        found[f"analysis {dtype}"] = digest(results)
    return found


# Forks where torch is there and lintf is not: so every import and every value kept falls under the
# child's defaults.
FORKS = """
import json, os, sys
import torch
import torch._dynamo  # optimisers import it when they are first used, which takes seconds
for dtype, device in json.loads(sys.argv[1]):
    if not os.fork():
        torch.set_default_dtype(getattr(torch, dtype))
        torch.set_default_device(device)
        import test_ambient
        print(json.dumps([dtype, device, test_ambient.measured()]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
USUAL, OTHERS = (
    ("float32", "cpu"),
    [("float64", "cpu"), ("bfloat16", "cpu"), ("float16", "cpu"), ("float32", "meta")],
)


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], dict[str, str]]:
    """`measured` in processes with these defaults, in which nothing has been computed and kept
    before."""
    path = os.pathsep.join([str(PACKAGE.parent), str(Path(__file__).parent)])
    # A fork of several threads would hang.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FORKS, json.dumps([USUAL, *OTHERS])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = map(json.loads, done.stdout.splitlines())
    return {(dtype, device): digests for dtype, device, digests in lines}


@pytest.mark.parametrize("defaults", OTHERS, ids="-".join)
def test_defaults_of_torch_change_no_bit(found, defaults):
    """The device "meta", whose tensors have no numbers, stands for any that is not the CPU."""
    assert set(found) == {USUAL, *OTHERS}
    assert len(found[USUAL]) == len(DTYPES) * (len(TRAININGS) + 1)
    assert found[defaults] == found[USUAL]


# ---- in the source: no tensor is made without saying of what and where

OF_NUMBERS = {
    "empty",
    "zeros",
    "ones",
    "full",
    "eye",
    "linspace",
    "logspace",
    "tensor",
    "as_tensor",
    "rand",
    "randn",
}
# Here always of whole numbers.
OF_INTEGERS = {"arange", "randperm", "randint", "tril_indices", "triu_indices"}


def made_without(source: str) -> Iterator[str]:
    """The calls that leave dtype or device to the defaults."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        owner, _, name = ast.unparse(node.func).rpartition(".")
        if owner != "torch" or name not in OF_NUMBERS | OF_INTEGERS:
            continue
        said = {keyword.arg for keyword in node.keywords}
        needed = {"dtype", "device"} if name in OF_NUMBERS else {"device"}
        if not (needed <= said or None in said):  # None: **kwargs
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_tensor_names_its_dtype_and_its_device(path):
    assert list(made_without(path.read_text(encoding="utf-8"))) == []


def test_that_is_noticed():
    source = (
        "a = torch.zeros(3)\nb = torch.zeros(3, dtype=x.dtype, device=x.device)\nc = "
        "torch.arange(3)"
    )
    assert list(made_without(source)) == ["line 1: torch.zeros(3)", "line 3: torch.arange(3)"]
