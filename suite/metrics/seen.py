"""What the judge, and people, are shown of a model's output: points with colours, and a mesh's normals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.models.finite import not_finite
from suite.models.pipeline import Objects
from suite.models.shown import Shown

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
        return Seen(torch.where(made[:, None, None], clouds, 0.0), None, made)
    clouds = torch.zeros(len(objects), POINTS, 6)
    normals = torch.zeros(len(objects), POINTS, 3)
    normals[..., 2] = 1.0
    made = torch.tensor([not one.empty and why_not_finite(one) is None for one in objects])
    for k, one in enumerate(objects):
        if made[k]:
            clouds[k], normals[k] = _drawn(one)
    return Seen(clouds, normals, made)


def why_not_finite(one: Tensor | Shown, rows: str = "points") -> str | None:
    """How much of an object, a cloud [N, 6] or one of another form, is no number; None where all is."""
    if isinstance(one, Tensor):
        return not_finite(one.float(), rows)  # as float32, which files and judge have
    if hasattr(one, "not_finite"):  # a mesh counts its own vertices
        return one.not_finite
    return None if one.empty else not_finite(torch.cat(_drawn(one), 1), "points")


def _drawn(one: Shown) -> tuple[Tensor, Tensor]:
    return one.as_points(POINTS, torch.Generator().manual_seed(0))
