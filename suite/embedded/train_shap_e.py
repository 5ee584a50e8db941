"""The recipes of the embedded Shap-E: an autoencoder of fields, then a prior over its latents.

Jun & Nichol 2023, arXiv:2305.02463. The fields of the scenes are known, so the autoencoder learns from points of them
instead of rays: occupancy (soft, so that distances are learned near the surface) and colour.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.embedded.captions import all_scenes
from suite.embedded.evaluate import embed_captions
from suite.embedded.fields import field as scene_field
from suite.embedded.shap_e_encoder import CloudEncoder
from suite.embedded.shapes import SceneTable
from suite.embedded.train_text_to_image import seen_photographs
from suite.models.clip import load_clip_nano
from suite.models.clip_features import image_tokens
from suite.models.samplers import cosine_schedule
from suite.models.shap_e_field import ask, object_weights
from suite.models.shap_e_networks import D_LATENT, NANO_OCTAVES, VECTORS, build_nano_prior, build_nano_renderer
from suite.models.weights import load_embedded

EMA = 0.998
CLOUD_POINTS = 256
FIELD_POINTS = 640
SOFTNESS = 0.025  # of the occupancy, in the scene's units
INSIDE_UNIT = 0.05  # raw signed distance at which the network is as sure as the target is at SOFTNESS
NEAR = 0.06  # within which colours count
LATENT_NOISE = 0.2  # at most: the prior will be a little off
COLOUR_WEIGHT = 2.0


def shap_e_nano_autoencoder() -> AutoencoderRecipe:
    return AutoencoderRecipe("shap-e-nano-autoencoder", seed=6)


def running_mean(mean: dict[str, Tensor], network: nn.Module, step: int) -> None:
    rate = min(EMA, (step + 1) / (step + 10))
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            mean[name].lerp_(value, 1 - rate)


@dataclass
class AutoencoderRecipe:
    name: str
    seed: int
    steps: int = 5_000
    batch: int = 48
    network: nn.Module = field(init=False)

    PEAK_RATE, WARM_UP, DECAY_FROM = 2e-3, 200, 0.5

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = nn.ModuleDict({"encoder": CloudEncoder(), "renderer": build_nano_renderer()})
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.extra = {name: value.clone() for name, value in self.network.state_dict().items()}
        scenes = [s for s in all_scenes() if s.split == "training"]
        self.table = SceneTable(scenes)
        self.lone = torch.tensor([s.other is None for s in scenes]).nonzero().flatten()
        self.scenes = len(scenes)

    def learning_rate(self, step: int) -> float:
        decay = min(1.0, (1 - step / self.steps) / (1 - self.DECAY_FROM))
        return self.PEAK_RATE * min(1.0, (step + 1) / self.WARM_UP) * max(decay, 0.01)

    def positions(self, surface: Tensor, generator: torch.Generator) -> Tensor:
        """Where the field is asked: a third anywhere, the rest around the surface [B, P, 3] at two distances."""
        batch = len(surface)
        near = surface[:, : FIELD_POINTS * 2 // 3]
        spread = torch.tensor([0.02, 0.08]).repeat(near.shape[1] // 2 + 1)[: near.shape[1], None]
        near = near + spread * torch.randn(near.shape, generator=generator)
        anywhere = torch.rand(batch, FIELD_POINTS - near.shape[1], 3, generator=generator) * 2 - 1
        return torch.cat([near, anywhere], 1).clamp(-1, 1)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(self.scenes, (self.batch,), generator=generator)
        lone = self.batch // 16
        rows[:lone] = self.lone[torch.randint(len(self.lone), (lone,), generator=generator)]
        cloud, _, pose = self.table.posed_clouds(rows, CLOUD_POINTS + FIELD_POINTS, generator)
        positions = self.positions(cloud[:, CLOUD_POINTS:, :3], generator)
        distance, rgb = scene_field(pose, positions)
        noise = LATENT_NOISE * torch.rand(self.batch, 1, 1, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.network["encoder"](cloud[:, :CLOUD_POINTS])
        latents = latents.float() + noise * torch.randn(latents.shape, generator=generator)
        weights = object_weights(self.network["renderer"], latents.view(-1, VECTORS, D_LATENT))
        made = ask(self.network["renderer"], weights, positions, NANO_OCTAVES)
        target = torch.sigmoid(-distance / SOFTNESS)
        occupancy = F.binary_cross_entropy_with_logits(made.inside / INSIDE_UNIT, target)
        floor = F.binary_cross_entropy(target, target).detach()  # the target's own entropy
        near = (distance.abs() < NEAR).float()
        error = (made.colour - rgb).square().mean(-1)
        return occupancy - floor + COLOUR_WEIGHT * (error * near).sum() / near.sum()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        running_mean(self.extra, self.network, step)

    def finished(self) -> dict[str, Tensor]:
        keep = {n: v.contiguous() for n, v in self.extra.items() if "mesh_decoder" not in n}
        return tie_density(keep)

    def evaluate(self) -> dict[str, float]:
        return {}


DENSITY_SCALE, DENSITY_OFFSET = 2_000.0, 0.02


def tie_density(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One field for mesh and views: density = relu(DENSITY_SCALE * (inside + DENSITY_OFFSET)), radiance = colour.

    Scaled and offset, because the soft density of a soft field makes things look smaller than their surface.
    """
    weight, bias = (state[f"renderer.mlp.mlp.4.{part}"].clone() for part in ("weight", "bias"))
    for row in (1, 2):
        weight[row] = DENSITY_SCALE * weight[0]
        bias[row] = DENSITY_SCALE * (bias[0] + DENSITY_OFFSET)
    for first in (6, 9):
        weight[first : first + 3], bias[first : first + 3] = weight[3:6], bias[3:6]
    return state | {"renderer.mlp.mlp.4.weight": weight, "renderer.mlp.mlp.4.bias": bias}


def shap_e_nano_text() -> PriorRecipe:
    return PriorRecipe("shap-e-nano-text", seed=7)


def shap_e_nano_image() -> PriorRecipe:
    return PriorRecipe("shap-e-nano-image", seed=8, start="shap-e-nano-text", steps=3_000)


@dataclass
class PriorRecipe:
    """CLIP vector, or image tokens, -> latent, by v-prediction; each step encodes clouds that it has just drawn."""

    name: str
    seed: int
    start: str | None = None  # a network to go on from: then the conditions are image tokens
    steps: int = 5_000
    batch: int = 64
    network: nn.Module = field(init=False)

    PEAK_RATE, WARM_UP, DECAY_FROM = 1e-3, 200, 0.5
    UNCONDITIONAL_SHARE = 0.1

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = build_nano_prior()
        scenes = [s for s in all_scenes() if s.split == "training"]
        self.table = SceneTable(scenes)
        self.lone = torch.tensor([s.other is None for s in scenes]).nonzero().flatten()
        self.clip = load_clip_nano()
        self.encoder = CloudEncoder().eval().requires_grad_(False)
        trained = load_embedded("shap-e-nano-autoencoder")[0]
        self.encoder.load_state_dict({n[8:]: v for n, v in trained.items() if n.startswith("encoder.")})
        self.vectors = embed_captions(self.clip, [s.caption for s in scenes]).clone()
        if self.start:
            self.network.load_state_dict(load_embedded(self.start)[0])
        else:
            self._measure_latents()
        for constant in (self.network.clip_mean, self.network.clip_std):
            constant.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=self.PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01,
        )  # fmt: skip
        self.extra = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.schedule = cosine_schedule()

    def _measure_latents(self) -> None:
        """Mean and deviation of a token's channels, by which the prior sees them as it sees noise."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randint(len(self.vectors), (1024,), generator=generator)
        with torch.no_grad():
            latents = self.encoder(self.table.clouds(rows, CLOUD_POINTS, generator)[0])
            self.network.clip_mean.copy_(latents.mean((0, 1))[None])
            self.network.clip_std.copy_(latents.std((0, 1))[None])
            nn.init.zeros_(self.network.proj_to_clip_embeddings.weight)
            nn.init.zeros_(self.network.proj_to_clip_embeddings.bias)

    def learning_rate(self, step: int) -> float:
        decay = min(1.0, (1 - step / self.steps) / (1 - self.DECAY_FROM))
        return self.PEAK_RATE * min(1.0, (step + 1) / self.WARM_UP) * max(decay, 0.01)

    @torch.no_grad()
    def example(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents [B, 32, 64] with unit deviation, and their conditions [B, 128] or [B, 18, 128]."""
        rows = torch.randint(len(self.vectors), (self.batch,), generator=generator)
        lone = self.batch // 16
        rows[:lone] = self.lone[torch.randint(len(self.lone), (lone,), generator=generator)]
        if self.start:
            pictures, cloud = seen_photographs(self.table, rows, generator)
            condition = image_tokens(self.clip.visual, pictures)
            cloud = cloud[:, :CLOUD_POINTS]
        else:
            cloud = self.table.clouds(rows, CLOUD_POINTS, generator)[0]
            condition = self.vectors[rows] * self.vectors.shape[1] ** 0.5
        latents = (self.encoder(cloud).float() - self.network.clip_mean) / self.network.clip_std
        dropped = torch.rand(self.batch, generator=generator) < self.UNCONDITIONAL_SHARE
        return latents, torch.where(dropped.view(-1, *[1] * (condition.ndim - 1)), 0, condition)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x0, condition = self.example(generator)
        t = (torch.arange(self.batch) + torch.rand(self.batch, generator=generator)) / self.batch * 1023
        alpha, sigma = (value[:, None, None] for value in self.schedule.alpha_sigma(t))
        noise = torch.randn(x0.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            v = self.network(alpha * x0 + sigma * noise, t, condition, return_dict=False)[0]
        return (v.float() - (alpha * noise - sigma * x0)).square().mean()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        running_mean(self.extra, self.network, step)

    def finished(self) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in self.extra.items()}

    def evaluate(self) -> dict[str, float]:
        return {}
