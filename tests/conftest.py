"""Fixtures of more than one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.models import official


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of weights and captions, and no folder given beside it."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(official.CACHE_VARIABLE, str(folder))
    monkeypatch.delenv(official.GIVEN_VARIABLE, raising=False)
    return folder
