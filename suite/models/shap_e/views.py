"""Pictures of a density field, by emission and absorption along rays (Mildenhall et al. 2020, arXiv:2003.08934)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.scenes.renderer import BACKGROUND, CAMERA_DISTANCE, ELEVATION_DEG, HALF_FIELD, cameras

SAMPLES = 64  # along a ray's way through the box
RAYS = 4096  # at once

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions [P, 3] -> density [P] and colour [P, 3]."""
Along = Callable[[Field, Tensor, Tensor, Tensor, Tensor], Tensor]
"""A field and rays (origin, unit direction [R, 3], where they enter and leave the box [R]) -> colours [R, 3]."""


def render_views(field: Field, azimuth_deg: Tensor, size_px: int, along: Along) -> Tensor:
    """Views [V, 3, size, size], fractions 0–1, with the judge's cameras and background.

    A ray that misses the box asks nothing. along: how a ray is sampled.
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
    near, far = through_box(origin, forward)
    picture = torch.full_like(forward, BACKGROUND)
    hit = (far > near).nonzero().flatten()
    for rays in hit.split(RAYS):
        picture[rays] = along(field, origin[rays], forward[rays], near[rays], far[rays])
    return picture.view(len(azimuth_deg), size_px, size_px, 3).permute(0, 3, 1, 2)


def through_box(origin: Tensor, forward: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave [-1, 1]³, by the slab method."""
    safe = torch.where(forward.abs() < 1e-9, torch.full_like(forward, 1e-9), forward)
    first, second = (-1 - origin) / safe, (1 - origin) / safe
    return torch.minimum(first, second).amax(-1), torch.maximum(first, second).amin(-1)


@dataclass
class Evenly:
    """Samples in the middle of equal parts of a ray's way, so that a view is the same each time."""

    samples: int

    def __call__(self, field: Field, origin: Tensor, forward: Tensor, near: Tensor, far: Tensor) -> Tensor:
        step = (far - near) / self.samples
        ways = near[:, None] + (torch.arange(self.samples, device=near.device) + 0.5) * step[:, None]  # [R, S]
        density, colour = field(points(origin, forward, ways))
        return shade(density.view(ways.shape), colour.view(*ways.shape, 3), step[:, None])


@dataclass
class CoarseToFine:
    """The original's: a sample drawn from each of `coarse` even parts, then `fine` more drawn where those saw
    something; the picture is made of all of them, asked again of the fine field.

    coarse_density: positions [P, 3] -> the coarse field's density [P]. The draws are the generator's, on the CPU, three
    to a bundle of rays in the original's order.
    """

    coarse_density: Callable[[Tensor], Tensor]
    generator: torch.Generator
    coarse: int = 64
    fine: int = 128

    def __call__(self, field: Field, origin: Tensor, forward: Tensor, near: Tensor, far: Tensor) -> Tensor:
        near, far = near[:, None], far[:, None]
        first = self._first(near, far)
        density = self.coarse_density(points(origin, forward, first)).view(first.shape)
        lower, upper = parts(first, near, far)
        second = self._second(absorbed(density, upper - lower)[0], lower, upper)
        ways = torch.cat([second, first], dim=-1).sort(dim=-1).values
        density, colour = field(points(origin, forward, ways))
        lower, upper = parts(ways, near, far)
        return shade(density.view(ways.shape), colour.view(*ways.shape, 3), upper - lower)

    def _first(self, near: Tensor, far: Tensor) -> Tensor:
        share = torch.linspace(0, 1, self.coarse, device=near.device)
        lower, upper = parts(near * (1 - share) + far * share, near, far)
        return lower + (upper - lower) * self._draw(lower.shape, near)

    def _second(self, weights: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        likely = weights + 1e-5  # nowhere quite impossible
        likely = (likely / likely.sum(dim=-1, keepdim=True)).cumsum(dim=-1)
        shape = (len(weights), self.fine)
        which = torch.searchsorted(likely, self._draw(shape, weights)).clamp(max=weights.shape[-1] - 1)
        lower, upper = lower.gather(-1, which), upper.gather(-1, which)
        return (lower + (upper - lower) * self._draw(shape, weights)).sort(dim=-1).values

    def _draw(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return torch.rand(shape, generator=self.generator).to(like)


def points(origin: Tensor, forward: Tensor, ways: Tensor) -> Tensor:
    """Positions [R * S, 3] at distances [R, S] along rays."""
    return (origin[:, None] + ways[..., None] * forward[:, None]).flatten(0, 1)


def parts(ways: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """Where the part of a ray begins and ends that each sample [R, S] stands for: half way to its neighbours."""
    middle = (ways[:, 1:] + ways[:, :-1]) * 0.5
    return torch.cat([near, middle], dim=-1), torch.cat([middle, far], dim=-1)


def absorbed(density: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """How much of a ray ends in each of its parts [R, S], and how much is left behind them [R, 1]."""
    passed = torch.exp(-density * width)
    reaches = torch.cumprod(torch.cat([torch.ones_like(passed[:, :1]), passed], 1), 1)
    return reaches[:, :-1] * (1 - passed), reaches[:, -1:]


def shade(density: Tensor, colour: Tensor, width: Tensor) -> Tensor:
    """Density [R, S] and colour [R, S, 3] of parts so wide -> what is seen [R, 3]."""
    weights, left = absorbed(density, width)
    return (weights[..., None] * colour).sum(1) + left * BACKGROUND
