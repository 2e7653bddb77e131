"""Tables, and how numbers are written in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lintf.pages.tables import number, table


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.00113, 3, "0.00113"),
        (0.000113, 3, "1.13·10⁻⁴"),
        (-2.5e-12, 2, "−2.5·10⁻¹²"),
        (123456.0, 3, "1.23·10⁵"),
        (12345.6, 3, "12346"),
        (9.9996, 3, "10.0"),
        (0.5, 3, "0.500"),
        (0.0, 3, "0"),
        (-1.25, 4, "−1.250"),
        (1234567, 3, "1\u202f234\u202f567"),
        (-3, 3, "−3"),
        (np.int64(12), 3, "12"),
        (np.float32(0.25), 2, "0.25"),
        (float("nan"), 3, "–"),
        (float("inf"), 3, "∞"),
        (-float("inf"), 3, "−∞"),
    ],
)
def test_one_way_to_write_a_number(value, digits, text):
    assert number(value, digits) == text


def test_a_written_number_is_the_number():
    rng = np.random.default_rng(0)
    for value in rng.standard_normal(200) * 10 ** rng.uniform(-9, 9, 200):
        text = number(value, 4).replace("−", "-")
        mantissa, _, power = text.partition("·10")
        exponent = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
        assert float(mantissa) * 10.0**exponent == pytest.approx(value, rel=6e-4)


def test_a_table_shows_its_rows_with_the_digits_of_each_column():
    rows = [
        {"method": "<ridge>", "error": 0.123456, "N": 4, "best": True},
        {"method": "least squares", "error": torch.tensor(2.0), "N": 40, "best": False},
    ]
    shown = table(rows, "Errors & sizes", {"error": 2})
    assert shown.cells() == [["<ridge>", "0.12", "4", "yes"], ["least squares", "2.0", "40", "no"]]
    assert repr(shown).splitlines()[0] == "Errors & sizes"
    assert "least squares" in repr(shown)
    page = shown._repr_html_()
    assert page.count("<tr>") == 3
    assert "&lt;ridge&gt;" in page
    assert "<caption>Errors &amp; sizes</caption>" in page


def test_numbers_stand_right_and_words_left():
    page = table(pd.DataFrame({"a": ["x"], "b": [1.5]}), "one row")._repr_html_()
    assert '<td style="text-align:left">x</td><td style="text-align:right">1.50</td>' in page
    assert '<th scope="col" style="text-align:right">b</th>' in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], "no rows"), "at least one row"),
        (([{"a": 1}], " "), "caption must say"),
        (([{"a": 1}], "one", {"b": 2}), r"columns \['b'\], which are not among \['a'\]"),
        (([{"a": 1}], "one", 0), "digits of 'a' must be an integer >= 1, got 0"),
    ],
)
def test_wrong_tables_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        table(*arguments)
