"""A test of the pages, as `pytest --nbval-lax notebooks`, runs them as they stand: there every
claim must hold."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("nbval_lax", False) or config.getoption("nbval", False):
        os.environ["LINTF_STRICT"] = "1"
