"""The recipe of the embedded Point-E: CLIP text vector -> cloud of 256 points, by v-prediction.

Salimans & Ho 2022 (arXiv:2202.00512) for v; epsilon, as the official networks have it, gave only smears at this size.
Most steps see 128 points, which cost half: the network has no positions and takes any number.

First stage: coordinates as they are, deviation about 0.2. It learns colours and arrangement but blobs for shapes, since
only a tenth of the noise levels are small enough to tell shapes apart. Second stage: coordinates three times as large
(POSITION_SCALE), so that a third of them are. A run from nothing would start with the second stage's scale; this is
how the committed weights came about.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from suite.embedded.captions import all_scenes
from suite.embedded.evaluate import embed_captions
from suite.embedded.shapes import SceneTable
from suite.models.clip import build_clip_nano
from suite.models.point_e import NANO_TEXT, POSITION_SCALE, to_channels
from suite.models.point_e_network import PointDiffusionTransformer
from suite.models.samplers import cosine_schedule
from suite.models.weights import load_embedded

FIRST_STEPS, SECOND_STEPS = 5_000, 2_700
PEAK_RATE, WARM_UP, DECAY_FROM = 1.2e-3, 200, (0.6, 0.2)
COARSE_SHARE = 0.7  # of each stage's steps
COARSE, FINE = (64, 128), (32, 256)  # (batch, points)
UNCONDITIONAL_SHARE = 0.1
LONE_SHARE = 1 / 16  # scenes of one to three equal things, which would else be one in two hundred
EMA = 0.998
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

    def stage(self, step: int) -> tuple[int, int, int]:
        """Number of the stage, the step within it, and its length."""
        return (0, step, FIRST_STEPS) if step < FIRST_STEPS else (1, step - FIRST_STEPS, SECOND_STEPS)

    def learning_rate(self, step: int) -> float:
        stage, done, length = self.stage(step)
        decay = min(1.0, (1 - done / length) / (1 - DECAY_FROM[stage]))
        return PEAK_RATE * min(1.0, (done + 1) / WARM_UP) * max(decay, 0.01)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        stage, done, length = self.stage(step)
        batch, points = COARSE if done < COARSE_SHARE * length else FINE
        rows = torch.randint(len(self.vectors), (batch,), generator=generator)
        lone = max(1, int(batch * LONE_SHARE))
        rows[:lone] = self.lone[torch.randint(len(self.lone), (lone,), generator=generator)]
        x0 = to_channels(self.table.clouds(rows, points, generator)[0], POSITION_SCALE if stage else 1.0)
        clip = self.vectors[rows].clone()
        clip[torch.rand(batch, generator=generator) < UNCONDITIONAL_SHARE] = 0
        # Spread evenly over the batch, which halves the noise of the loss.
        t = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * 1023
        alpha, sigma = (value[:, None, None] for value in self.schedule.alpha_sigma(t))
        noise = torch.randn(x0.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            v = self.network(alpha * x0 + sigma * noise, t, clip=clip)
        error = (v.float() - (alpha * noise - sigma * x0)).square().mean((0, 2))
        return (POSITION_WEIGHT * error[:3].mean() + error[3:].mean()) / (POSITION_WEIGHT + 1)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        done = self.stage(step)[1]
        rate = min(EMA, (done + 1) / (done + 10))
        for name, value in self.network.state_dict().items():
            self.extra[name].lerp_(value, 1 - rate)

    def finished(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.extra.items()}

    def evaluate(self) -> dict[str, float]:
        return {}
