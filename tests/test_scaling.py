"""benchmarks/scaling.py, and the numbers that it has written down."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
STORED = FOLDER / "scaling.json"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import scaling

    return scaling


@pytest.fixture(scope="module")
def found():
    return json.loads(STORED.read_text(encoding="utf-8"))


@pytest.fixture
def curves(found):
    """(axis, device, threads) -> the rows by value."""
    curves = {}
    for row in found["rows"]:
        curves.setdefault((row["axis"], row["device"], row["threads"]), {})[row["value"]] = row
    return curves


def ends(rows, first=0, last=-1, high=False):
    """Two of the sizes, and the shortest times there (or the longest of the second)."""
    low, top = sorted(rows)[first], sorted(rows)[last]
    return low, top, rows[low]["spread"][0], rows[top]["spread"][int(high)]


def test_every_axis_is_measured_in_every_place(scaling, found, curves):
    places = {(place["device"], place["threads"]) for place in found["peak"]}
    assert ("cpu", 1) in places
    assert set(curves) == {(axis, *place) for axis in scaling.AXES for place in places}
    for (axis, *_), rows in curves.items():
        assert sorted(rows) == sorted(scaling.AXES[axis])
    assert found["base"] == {"L": 3, "N": 20, "d": 5, "B": 2000, "members": 1}
    assert all(found["base"][axis] in values for axis, values in scaling.AXES.items())


def test_the_numbers_are_times(found):
    for row in found["rows"]:
        low, high = row["spread"]
        assert 0 < low <= row["ms"] <= high < math.inf
        assert row["mflop"] > 0


def test_the_file_is_plain_and_names_no_path(found):
    text = STORED.read_text(encoding="utf-8")
    assert text == json.dumps(found, indent=2, sort_keys=True) + "\n"
    assert set(found["machine"]) - {"gpu"} == {"processor", "cores", "torch", "date"}
    assert str(date.fromisoformat(found["machine"]["date"])) in text
    assert not any(part in text for part in ("/home", "/root", "/tmp", "/work", "tcp:", "127."))


def test_no_step_is_faster_than_its_floor(found):
    """Its multiplications and additions at the speed of a matrix product on the same threads."""
    peaks = {(place["device"], place["threads"]): place["gflops"] for place in found["peak"]}
    for row in found["rows"]:
        assert row["spread"][1] > row["mflop"] / peaks[row["device"], row["threads"]]


def test_the_cost_does_not_depend_on_the_number_of_examples(curves):
    for (axis, *_), rows in curves.items():
        if axis == "N":
            _, _, short, long = ends(rows)
            assert long < 2 * short


@pytest.mark.parametrize(("axis", "power"), [("B", 1), ("L", 1), ("members", 1), ("d", 3)])
def test_the_cost_grows_no_faster_than_the_work(curves, axis, power):
    """Twice as much is allowed for what leaves a cache on the way."""
    for (name, *_), rows in curves.items():
        if name == axis:
            low, top, short, long = ends(rows)
            assert long < 2 * (top / low) ** power * short


@pytest.mark.parametrize("axis", ["B", "d"])
def test_much_more_work_takes_longer_on_one_thread(curves, axis):
    """256 times the prompts, or 16 times the dimension."""
    _, _, short, long = ends(curves[axis, "cpu", 1], high=True)
    assert long > 4 * short


def test_the_overhead_is_a_part_of_the_smallest_step(found, curves):
    for o in found["overhead"]:
        _, _, smallest, _ = ends(curves["B", o["device"], o["threads"]])
        assert 0 < o["ms"] < 2 * smallest


def test_what_dask_costs(found):
    dask = found["dask"]
    workers = [start["workers"] for start in dask["startup"]]
    assert workers[:2] == [1, 2]
    assert all(0 < start["first_result_s"] < 120 for start in dask["startup"])
    assert {row["workers"] for row in dask["empty_cells"]} == set(workers)
    for row in dask["empty_cells"] + dask["cells_with_a_run"]:
        assert 0 < row["cpu_ms"] < 1000
        assert row["worker_ms"] > 0
        assert 0 < row["spread"][0] <= row["ms"] <= row["spread"][1] < 1000
    # Losses, steps, P and Q of 4 layers at 22 steps.
    assert dask["run"]["snapshots"] == 22
    assert 22 * (4 + 8 + 4 * 2 * 4 * 10 * 10) < dask["run"]["bytes"] < 100_000


def test_a_step_is_measured_inside_fit(scaling, runs):
    small = scaling.Setting(L=1, N=3, d=2, B=10)
    for setting in (small, scaling.replace(small, L=2, members=2)):
        assert 0 < scaling.step_ms(setting, "cpu", 5) < math.inf
    assert not runs.exists()


def test_the_overhead_is_where_a_line_begins(scaling):
    B = (1, 2, 10, 1000)
    assert scaling.overhead(B, [3 + 0.5 * b for b in B]) == pytest.approx((3, 0.5))


def test_cells_that_do_nothing_and_cells_with_a_run(scaling, runs):
    found = scaling.dask_costs.measure(workers=(1,), cells=(3,), repeats=1)
    for row in (*found["empty_cells"], *found["cells_with_a_run"]):
        assert (row["workers"], row["cells"]) == (1, 3)
        assert row["ms"] > 0
        assert row["worker_ms"] > 0
    assert not runs.exists()


@pytest.mark.parametrize(
    "wrong", [["--repeats", "0"], ["--repeats", "few"], ["--out", "none/x.json"], ["fast"]]
)
def test_wrong_arguments_are_one_line(scaling, wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        scaling.main(wrong)
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert wrong[0].removeprefix("--") in said.err
    assert said.err.count("\n") == 1
