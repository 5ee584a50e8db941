"""Scenes of the caption grammar as fields: signed distance and colour at any point.

Distances of primitive shapes in closed form (after Quilez, https://iquilezles.org/articles/distfunctions/); negative
inside. A box's, a frustum's and a half torus' are exact outside or bounds with the right sign, which is enough for
occupancy and for where the surface lies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from suite.scenes.captions import SHAPES
from suite.scenes.shapes import Pose

FAR = 10.0  # the distance of a thing that is absent


def _box(p: Tensor, half: tuple[float, float, float]) -> Tensor:
    q = p.abs() - p.new_tensor(half)
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def _cylinder(p: Tensor, radius: float, half: float) -> Tensor:
    q = torch.stack([p[..., :2].norm(dim=-1) - radius, p[..., 2].abs() - half], -1)
    return q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)


def _cone(p: Tensor, radius: float, half: float) -> Tensor:
    """Base of `radius` at z = -half, tip at z = half: the nearer of slant and base, exact but beside the edges."""
    slant = (radius**2 + 4 * half**2) ** 0.5
    outward = (p[..., :2].norm(dim=-1) * 2 * half + (p[..., 2] - half) * radius) / slant
    return torch.maximum(outward, -half - p[..., 2])


def _torus(p: Tensor, major: float, minor: float) -> Tensor:
    return torch.stack([p[..., :2].norm(dim=-1) - major, p[..., 2]], -1).norm(dim=-1) - minor


def _arch(p: Tensor, major: float, minor: float) -> Tensor:
    """The upper half of a standing ring, lowered to be centred."""
    upright = p[..., [0, 2, 1]] + p.new_tensor([0.0, (major + minor) / 2, 0.0])
    return torch.maximum(_torus(upright, major, minor), -upright[..., 1])


DISTANCES = {
    "ball": lambda p: p.norm(dim=-1) - 1,
    "cube": lambda p: _box(p, (0.85, 0.85, 0.85)),
    "cone": lambda p: _cone(p, 0.9, 1.0),
    "cylinder": lambda p: _cylinder(p, 0.5, 1.0),
    "ring": lambda p: _torus(p, 0.75, 0.25),
    "disc": lambda p: _cylinder(p, 1.0, 0.12),
    "cross": lambda p: torch.stack(
        [_box(p, half) for half in ((1.0, 0.22, 0.22), (0.22, 1.0, 0.22), (0.22, 0.22, 1.0))]
    ).amin(0),
    "arch": lambda p: _arch(p, 0.7, 0.25),
}
"""By shape at radius 1, as `suite.scenes.shapes` draws them."""


def field(pose: Pose, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance [B, P], negative inside, and colour of the nearest thing [B, P, 3], at positions [B, P, 3]."""
    scene = (positions - pose.shift) @ pose.turn
    nearest = positions.new_full(positions.shape[:2], FAR)
    rgb = torch.ones_like(positions)
    for thing in range(pose.shape.shape[1]):
        radius = pose.radius[:, thing, None]
        local = (scene - pose.centre[:, thing, None]) / radius.clamp(min=1e-6)[..., None]
        distance = torch.full_like(nearest, FAR)
        for index, name in enumerate(SHAPES):
            rows = ((pose.shape[:, thing] == index) & (radius[:, 0] > 0)).nonzero().flatten()
            if len(rows):
                distance[rows] = DISTANCES[name](local[rows]) * radius[rows]
        nearer = distance < nearest
        nearest = torch.where(nearer, distance, nearest)
        rgb = torch.where(nearer[..., None], pose.rgb[:, thing, None], rgb)
    return nearest, rgb
