"""Scenes of the caption grammar as coloured point clouds with normals.

Axes: x right, y away from the front camera, z up; a scene lies within [-1, 1]³. Colours are fractions 0–1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from suite.scenes.captions import COLOURS, RELATIONS, SHAPES, Scene

POOL_POINTS = 16_384
RADII = (0.18, 0.27, 0.39)  # of SIZES
RGB = {
    "red": (0.85, 0.08, 0.08),
    "orange": (1.00, 0.55, 0.05),
    "yellow": (0.98, 0.92, 0.15),
    "green": (0.10, 0.62, 0.15),
    "cyan": (0.15, 0.82, 0.85),
    "blue": (0.10, 0.20, 0.85),
    "purple": (0.55, 0.12, 0.68),
    "black": (0.08, 0.08, 0.08),
}
# Half width (horizontal reach) and half height of each shape at radius 1.
EXTENTS = {
    "ball": (1.0, 1.0),
    "cube": (1.0, 0.85),
    "cone": (0.9, 1.0),
    "cylinder": (0.5, 1.0),
    "ring": (1.0, 0.25),
    "disc": (1.0, 0.12),
    "cross": (1.0, 1.0),
    "arch": (0.95, 0.475),
}
GAP = 0.38  # of "floating above" and "far from"
TOUCH = 0.03  # of "next to"
YAW = math.radians(30)  # scenes turn by at most this much, so that a front stays a front
MAX_THINGS = 3


def _boxes(halves: list[tuple[float, float, float]], count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Surface of a union of boxes centred at the origin, by rejection of points inside another box."""
    halves_t = torch.tensor(halves)
    areas = torch.stack([halves_t[:, (a + 1) % 3] * halves_t[:, (a + 2) % 3] for a in range(3)], 1)
    face = torch.multinomial(areas.flatten(), 4 * count, replacement=True, generator=generator)
    box, axis = face // 3, face % 3
    unit = torch.rand(4 * count, 3, generator=generator) * 2 - 1
    sign = torch.randint(0, 2, (4 * count,), generator=generator) * 2.0 - 1
    rows = torch.arange(4 * count)
    unit[rows, axis] = sign
    points = unit * halves_t[box]
    normals = torch.zeros_like(points)
    normals[rows, axis] = sign
    inside = (points[:, None].abs() < halves_t[None] - 1e-6).all(-1).any(-1)
    return points[~inside][:count], normals[~inside][:count]


def _revolved(radius: float, top: float, half: float, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frustum around z: `radius` at the bottom, `top` at the top, with both caps."""
    slant = math.hypot(radius - top, 2 * half)
    areas = torch.tensor([(radius + top) * slant, radius**2, top**2])
    part = torch.multinomial(areas, count, replacement=True, generator=generator)
    angle = torch.rand(count, generator=generator) * 2 * math.pi
    u = torch.rand(count, generator=generator)
    # Uniform in area along a slant whose radius falls linearly.
    side_r = torch.sqrt(radius**2 + (top**2 - radius**2) * u)
    side_z = -half + 2 * half * ((radius - side_r) / (radius - top) if radius != top else u)
    r = torch.where(part == 0, side_r, torch.where(part == 1, radius, top) * u.sqrt())
    z = torch.where(part == 0, side_z, torch.where(part == 1, -half, half).to(u))
    across, up = 2 * half / slant, (radius - top) / slant
    n_r = torch.where(part == 0, across, 0.0)
    n_z = torch.where(part == 0, up, torch.where(part == 1, -1.0, 1.0))
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([r * cos, r * sin, z], 1), torch.stack([n_r * cos, n_r * sin, n_z], 1)


def _torus(
    major: float, minor: float, half_turn: bool, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Ring around z, or (half_turn) its half, standing upright as an arch."""
    u = torch.rand(4 * count, generator=generator) * (math.pi if half_turn else 2 * math.pi)
    v = torch.rand(4 * count, generator=generator) * 2 * math.pi
    keep = torch.rand(4 * count, generator=generator) < (major + minor * v.cos()) / (major + minor)
    u, v = u[keep][:count], v[keep][:count]
    ring = torch.stack([u.cos(), u.sin(), torch.zeros_like(u)], 1)
    up = torch.tensor([0.0, 0.0, 1.0])
    normals = v.cos()[:, None] * ring + v.sin()[:, None] * up
    points = major * ring + minor * normals
    if half_turn:
        points, normals = (p[:, [0, 2, 1]] for p in (points, normals))
        points = points - torch.tensor([0.0, 0.0, (major + minor) / 2])
    return points, normals


@lru_cache(maxsize=1)
def surface_pools() -> tuple[Tensor, Tensor]:
    """Surface points and outward normals of every shape at radius 1: two of [shapes, POOL_POINTS, 3]."""
    generator = torch.Generator().manual_seed(0)
    n = POOL_POINTS
    ball = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    made = {
        "ball": (ball, ball),
        "cube": _boxes([(0.85, 0.85, 0.85)], n, generator),
        "cone": _revolved(0.9, 0.0, 1.0, n, generator),
        "cylinder": _revolved(0.5, 0.5, 1.0, n, generator),
        "ring": _torus(0.75, 0.25, False, n, generator),
        "disc": _revolved(1.0, 1.0, 0.12, n, generator),
        "cross": _boxes([(1.0, 0.22, 0.22), (0.22, 1.0, 0.22), (0.22, 0.22, 1.0)], n, generator),
        "arch": _torus(0.7, 0.25, True, n, generator),
    }
    return tuple(torch.stack([made[s][k] for s in SHAPES]).contiguous() for k in range(2))


def layout(scene: Scene) -> tuple[list[int], list[int], list[float], list[list[float]]]:
    """Shape, colour, radius and centre of each of a scene's MAX_THINGS things; an absent one has radius 0."""
    things = [scene.thing] * (scene.count + 1) if scene.other is None else [scene.thing, scene.other]
    radii = [RADII[t.size] for t in things]
    wide = [EXTENTS[SHAPES[t.shape]][0] * r for t, r in zip(things, radii)]
    high = [EXTENTS[SHAPES[t.shape]][1] * r for t, r in zip(things, radii)]
    centres = [[0.0, 0.0, 0.0] for _ in things]
    if scene.other is None and len(things) > 1:
        circle = (1.0 if len(things) == 2 else 2 / math.sqrt(3)) * wide[0] + TOUCH
        for k in range(len(things)):
            angle = 2 * math.pi * k / len(things)
            centres[k] = [circle * math.cos(angle), circle * math.sin(angle), 0.0]
    elif scene.other is not None:
        relation = RELATIONS[scene.relation]
        gap = GAP if relation in ("floating above", "far from") else TOUCH if relation == "next to" else 0.0
        if relation in ("on", "floating above"):
            total = 2 * high[0] + 2 * high[1] + gap
            centres[1][2] = -total / 2 + high[1]
            centres[0][2] = total / 2 - high[0]
        else:
            total = 2 * wide[0] + 2 * wide[1] + gap
            centres[0][0] = -total / 2 + wide[0]
            centres[1][0] = total / 2 - wide[1]
            ground = -max(high)
            for k in range(2):
                centres[k][2] = ground + high[k]
    pad = MAX_THINGS - len(things)
    return (
        [t.shape for t in things] + [0] * pad,
        [t.colour for t in things] + [0] * pad,
        radii + [0.0] * pad,
        centres + [[0.0, 0.0, 0.0]] * pad,
    )


class Pose(NamedTuple):
    """Where the things of a batch of scenes stand; a thing of radius 0 is absent."""

    shape: Tensor  # [B, MAX_THINGS], index into SHAPES
    radius: Tensor  # [B, MAX_THINGS]
    centre: Tensor  # [B, MAX_THINGS, 3], before the scene is turned
    turn: Tensor  # [B, 3, 3]
    shift: Tensor  # [B, 1, 3], after it is turned
    rgb: Tensor  # [B, MAX_THINGS, 3]


class SceneTable:
    """The layouts of many scenes as tensors, from which clouds are drawn in batches."""

    def __init__(self, scenes: list[Scene] | tuple[Scene, ...]):
        shape, colour, radius, centre = zip(*map(layout, scenes))
        self.shape = torch.tensor(shape)
        self.colour = torch.tensor(colour)
        self.radius = torch.tensor(radius)
        self.centre = torch.tensor(centre)
        self.rgb = torch.tensor([RGB[c] for c in COLOURS])

    def clouds(
        self, rows: Tensor, points: int, generator: torch.Generator, jitter: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Clouds of the scenes in `rows` [B]: xyz and rgb as [B, points, 6], and normals [B, points, 3].

        Every draw turns, scales, shifts and tints the scene a little (`jitter` 0 to 1 of the full amount).
        Points fall on a thing in proportion to its radius, not its area, so that a small one keeps enough.
        """
        return self.posed_clouds(rows, points, generator, jitter)[:2]

    def posed_clouds(
        self, rows: Tensor, points: int, generator: torch.Generator, jitter: float = 1.0
    ) -> tuple[Tensor, Tensor, Pose]:
        """As `clouds`, and how the scenes were placed, so that their fields can be asked (`suite.training.fields`)."""
        batch = rows.shape[0]

        def uniform(*shape: int) -> Tensor:
            return (torch.rand(*shape, generator=generator) * 2 - 1) * jitter

        pool_points, pool_normals = surface_pools()
        radius = self.radius[rows] * (1 + 0.05 * uniform(batch, MAX_THINGS))
        thing = torch.multinomial(self.radius[rows], points, replacement=True, generator=generator)
        pick = torch.randint(0, POOL_POINTS, (batch, points), generator=generator)
        shape = self.shape[rows].gather(1, thing)
        local = pool_points[shape, pick] * radius.gather(1, thing)[..., None]
        normals = pool_normals[shape, pick]
        centre = self.centre[rows] + 0.015 * uniform(batch, MAX_THINGS, 3)
        xyz = local + centre.gather(1, thing[..., None].expand(-1, -1, 3))
        yaw = YAW * uniform(batch)
        cos, sin, zero, one = yaw.cos(), yaw.sin(), torch.zeros(batch), torch.ones(batch)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(batch, 3, 3)
        shift = 0.02 * uniform(batch, 1, 3)
        xyz = (xyz @ turn.mT + shift).clamp(-1, 1)
        tint = self.rgb[self.colour[rows]] + 0.04 * uniform(batch, MAX_THINGS, 3)
        rgb = tint.gather(1, thing[..., None].expand(-1, -1, 3)) + 0.02 * uniform(batch, points, 3)
        pose = Pose(self.shape[rows], radius, centre, turn, shift, tint.clamp(0, 1))
        return torch.cat([xyz, rgb.clamp(0, 1)], -1), normals @ turn.mT, pose
