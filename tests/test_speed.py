"""`make bench` as a test: what the fast path gains over token space, in one run on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[1] / "benchmarks" / "speed.py"


def measure():
    return subprocess.run([sys.executable, SPEED], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def report():
    return measure()


def number(report, pattern):
    return float(re.search(pattern, report, re.MULTILINE).group(1))


def test_the_kernel_is_30_times_faster_than_token_space(report):
    assert report.splitlines()[-1].startswith("speedup: ")
    assert number(report, r"^speedup: ([\d.]+)$") >= 30


def test_plain_pytorch_is_8_times_faster_than_token_space(report):
    assert number(report, r"^statistics, plain PyTorch +[\d.]+ +([\d.]+)$") >= 8


def test_cost_does_not_depend_on_the_number_of_examples(report):
    """A thousand times the examples. Another program that runs meanwhile can slow down either of the two: then they are
    measured again. Any dependence would pass the bounds far, every time."""
    ratio = r"N = 20: time ([\d.]+)"
    assert number(report, ratio) < 1.5 or number(measure(), ratio) < 1.5
    assert 0.9 < number(report, r"memory ([\d.]+)$") < 1.1
