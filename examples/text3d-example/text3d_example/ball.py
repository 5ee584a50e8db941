"""The ball: a generator without a diffusion, small enough to be read at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from suite.models.pipeline import Pipeline, Stage
from suite.models.sampling.noise import PromptNoise

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 0.6, 0.0), "blue": (0.0, 0.0, 1.0), "yellow": (1.0, 0.9, 0.0)}


class Ball(Pipeline):
    """Prompts -> clouds [B, points, 6] of a sphere: xyz within ±1, rgb 0–1."""

    def __init__(self, device: torch.device, points: int = 1024):
        self.model, self.weights_sha256, self.device, self.points = "ball-nano-text", None, device, points
        self.networks = {"ball": nn.Identity().to(device)}

    def make(self, prompts: list[str], sample: int, stage: Stage) -> Tensor:
        with stage("colour"):
            named = [next((COLOURS[word] for word in p.split() if word in COLOURS), (0.5,) * 3) for p in prompts]
            colours = torch.tensor(named, device=self.device)[:, None].expand(-1, self.points, -1)
        with stage("ball"):
            noise = PromptNoise(self.model, prompts, (3, self.points), sample).start().to(self.device)
            directions = nn.functional.normalize(self.networks["ball"](noise), dim=1).transpose(1, 2)
            return torch.cat([directions / math.sqrt(3), colours], dim=-1)


def build(weights: str, device: torch.device) -> Ball:
    return Ball(device)


def fewer_points(pipeline: Pipeline, device: torch.device, *, divisor: int) -> Pipeline:
    """A technique: pipeline -> pipeline. What this machine or model cannot do, it says with UnsupportedRecipe."""
    from suite.catalogue.recipes import UnsupportedRecipe

    if not hasattr(pipeline, "points"):
        raise UnsupportedRecipe(f"{pipeline.model} has no number of points to divide")
    pipeline.points //= divisor
    return pipeline
