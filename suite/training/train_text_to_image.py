"""The recipe of the embedded text-to-image network: CLIP text tokens -> one view of the scene, 32 x 32 pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.conditioning.clip_features import text_tokens
from suite.models.conditioning.embedded import enlarged
from suite.models.conditioning.text_to_image import NANO_SIZE_PX, build_nano_transformer, predict_picture
from suite.scenes.renderer import AZIMUTHS_DEG, ELEVATION_DEG, render
from suite.scenes.shapes import SceneTable
from suite.scenes.tokenizer import tokenize
from suite.training.recipe import GeneratorRecipe, spread

BATCH = 64
SURFACE_POINTS, RADIUS_PX = 1536, 1.5  # as the CLIPs saw solids


def text_to_image_nano() -> TextToImageRecipe:
    return TextToImageRecipe("text-to-image-nano", seed=5, steps=2_400)


def photograph(table: SceneTable, rows: Tensor, generator: torch.Generator, size_px: int = 64) -> tuple[Tensor, Tensor]:
    """The scenes in `rows` as the image-conditional models' camera sees them, [B, 3, size, size], and their clouds.

    The clouds [B, SURFACE_POINTS, 6] are those that the pictures show: same pose, same tint.
    """
    cloud, normals = table.clouds(rows, SURFACE_POINTS, generator)
    azimuth = torch.full((len(rows), 1), AZIMUTHS_DEG[0])
    elevation = torch.full((len(rows), 1), ELEVATION_DEG)
    return render(cloud, azimuth, elevation, size_px, RADIUS_PX * size_px / 64, normals)[:, 0], cloud


def seen_photographs(table: SceneTable, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `photograph`, as image-conditional networks are trained: at 32 pixels, a little noisy as pictures will be."""
    pictures, cloud = photograph(table, rows, generator)
    noise = 0.05 * torch.rand(len(rows), 1, 1, 1, generator=generator)
    small = F.adaptive_avg_pool2d(pictures, NANO_SIZE_PX)
    small = (small + noise * torch.randn(small.shape, generator=generator)).clamp(0, 1)
    return enlarged(small), cloud


class TextToImageRecipe(GeneratorRecipe):
    PEAK_RATE = 1.2e-3

    def __init__(self, name: str, seed: int, steps: int):
        super().__init__(name, seed, steps)
        network = build_nano_transformer()
        nn.init.zeros_(network.proj_out.weight)
        nn.init.zeros_(network.proj_out.bias)
        self.train(network)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        rows = self.draw(BATCH, generator)
        pictures = photograph(self.table, rows, generator)[0]
        x0 = F.adaptive_avg_pool2d(pictures, NANO_SIZE_PX) * 2 - 1
        share = spread(BATCH, generator).clamp(min=0.02)  # of the noise
        level = share[:, None, None, None]
        noisy = (1 - level) * x0 + level * torch.randn(x0.shape, generator=generator)
        tokens = tokenize([self.scenes[row].caption for row in rows.tolist()])
        with torch.autocast("cpu", torch.bfloat16):
            predicted = predict_picture(self.network, noisy, 1000 * share, text_tokens(self.clip, tokens))
        return (predicted - x0).square().mean()
