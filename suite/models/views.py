"""Pictures of a density field, by emission and absorption along rays (Mildenhall et al. 2020, arXiv:2003.08934)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suite.embedded.renderer import BACKGROUND, CAMERA_DISTANCE, ELEVATION_DEG, HALF_FIELD, cameras

SAMPLES = 64  # along a ray's way through the box
RAYS = 4096  # at once


def render_views(
    field: Callable[[Tensor], tuple[Tensor, Tensor]], azimuth_deg: Tensor, size_px: int, samples: int = SAMPLES
) -> Tensor:
    """Views [V, 3, size, size], fractions 0–1, of what `field` says: positions [P, 3] -> density [P] and colour [P, 3].

    The judge's cameras and background. Samples lie in the middle of equal parts of a ray's way through [-1, 1]³, so a
    view is the same each time; a ray that misses the box asks nothing.
    """
    axes = cameras(azimuth_deg, torch.full_like(azimuth_deg, ELEVATION_DEG))  # [V, 3, 3]: right, up, back
    centre = (size_px - 1) / 2
    across = (torch.arange(size_px, device=azimuth_deg.device) - centre) / (size_px / 2) * HALF_FIELD / CAMERA_DISTANCE
    grid = torch.stack(torch.meshgrid(-across, across, indexing="ij"), -1)  # rows go down: [up, right]
    forward = (
        grid[None, ..., 1, None] * axes[:, None, None, 0]
        + grid[None, ..., 0, None] * axes[:, None, None, 1]
        - axes[:, None, None, 2]
    )
    forward = torch.nn.functional.normalize(forward, dim=-1).flatten(0, 2)  # [V * size * size, 3]
    origin = (CAMERA_DISTANCE * axes[:, 2])[:, None].expand(-1, size_px**2, -1).flatten(0, 1)
    near, far = _through_box(origin, forward)
    picture = torch.full_like(forward, BACKGROUND)
    hit = (far > near).nonzero().flatten()
    for rays in hit.split(RAYS):
        picture[rays] = _along(field, origin[rays], forward[rays], near[rays], far[rays], samples)
    return picture.view(len(azimuth_deg), size_px, size_px, 3).permute(0, 3, 1, 2)


def _through_box(origin: Tensor, forward: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave [-1, 1]³, by the slab method."""
    safe = torch.where(forward.abs() < 1e-9, torch.full_like(forward, 1e-9), forward)
    first, second = (-1 - origin) / safe, (1 - origin) / safe
    return torch.minimum(first, second).amax(-1), torch.maximum(first, second).amin(-1)


def _along(field: Callable, origin: Tensor, forward: Tensor, near: Tensor, far: Tensor, samples: int) -> Tensor:
    step = (far - near) / samples
    ways = near[:, None] + (torch.arange(samples, device=near.device) + 0.5) * step[:, None]  # [R, S]
    positions = origin[:, None] + ways[..., None] * forward[:, None]
    density, colour = field(positions.flatten(0, 1))
    passed = torch.exp(-density.view(ways.shape) * step[:, None])
    reaches = torch.cumprod(torch.cat([torch.ones_like(passed[:, :1]), passed], 1), 1)
    weights = reaches[:, :-1] * (1 - passed)
    seen = (weights[..., None] * colour.view(*ways.shape, 3)).sum(1)
    return seen + reaches[:, -1:] * BACKGROUND
