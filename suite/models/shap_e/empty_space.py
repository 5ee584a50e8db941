"""A density field asked only where something is, for pictures of it.

Most of a ray's way leads through nothing. Density on a coarse lattice says which cells hold something, with those
beside them, and what lies elsewhere is 0 without asking: the occupancy grid of Müller et al. 2022, "Instant neural
graphics primitives", arXiv:2201.05989. What is thinner than a cell and falls between the lattice's points is lost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

VISIBLE = 1e-3  # a density: along 3.5, the longest way through the box, it takes less than a step of 8 bits

Field = Callable[[Tensor], Tensor]
"""Positions [P, 3] within ±1 -> what is there, its density first: [P, 1 or more]."""


def where_occupied(field: Field, cells: int, device: torch.device) -> Field:
    """The field, and 0 in those of `cells` along each axis that hold nothing, where it is not asked."""
    grid = occupied(field, cells, device)

    def ask(positions: Tensor) -> Tensor:
        x, y, z = ((positions + 1) * (cells / 2)).long().clamp(0, cells - 1).unbind(-1)
        there = grid[x, y, z].nonzero().flatten()
        some = field(positions[there])
        return some.new_zeros(len(positions), some.shape[1]).index_copy(0, there, some)

    return ask


def occupied(field: Field, cells: int, device: torch.device) -> Tensor:
    """Which cells of [-1, 1]³ have a corner with density, or touch one that has: [cells, cells, cells]."""
    axis = torch.linspace(-1, 1, cells + 1, device=device)
    corners = field(torch.cartesian_prod(axis, axis, axis))[:, 0].view(1, 1, *[cells + 1] * 3)
    some = F.max_pool3d((corners > VISIBLE).float(), 2, 1)
    return F.max_pool3d(some, 3, 1, 1)[0, 0] > 0
