"""The recipe of the embedded Point-E: CLIP text vector -> cloud of 256 points, by v-prediction.

Salimans & Ho 2022 (arXiv:2202.00512) for v; epsilon, as the official networks have it, gave only smears at this size.
First stage: all noise levels alike; most steps see 128 points, which cost half (the network has no positions and takes
any number). It learns colours and arrangement, but blobs for shapes. Second stage: noise levels drawn as in Karras et al.
2022 (arXiv:2206.00364, table 1) for coordinates whose deviation is about 0.25, where shapes are decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from suite.embedded.captions import all_scenes
from suite.embedded.evaluate import embed_captions
from suite.embedded.shapes import SceneTable
from suite.models.clip import build_clip_nano
from suite.models.point_e import NANO_TEXT, to_channels
from suite.models.point_e_network import PointDiffusionTransformer
from suite.models.samplers import cosine_schedule
from suite.models.weights import load_embedded

FIRST_STEPS, SECOND_STEPS = 5_000, 2_400
PEAK_RATE, SECOND_RATE, WARM_UP, DECAY_FROM = 1.2e-3, 1e-3, 200, 0.6
COARSE_SHARE = 0.7  # of the first stage's steps
LOG_SIGMA_MEAN, LOG_SIGMA_DEVIATION = -1.9, 1.2  # of the second stage; a quarter of it stays as in the first
COARSE, FINE = (64, 128), (32, 256)  # (batch, points)
UNCONDITIONAL_SHARE = 0.1
LONE_SHARE = 1 / 16  # scenes of one to three equal things, which would else be one in two hundred
EMA = 0.999
POSITION_WEIGHT = 2.0  # colours are easy: two a scene


def point_e_nano_text() -> PointERecipe:
    return PointERecipe("point-e-nano-text", seed=3)


@dataclass
class PointERecipe:
    name: str
    seed: int
    steps: int = FIRST_STEPS + SECOND_STEPS
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = PointDiffusionTransformer(NANO_TEXT)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.extra = {name: value.clone() for name, value in self.network.state_dict().items()}  # running mean
        scenes = [s for s in all_scenes() if s.split == "training"]
        self.table = SceneTable(scenes)
        self.lone = torch.tensor([s.other is None for s in scenes]).nonzero().flatten()
        clip = build_clip_nano()
        clip.load_state_dict(load_embedded("clip-nano")[0], strict=False)
        self.vectors = embed_captions(clip.eval(), [s.caption for s in scenes]).clone()
        self.schedule = cosine_schedule()

    def learning_rate(self, step: int) -> float:
        if step >= FIRST_STEPS:
            done = step - FIRST_STEPS
            return SECOND_RATE * min((done + 1) / WARM_UP, 1 - done / SECOND_STEPS)
        progress = step / FIRST_STEPS
        decay = 1.0 if progress < DECAY_FROM else (1 - progress) / (1 - DECAY_FROM)
        return PEAK_RATE * min(1.0, (step + 1) / WARM_UP) * max(decay, 0.01)

    def timesteps(self, step: int, batch: int, generator: torch.Generator) -> Tensor:
        """Fractional time steps [batch]: spread evenly, which halves the noise of the loss, or by the log of sigma."""
        even = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * 1023
        if step < FIRST_STEPS:
            return even
        sigma = torch.exp(LOG_SIGMA_MEAN + LOG_SIGMA_DEVIATION * torch.randn(batch, generator=generator))
        drawn = torch.tensor([self.schedule.timestep(s) for s in sigma.tolist()])
        return torch.where(torch.arange(batch) % 4 == 0, even, drawn)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        batch, points = COARSE if step < COARSE_SHARE * FIRST_STEPS else FINE
        rows = torch.randint(len(self.vectors), (batch,), generator=generator)
        lone = max(1, int(batch * LONE_SHARE))
        rows[:lone] = self.lone[torch.randint(len(self.lone), (lone,), generator=generator)]
        x0 = to_channels(self.table.clouds(rows, points, generator)[0])
        clip = self.vectors[rows].clone()
        clip[torch.rand(batch, generator=generator) < UNCONDITIONAL_SHARE] = 0
        t = self.timesteps(step, batch, generator)
        alpha, sigma = (value[:, None, None] for value in self.schedule.alpha_sigma(t))
        noise = torch.randn(x0.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            v = self.network(alpha * x0 + sigma * noise, t, clip=clip)
        error = (v.float() - (alpha * noise - sigma * x0)).square().mean((0, 2))
        return (POSITION_WEIGHT * error[:3].mean() + error[3:].mean()) / (POSITION_WEIGHT + 1)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        rate = min(EMA, (step + 1) / (step + 10))
        for name, value in self.network.state_dict().items():
            self.extra[name].lerp_(value, 1 - rate)

    def finished(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.extra.items()}

    def evaluate(self) -> dict[str, float]:
        return {}
