"""The trainings of three layers are those that pages 1, 2 and 23 have stored."""

from __future__ import annotations

import pytest

from lintf.experiments.preconditioned import three_layers
from lintf.training.several import is_stored


@pytest.mark.parametrize("name", ["page 1", "page 2", "loop"])
def test_the_trainings_are_those_of_the_pages(name):
    assert is_stored(three_layers()[name], [0, 1, 2])


def test_others_have_their_own_lengths_and_dimensions():
    steps = {"demo_steps": 3, "rotated_steps": 4, "loop_steps": 5}
    few = three_layers(6, (1.0, 0.5), **steps)
    assert [one.training.max_iters for one in few.values()] == [3, 4, 5]
    assert not any(is_stored(one, [0]) for one in few.values())
    assert all(one.model.shapes["Q"][-2:] == (2, 2) for one in few.values())
    assert few["page 2"].task(1).Sigma != few["page 2"].task(2).Sigma
