"""`make bench` as a test: what the fast path gains over token space, in one run on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[1] / "benchmarks" / "speed.py"


@pytest.fixture(scope="module")
def report():
    return subprocess.run([sys.executable, SPEED], capture_output=True, text=True, check=True).stdout


def number(report, pattern):
    return float(re.search(pattern, report, re.MULTILINE).group(1))


def test_the_kernel_is_30_times_faster_than_token_space(report):
    assert report.splitlines()[-1].startswith("speedup: ")
    assert number(report, r"^speedup: ([\d.]+)$") >= 30


def test_plain_pytorch_is_8_times_faster_than_token_space(report):
    assert number(report, r"^statistics, plain PyTorch +[\d.]+ +([\d.]+)$") >= 8


def test_cost_does_not_depend_on_the_number_of_examples(report):
    """A thousand times the examples; the bounds are the noise of a busy machine, any dependence would pass them far."""
    assert 0.67 < number(report, r"N = 20: time ([\d.]+)") < 1.5
    assert 0.9 < number(report, r"memory ([\d.]+)$") < 1.1
