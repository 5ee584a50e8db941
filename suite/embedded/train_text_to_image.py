"""The recipe of the embedded text-to-image network: CLIP text tokens -> one view of the scene, 32 x 32 pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.embedded.captions import all_scenes
from suite.embedded.renderer import AZIMUTHS_DEG, ELEVATION_DEG, render
from suite.embedded.shapes import SceneTable
from suite.embedded.tokenizer import tokenize
from suite.models.clip import build_clip_nano
from suite.models.clip_features import text_tokens
from suite.models.text_to_image import NANO_SIZE_PX, build_nano_transformer, predict_picture
from suite.models.weights import load_embedded

PEAK_RATE, WARM_UP, DECAY_FROM = 1.2e-3, 200, 0.5
BATCH = 64
SURFACE_POINTS, RADIUS_PX = 1536, 1.5  # as the CLIPs saw solids
EMA = 0.998


def text_to_image_nano() -> TextToImageRecipe:
    return TextToImageRecipe("text-to-image-nano", seed=5)


def photograph(table: SceneTable, rows: Tensor, generator: torch.Generator, size_px: int = 64) -> tuple[Tensor, Tensor]:
    """The scenes in `rows` as the camera of the image-conditional models sees them, [B, 3, size, size], and their clouds.

    The clouds [B, SURFACE_POINTS, 6] are those that the pictures show: same pose, same tint.
    """
    cloud, normals = table.clouds(rows, SURFACE_POINTS, generator)
    azimuth = torch.full((len(rows), 1), AZIMUTHS_DEG[0])
    elevation = torch.full((len(rows), 1), ELEVATION_DEG)
    return render(cloud, azimuth, elevation, size_px, RADIUS_PX * size_px / 64, normals)[:, 0], cloud


def as_generated(pictures: Tensor) -> Tensor:
    """Pictures of any size as image encoders get them: through the text-to-image network's 32 pixels, at 64."""
    small = F.adaptive_avg_pool2d(pictures, NANO_SIZE_PX)
    return F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)


def seen_photographs(table: SceneTable, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `photograph`, as image-conditional networks are trained: at 32 pixels, a little noisy, since pictures will be."""
    pictures, cloud = photograph(table, rows, generator)
    noise = 0.05 * torch.rand(len(rows), 1, 1, 1, generator=generator)
    small = F.adaptive_avg_pool2d(pictures, NANO_SIZE_PX)
    small = (small + noise * torch.randn(small.shape, generator=generator)).clamp(0, 1)
    return as_generated(small), cloud


@dataclass
class TextToImageRecipe:
    name: str
    seed: int
    steps: int = 3_000
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = build_nano_transformer()
        nn.init.zeros_(self.network.proj_out.weight)
        nn.init.zeros_(self.network.proj_out.bias)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.extra = {name: value.clone() for name, value in self.network.state_dict().items()}  # running mean
        scenes = [s for s in all_scenes() if s.split == "training"]
        self.table = SceneTable(scenes)
        self.tokens = tokenize([s.caption for s in scenes])
        self.lone = torch.tensor([s.other is None for s in scenes]).nonzero().flatten()
        self.clip = build_clip_nano()
        self.clip.load_state_dict(load_embedded("clip-nano")[0], strict=False)
        self.clip.eval().requires_grad_(False)

    def learning_rate(self, step: int) -> float:
        decay = min(1.0, (1 - step / self.steps) / (1 - DECAY_FROM))
        return PEAK_RATE * min(1.0, (step + 1) / WARM_UP) * max(decay, 0.01)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(self.tokens), (BATCH,), generator=generator)
        lone = BATCH // 16
        rows[:lone] = self.lone[torch.randint(len(self.lone), (lone,), generator=generator)]
        pictures = photograph(self.table, rows, generator)[0]
        x0 = F.avg_pool2d(pictures, 64 // NANO_SIZE_PX) * 2 - 1
        share = ((torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH).clamp(min=0.02)
        level = share[:, None, None, None]
        noisy = (1 - level) * x0 + level * torch.randn(x0.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = predict_picture(self.network, noisy, 1000 * share, text_tokens(self.clip, self.tokens[rows]))
        return (predicted - x0).square().mean()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        rate = min(EMA, (step + 1) / (step + 10))
        for name, value in self.network.state_dict().items():
            self.extra[name].lerp_(value, 1 - rate)

    def finished(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.extra.items()}

    def evaluate(self) -> dict[str, float]:
        return {}
