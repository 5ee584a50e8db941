"""How an object is seen: the least that the judge and the pictures need of a form that is neither cloud nor mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor


class Shown(Protocol):
    """One object in a form of its own: a mesh, Gaussian splats. It may have `not_finite`, as `Mesh` has: why it is no
    object, or None; without it the points that are drawn from it tell."""

    @property
    def empty(self) -> bool:
        """Whether nothing was made: a field without a surface."""

    def as_points(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """So many points of its surface [count, 6], xyz within ±1 and rgb 0–1, and their unit normals [count, 3]."""

    def write(self, folder: Path, stem: str) -> list[Path]:
        """Files that other programs open; returns their paths."""
