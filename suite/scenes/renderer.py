"""Coloured point clouds to pictures: discs in a z-buffer, in plain torch.

One renderer for all: splats of a generated cloud (depth shading), and dense clouds with normals, which
look solid (Lambert shading).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CAMERA_DISTANCE = 4.0
HALF_FIELD = 1.10  # half the height that is seen at the distance of the origin
ELEVATION_DEG = 30.0
AZIMUTHS_DEG = (20.0, 110.0, 200.0, 290.0)  # off the axes, so that no view sees a scene edge-on
BACKGROUND = 1.0


def splat_radius_px(points: int, size_px: int) -> float:
    """Disc radius at which a cloud of so many points closes its surfaces without losing its shape.

    The exponent was chosen on ground truth of 1,024 points, 153 captions, first of 3,001 by the judge: .856 at radius
    1.35 (exponent .35, of before), .928 at 1.6 to 1.8, .876 at 2.0 to 2.2; 256 points at 2.2 give .908.
    """
    return size_px / 64 * max(1.0, 2.2 * (256 / points) ** 0.2)


def cameras(azimuth_deg: Tensor, elevation_deg: Tensor) -> Tensor:
    """Rotations [..., 3, 3] whose rows are the camera's right, up and towards-the-camera axes."""
    a, e = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    right = torch.stack([a.cos(), a.sin(), torch.zeros_like(a)], -1)
    back = torch.stack([e.cos() * a.sin(), -e.cos() * a.cos(), e.sin()], -1)
    up = torch.linalg.cross(back, right)
    return torch.stack([right, up, back], -2)


def render(
    cloud: Tensor,
    azimuth_deg: Tensor,
    elevation_deg: Tensor,
    size_px: int = 64,
    radius_px: float | None = None,
    normals: Tensor | None = None,
) -> Tensor:
    """Views of clouds.

    cloud [B, N, 6] (xyz within [-1, 1], rgb 0–1), azimuth and elevation [B, V] in degrees, normals
    [B, N, 3] or none -> [B, V, 3, size, size], fractions 0–1, white background.
    """
    batch, points = cloud.shape[:2]
    views = azimuth_deg.shape[1]
    axes = cameras(azimuth_deg, elevation_deg)  # [B, V, 3, 3]
    seen = torch.einsum("bvij,bnj->bvni", axes, cloud[..., :3])
    depth = CAMERA_DISTANCE - seen[..., 2]
    scale = size_px / 2 / HALF_FIELD * CAMERA_DISTANCE / depth
    centre = (size_px - 1) / 2
    column = centre + seen[..., 0] * scale
    row = centre - seen[..., 1] * scale
    if normals is None:
        shade = (1 + 0.22 * seen[..., 2]).clamp(0.6, 1.25)
    else:
        light = torch.nn.functional.normalize(torch.tensor([0.25, 0.55, 0.8]), dim=0)
        facing = torch.einsum("bvij,bnj,i->bvn", axes, normals, light)
        shade = 0.55 + 0.5 * facing.clamp(0, 1)
    colour = (cloud[:, None, :, 3:] * shade[..., None]).clamp(0, 1)  # [B, V, N, 3]

    radius = radius_px or splat_radius_px(points, size_px)
    reach = math.ceil(radius)
    offsets = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2)
    offsets = offsets[(offsets.double() ** 2).sum(1) <= radius**2]
    # One integer a pixel holds depth above the point's index, so one scatter-min finds the nearest point.
    near, far = CAMERA_DISTANCE - 2.0, CAMERA_DISTANCE + 2.0
    key = ((depth - near) / (far - near) * 2**20).clamp(0, 2**20 - 1).long() * 2**24 + torch.arange(points)
    r = row.round().long()[..., None] + offsets[:, 0]
    c = column.round().long()[..., None] + offsets[:, 1]
    inside = (r >= 0) & (r < size_px) & (c >= 0) & (c < size_px) & (depth > 0)[..., None]  # behind the camera: unseen
    view = torch.arange(batch * views).view(batch, views, 1, 1)
    pixel = torch.where(inside, (view * size_px + r) * size_px + c, batch * views * size_px**2)
    empty = 2**62
    buffer = torch.full((batch * views * size_px**2 + 1,), empty)
    buffer.scatter_reduce_(0, pixel.flatten(), key[..., None].expand_as(pixel).flatten(), "amin")
    nearest = buffer[:-1].view(batch * views, size_px**2)
    index = (nearest % 2**24).clamp(max=points - 1)
    image = colour.view(batch * views, points, 3).gather(1, index[..., None].expand(-1, -1, 3))
    image = torch.where((nearest == empty)[..., None], torch.tensor(BACKGROUND), image)
    return image.view(batch, views, size_px, size_px, 3).permute(0, 1, 4, 2, 3)


def judge_views(cloud: Tensor, size_px: int = 64, normals: Tensor | None = None) -> Tensor:
    """The frozen views of the quality protocol: [B, N, 6] -> [B, 4, 3, size, size]."""
    batch = cloud.shape[0]
    azimuth = torch.tensor(AZIMUTHS_DEG).expand(batch, -1)
    return render(cloud, azimuth, torch.full_like(azimuth, ELEVATION_DEG), size_px, normals=normals)
