"""The recipes of the embedded Shap-E: an autoencoder of fields, then a prior over its latents.

Jun & Nichol 2023, arXiv:2305.02463. The fields of the scenes are known, so the autoencoder learns from points of them
instead of rays: occupancy (soft, so that distances are learned near the surface) and colour.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.checkpoints.embedded import load_embedded
from suite.models.conditioning.clip_features import image_tokens
from suite.models.shap_e.field import ask, object_weights
from suite.models.shap_e.networks import D_LATENT, NANO_OCTAVES, VECTORS, build_nano_prior, build_nano_renderer
from suite.training.fields import field as scene_field
from suite.training.recipe import GeneratorRecipe, VelocityRecipe
from suite.training.shap_e_encoder import CloudEncoder
from suite.training.train_text_to_image import seen_photographs

CLOUD_POINTS = 256
FIELD_POINTS = 640
SOFTNESS = 0.025  # of the occupancy, in the scene's units
INSIDE_UNIT = 0.05  # raw signed distance at which the network is as sure as the target is at SOFTNESS
NEAR = 0.06  # within which colours count
LATENT_NOISE = 0.2  # at most: the prior will be a little off
COLOUR_WEIGHT = 2.0


def shap_e_nano_autoencoder() -> AutoencoderRecipe:
    return AutoencoderRecipe("shap-e-nano-autoencoder", seed=6, steps=3_000)


class AutoencoderRecipe(GeneratorRecipe):
    PEAK_RATE = 2e-3
    BATCH = 48

    def __init__(self, name: str, seed: int, steps: int):
        super().__init__(name, seed, steps)
        self.train(nn.ModuleDict({"encoder": CloudEncoder(), "renderer": build_nano_renderer()}))

    def positions(self, surface: Tensor, generator: torch.Generator) -> Tensor:
        """Where the field is asked: a third anywhere, the rest around the surface [B, P, 3] at two distances."""
        batch = len(surface)
        near = surface[:, : FIELD_POINTS * 2 // 3]
        spread = torch.tensor([0.02, 0.08]).repeat(near.shape[1] // 2 + 1)[: near.shape[1], None]
        near = near + spread * torch.randn(near.shape, generator=generator)
        anywhere = torch.rand(batch, FIELD_POINTS - near.shape[1], 3, generator=generator) * 2 - 1
        return torch.cat([near, anywhere], 1).clamp(-1, 1)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        rows = self.draw(self.BATCH, generator)
        cloud, _, pose = self.table.posed_clouds(rows, CLOUD_POINTS + FIELD_POINTS, generator)
        positions = self.positions(cloud[:, CLOUD_POINTS:, :3], generator)
        distance, rgb = scene_field(pose, positions)
        noise = LATENT_NOISE * torch.rand(self.BATCH, 1, 1, generator=generator)
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

    def finished(self) -> dict[str, Tensor]:
        keep = {n: v.contiguous() for n, v in self.extra.items() if "mesh_decoder" not in n}
        return tie_density(keep)


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
    return PriorRecipe("shap-e-nano-text", seed=7, steps=3_000)


def shap_e_nano_image() -> PriorRecipe:
    return PriorRecipe("shap-e-nano-image", seed=8, steps=2_000, start="shap-e-nano-text")


class PriorRecipe(VelocityRecipe):
    """CLIP vector, or image tokens, -> latent, by v-prediction; each step encodes clouds that it has just drawn.

    start: a network to go on from. Then the conditions are image tokens.
    """

    PEAK_RATE = 1e-3
    BATCH = 64

    def __init__(self, name: str, seed: int, steps: int, start: str | None = None):
        super().__init__(name, seed, steps)
        self.sees_pictures = start is not None
        self.encoder = CloudEncoder().eval().requires_grad_(False)
        trained = load_embedded("shap-e-nano-autoencoder")[0]
        self.encoder.load_state_dict(
            {n.removeprefix("encoder."): v for n, v in trained.items() if n.startswith("encoder.")}
        )
        prior = build_nano_prior(self.sees_pictures)
        if start is None:
            self._scale(prior)
            nn.init.zeros_(prior.proj_to_clip_embeddings.weight)
            nn.init.zeros_(prior.proj_to_clip_embeddings.bias)
        else:
            missing = prior.load_state_dict(load_embedded(start)[0], strict=False).missing_keys
            assert all(name.startswith("embedding_proj_norm") for name in missing), missing
        prior.clip_mean.requires_grad_(False)
        prior.clip_std.requires_grad_(False)
        self.train(prior, [p for p in prior.parameters() if p.requires_grad])

    @torch.no_grad()
    def _scale(self, prior: nn.Module) -> None:
        """Tell the prior the mean and deviation of a latent token's channels, so that it sees them as noise."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randint(len(self.scenes), (1024,), generator=generator)
        latents = self.encoder(self.table.clouds(rows, CLOUD_POINTS, generator)[0])
        prior.clip_mean.copy_(latents.mean((0, 1))[None])
        prior.clip_std.copy_(latents.std((0, 1))[None])

    @torch.no_grad()
    @torch.autocast("cpu", torch.bfloat16)
    def example(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents [B, 32, 64] with unit deviation, and their conditions [B, 128] or [B, 18, 128]."""
        rows = self.draw(self.BATCH, generator)
        if self.sees_pictures:
            pictures, cloud = seen_photographs(self.table, rows, generator)
            condition = image_tokens(self.clip.visual, pictures).float()
            cloud = cloud[:, :CLOUD_POINTS]
        else:
            cloud = self.table.clouds(rows, CLOUD_POINTS, generator)[0]
            condition = self.text_vectors(rows)
            condition = condition * condition.shape[1] ** 0.5
        return (self.encoder(cloud).float() - self.network.clip_mean) / self.network.clip_std, condition

    def velocity(self, network: nn.Module, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return network(noisy, t, condition, return_dict=False)[0]
