"""A task and a model of one's own, which lintf has never heard of: trained, stored, resumed,
verified."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from torch import Tensor

from lintf.__main__ import main
from lintf.checks import real, whole
from lintf.models.base import Model, Params
from lintf.models.linear import LinearTransformer
from lintf.tasks.base import Task, sample_ensemble
from lintf.tasks.batches import Prompts
from lintf.tasks.linear import LinearRegression
from lintf.training import fit as loop
from lintf.training import store
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.run import Run, class_of, kind_of
from lintf.training.verify import reproduce, verify

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "notebooks" / "27_your_own.ipynb"
TRAINING = TrainConfig(lr=0.01, max_iters=7, B=11, record_every=3, first_steps=4)


@dataclass(frozen=True)
class Steps(Task):
    """y = a for x_1 > t, else b."""

    N: int = whole(8)
    d: int = whole(2)
    height: float = real(1.0)

    def draw(self, B: int, rng: np.random.Generator, dtype: torch.dtype) -> Prompts:
        X = torch.from_numpy(rng.uniform(-1, 1, (B, self.N + 1, self.d)))
        a, b = torch.from_numpy(self.height * rng.standard_normal((2, B, 1)))
        t = torch.from_numpy(rng.uniform(-1, 1, (B, 1)))
        return Prompts.of(X.to(dtype), torch.where(X[..., 0] > t, a, b).to(dtype))


@dataclass(frozen=True)
class Average(Model):
    """The labels of the examples, weighted by how near they are in learned directions:
    softmax_i(-|A (x - x_i)|^2)."""

    d: int = whole(2)
    k: int = whole(3)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"A": (self.k, self.d)}

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        return {"A": torch.randn(self.k, self.d, generator=generator, dtype=dtype)}

    def forward(self, params: Params, prompts: Prompts) -> Tensor:
        X, y = prompts.Z[..., :-1], prompts.Z[:, :-1, -1]  # (B, N+1, d), (B, N)
        differences = (X[:, :-1] - X[:, -1:]) @ params["A"].mT  # (B, N, k)
        return ((-differences.square().sum(-1)).softmax(-1) * y).sum(-1)


MODEL, TASK = Average(), Steps()


def quiet(model, task, training, seeds=(0,), stored=True):
    return fit(model, task, training, seeds, device="cpu", progress=False, stored=stored)


def test_they_train_and_are_stored(runs):
    longer = replace(TRAINING, max_iters=200, B=200, lr=0.03, record_every=50)
    history = quiet(MODEL, TASK, longer, (3, 1))
    assert history.loss.shape == (2, 8)
    assert (history.loss[:, -1] < 0.8 * history.loss[:, 0]).all()
    assert history.final_params["A"].shape == (2, 3, 2)
    again = quiet(MODEL, TASK, longer, (1,))
    assert torch.equal(again.loss[0], history.loss[1])
    assert sorted(p.name.rpartition("-")[0] for p in store.runs()) == [
        f"average-d2-steps-d2-adam-lr0.03-B200-T200-seed{seed}" for seed in (1, 3)
    ]


def test_each_member_is_what_it_is_alone():
    tasks = [replace(TASK), TASK]
    together = sample_ensemble(
        tasks, 5, [torch.Generator().manual_seed(s) for s in (4, 9)], dtype=torch.float64
    )
    params = [MODEL.init(torch.Generator().manual_seed(s), torch.float64) for s in (4, 9)]
    stacked = {"A": torch.stack([p["A"] for p in params])}
    for e, seed in enumerate((4, 9)):
        alone = TASK.sample(5, torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert torch.equal(alone.Z, together.Z[e])
        torch.testing.assert_close(
            MODEL.predict(stacked, together)[e], MODEL.predict(params[e], alone), rtol=1e-14, atol=0
        )
        torch.testing.assert_close(
            MODEL.predict(stacked, alone)[e], MODEL.predict(params[e], alone), rtol=1e-14, atol=0
        )
    deeper = {"A": stacked["A"].view(1, 2, 3, 2)}
    assert MODEL.loss(deeper, alone).shape == (1, 2)


def test_a_run_resumes_to_the_same_result(runs, monkeypatch):
    uninterrupted = quiet(MODEL, TASK, TRAINING, (5,), stored=False)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    calls, loss = [], Average.loss

    def stopped(*args):
        calls.append(0)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "loss", stopped)
        with pytest.raises(KeyboardInterrupt):
            quiet(MODEL, TASK, TRAINING, (5,))
    assert list(runs.glob(".partial/*.safetensors"))
    resumed = quiet(MODEL, TASK, TRAINING, (5,))
    assert torch.equal(resumed.loss, uninterrupted.loss)
    assert torch.equal(resumed.final_params["A"], uninterrupted.final_params["A"])


def test_verify_trains_them_again(runs):
    quiet(MODEL, TASK, TRAINING, (5, 2))
    paths = list(store.runs())
    assert len(paths) == 2
    assert all(outcome.ok for outcome in map(verify, paths))
    assert all(outcome.ok for outcome in reproduce(paths))
    record = store.load(paths[0])
    run = Run.of(record.config)
    assert (run.model, run.task, run.path) == (MODEL, TASK, paths[0])


def test_another_definition_is_another_kind(runs, monkeypatch):
    quiet(MODEL, TASK, TRAINING)
    (path,) = store.runs()
    with monkeypatch.context() as patch:
        patch.setattr(Average, "forward", test_verify_trains_them_again)
        outcome = verify(path)
    assert not outcome.ok
    assert f"Average of {__name__} has another definition here" in outcome.detail
    monkeypatch.delattr(sys.modules[__name__], "Average")
    assert f"Average of {__name__} cannot be imported here" in verify(path).detail


def test_kinds_of_this_package_are_their_names():
    assert kind_of(LinearRegression) == "LinearRegression"
    assert class_of("LinearRegression") is LinearRegression
    for kind in ("Linear", "nothing:Here:0", "lintf.member:Nobody:0", ":x:", ""):
        with pytest.raises(ValueError, match="cannot be imported here"):
            class_of(kind)


def test_a_class_of_a_session_is_found_there():
    session = types.ModuleType("a_session")
    Here = dataclass(frozen=True)(type("Here", (Steps,), {"__module__": "a_session"}))
    session.Here = Here
    sys.modules["a_session"] = session
    try:
        assert class_of(kind_of(Here)) is Here
    finally:
        del sys.modules["a_session"]


# ---- of a notebook, which every program calls __main__


@pytest.fixture
def of_a_notebook(monkeypatch):
    """A task as a notebook defines it."""
    Here = dataclass(frozen=True)(type("Here", (Steps,), {"__module__": "__main__"}))
    monkeypatch.setattr(sys.modules["__main__"], "Here", Here, raising=False)
    return Here


def test_a_notebook_verifies_its_own_runs(runs, of_a_notebook):
    quiet(MODEL, of_a_notebook(), TRAINING)
    (path,) = store.runs()
    assert verify(path).ok
    assert [outcome.ok for outcome in reproduce([path])] == [True]


@pytest.mark.parametrize("other", [None, Steps, "a name for something else"])
def test_elsewhere_they_are_named_and_skipped(runs, of_a_notebook, monkeypatch, capsys, other):
    """Also by a program that has another class of this name."""
    quiet(MODEL, of_a_notebook(), TRAINING)
    quiet(MODEL, TASK, TRAINING)
    (path,) = runs.rglob("*-here-*")
    monkeypatch.setattr(sys.modules["__main__"], "Here", other)
    for command in (["verify", "--jobs", "1"], ["reproduce"]):
        assert main(command) == 0
        out = capsys.readouterr().out
        assert f"skip {path.name}: Here was defined in a notebook or a script" in out
        assert "1 of 2 runs came out as stored, 1 skipped" in out
    assert main(["sweep", path.stem, "-p", "seeds=0,1", "--out", str(runs / "out")]) == 2
    assert "Here was defined in a notebook" in capsys.readouterr().err


def test_a_damaged_run_of_a_notebook_fails(runs, of_a_notebook, monkeypatch):
    quiet(MODEL, of_a_notebook(), TRAINING)
    (path,) = store.runs()
    monkeypatch.delattr(sys.modules["__main__"], "Here")
    assert verify(path).ok is None
    path.write_bytes(path.read_bytes()[:-1])
    assert verify(path).ok is False


def test_the_stored_runs_of_the_page_are_what_its_classes_train(tmp_path):
    """verify skips them. So the page's cells that define classes become a program, which verifies
    them: whoever edits one of these cells trains the page again."""
    cells = [c.source for c in nbformat.read(PAGE, as_version=4).cells if c.cell_type == "code"]
    chosen = [c for c in cells if "\nclass " in c or c.startswith("from dataclasses")]
    assert len(chosen) >= 3
    script = tmp_path / "page.py"
    script.write_text("\n\n".join([*chosen, VERIFY]))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.split()
    assert len(said) == 9  # two models and the exercise's, three seeds each
    assert set(said) == {"True"}


VERIFY = """
from lintf.training import store
for path in store.runs():
    config = store.load(path).config
    if "__main__:" in config["model"]["kind"] + config["task"]["kind"]:
        print(verify(path).ok)
"""


def test_the_example_for_contributors_runs(runs):
    (source,) = re.findall(
        r"```python\n(from dataclasses .*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL
    )
    script = runs.parent / "example.py"
    script.write_text(source)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    first, last = map(float, done.stdout.split()[-2:])
    assert last < 0.5 * first
    assert len(list(store.runs())) == 1


def test_a_run_says_by_which_code_it_was_made():
    """No foreign model goes through the compiled kernel, also not one that reads sums."""
    own = dataclass(frozen=True)(
        type("OfSums", (Average,), {"representation": "gram", "forward": lambda *_: None})
    )()
    assert loop._path(own, torch.zeros(1)) == "plain PyTorch"
    assert loop._path(LinearTransformer(attention="relu"), torch.zeros(1)) == "token space"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: Steps(N=0), "N must be an integer >= 1, got 0"),
        (lambda: Steps(height=-1), "height must be a finite number >= 0, got -1"),
        (lambda: Average(k=1.5), "k must be an integer >= 1, got 1.5"),
        (
            lambda: quiet(Average(d=3), TASK, TRAINING),
            "model with d = 3 and task with d = 2 do not fit",
        ),
        (
            lambda: TASK.sample(3, torch.Generator(), "gram"),
            "representation must be one of 'tokens', got 'gram'",
        ),
        (
            lambda: quiet(MODEL, TASK, replace(TRAINING, integrate=True)),
            "integrate must be False for Steps",
        ),
        (lambda: MODEL.predict({}, TASK.sample(3, torch.Generator())), "do not fit Average"),
    ],
)
def test_what_cannot_be_is_refused(runs, change, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        change()
    assert said in str(error.value)
    assert not runs.exists()


def test_what_is_not_defined_is_named():
    bare_task = dataclass(frozen=True)(
        type("BareTask", (Task,), {"__annotations__": {"d": int}, "d": 2})
    )()
    with pytest.raises(NotImplementedError, match=r"BareTask must define draw\(B, rng, dtype\)"):
        bare_task.sample(2, torch.Generator())
    bare = dataclass(frozen=True)(type("Bare", (Model,), {"__annotations__": {"d": int}, "d": 2}))()
    for ask, said in (
        (lambda: bare.shapes, "shapes"),
        (lambda: bare.init(torch.Generator()), "init"),
        (lambda: bare.forward({}, None), "forward"),
    ):
        with pytest.raises(NotImplementedError, match=f"Bare must define {said}"):
            ask()
