"""What the judge, and people, are shown of a model's output: points with colours, and a mesh's normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.models.pipeline import Objects

POINTS = 4096  # as many as the judge's solids have


@dataclass
class Seen:
    clouds: Tensor  # [B, N, 6], finite
    normals: Tensor | None  # [B, N, 3]; None for a model that makes clouds
    made: Tensor  # [B] bool: False where a network diverged or a field has no surface


def seen(objects: Objects) -> Seen:
    """What is shown of clouds [B, N, 6], of meshes or of others. The points drawn from one are the same each time."""
    if isinstance(objects, Tensor):
        clouds = objects.float().cpu()
        made = clouds.isfinite().all(-1).all(-1)
        return Seen(clouds.nan_to_num(0.0), None, made)
    clouds = torch.zeros(len(objects), POINTS, 6)
    normals = torch.zeros(len(objects), POINTS, 3)
    normals[..., 2] = 1.0
    made = torch.tensor([not one.empty for one in objects])
    for k, one in enumerate(objects):
        if not one.empty:
            clouds[k], normals[k] = one.as_points(POINTS, torch.Generator().manual_seed(0))
    return Seen(clouds, normals, made)
