"""The recipe of the embedded upsampler: 256 points of a scene -> further points of the same scene.

Sampling starts from the low-resolution points with noise of START_SIGMA, not from pure noise: noisy copies of surface
points are distributed as noisy new ones are, so that only levels below START_SIGMA need to be learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from suite.embedded.captions import all_scenes
from suite.embedded.evaluate import embed_captions
from suite.embedded.shapes import SceneTable
from suite.models.clip import build_clip_nano
from suite.models.point_e import NANO_UPSAMPLER, POSITION_SCALE, UPSAMPLER_SIGMA_MAX, to_channels
from suite.models.point_upsampler import PointUpsampler
from suite.models.weights import load_embedded

PEAK_RATE, WARM_UP, DECAY_FROM = 2e-3, 200, 0.5
BATCH, NEW_POINTS = 32, 256
LOWEST_SIGMA = 0.002
LOW_RESOLUTION_NOISE = 0.06  # at most; the base's points are a little off, its colours too
EMA = 0.998


def point_e_nano_upsampler() -> UpsamplerRecipe:
    return UpsamplerRecipe("point-e-nano-upsampler", seed=4)


@dataclass
class UpsamplerRecipe:
    name: str
    seed: int
    steps: int = 4_000
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = PointUpsampler(NANO_UPSAMPLER)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.extra = {name: value.clone() for name, value in self.network.state_dict().items()}  # running mean
        scenes = [s for s in all_scenes() if s.split == "training"]
        self.table = SceneTable(scenes)
        clip = build_clip_nano()
        clip.load_state_dict(load_embedded("clip-nano")[0], strict=False)
        self.vectors = embed_captions(clip.eval(), [s.caption for s in scenes]).clone()

    def learning_rate(self, step: int) -> float:
        decay = min(1.0, (1 - step / self.steps) / (1 - DECAY_FROM))
        return PEAK_RATE * min(1.0, (step + 1) / WARM_UP) * max(decay, 0.01)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        low_points = NANO_UPSAMPLER.low_resolution_points
        rows = torch.randint(len(self.vectors), (BATCH,), generator=generator)
        cloud = to_channels(self.table.clouds(rows, low_points + NEW_POINTS, generator)[0], POSITION_SCALE)
        low, new = cloud[..., :low_points], cloud[..., low_points:]
        off = LOW_RESOLUTION_NOISE * torch.rand(BATCH, 1, 1, generator=generator).square()
        low = low + off * torch.randn(low.shape, generator=generator)
        # Spread evenly over the batch, which halves the noise of the loss.
        place = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
        span = math.log(1.2 * UPSAMPLER_SIGMA_MAX / LOWEST_SIGMA)
        sigma = LOWEST_SIGMA * (place * span).exp()
        noisy = new + sigma[:, None, None] * torch.randn(new.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            x0 = self.network(noisy, sigma, self.network.context(low, self.vectors[rows]))
        # As the network's own output has it: an error of x0 counts the more, the smaller the noise.
        weight = (1 + sigma**2) / sigma**2
        return ((x0 - new).square().mean((1, 2)) * weight).mean()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        rate = min(EMA, (step + 1) / (step + 10))
        for name, value in self.network.state_dict().items():
            self.extra[name].lerp_(value, 1 - rate)

    def finished(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.extra.items()}

    def evaluate(self) -> dict[str, float]:
        return {}
