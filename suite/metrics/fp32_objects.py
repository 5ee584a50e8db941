"""How far an object lies from the one that the model's own fp32 makes from the same noise.

Two objects may both be recognized and still differ: this shows a recipe's damage where R-Precision is full. The first
KEPT prompts' objects of the embedded models are committed, as points in 16 bits (3e-5 of a unit), so that a cell need
not make them again; `python -m suite.training.keep_fp32_objects` writes the file.

Chamfer distance as in `suite.metrics.chamfer`; F-score as in Knapitsch et al. 2017, "Tanks and Temples", ACM
Transactions on Graphics 36(4), section 4, advised for made shapes by Tatarchenko et al. 2019, arXiv:1905.03678.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from suite.metrics.chamfer import nearest
from suite.metrics.seen import seen
from suite.models.pipeline import Objects

FILE = Path(__file__).parents[1] / "embedded" / "fp32-objects.safetensors"
KEPT = 8  # prompts: a part of the scoring, so that one process has them all
RADIUS = 0.05  # of the F-score, in units of the object, which fits ±1: 2.5 % of its box
SCALE = 32_000  # of the points in 16 bits: up to ±1.02
NONE_KEPT = "no fp32 objects are kept of this model and these prompts"


@lru_cache(maxsize=4)
def kept(model: str) -> dict[str, Tensor]:
    """By prompt, the points [N, 3] of the model's fp32 object; empty for a model of which none are kept."""
    with safe_open(FILE, "pt") as file:
        prompts = json.loads(file.metadata()["prompts"])
        names = {prompt: f"{model}/{n}" for n, prompt in enumerate(prompts)}
        there = set(file.keys())
        return {prompt: file.get_tensor(name) / SCALE for prompt, name in names.items() if name in there}


def as_kept(points: Tensor) -> Tensor:
    """Points as the file has them."""
    return (points * SCALE).round().clamp(-32_767, 32_767).to(torch.int16)


def to_fp32(model: str, objects: Objects, prompts: list[str]) -> list[tuple[float, float] | None]:
    """(Chamfer distance, F-score) of each object to fp32's; None where there is none, or nothing was made."""
    references = kept(model)
    if not references.keys() & set(prompts):
        return [None] * len(prompts)
    shown = seen(objects)
    return [
        distance_and_f_score(cloud[:, :3], references[prompt]) if made and prompt in references else None
        for cloud, made, prompt in zip(shown.clouds, shown.made, prompts)
    ]


def distance_and_f_score(points: Tensor, reference: Tensor, radius: float = RADIUS) -> tuple[float, float]:
    """Of points [N, 3] and [M, 3]: the mean distance to the nearest point of the other, averaged over both ways, and
    the harmonic mean of precision and recall: the shares of points that have one of the other within the radius."""
    there, back = nearest(points, reference), nearest(reference, points)
    precision, recall = (there <= radius).mean(), (back <= radius).mean()
    f_score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return float(there.mean() + back.mean()) / 2, float(f_score)
