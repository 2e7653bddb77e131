"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder instead of runs/, for this process and the ones it starts."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("LINTF_RUNS", str(folder))
    return folder
