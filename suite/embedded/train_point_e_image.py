"""The recipe of the embedded image-conditional Point-E: CLIP image tokens -> cloud, going on from the text network."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from suite.embedded.captions import all_scenes
from suite.embedded.shapes import SceneTable
from suite.embedded.train_text_to_image import seen_photographs
from suite.models.clip import load_clip_nano
from suite.models.clip_features import image_tokens
from suite.models.point_e import NANO_IMAGE, POSITION_SCALE, to_channels
from suite.models.point_e_network import PointDiffusionTransformer
from suite.models.samplers import cosine_schedule
from suite.models.weights import load_embedded

PEAK_RATE, WARM_UP, DECAY_FROM = 1e-3, 200, 0.4
COARSE_SHARE = 0.6
COARSE, FINE = (64, 128), (32, 256)  # (batch, points)
UNCONDITIONAL_SHARE = 0.1
EMA = 0.998
POSITION_WEIGHT = 2.0


def point_e_nano_image() -> PointEImageRecipe:
    return PointEImageRecipe("point-e-nano-image", seed=9)


@dataclass
class PointEImageRecipe:
    name: str
    seed: int
    steps: int = 3_500
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = PointDiffusionTransformer(NANO_IMAGE)
        # What clouds look like is known to the text network; only how to listen to a picture is new.
        known = {n: v for n, v in load_embedded("point-e-nano-text")[0].items() if not n.startswith("clip_embed")}
        missing = self.network.load_state_dict(known, strict=False).missing_keys
        assert all(name.startswith("clip_embed") for name in missing), missing
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.extra = {name: value.clone() for name, value in self.network.state_dict().items()}  # running mean
        scenes = [s for s in all_scenes() if s.split == "training"]
        self.table, self.scenes = SceneTable(scenes), len(scenes)
        self.lone = torch.tensor([s.other is None for s in scenes]).nonzero().flatten()
        self.clip = load_clip_nano()
        self.schedule = cosine_schedule()

    def learning_rate(self, step: int) -> float:
        decay = min(1.0, (1 - step / self.steps) / (1 - DECAY_FROM))
        return PEAK_RATE * min(1.0, (step + 1) / WARM_UP) * max(decay, 0.01)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        batch, points = COARSE if step < COARSE_SHARE * self.steps else FINE
        rows = torch.randint(self.scenes, (batch,), generator=generator)
        lone = max(1, batch // 16)
        rows[:lone] = self.lone[torch.randint(len(self.lone), (lone,), generator=generator)]
        pictures, cloud = seen_photographs(self.table, rows, generator)
        x0 = to_channels(cloud[:, :points], POSITION_SCALE)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            clip = image_tokens(self.clip.visual, pictures).float()
        clip[torch.rand(batch, generator=generator) < UNCONDITIONAL_SHARE] = 0
        t = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch * 1023
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
