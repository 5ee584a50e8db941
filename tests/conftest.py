"""Fixtures of more than one file."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants as hub

from suite.models import official


@pytest.fixture(scope="session")
def graph_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights that is empty at first: a graph is made once a session, and nothing of the user's is read."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of weights and captions, no folder given beside it, and an empty Hugging Face cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(official.CACHE_VARIABLE, str(folder))
    monkeypatch.delenv(official.GIVEN_VARIABLE, raising=False)
    return folder
