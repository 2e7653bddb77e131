"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# As in `make test &` of a script: the children would ignore it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder instead of runs/, for this process and the ones it starts."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("LINTF_RUNS", str(folder))
    return folder
