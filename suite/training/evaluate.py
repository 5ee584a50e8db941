"""How well a CLIP recognizes ground truth: the ceiling of everything that it judges."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from suite.models.conditioning.clip import embed_captions, embed_views
from suite.scenes.captions import Scene, all_scenes, scenes_of
from suite.scenes.gallery import GALLERY
from suite.scenes.renderer import judge_views
from suite.scenes.shapes import SceneTable


@torch.inference_mode()
def hits(clip: nn.Module, pictures: Tensor, captions: list[str], distractors: list[str]) -> Tensor:
    """Whether each object's own caption ranks before all distractors; pictures as unit vectors [B, width]."""
    own = (pictures * embed_captions(clip, captions)).sum(-1)
    return own > (pictures @ embed_captions(clip, distractors).T).amax(1)


@torch.inference_mode()
def ground_truth_precision(clip: nn.Module, objects: int = 1024, seed: int = 7) -> dict[str, float]:
    """R-Precision of ground-truth views, as splats of 256 points and as solids, on held-out and on unseen captions."""
    gallery = json.loads(GALLERY.read_text())
    held_out = {s.caption: s for s in all_scenes() if s.split == "held-out"}
    unseen = scenes_of("unseen")
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randperm(len(unseen), generator=generator)[:objects].tolist()
    sets: dict[str, list[Scene]] = {
        "held_out": [held_out[c] for c in gallery["prompts"][:objects]],
        "unseen": [unseen[k] for k in pick],
    }
    clip.eval()
    result = {}
    for name, scenes in sets.items():
        table = SceneTable(scenes)
        captions = [s.caption for s in scenes]
        for kind, points in (("splats", 256), ("solid", 4096)):
            vectors = []
            for rows in torch.arange(len(scenes)).split(32):
                cloud, normals = table.clouds(rows, points, generator)
                vectors.append(embed_views(clip, judge_views(cloud, normals=normals if kind == "solid" else None)))
            pictures = torch.cat(vectors)
            for size in (153, 3001):
                hit = hits(clip, pictures, captions, gallery["distractors"][: size - 1])
                result[f"{name}_{kind}_{size}"] = round(hit.float().mean().item(), 4)
    return result
