"""The recipe of the embedded upsampler: 256 points of a scene -> further points of the same scene.

Sampling starts from the low-resolution points with noise of UPSAMPLER_SIGMA_MAX, not from pure noise: noisy copies of
surface points are distributed as noisy new ones are, so that only levels below need to be learned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.models.point_e.pipeline import NANO_UPSAMPLER, POSITION_SCALE, UPSAMPLER_SIGMA_MAX, to_channels
from suite.models.point_e.upsampler import PointUpsampler
from suite.training.recipe import GeneratorRecipe, spread

BATCH, NEW_POINTS = 32, 256
LOWEST_SIGMA = 0.002
LOW_RESOLUTION_NOISE = 0.06  # at most; the base's points are a little off, its colours too


def point_e_nano_upsampler() -> UpsamplerRecipe:
    return UpsamplerRecipe("point-e-nano-upsampler", seed=4, steps=2_400)


class UpsamplerRecipe(GeneratorRecipe):
    PEAK_RATE = 2e-3

    def __init__(self, name: str, seed: int, steps: int):
        super().__init__(name, seed, steps)
        self.train(PointUpsampler(NANO_UPSAMPLER))

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        low_points = NANO_UPSAMPLER.low_resolution_points
        rows = torch.randint(len(self.scenes), (BATCH,), generator=generator)
        cloud = to_channels(self.table.clouds(rows, low_points + NEW_POINTS, generator)[0], POSITION_SCALE)
        low, new = cloud[..., :low_points], cloud[..., low_points:]
        off = LOW_RESOLUTION_NOISE * torch.rand(BATCH, 1, 1, generator=generator).square()
        low = low + off * torch.randn(low.shape, generator=generator)
        span = math.log(1.2 * UPSAMPLER_SIGMA_MAX / LOWEST_SIGMA)
        sigma = LOWEST_SIGMA * (spread(BATCH, generator) * span).exp()
        noisy = new + sigma[:, None, None] * torch.randn(new.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            x0 = self.network(noisy, sigma, self.network.context(low, self.text_vectors(rows)))
        # As the network's own output has it: an error of x0 counts the more, the smaller the noise.
        weight = (1 + sigma**2) / sigma**2
        return ((x0 - new).square().mean((1, 2)) * weight).mean()
