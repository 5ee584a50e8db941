"""Shap-E as a pipeline: a prompt's condition, the diffusion of a latent, its decoding into a coloured mesh.

Jun & Nichol 2023, https://arxiv.org/abs/2305.02463. Other decodings (NeRF views) are extra stages, not part of what is
timed as the object.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from suite.models.checkpoints.embedded import load_embedded
from suite.models.conditioning.embedded import Conditioned, PictureTokens, TextVector, picture_condition, text_condition
from suite.models.finite import FIELD, not_finite
from suite.models.mesh import Mesh, marching_cubes
from suite.models.pipeline import Stage, untimed
from suite.models.sampling.denoiser import EVERYWHERE, Denoiser, NoiseSchedule, cosine_schedule
from suite.models.sampling.noise import PromptNoise, generator
from suite.models.sampling.settings import Sampled, Sampling
from suite.models.sampling.solvers import solve
from suite.models.shap_e.empty_space import where_occupied
from suite.models.shap_e.field import Field, ask, object_weights
from suite.models.shap_e.near_surface import Refinement, near_surface
from suite.models.shap_e.networks import (
    D_LATENT,
    NANO_OCTAVES,
    TOKEN_WIDTH,
    TOKENS,
    VECTORS,
    build_nano_prior,
    build_nano_renderer,
)
from suite.models.shap_e.views import SAMPLES, CoarseToFine, Evenly, render_views

NANO_GRID = 64
NANO_GUIDANCE = 1.5
NANO_SLOPE = 2.0  # INSIDE_UNIT / SOFTNESS of suite/training/train_shap_e.py
# Asked at once. On a processor parts that stay in its cache: those of 2**15 points are as large as what glibc hands
# back to the system and fetches again at each call, or keeps, as it happened, which made a mesh take 0.1 or 0.3 s.
QUERY_POINTS = {"cpu": 2**12}
MANY_QUERY_POINTS = 2**15  # elsewhere, where a call has its own cost


@dataclass(frozen=True)
class LatentLayout:
    """The same numbers as the prior sees them, and as the decoder does."""

    tokens: int
    width: int
    vectors: int  # rows of the weight matrices that a latent becomes
    d_latent: int


NANO_LATENT = LatentLayout(TOKENS, TOKEN_WIDTH, VECTORS, D_LATENT)


@dataclass
class ShapE(Conditioned, Sampled):
    """Condition -> latent -> mesh. Sampling as in the original: Karras sigmas 1e-3 to 160, Heun without churn."""

    model: str
    networks: dict[str, nn.Module]
    condition: Callable[[list[str], int, Stage], Tensor]  # vectors [B, width], or tokens of pictures [B, tokens, width]
    weights_sha256: str | None
    device: torch.device
    latent: LatentLayout
    guidance: float
    octaves: int
    grid: int  # points along each axis at which the mesh's field is asked
    prediction: Literal["v", "x0"]
    clamp: bool  # each predicted x0 to ±1
    whitened: bool  # the prior's latents have mean 0 and deviation 1, and are scaled back behind it
    squashed: bool  # tanh of the signed distance before its surface is found, as in the original
    field_slope: float  # how much `inside` changes over a unit of length, at most
    ray_samples: tuple[int, ...]  # of a NeRF view: coarse and fine, drawn; or of one kind, evenly
    schedule: NoiseSchedule = field(default_factory=cosine_schedule)
    sampling: Sampling = Sampling()
    apart: dict[str, Sampling] = field(default_factory=dict)
    guided_within: tuple[float, float] = EVERYWHERE  # sigmas
    sigma_min: float = 1e-3
    sigma_max: float = 160.0
    diffusion: tuple[str, ...] = ("latent diffusion",)
    extra_stages: tuple[str, ...] = ("NeRF views",)
    refinement: Refinement | None = None  # ask the grid closely only near the surface
    view_cells: int | None = None  # along each axis, of which NeRF views ask the field in those that hold something
    _made: tuple[tuple, Tensor] | None = None  # the newest latents, which extra stages decode again, and what made them

    @torch.inference_mode()
    def make(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> list[Mesh]:
        """Prompts -> meshes; a field without a surface gives an empty one."""
        latents = self.latents(prompts, sample, stage)
        with stage("mesh decoder"):
            return [self.mesh(latent[None]) for latent in latents]

    @torch.inference_mode()
    def latents(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Tensor:
        """Prompts -> latents [B, tokens, width]."""
        condition = self.condition(prompts, sample, stage)
        shape = (self.latent.tokens, self.latent.width)
        with stage("latent diffusion"):
            made = self.diffuse(condition, PromptNoise(self.model, prompts, shape, sample).start().to(self.device))
        self._made = (self._asked_for(prompts), made) if sample == 0 else self._made
        return made

    def _asked_for(self, prompts: list[str]) -> tuple:
        return tuple(prompts), self.sampling_of("latent diffusion")

    @torch.inference_mode()
    def diffuse(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Conditions and unit normal noise [B, tokens, width] -> latents [B, tokens, width]."""
        if condition.ndim == 2:  # unit variance a channel, as the pictures' tokens have by themselves
            condition = condition * math.sqrt(condition.shape[-1])
        prior = self.networks["latent diffusion"]
        denoise = Denoiser(
            lambda x, t, clip: predict(prior, x, t, clip),
            self.schedule,
            self.prediction,
            {"clip": condition},
            guidance=self.guidance,
            guided_within=self.guided_within,
            clamp=self.clamp,
        )
        sampling = self.sampling_of("latent diffusion")
        made = solve(sampling.solver, denoise, noise, sampling.levels(self.schedule, self.sigma_min, self.sigma_max))
        return prior.post_process_latents(made) if self.whitened else made

    def object_weights(self, latent: Tensor) -> dict[int, Tensor]:
        """One latent [1, tokens, width] -> its object's weights."""
        layout = self.latent
        renderer = self.networks["mesh decoder"]
        return object_weights(renderer, latent.float().reshape(1, layout.vectors, layout.d_latent))

    def query_field(self, weights: dict[int, Tensor], positions: Tensor, what: Callable[[Field], Tensor]) -> Tensor:
        """What one object's field says at positions [P, 3], a part of them after the other."""
        size = QUERY_POINTS.get(self.device.type, MANY_QUERY_POINTS)
        return torch.cat([what(self.ask_part(weights, part))[0] for part in positions.split(size)])

    def ask_part(self, weights: dict[int, Tensor], positions: Tensor) -> Field:
        return ask(self.networks["mesh decoder"], weights, positions[None].to(self.device), self.octaves)

    def extra_part(self, name: str) -> tuple[object, str] | None:
        """What an extra stage asks a part of its work of, after the other. How many there are hangs on their answers
        where empty space is skipped."""
        return None if self.view_cells else (self, "ask_part")

    @torch.inference_mode()
    def mesh(self, latent: Tensor) -> Mesh:
        """One latent [1, tokens, width] -> its mesh."""
        weights = self.object_weights(latent)
        inside = near_surface(
            lambda positions: self.query_field(weights, positions, lambda made: made.inside),
            self.grid,
            self.field_slope,
            self.refinement,
            self.device,
        )
        if fault := not_finite(inside.flatten(), FIELD):  # before tanh, which makes 1 of infinity
            return Mesh.nothing(fault)
        vertices, faces = marching_cubes(inside.tanh() if self.squashed else inside)
        if len(faces) == 0:
            return Mesh.nothing()
        return Mesh(vertices, faces, self.query_field(weights, vertices, lambda made: made.colour).float().cpu())

    @torch.inference_mode()
    def extra(self, name: str, prompts: list[str], stage: Stage = untimed) -> Tensor:
        """An extra stage's output. "NeRF views": pictures [B, 20, 3, 64, 64], fractions 0–1, from around the object."""
        if self._made is None or self._made[0] != self._asked_for(prompts):
            self.begin()
            self.latents(prompts)
        latents = self._made[1]
        with stage(name):
            views = [self.views(latent[None], generator(name, self.model, p, 0)) for latent, p in zip(latents, prompts)]
            return torch.cat(views)

    @torch.inference_mode()
    def views(self, latent: Tensor, draws: torch.Generator, count: int = 20, size_px: int = 64) -> Tensor:
        """One latent -> pictures [1, count, 3, size, size]; never the same view twice. draws: of samples along rays."""
        weights = self.object_weights(latent)
        azimuth = torch.arange(count, device=self.device) * (360 / count)
        fine = self._seen(weights, lambda made: torch.cat([made.density[..., None], made.radiance], -1))
        if len(self.ray_samples) == 1:
            along = Evenly(*self.ray_samples)
        else:
            coarse = self._seen(weights, lambda made: made.coarse_density[..., None])
            along = CoarseToFine(lambda positions: coarse(positions)[:, 0], draws, *self.ray_samples)

        def density_and_colour(positions: Tensor) -> tuple[Tensor, Tensor]:
            made = fine(positions)
            return made[:, 0], made[:, 1:]

        return render_views(density_and_colour, azimuth, size_px, along)[None]

    def _seen(self, weights: dict[int, Tensor], what: Callable[[Field], Tensor]) -> Callable[[Tensor], Tensor]:
        """What the field says at positions [P, 3], its density first: [P, 1 or more]."""

        def everywhere(positions: Tensor) -> Tensor:
            return self.query_field(weights, positions, what)

        return everywhere if self.view_cells is None else where_occupied(everywhere, self.view_cells, self.device)


def predict(prior: nn.Module, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """What the prior predicts of noisy latents [B, tokens, width], in the network's own type, as float32. Behind it
    the official networks predict a range of variance, which this sampler does without."""
    made = prior(x.to(prior.dtype), timestep=t, proj_embedding=condition.to(prior.dtype), return_dict=False)
    return made[0][..., : x.shape[-1]].float()


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
    prior = build_nano_prior(pictures=isinstance(condition, PictureTokens))
    renderer = build_nano_renderer()
    prior.load_state_dict(prior_state)
    state = {n.removeprefix("renderer."): value for n, value in autoencoder.items() if n.startswith("renderer.")}
    outcome = renderer.load_state_dict(state, strict=False)
    # diffusers' marching-cubes tables, which nothing here reads
    if outcome.unexpected_keys or not all(n.startswith("mesh_decoder.") for n in outcome.missing_keys):
        raise ValueError(f"shap-e-nano-autoencoder does not fit the renderer: {outcome}")
    digests = [*digests, load_embedded("clip-nano")[1], prior_digest, autoencoder_digest]
    return assemble_nano(
        name, prior, renderer, condition, device, hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def assemble_nano(
    name: str,
    prior: nn.Module,
    renderer: nn.Module,
    condition: TextVector | PictureTokens,
    device: torch.device,
    weights_sha256: str | None = None,
) -> ShapE:
    """The embedded recipe around networks of its size."""
    networks = {"latent diffusion": prior, "mesh decoder": renderer}
    return ShapE(
        model=name,
        networks=condition.networks | {n: m.to(device).eval().requires_grad_(False) for n, m in networks.items()},
        condition=condition,
        weights_sha256=weights_sha256,
        device=device,
        latent=NANO_LATENT,
        guidance=NANO_GUIDANCE,
        octaves=NANO_OCTAVES,
        grid=NANO_GRID,
        prediction="v",
        clamp=False,
        whitened=True,
        squashed=False,
        field_slope=NANO_SLOPE,
        ray_samples=(SAMPLES,),
    )
