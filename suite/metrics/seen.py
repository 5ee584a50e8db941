"""What the judge, and people, are shown of a model's output: points with colours, and a mesh's normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.models.mesh import Mesh, surface_points

MESH_POINTS = 4096  # as many as the judge's solids have


@dataclass
class Seen:
    clouds: Tensor  # [B, N, 6], finite
    normals: Tensor | None  # [B, N, 3]; None for a model that makes clouds
    made: Tensor  # [B] bool: False where a network diverged or a field has no surface


def seen(objects: Tensor | list[Mesh]) -> Seen:
    """Clouds [B, N, 6] or meshes -> what is shown of them. The points drawn from a mesh are the same each time."""
    if isinstance(objects, Tensor):
        clouds = objects.float().cpu()
        made = clouds.isfinite().all(-1).all(-1)
        return Seen(clouds.nan_to_num(0.0), None, made)
    clouds = torch.zeros(len(objects), MESH_POINTS, 6)
    normals = torch.zeros(len(objects), MESH_POINTS, 3)
    normals[..., 2] = 1.0
    made = torch.tensor([not mesh.empty for mesh in objects])
    for k, mesh in enumerate(objects):
        if not mesh.empty:
            clouds[k], normals[k] = surface_points(mesh, MESH_POINTS, torch.Generator().manual_seed(0))
    return Seen(clouds, normals, made)
