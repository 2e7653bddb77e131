"""Texts such as N=5:80:x2 as values of parameters."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintf.checks import UsageError
from lintf.cli import grid


def values(text):
    return grid.axes([f"x={text}"])["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", [4]),
        ("1,2,3", [1, 2, 3]),
        ("3, 1", [3, 1]),
        ("1:4", [1, 2, 3, 4]),
        ("4:4", [4]),
        ("-2:2:2", [-2, 0, 2]),
        ("1:6:2", [1, 3, 5]),
        ("9:1:-4", [9, 5, 1]),
        ("5:80:x2", [5, 10, 20, 40, 80]),
        ("5:79:x2", [5, 10, 20, 40]),
        ("8:1:x0.5", [8.0, 4.0, 2.0, 1.0]),
        ("0:1:0.25", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("0.1:0.3:0.1", [0.1, 0.2, 0.3]),
        ("1e-3:1e-1:x10", [0.001, 0.01, 0.1]),
        ("1,4:6,9", [1, 4, 5, 6, 9]),
        ("sphere,normal", ["sphere", "normal"]),
        ("1e-3,None,True", [0.001, None, True]),
        # Words, which whoever gets them refuses.
        ("true,yes,null,010", ["true", "yes", "null", "010"]),
        ("1_000,0x10,-2,+3", [1000, 16, -2, 3]),
        ("'1:4'", ["1:4"]),
        ("(1,2),[]", [(1, 2), []]),
        ("['a,b', ']'],\"it's\"", [["a,b", "]"], "it's"]),
        ("it's", ["it's"]),
        ("'a,b',\"c\"", ["a,b", "c"]),
        ("[1,2],[3]", [[1, 2], [3]]),
        ("[[1,2],[3,4]]", [[[1, 2], [3, 4]]]),
        ("{'a': 1, 'b': 2}", [{"a": 1, "b": 2}]),
        ("cuda:0", ["cuda:0"]),
    ],
)
def test_values(text, expected):
    found = values(text)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "the grid is empty: give at least one -p NAME=VALUES"),
        (["x"], "-p must be key=value, got 'x'"),
        (["=1"], "-p must be key=value, got '=1'"),
        (["2x=1"], "-p must be key=value, got '2x=1'"),
        (["x="], "-p x=: a value is missing"),
        (["x= "], "-p x= : a value is missing"),
        (["x=1,,2"], "-p x=1,,2: a value is missing"),
        (["x=1,"], "-p x=1,: a value is missing"),
        (
            ["x=[1,2"],
            "-p x=[1,2: not a Python value; words in brackets need quotes: ['adam', 'sgd']",
        ),
        (["x=[adam,sgd]"], "-p x=[adam,sgd]: not a Python value; words in brackets need quotes"),
        (["x=3,'a"], "-p x=3,'a: not a Python value"),
        (
            ["x={1,2}"],
            "-p x={1,2}: a value must be made of None, True, False, numbers, texts, lists, "
            "and dictionaries",
        ),
        (["x={1: 2}"], "whose keys are texts, got {1: 2}"),
        (["x=[1j]"], "got [1j]"),
        (["x=1,1"], "-p x=1,1: 1 is there twice"),
        (["x=1:3,2"], "-p x=1:3,2: 2 is there twice"),
        (["x=1", "x=2"], "-p x=2: x is there twice; its values are separated by commas"),
        (["x=1:"], "-p x=1:: cannot read '1:'; a range is FIRST:LAST, "),
        (["x=1:a"], "-p x=1:a: cannot read '1:a'; "),
        (["x=1:4:"], "-p x=1:4:: cannot read '1:4:'; "),
        (["x=1:4:y2"], "-p x=1:4:y2: cannot read '1:4:y2'; "),
        (["x=1:2:3:4"], "cannot read '1:2:3:4'"),
        (["x=4:1"], "-p x=4:1: 4:1 has no values; "),
        (["x=1:4:-1"], "1:4:-1 has no values"),
        (["x=1:4:0"], "1:4:0 never ends"),
        (["x=1:4:x1"], "1:4:x1 never ends"),
        (["x=1:4:x0"], "1:4:x0 never ends"),
        (["x=1:4:x-2"], "1:4:x-2 never ends"),
        (["x=0:4:x2"], "0:4:x2 never ends"),
        (["x=1:1e9"], "1:1e9 has more than 100000 values"),
        (["x=0:1:1e-9"], "has more than 100000 values"),
        (["x=1:1000", "y=1:1000"], "the grid has 1000000 cells; 100000 are allowed"),
    ],
    ids=str,
)
def test_malformed_grids_are_refused(texts, said):
    with pytest.raises(UsageError) as caught:
        grid.axes(texts)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cells_are_all_combinations_in_order():
    axes = grid.axes(["a=1,2", "b=x,y", "c=0"])
    assert grid.size(axes) == 4
    assert [" ".join(f"{n}{v}" for n, v in cell.items()) for cell in grid.cells(axes)] == [
        "a1 bx c0",
        "a1 by c0",
        "a2 bx c0",
        "a2 by c0",
    ]


def test_the_largest_grid():
    assert grid.size(grid.axes(["a=1:100000"])) == grid.MOST
    with pytest.raises(UsageError, match="has more than 100000 values"):
        grid.axes(["a=0:100000"])


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4), st.integers(0, 50), st.booleans())
def test_steps_reach_the_last_value(first, step, number, down):
    """And the last value counts up to the next step."""
    step = -step if down else step
    expected = [first + i * step for i in range(number + 1)]
    assert values(f"{first}:{expected[-1]}:{step}") == expected
    beyond = expected[-1] + math.copysign(abs(step) - 1, step)
    assert values(f"{first}:{beyond:.0f}:{step}") == expected


@given(st.integers(1, 1000), st.integers(2, 12), st.integers(0, 6))
def test_factors_reach_the_last_value(first, factor, number):
    expected = [first * factor**i for i in range(number + 1)]
    assert values(f"{first}:{expected[-1]}:x{factor}") == expected


@given(st.integers(-(10**4), 10**4), st.integers(1, 999), st.integers(0, 60), st.integers(1, 6))
def test_decimal_steps_are_exact(first, step, number, digits):
    """Each value is the double that is nearest to the decimal number: no errors add up."""

    def decimal(n):
        return f"{n}e-{digits}"

    found = values(f"{decimal(first)}:{decimal(first + number * step)}:{decimal(step)}")
    assert found == [float(Fraction(first + i * step, 10**digits)) for i in range(number + 1)]


@given(
    st.lists(
        st.one_of(
            st.integers(),
            st.booleans(),
            st.text("ab,[]'\" #:", max_size=6),
            st.lists(st.integers(0, 9)),
        ),
        min_size=1,
        max_size=5,
        unique_by=repr,
    )
)
def test_what_is_written_in_python_comes_back(expected):
    """Commas, brackets and quotes inside a value do not cut it in two."""
    assert values(",".join(map(repr, expected))) == expected


@given(st.text("0123456789:x.,e-+[]{}'\"ab =\\", max_size=12))
def test_any_text_gives_values_or_one_line(text):
    said = ""
    try:
        assert 0 < len(values(text)) <= grid.MOST
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
