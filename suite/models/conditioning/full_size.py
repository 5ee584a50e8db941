"""From a prompt to what the published 3D networks are conditioned on: CLIP ViT-L/14's vector of the text, or the vector
and the grid of a picture, which a text-to-image pipeline makes or a folder holds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from suite.models.checkpoints.networks import FullSizeWeights
from suite.models.conditioning.clip_large import (
    load_image_side,
    load_text_side,
    picture_features,
    prepare,
    text_vectors,
)
from suite.models.conditioning.pictures_on_disk import PICTURES_VARIABLE, PicturesOnDisk
from suite.models.pipeline import Stage

PAINTER_VARIABLE = "TEXT3D_TEXT_TO_IMAGE"
DEFAULT_PAINTER = "sd-turbo"


@dataclass
class Condition:
    """What B prompts say to the networks: a unit CLIP vector, a picture's grid of tokens, or both."""

    vector: Tensor  # [B, 768]
    grid: Tensor | None = None  # [B, 256, 1024]; None where there is no picture


@dataclass
class TextCondition:
    networks: dict[str, nn.Module]
    device: torch.device
    stages: tuple[str, ...] = ("text encoder",)

    def __call__(self, prompts: list[str], sample: int, stage: Stage) -> Condition:
        with stage("text encoder"):
            return Condition(text_vectors(self.networks["text encoder"], prompts, self.device))


@dataclass
class PictureCondition:
    """`painter` makes the pictures, called as painter(model, prompts, sample); pictures from a disk are no stage."""

    model: str
    networks: dict[str, nn.Module]
    device: torch.device
    painter: object
    stages: tuple[str, ...]

    def __call__(self, prompts: list[str], sample: int, stage: Stage) -> Condition:
        if "text-to-image" in self.stages:
            with stage("text-to-image"):
                pictures = self.painter(self.model, prompts, sample)
        else:
            pictures = self.painter(self.model, prompts, sample)
        with stage("image encoder"):
            grid, vector = picture_features(self.networks["image encoder"], prepare(pictures).to(self.device))
            return Condition(vector, grid)


def text_condition(weights: FullSizeWeights) -> TextCondition:
    return TextCondition({"text encoder": load_text_side(weights)}, weights.device)


def picture_condition(model: str, weights: FullSizeWeights) -> PictureCondition:
    """Pictures from TEXT3D_PICTURES (a folder or a zip file) if it is set; else from the text-to-image pipeline that
    TEXT3D_TEXT_TO_IMAGE names, or from a small stand-in of it when weights are random."""
    if path := os.environ.get(PICTURES_VARIABLE):
        painter = PicturesOnDisk(Path(path))
        weights.digests.append(painter.sha256)
        return PictureCondition(
            model, {"image encoder": load_image_side(weights)}, weights.device, painter, ("image encoder",)
        )
    from suite.models.conditioning.text_to_image import StandIn, StandInPainter, load_painter

    if weights.kind == "random":
        painter = StandInPainter(weights.network("text-to-image stand-in", StandIn, dtype=torch.float32))
    else:
        painter, digest = load_painter(os.environ.get(PAINTER_VARIABLE, DEFAULT_PAINTER), weights.device)
        weights.digests.append(digest)
    networks = {"text-to-image": painter.network, "image encoder": load_image_side(weights)}
    return PictureCondition(model, networks, weights.device, painter, ("text-to-image", "image encoder"))
