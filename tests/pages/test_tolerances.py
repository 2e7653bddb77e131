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
    ("values", "span", "ok"),
    [
        (1.25, None, True),
        (1.27, None, False),
        (0.8, None, True),
        (1.09, 5.0, True),  # 0.02 of the axis
        (1.11, 5.0, False),
        ([0.5, 2.0], 1.0, True),  # between the seeds
        (torch.tensor([2.0, 3.0]), None, False),
        (math.nan, None, False),
    ],
)
def test_a_number_read_off_a_figure_has_the_width_of_a_line(values, span, ok):
    assert bool(tolerances.read_off(values, 1.0, span)) is ok


def test_a_range_that_was_read_off_holds_all_values():
    assert tolerances.read_range([0.008, 0.037], 0.01, 0.03)
    assert not tolerances.read_range([0.02, 0.04], 0.01, 0.03)
    assert tolerances.read_range([0.0, 0.06], 0.0, 0.05, span=1.0)


def test_a_ratio_of_two_numbers_that_were_read_off_has_both_widths():
    assert tolerances.read_ratio([3.5, 7.5], 5.0)
    assert not tolerances.read_ratio([2.0, 5.0], 5.0)


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


def test_a_printed_number_is_compared_with_the_mean_of_seeds():
    seeds = [-0.71, -0.72, -0.73]  # 95 percent interval: -0.745 to -0.695
    assert tolerances.printed(seeds, "-0.70")
    assert not tolerances.printed(seeds, "-0.68")
    assert tolerances.printed(seeds, "-0.70").rule == "digits printed, scatter of seeds"


def test_a_mean_over_prompts_is_good_to_three_standard_errors():
    assert tolerances.by_chance([1.0, 1.2], [1.1, 1.1], 0.04)
    assert not tolerances.by_chance([1.0, 1.3], [1.1, 1.1], 0.04)
    assert not tolerances.by_chance(math.nan, 1.0, 0.04)
    assert tolerances.by_chance(0.0, 0.0, 0.0), "nothing is random, nothing is off"
    assert tolerances.allowed(0.04) == pytest.approx(0.12)
    assert 0.12 < tolerances.allowed(0.04, 75) < 0.18, "the largest of many may be farther off"


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
