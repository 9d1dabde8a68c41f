"""What tests of data share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, empty."""
    monkeypatch.setenv("CNNCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CNNCTL_CACHE_SIZE", raising=False)
    return tmp_path / "cache"
