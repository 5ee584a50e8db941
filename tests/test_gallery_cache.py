"""Captions' vectors are embedded once, and never read from a file that is not exactly what was written."""

from __future__ import annotations

import pytest
import torch

from suite.metrics.gallery_cache import kept_captions
from suite.metrics.quality import Judge
from suite.models.checkpoints import official

VECTORS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def kept(cache):
    """Ask for the vectors, and how often they had to be made."""
    made = []

    def ask(judge: str = "nano:1", gallery: str = "g", count: int = 5) -> torch.Tensor:
        return kept_captions(judge, gallery, count, lambda: made.append(1) or VECTORS[:count])

    ask.made, ask.folder = made, cache / "galleries"
    return ask


def test_they_are_made_once_for_a_judge_and_a_gallery(kept):
    for _ in range(3):
        assert torch.equal(kept(), VECTORS)
    assert len(kept.made) == 1
    kept(judge="nano:2")
    kept(gallery="h")
    assert len(kept.made) == 3


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_a_damaged_file_is_made_anew(kept, damage):
    kept()
    (path,) = kept.folder.iterdir()
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-4], "altered": content[:-1] + b"x", "empty": b""}[damage])
    assert torch.equal(kept(), VECTORS) and len(kept.made) == 2
    assert path.read_bytes() == content


def test_where_nothing_can_be_kept_they_are_made_each_time(kept, tmp_path, monkeypatch):
    file = tmp_path / "a file"
    file.write_text("")
    monkeypatch.setenv(official.CACHE_VARIABLE, str(file))
    assert torch.equal(kept(), VECTORS) and torch.equal(kept(), VECTORS)
    assert len(kept.made) == 2


def test_the_judge_scores_the_same_with_kept_captions(cache):
    clouds, prompts = torch.rand(2, 64, 6, generator=torch.Generator().manual_seed(1)), Judge().prompts[:2]
    assert len(list((cache / "galleries").iterdir())) == 2  # as each of two judges embeds them
    assert Judge().score(clouds, prompts) == Judge().score(clouds, prompts)
