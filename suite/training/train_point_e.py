"""The recipes of the embedded Point-E: CLIP text vector, or image tokens -> cloud of 256 points, by v-prediction.

Salimans & Ho 2022 (arXiv:2202.00512) for v; epsilon, as the official networks have it, gave only smears at this size.
Most steps see 128 points, which cost half: the network has no positions and takes any number.

First stage: coordinates as they are, deviation about 0.2. It learns colours and arrangement but blobs for shapes, since
only a tenth of the noise levels are small enough to tell shapes apart. Second stage: coordinates three times as large
(POSITION_SCALE), so that a third of them are. A run from nothing would start with the second stage's scale; this is
how the committed weights came about.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.models.checkpoints.embedded import load_embedded
from suite.models.conditioning.clip_features import image_tokens
from suite.models.point_e.network import PointDiffusionTransformer
from suite.models.point_e.pipeline import NANO_IMAGE, NANO_TEXT, POSITION_SCALE, to_channels
from suite.training.recipe import StagedRecipe, VelocityRecipe
from suite.training.train_text_to_image import seen_photographs

FIRST_STEPS, SECOND_STEPS = 5_000, 2_700
COARSE, FINE = (64, 128), (32, 256)  # (batch, points)
POSITION_WEIGHT = 2.0  # colours are easy: two a scene


def point_e_nano_text() -> TextRecipe:
    return TextRecipe("point-e-nano-text", seed=3, steps=FIRST_STEPS + SECOND_STEPS)


def point_e_nano_image() -> ImageRecipe:
    return ImageRecipe("point-e-nano-image", seed=9, steps=2_400)


class PointERecipe(VelocityRecipe):
    """Clouds from a condition. Subclasses draw both."""

    COARSE_SHARE = 0.7  # of the steps

    def velocity(self, network: nn.Module, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return network(noisy, t, clip=condition)

    def error(self, difference: Tensor) -> Tensor:
        by_channel = difference.square().mean((0, 2))
        return (POSITION_WEIGHT * by_channel[:3].mean() + by_channel[3:].mean()) / (POSITION_WEIGHT + 1)


class TextRecipe(PointERecipe, StagedRecipe):
    PEAK_RATE = 1.2e-3
    STAGES = (FIRST_STEPS, SECOND_STEPS)
    DECAYS_FROM = (0.6, 0.2)

    def __init__(self, name: str, seed: int, steps: int):
        super().__init__(name, seed, steps)
        self.train(PointDiffusionTransformer(NANO_TEXT))

    def example(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        stage, done, length = self.stage(step)
        batch, points = COARSE if done < self.COARSE_SHARE * length else FINE
        rows = self.draw(batch, generator)
        cloud = self.table.clouds(rows, points, generator)[0]
        return to_channels(cloud, POSITION_SCALE if stage else 1.0), self.text_vectors(rows)


class ImageRecipe(PointERecipe):
    """CLIP image tokens -> cloud, going on from the text network."""

    PEAK_RATE, DECAY_FROM, COARSE_SHARE = 1e-3, 0.4, 0.6

    def __init__(self, name: str, seed: int, steps: int):
        super().__init__(name, seed, steps)
        network = PointDiffusionTransformer(NANO_IMAGE)
        # What clouds look like is known to the text network; only how to listen to a picture is new.
        known = {n: v for n, v in load_embedded("point-e-nano-text")[0].items() if not n.startswith("clip_embed")}
        missing = network.load_state_dict(known, strict=False).missing_keys
        assert all(name.startswith("clip_embed") for name in missing), missing
        self.train(network)

    def example(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch, points = COARSE if step < self.COARSE_SHARE * self.steps else FINE
        pictures, cloud = seen_photographs(self.table, self.draw(batch, generator), generator)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            clip = image_tokens(self.clip.visual, pictures).float()
        return to_channels(cloud[:, :points], POSITION_SCALE), clip
