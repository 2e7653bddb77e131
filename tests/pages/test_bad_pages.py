"""Parameters that a page cannot have, over all pages: each ends in one clear error before anything
is trained.

In the normal tests the cells up to the check of the parameters run in this process; with the marker
`faults` every set goes through papermill.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from lintf.pages import parameters

ROOT = Path(__file__).parents[2]
PAGES = {page.stem: page for page in sorted((ROOT / "notebooks").glob("*.ipynb"))}
CHECK = "parameters.check_parameters("
nan, inf = float("nan"), float("inf")

BAD: dict[str, list[dict[str, object]]] = {
    "01_simple_demo": [
        {"mode": "norml"},
        {"mode": 3},
        {"d": 1},  # every matrix is a multiple of the identity
        {"d": 10**6},
        {"N": 0},
        {"N": 20.0},
        {"N": "20"},
        {"n_layer": True},
        {"B": 10**12},
        {"max_iters": -1},
        {"lr_adam": 0},
        {"lr_sgd": nan},
        {"toclip": 1},
        {"toclip": "yes"},
        {"seeds": []},
        {"seeds": [0, 1, 1]},
        {"seeds": 3},
        {"seeds": [0, 0.5]},
        {"seeds": list(range(2000))},
        {"device": "gpu:7"},
        {"device": "cuda:99"},
        {"device": None},
    ],
    "02_rotation_adam": [
        {"scale": [1.0, 0.5]},
        {"scales": []},
        {"scales": [1.0]},
        {"scales": [1.0, -0.5]},
        {"scales": [1.0, 1e-9]},
        {"scales": [1.0] * 20},
        {"scales": "1.0"},
        {"redraw_every": 0},
        {"halve_every": None},
        {"lr": inf},
        {"clip": 0.0},
        {"seeds": [-1]},
    ],
    "03_rotation_p0": [
        {"n_layer": 0},
        {"N": 10**9},
        {"scales": [1.0, nan]},
        {"scales": 5},
        {"max_iters": 1e4},
        {"lr": "fast"},
        {"halve_every": -3},
    ],
    "04_rotation_lbfgs": [
        {"inner_steps": 0},
        {"history": 0},
        {"history": 10**6},
        {"lr": -0.1},
        {"scales": [1.0]},
        {"scales": [1.0, 1e6]},
        {"max_iters": None},
        {"redraw_every": 100},
    ],
    "05_variable_L": [
        {"n_layers": [1, 5]},  # the limit is computed up to four layers
        {"n_layers": []},
        {"n_layers": [2, 2]},
        {"n_layers": 3},
        {"n_layers": [1, 2.5]},
        {"last": 0},
        {"last": 100},
        {"clip": -1},
        {"n_layer": 3},
    ],
    "06_variable_N": [
        {"Ns": []},
        {"Ns": [2, 0]},
        {"Ns": [2, 2]},
        {"Ns": [2, 4]},  # the mean is compared from N = 2 d on
        {"Ns": [10**7]},
        {"Ns": "all"},
        {"n_layer": 5},
        {"lr_few": 0},
        {"N": 20},
    ],
    "07_theory": [
        {"Ns": [5, -20]},
        {"n_layers": [5]},
        {"scales": [1.0] * 13},
        {"demo_steps": 0},
        {"rotated_steps": 2.5},
        {"B": False},
        {"seeds": [0]},
    ],
    "08_loss": [
        {"settings": []},
        {"settings": "normal N=20"},
        {"settings": ["normal N=7"]},
        {"settings": ["gamma N=20", "gamma N=20"]},
        {"rates_in": "normal"},
        {"rates_in": ["normal N=20"]},
        {"lowest_rate": 0},
        {"n_rates": 0},
        {"n_rates": 10**5},
        {"n_rates": 40},  # the last one is 0.02 * 2**32
        {"rate_seeds": [1, 1]},
        {"rate_seeds": []},
    ],
    "09_stochastic_noise": [
        {"batches": 50},  # too few for a tail
        {"other_batches": 99},
        {"reference": 0},
        {"reference": 10**9},
        {"B": 2},  # a quarter of it is tried, too
        {"seed": -1},
        {"seed": [1]},
        {"n_layers": [1, 1]},
        {"settings": ["cauchy N=20"]},
        {"device": "cpu"},
    ],
    "10_condition_number": [
        {"stride": 100},
        {"stride": 0},
        {"instants": [0, 123]},
        {"instants": [0, 20_000]},
        {"instants": []},
        {"instants": [0, -250]},
        {"max_iters": 500},  # before the last instant
        {"test_sets": 0},
        {"test_prompts": 0},
    ],
    "11_smoothness": [
        {"max_iters": 10},
        {"d": 1},
        {"max_iters": 99},
        {"seeds": [1, 2**32]},
        {"seeds": "one"},
        {"settings": [1]},
        {"test_prompts": 1.5},
        {"seeds": [1]},
        {"seed": 1},
    ],
    "12_nonlinear_regression": [
        {"instants": [750, 20_000]},
        {"instants": [751]},
        {"instants": 750},
        {"hidden": 0},
        {"hidden_target": -1},
        {"hidden": 10**6},
        {"walk": 0},
        {"lr_sgd": -0.05},
        {"lr_adam": "auto"},
    ],
    "13_newton_regression": [
        {"depths": [0, 1]},
        {"depths": [2, 1, 0]},
        {"depths": [0, -1, 2]},
        {"kappas": [0.5]},
        {"kappas": []},
        {"kappas": [1, 1.0]},
        {"kappas": [nan]},
        {"width": 30},
        {"N": 3},
        {"d": 30},
        {"more_seeds": [0]},
        {"more_seeds": 1},
        {"test_groups": 1},
        {"lr_end": -1e-5},
        {"slow_steps": 0},
        {"steps": 4},  # a layer is worth two and more
    ],
    "14_newton_function": [
        {"depths": [0, 1]},
        {"depths": [3, 4]},  # a cubic is looked at
        {"points": 4},
        {"points": 81.0},
        {"reach": 0},
        {"reach": inf},
        {"kappas": [10, 0]},
        {"width": 7},
        {"d": 1},
        {"seed": 0.5},
    ],
    "15_newton_logistic": [
        {"mu": 0},
        {"mu": -0.01},
        {"mu": nan},
        {"sweeps": 0},
        {"steps": -1},
        {"width": 66},
        {"kappas": 10},
        {"depths": []},
        {"clip": -1},
        {"warmup": None},
    ],
    "16_newton_construction": [
        {"kappas": [0.1]},
        {"kappas": [1, inf]},
        {"steps": 0},
        {"depths": [0, 1]},
        {"depths": [1, 1]},
        {"tune_prompts": 0},
        {"demo_steps": "10_000"},
        {"d": 1},
    ],
    "17_recall_population": [
        {"alphas": [1.0]},
        {"alphas": [-0.2]},
        {"alphas": []},
        {"lrs": [0]},
        {"lrs": 0.1},
        {"shown": ["reparam-linear-AF"]},
        {"shown": []},
        {"H": 5},
        {"H": 10**7},
        {"lr": 0.1},
    ],
    "18_recall_finite": [
        {"n": 100, "B": 64},
        {"B": 4096},
        {"attentions": ["rely"]},
        {"attentions": "relu"},
        {"epochs": 0},
        {"alphas": [0.5, 0.5]},
        {"H": 3},
    ],
    "19_recall_layers": [
        {"n": 2000},
        {"live_steps": 0},
        {"attentions": []},
        {"attentions": ["linear", None]},
        {"alphas": [0.2, "half"]},
        {"H": -1},
    ],
    "20_loop_information_flow": [
        {"shares": [1.0, 0.0]},  # all and a part are compared
        {"shares": [0.5, 0.25]},
        {"warmup": -1},
        {"clip": 0},
        {"shares": [1.0, 0.25, 1.5]},
        {"few": [-0.1]},
        {"few": []},
        {"T": 13},
        {"loops": 4},
        {"width": 30},
        {"n_head": 5},
        {"more_seeds": [0]},
        {"test_prompts": 1},
        {"d": 0},
    ],
    "21_loop_depth": [
        {"most": 5},
        {"loops": 6, "most": 6},
        {"T": 0},
        {"n_head": 3},
        {"seeds": [1]},
        {"lr_end": nan},
    ],
    "22_loop_lstm": [
        {"layers": [1]},
        {"layers": [1, 0]},
        {"layers": [2, 2]},
        {"layers": 3},
        {"bare": [0, 1]},
        {"bare": [2]},
        {"T": 20},
        {"width": 10**6},
        {"loops": 1},
        {"loops": 10**6},
    ],
    "23_loop_linear": [
        {"n_layers": [1, 2]},
        {"n_layers": [2, 5]},
        {"most": 3},
        {"most": 10**6},
        {"last": -20},
        {"scales": [1.0, 0.0]},
    ],
    "24_layer_linearity": [
        {"paragraphs": 3},
        {"folds": 1},
        {"folds": 61},
        {"shared": []},
        {"shared": [1, 1]},
        {"shared": [0]},
        {"N": 2},
        {"random_seed": -1},
        {"model_name": ""},
        {"model_name": 6},
        {"loop_steps": 0},
    ],
    "25_phase_diagram": [
        {"n_layer": [1]},
        {"n_layers": [5]},
        {"n_layers": []},
        {"Ns": [0]},
        {"ds": [1]},  # has no condition number
        {"ds": [20]},
        {"kappas": [10.0]},  # without 1
        {"kappas": [0.5]},
        {"lr": nan},
        {"B": 0},
        {"tune_prompts": 0},
        {"seeds": [0, 0]},
        {"device": "gpu:7"},
    ],
    "26_label_noise": [
        {"noise_stds": [1.0, 2.0]},  # the noise-free one is compared
        {"noise_stds": [0.0]},
        {"noise_stds": [0, -1]},
        {"noise_stds": [0, nan]},
        {"noise_stds": 1.0},
        {"noise_stds": [0, 0.0]},
        {"N": 6},  # least squares has no finite error
        {"d": 19},
        {"n_layer": 5},
        {"test_prompts": 1},
        {"noise_std": 1.0},
    ],
    "27_your_own": [
        {"center": -1.0},
        {"center": inf},
        {"spread": 0},
        {"noise": 0.0},  # the posterior has no density
        {"noise": "loud"},
        {"n_expert": 0},
        {"n_experts": 2},
        {"d": 101},
        {"test_prompts": 1},
        {"seeds": []},
    ],
    "28_dynamics": [
        {"eigenvalues": [0.1, 0.2]},  # they fall
        {"eigenvalues": [0.5, 0.0]},
        {"eigenvalues": [0.5, 0.4, 0.3, 0.2, 0.1]},
        {"eigenvalues": 0.4},
        {"init_std": 0},
        {"init_merged": nan},
        {"ranks": [0]},
        {"ranks": []},
        {"stop": 1},
        {"n_layers": [5]},
        {"adam_steps": 2.5},
    ],
    "29_shifts": [
        {"stretches": []},
        {"stretches": [0.0, 1.0]},
        {"stretches": [1.0, inf]},
        {"lengths": [3]},  # least squares needs as many examples as dimensions
        {"lengths": [10.5]},
        {"N": 4},
        {"loop_steps": 0},
        {"scales": [1.0]},
    ],
    "30_how_many_tasks": [
        {"d": 0},
        {"contexts": []},
        {"contexts": [0, 1]},
        {"taus": [1.0, 1.0]},
        {"kappa": 0.001},  # no task at all
        {"noise": -0.01},
        {"ridge_constant": nan},
        {"task_ratios": [0.01]},
        {"seeds": []},
    ],
    "31_which_noise": [
        {"N": 11},  # least squares leaves too little
        {"noise_maxs": []},
        {"noise_maxs": [-1]},
        {"mixes": [[]]},
        {"mixes": [3]},
        {"noise_deep": 0},
        {"clean_steps": 2.5},
        {"lr": 0},
        {"deep_seeds": []},
        {"test_prompts": 1},
    ],
    "32_trained_or_descent": [
        {"loops": 1},
        {"loops": 9},
        {"n_layer": 1},
        {"points": 3000},  # more than there are
        {"damping": 0},
        {"damping": 1.5},
        {"steps": 0},
        {"seeds": [0, 0]},
        {"lr": nan},
        {"n_layers": 5},
    ],
    "33_kernels": [
        {"d": 1},
        {"N": 0},
        {"n_layer": 9},
        {"redraw_every": 0},
        {"B": -500},
        {"lr": 0},
        {"test_prompts": 1},
        {"kernel": "exp"},
    ],
}
EVERYWHERE = [{"n_layr": 4}]
SETS = [
    pytest.param(name, given, id=f"{name[:2]}-{given!r:.60}")
    for name, each in BAD.items()
    for given in EVERYWHERE + each
]
each_bad_set = pytest.mark.parametrize(("name", "given"), SETS)

# Unusual, and fine.
GOOD: dict[str, list[dict[str, object]]] = {
    "01_simple_demo": [
        {"seeds": [7]},
        {"n_layer": 1, "max_iters": 1, "B": 1, "N": 1},
        {"lr_adam": 1},
        {"d": 2},
    ],
    "02_rotation_adam": [{"scales": [1, 1]}, {"n_layer": 12}],
    "09_stochastic_noise": [{"seed": 0}, {"n_layers": [3]}],
    "13_newton_regression": [{"more_seeds": []}, {"kappas": [1, 2.5]}],
    "17_recall_population": [{"alphas": [0], "lrs": [1]}],
    "18_recall_finite": [{"n": 512}],
    "20_loop_information_flow": [{"shares": [0.25, 1], "T": 12}],
}
PRESETS = [
    (path.stem, yaml.safe_load(path.read_text()))
    for path in sorted((ROOT / "presets").glob("*/*.yaml"))
]


def is_said(given: dict[str, object], message: str) -> bool:
    """Whether an error names all of these parameters and their values, or the wrong one of a list's
    values."""
    return all(
        name in message and any(v in message for v in said(value)) for name, value in given.items()
    )


def said(value: object) -> list[str]:
    """How an error may show a value."""
    return [
        f"{value!r:.200}",
        *(f"got {item!r}" for item in (value if isinstance(value, list) else ())),
    ]


def test_the_table_has_enough_for_every_page():
    assert list(BAD) == list(PAGES)
    assert min(map(len, BAD.values())) >= 5
    assert len(SETS) >= 150


# --- in this process -----------------------------------------------------------------------------


@cache
def opening(name: str) -> tuple[list[str], dict[str, object], str]:
    """The code cells of a page up to its parameters, what they define, and the check in the cell
    after them."""
    cells = [c for c in nbformat.read(PAGES[name], as_version=4).cells if c.cell_type == "code"]
    sources = [c.source for c in cells]
    place = next(i for i, source in enumerate(sources) if source.startswith(CHECK))
    space: dict[str, object] = {}
    for source in sources[:place]:
        exec(compile(source, name, "exec"), space)
    return ["", *sources[:place]], space, sources[place]


def injected(name: str, given: dict[str, object]) -> str:
    """The cell that papermill writes."""
    notebook = parameterize_notebook(load_notebook_node(str(PAGES[name])), given)
    (cell,) = (c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", []))
    return cell.source


def check(monkeypatch: pytest.MonkeyPatch, name: str, *cells: str, whole: bool = True) -> None:
    """Run these cells after a page's parameters, and then its check, with what follows in its cell
    or without."""
    before, start, last = opening(name)
    if not whole:
        last = ast.get_source_segment(last, ast.parse(last).body[0])
    space = start | {"In": list(before)}
    monkeypatch.setattr(parameters, "get_ipython", lambda: SimpleNamespace(user_ns=space))
    for source in (*cells, last):
        space["In"].append(source)
        if not source.startswith("%"):
            exec(compile(source, name, "exec"), space)


@pytest.mark.book
@each_bad_set
def test_the_check_refuses(name, given, runs, monkeypatch):
    """The call alone, so not something that happens to come later."""
    with pytest.raises(ValueError, match=r"must (be|hold)|unknown parameter") as error:
        check(monkeypatch, name, injected(name, given), whole=False)
    assert is_said(given, str(error.value)), error.value
    assert "\n" not in str(error.value)
    assert not runs.exists()


@pytest.mark.book
@pytest.mark.parametrize(
    ("name", "given"), [*PRESETS, *((n, g) for n, each in GOOD.items() for g in each)], ids=repr
)
def test_the_check_accepts(name, given, runs, monkeypatch):
    check(monkeypatch, name, injected(name, given))
    assert not runs.exists(), "the cell of the check trains nothing"


@pytest.mark.book
@pytest.mark.parametrize("name", PAGES)
def test_the_check_accepts_the_page_as_it_stands(name, runs, monkeypatch):
    check(monkeypatch, name)
    assert not runs.exists()


@pytest.mark.book
@pytest.mark.parametrize("name", PAGES)
def test_every_parameter_has_a_rule(name):
    """So the check knows the cell of the parameters, also where a reader has changed it."""
    cells, _, _ = opening(name)
    assert parameters.assigned(cells[-1])
    assert set(parameters.assigned(cells[-1])) <= set(parameters.RULES)
    every = [
        c.source for c in nbformat.read(PAGES[name], as_version=4).cells if c.cell_type == "code"
    ]
    found = parameters._parameter_cells(every)
    assert [set(cell) for cell in found] == [set(parameters.assigned(cells[-1]))], (
        "another cell looks like the parameters"
    )


@pytest.mark.book
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("N = 0  # none", "N must be an integer from 1 to 100000, got 0"),
        (
            "lr_sgd = 1 / -128\nseeds = range(3)",
            "lr_sgd must be a finite number > 0 and <= 1000, got -0.0078125",
        ),
        ("seeds = [3, 3]", r"seeds must be different values, got \[3, 3\]"),
        ("mode = 'spher'", r"mode must be one of .*, got 'spher' \(did you mean 'sphere'\?\)"),
    ],
)
def test_what_a_reader_writes_is_checked_too(cell, message, monkeypatch):
    """Without papermill, in the page's cell or in one of their own."""
    with pytest.raises(ValueError, match=message):
        check(monkeypatch, "01_simple_demo", cell)


@pytest.mark.book
def test_a_readers_own_cells_are_left_alone(monkeypatch):
    check(
        monkeypatch, "01_simple_demo", "seeds = range(4)", "n = 0", "N = 5; print(N)", "%time N = 0"
    )


# --- through papermill ---------------------------------------------------------------------------


@pytest.mark.faults
@each_bad_set
def test_papermill_ends_in_one_clear_error(name, given, runs, tmp_path):
    runs.mkdir()
    out = tmp_path / "out.ipynb"
    with pytest.raises(papermill.PapermillExecutionError) as error:
        papermill.execute_notebook(
            PAGES[name],
            out,
            parameters=given,
            cwd=PAGES[name].parent,
            progress_bar=False,
            log_output=False,
        )
    assert error.value.ename == "ValueError"
    assert is_said(given, error.value.evalue), error.value.evalue
    assert "\n" not in error.value.evalue
    cells = [c for c in nbformat.read(out, as_version=4).cells if c.cell_type == "code"]
    place = next(i for i, c in enumerate(cells) if c.source.startswith(CHECK))
    assert all(c.execution_count is None and not c.outputs for c in cells[place + 1 :])
    assert not list(runs.iterdir())
