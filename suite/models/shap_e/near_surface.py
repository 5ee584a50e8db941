"""A field on a grid, asked closely only where its surface can be.

First at every `stride`-th point; then at all points of the coarse cells that the surface can pass through. A signed
distance changes by at most its slope over a length, so a cell none of whose corners is near 0 holds no surface: the
sphere test of Hart 1996, "Sphere tracing", doi:10.1007/s003710050084. Points in cells that were left out take the value
of the nearest coarse one, which has their sign, so that marching cubes finds the same surface.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Refinement:
    """stride: of the coarse grid, in points of the fine one. margin: by how much the slope may exceed the stated."""

    stride: int
    margin: float

    def __post_init__(self):
        if self.stride < 1:
            raise ValueError(f"stride: {self.stride} is not possible; at least 1")
        if self.margin <= 0:
            raise ValueError(f"margin: {self.margin} is not possible; above 0")


def near_surface(
    ask: Callable[[Tensor], Tensor], size: int, slope: float, refinement: Refinement | None, device: torch.device
) -> Tensor:
    """The field over [-1, 1]³ on a grid of `size` points along each axis: [size, size, size].

    ask: positions [P, 3] -> values [P]. slope: how much the value changes over a unit of length, at most.
    Without a refinement every point is asked.
    """
    axis = torch.arange(size, device=device) / (size - 1) * 2 - 1
    if refinement is None:
        return ask(torch.cartesian_prod(axis, axis, axis)).view(size, size, size)
    lattice = torch.arange(0, size - 1, refinement.stride, device=device)
    lattice = torch.cat([lattice, lattice.new_tensor([size - 1])])
    widths = lattice.diff()
    coarse = ask(torch.cartesian_prod(*[axis[lattice]] * 3)).view(*[len(lattice)] * 3)
    half_diagonal = math.sqrt(3) / 2 * int(widths.max()) * 2 / (size - 1)
    reach = refinement.margin * slope * half_diagonal
    highest = F.max_pool3d(coarse[None], 2, 1)[0]
    lowest = -F.max_pool3d(-coarse[None], 2, 1)[0]
    cells = (lowest < reach) & (highest > -reach)  # by their corners
    for dimension in range(3):
        cells = cells.repeat_interleave(widths, dimension)
    close = F.max_pool3d(F.pad(cells[None].float(), [1] * 6), 2, 1)[0] > 0  # the corners of the fine cells in them
    nearest = torch.searchsorted((lattice[1:] + lattice[:-1]) / 2, torch.arange(size, device=device).float())
    values = coarse[nearest[:, None, None], nearest[None, :, None], nearest[None, None]]
    values[close] = ask(axis[close.nonzero()])
    return values
