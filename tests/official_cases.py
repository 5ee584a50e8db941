"""Made-up checkpoints in the official layout, for the tests of official weights."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from suite.models.checkpoints import layout as layouts
from suite.models.checkpoints.official_files import OFFICIAL, OfficialFile

ROOT = Path(__file__).parents[1]
NAME = "base_40m_textvec"


def layout(seed: int = 0) -> dict[str, Tensor]:
    """A small network's state dict in the official layout."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"time_embed.c_fc.weight": (8, 4), "ln_pre.bias": (8,), "backbone.resblocks.0.attn.c_qkv.weight": (24, 8)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(sorted(a)) == list(sorted(b)) and all(torch.equal(a[name], b[name]) for name in a)


def checkpoint(path: Path, state: object = None, **more) -> str:
    torch.save(layout() if state is None else state, path, **more)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def published_as(monkeypatch, sha256: str, name: str = NAME) -> None:
    file = OFFICIAL[name]
    known = OfficialFile(name=file.name, url=file.url, network=file.network, source="a test", sha256=sha256)
    monkeypatch.setitem(OFFICIAL, name, known)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


ANY_LAYOUT = "from suite.models.checkpoints import layout; layout.LAYOUTS.clear()\n"
"""For scripts: small networks stand for the published ones."""


@pytest.fixture
def any_layout(monkeypatch) -> None:
    """Small networks stand for the published ones, whose keys and shapes are held elsewhere."""
    monkeypatch.setattr(layouts, "LAYOUTS", {})


def small_layout(checkpoint: str) -> dict[str, Tensor]:
    """As a family's `checkpoint_layout`, of the small network."""
    return layout()
