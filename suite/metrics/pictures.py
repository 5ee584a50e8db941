"""Pictures and PLY files of clouds, for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from suite import sheets
from suite.metrics.seen import seen, why_not_finite
from suite.models.finite import NotFinite
from suite.models.pipeline import Objects
from suite.models.shown import Shown
from suite.scenes.renderer import BACKGROUND, judge_views


def picture(made: Tensor | Shown, views: int = 2) -> Image.Image:
    """A cloud [N, 6], or an object of another form, seen from some of the judge's views, side by side."""
    images = _views(made[None] if isinstance(made, Tensor) else [made])[0, :views]
    strip = torch.cat(list(images), dim=-1).permute(1, 2, 0).numpy()
    return Image.fromarray((strip * 255).round().astype(np.uint8))


def _views(objects: Objects) -> Tensor:
    shown = seen(objects)
    views = judge_views(shown.clouds, size_px=sheets.SIZE_PX, normals=shown.normals)
    views[~shown.made] = BACKGROUND  # nothing is to be seen of what was not made
    return views


def single_views(objects: Objects) -> list[Image.Image]:
    """One view each, as a contact sheet has them."""
    images = _views(objects)[:, 0].permute(0, 2, 3, 1).numpy()
    return [Image.fromarray((image * 255).round().astype(np.uint8)) for image in images]


def write_ply(path: Path, cloud: Tensor) -> None:
    """A cloud [N, 6] (xyz, rgb 0–1) as binary PLY with uchar colours."""
    cloud = cloud.float().cpu()
    if fault := why_not_finite(cloud):
        raise NotFinite(fault)
    cloud = cloud.numpy()
    kinds = [(c, "<f4") for c in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
    vertices = np.empty(len(cloud), dtype=kinds)
    for k, axis in enumerate("xyz"):
        vertices[axis] = cloud[:, k]
    for k, channel in enumerate(("red", "green", "blue")):
        vertices[channel] = np.rint(cloud[:, 3 + k].clip(0, 1) * 255)
    names = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}"]
    header += [f"property {names[kind]} {name}" for name, kind in kinds] + ["end_header", ""]
    path.write_bytes("\n".join(header).encode() + vertices.tobytes())
