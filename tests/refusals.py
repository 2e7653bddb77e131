"""What tests of wrong input share."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def refused(call: Callable[[], object], *said: object) -> None:
    """The call raises a ValueError of one line that says all this."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert "\n" not in str(error.value)
    for part in said:
        assert str(part) in str(error.value)
