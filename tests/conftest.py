"""Fixtures of more than one file."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants as hub

from suite.models import official


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of weights and captions, no folder given beside it, and an empty Hugging Face cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(official.CACHE_VARIABLE, str(folder))
    monkeypatch.delenv(official.GIVEN_VARIABLE, raising=False)
    return folder
