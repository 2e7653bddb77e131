"""What a training step costs in memory; `make bench` measures its speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SPEED = Path(__file__).parents[1] / "benchmarks" / "speed.py"


def peak_memory(N: int) -> float:
    """Megabytes of a process that draws prompts with N examples and does steps on them."""
    done = subprocess.run(
        [sys.executable, SPEED, str(N)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["MB"]


def test_memory_does_not_depend_on_the_number_of_examples():
    """A thousand times the examples. 20,000 prompts of 20,000 examples would be 9.6 GB."""
    assert 0.9 < peak_memory(20_000) / peak_memory(20) < 1.1
