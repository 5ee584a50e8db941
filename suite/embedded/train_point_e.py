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
from torch import Tensor

from suite.embedded.recipe import GeneratorRecipe, v_example
from suite.embedded.train_text_to_image import seen_photographs
from suite.models.clip_features import image_tokens
from suite.models.point_e import NANO_IMAGE, NANO_TEXT, POSITION_SCALE, to_channels
from suite.models.point_e_network import PointDiffusionTransformer
from suite.models.samplers import cosine_schedule
from suite.models.weights import load_embedded

FIRST_STEPS, SECOND_STEPS = 5_000, 2_700
COARSE, FINE = (64, 128), (32, 256)  # (batch, points)
UNCONDITIONAL_SHARE = 0.1
POSITION_WEIGHT = 2.0  # colours are easy: two a scene


def point_e_nano_text() -> TextRecipe:
    return TextRecipe("point-e-nano-text", seed=3, steps=FIRST_STEPS + SECOND_STEPS)


def point_e_nano_image() -> ImageRecipe:
    return ImageRecipe("point-e-nano-image", seed=9, steps=2_400)


class PointERecipe(GeneratorRecipe):
    """Clouds from a condition. Subclasses draw both."""

    COARSE_SHARE = 0.7  # of the steps
    schedule = cosine_schedule()

    def conditional_loss(self, x0: Tensor, clip: Tensor, generator: torch.Generator) -> Tensor:
        """x0 [B, 6, N] in the network's units; clip [B, ...], some of which are dropped here."""
        clip[torch.rand(len(x0), generator=generator) < UNCONDITIONAL_SHARE] = 0
        noisy, t, v = v_example(x0, self.schedule, generator)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = self.network(noisy, t, clip=clip)
        error = (predicted.float() - v).square().mean((0, 2))
        return (POSITION_WEIGHT * error[:3].mean() + error[3:].mean()) / (POSITION_WEIGHT + 1)


class TextRecipe(PointERecipe):
    PEAK_RATE = 1.2e-3
    DECAYS_FROM = (0.6, 0.2)  # by stage

    def __init__(self, name: str, seed: int, steps: int):
        super().__init__(name, seed, steps)
        self.train(PointDiffusionTransformer(NANO_TEXT))

    def stage(self, step: int) -> tuple[int, int, int]:
        """Number of the stage, the step within it, and its length."""
        return (0, step, FIRST_STEPS) if step < FIRST_STEPS else (1, step - FIRST_STEPS, SECOND_STEPS)

    def learning_rate(self, step: int) -> float:
        stage, done, length = self.stage(step)
        decay = min(1.0, (1 - done / length) / (1 - self.DECAYS_FROM[stage]))
        return self.PEAK_RATE * min(1.0, (done + 1) / self.WARM_UP) * max(decay, 0.01)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        stage, done, length = self.stage(step)
        batch, points = COARSE if done < self.COARSE_SHARE * length else FINE
        rows = self.draw(batch, generator)
        cloud = self.table.clouds(rows, points, generator)[0]
        return self.conditional_loss(
            to_channels(cloud, POSITION_SCALE if stage else 1.0), self.text_vectors(rows), generator
        )

    def after_step(self, step: int) -> None:
        super().after_step(self.stage(step)[1])


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

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        batch, points = COARSE if step < self.COARSE_SHARE * self.steps else FINE
        pictures, cloud = seen_photographs(self.table, self.draw(batch, generator), generator)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            clip = image_tokens(self.clip.visual, pictures).float()
        return self.conditional_loss(to_channels(cloud[:, :points], POSITION_SCALE), clip, generator)
