"""The rules by which claims hold."""

from __future__ import annotations

import math

import pytest
import torch

from lintf.analysis.intervals import Estimate
from lintf.pages import tolerances


def test_a_check_is_true_or_false_and_says_its_rules():
    both = tolerances.every(True) & tolerances.exact(0.0)
    assert both
    assert both.rule == "every single case, rounding"
    assert (both & tolerances.exact(0.0)).rule == both.rule, "a rule is named once"
    assert not both & tolerances.every(False)


@pytest.mark.parametrize(
    ("values", "axis", "ok"),
    [
        (1.25, "log", True),
        (1.27, "log", False),
        (0.8, "log", True),
        (1.04, "linear", True),
        (1.06, "linear", False),
        ([0.5, 2.0], "linear", True),  # between the seeds
        (torch.tensor([2.0, 3.0]), "log", False),
        (math.nan, "log", False),
    ],
)
def test_a_number_read_off_a_figure_has_the_width_of_a_line(values, axis, ok):
    assert bool(tolerances.read_off(values, 1.0, axis)) is ok


def test_a_ratio_of_two_numbers_that_were_read_off_has_both_widths():
    assert tolerances.read_ratio([3.5, 7.5], 5.0)
    assert not tolerances.read_ratio([2.0, 5.0], 5.0)


def test_an_axis_has_a_name():
    with pytest.raises(ValueError, match="axis must be 'log' or 'linear', got 'x'"):
        tolerances.read_off(1.0, 1.0, "x")


@pytest.mark.parametrize(
    ("value", "texts", "ok"),
    [
        (0.346, ["0.34", "0.35"], True),
        (0.355, ["0.34", "0.35"], True),
        (0.356, ["0.34", "0.35"], False),
        (-2.394, ["-2.40"], False),
        (-2.396, ["-2.40"], True),
        (6.24e-4, ["6.2e-4"], True),
        (6.26e-4, ["6.2e-4"], False),
        (104.0, ["100"], False),
    ],
)
def test_a_printed_number_is_good_to_half_a_unit_of_its_last_digit(value, texts, ok):
    assert bool(tolerances.printed(value, *texts)) is ok


def test_a_mean_over_prompts_is_good_to_three_standard_errors():
    assert tolerances.errors([1.0, 1.2], [1.1, 1.1], 0.04)
    assert not tolerances.errors([1.0, 1.3], [1.1, 1.1], 0.04)
    assert not tolerances.errors(math.nan, 1.0, 0.04)
    assert tolerances.errors(0.0, 0.0, 0.0), "nothing is random, nothing is off"
    assert tolerances.allowed(0.04) == pytest.approx(0.12)


def test_intervals_overlap_or_lie_apart():
    low, high = Estimate(1.0, 0.8, 1.2), Estimate(2.0, 1.1, 2.9)
    apart = Estimate(3.0, 2.95, 3.05)
    assert tolerances.overlap(low, high)
    assert tolerances.overlap(low, 0.9)
    assert not tolerances.overlap(low, apart)
    assert tolerances.above(apart, high)
    assert tolerances.below([low, high], apart)
    assert not tolerances.above([low, apart], 1)


def test_every_single_case_must_hold():
    assert tolerances.every(torch.tensor([True, True]), True)
    assert not tolerances.every(torch.tensor([True, False]))


def test_a_training_leaves_two_percent_and_rounding_nearly_nothing():
    assert tolerances.trained([0.019, -0.019])
    assert not tolerances.trained([0.0, -0.021])
    assert tolerances.exact(1e-12)
    assert not tolerances.exact([0.0, 1e-9])
    assert not tolerances.exact(math.nan)
