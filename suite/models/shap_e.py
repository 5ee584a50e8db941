"""Shap-E as a pipeline: a prompt's condition, the diffusion of a latent, its decoding into a coloured mesh.

Jun & Nichol 2023, https://arxiv.org/abs/2305.02463. Other decodings (NeRF views) are extra stages, not part of what is
timed as the object.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from suite.models.conditions import PictureTokens, TextVector, picture_condition, text_condition
from suite.models.mesh import Mesh, marching_cubes
from suite.models.noise import PromptNoise
from suite.models.pipeline import Stage, untimed
from suite.models.samplers import Denoiser, NoiseSchedule, cosine_schedule, evaluations, heun, karras_sigmas
from suite.models.shap_e_field import ask, object_weights
from suite.models.shap_e_networks import (
    D_LATENT,
    NANO_OCTAVES,
    TOKEN_WIDTH,
    TOKENS,
    VECTORS,
    build_nano_prior,
    build_nano_renderer,
)  # fmt: skip
from suite.models.views import render_views
from suite.models.weights import load_embedded

NANO_GRID = 64
NANO_GUIDANCE = 1.5
QUERY_POINTS = 2**15  # asked at once: more only costs memory


@dataclass
class ShapE:
    """Condition -> latent -> mesh. Sampling as in the original: Karras sigmas 1e-3 to 160, Heun without churn."""

    model: str
    networks: dict[str, nn.Module]
    condition: TextVector | PictureTokens
    weights_sha256: str | None
    device: torch.device
    guidance: float
    octaves: int
    grid: int  # points along each axis at which the mesh's field is asked
    steps: int = 64
    sigma_min: float = 1e-3
    sigma_max: float = 160.0
    diffusion: tuple[str, ...] = ("latent diffusion",)
    schedule: NoiseSchedule = field(default_factory=cosine_schedule)
    extra_stages: tuple[str, ...] = ("NeRF views",)

    @property
    def evaluations(self) -> int:
        return evaluations(self.steps)

    @torch.inference_mode()
    def generate(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> list[Mesh]:
        """Prompts -> meshes; a field without a surface gives an empty one."""
        latents = self.latents(prompts, sample, stage)
        with stage("mesh decoder"):
            return [self.mesh(latent[None]) for latent in latents]

    @torch.inference_mode()
    def latents(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Tensor:
        """Prompts -> latents [B, tokens, width]."""
        condition = self.condition(prompts, sample, stage)
        if condition.ndim == 2:  # unit variance a channel, as the pictures' tokens have by themselves
            condition = condition * math.sqrt(condition.shape[-1])
        with stage("latent diffusion"):
            prior = self.networks["latent diffusion"]
            noise = PromptNoise(self.model, prompts, (TOKENS, TOKEN_WIDTH), sample).start().to(self.device)
            denoise = Denoiser(
                lambda x, t, clip: predict(prior, x, t, clip), self.schedule, "v", {"clip": condition},
                guidance=self.guidance, clamp=False,
            )  # fmt: skip
            return prior.post_process_latents(
                heun(denoise, noise, karras_sigmas(self.steps, self.sigma_min, self.sigma_max))
            )

    def mesh(self, latent: Tensor) -> Mesh:
        """One latent [1, tokens, width] -> its mesh."""
        renderer = self.networks["mesh decoder"]
        weights = object_weights(renderer, latent.float().reshape(1, VECTORS, D_LATENT))
        axis = torch.linspace(-1, 1, self.grid, device=self.device)
        positions = torch.cartesian_prod(axis, axis, axis)
        inside = torch.cat(
            [ask(renderer, weights, part[None], self.octaves).inside[0] for part in positions.split(QUERY_POINTS)]
        )
        vertices, faces = marching_cubes(inside.view(self.grid, self.grid, self.grid))
        if len(faces) == 0:
            return Mesh(vertices, faces, vertices)
        colours = ask(renderer, weights, vertices[None].to(self.device), self.octaves).colour[0]
        return Mesh(vertices, faces, colours.float().cpu())

    @torch.inference_mode()
    def extra(self, name: str, prompts: list[str], stage: Stage = untimed) -> Tensor:
        """An extra stage's output. "NeRF views": pictures [B, 20, 3, 64, 64], fractions 0–1, from around the object."""
        latents = self.latents(prompts)
        with stage(name):
            return torch.cat([self.views(latent[None]) for latent in latents])

    def views(self, latent: Tensor, count: int = 20, size_px: int = 64) -> Tensor:
        renderer = self.networks["mesh decoder"]
        weights = object_weights(renderer, latent.float().reshape(1, VECTORS, D_LATENT))
        azimuth = torch.arange(count, device=self.device) * (360 / count)  # never the same view twice

        def density_and_colour(positions: Tensor) -> tuple[Tensor, Tensor]:
            made = ask(renderer, weights, positions[None], self.octaves)
            return made.density[0], made.radiance[0]

        return render_views(density_and_colour, azimuth, size_px)[None]


def predict(prior: nn.Module, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """v of noisy latents [B, tokens, width], in the network's own type, as float32."""
    made = prior(x.to(prior.dtype), timestep=t, proj_embedding=condition.to(prior.dtype), return_dict=False)
    return made[0].float()


def build_nano_text(weights: str, device: torch.device) -> ShapE:
    """`shap-e-nano-text` with its embedded weights."""
    return _build_nano("shap-e-nano-text", weights, device, text_condition(device), [])


def build_nano_image(weights: str, device: torch.device) -> ShapE:
    """`shap-e-nano-image` with its embedded weights: text -> picture -> latent -> mesh."""
    condition, digest = picture_condition("shap-e-nano-image", device)
    return _build_nano("shap-e-nano-image", weights, device, condition, [digest])


def _build_nano(
    name: str, weights: str, device: torch.device, condition: TextVector | PictureTokens, digests: list[str]
) -> ShapE:
    if weights != "embedded":
        raise ValueError(f"{name} has embedded weights only, not {weights!r}")
    prior_state, prior_digest = load_embedded(name)
    autoencoder, autoencoder_digest = load_embedded("shap-e-nano-autoencoder")
    prior, renderer = build_nano_prior(), build_nano_renderer()
    prior.load_state_dict(prior_state)
    state = {n.removeprefix("renderer."): value for n, value in autoencoder.items() if n.startswith("renderer.")}
    outcome = renderer.load_state_dict(state, strict=False)
    # diffusers' marching-cubes tables, which nothing here reads
    if outcome.unexpected_keys or not all(n.startswith("mesh_decoder.") for n in outcome.missing_keys):
        raise ValueError(f"shap-e-nano-autoencoder does not fit the renderer: {outcome}")
    digests = [*digests, load_embedded("clip-nano")[1], prior_digest, autoencoder_digest]
    networks = {"latent diffusion": prior, "mesh decoder": renderer}
    return ShapE(
        model=name,
        networks=condition.networks | {n: m.to(device).eval().requires_grad_(False) for n, m in networks.items()},
        condition=condition,
        weights_sha256=hashlib.sha256("".join(digests).encode()).hexdigest(),
        device=device,
        guidance=NANO_GUIDANCE,
        octaves=NANO_OCTAVES,
        grid=NANO_GRID,
    )
