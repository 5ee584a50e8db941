"""Point-E as a pipeline: a prompt's condition, the base diffusion, the upsampler."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.checkpoints.embedded import load_embedded
from suite.models.conditioning.embedded import Conditioned, PictureTokens, TextVector, picture_condition, text_condition
from suite.models.finite import bounded
from suite.models.pipeline import Stage, untimed
from suite.models.point_e.network import CHANNELS, PointDiffusionTransformer, PointTransformerSettings
from suite.models.point_e.upsampler import PointUpsampler, UpsamplerSettings
from suite.models.sampling.denoiser import EVERYWHERE, Denoiser, NoiseSchedule, cosine_schedule
from suite.models.sampling.noise import PromptNoise
from suite.models.sampling.settings import Sampled, Sampling
from suite.models.sampling.solvers import solve

NANO_TEXT = PointTransformerSettings(
    points=256, width=128, layers=4, heads=4, conditioning="vector", clip_width=128, clip_tokens=4, prediction="v"
)
NANO_IMAGE = PointTransformerSettings(
    points=256, width=128, layers=4, heads=4, conditioning="grid", clip_width=128, clip_tokens=18, prediction="v"
)
NANO_UPSAMPLER = UpsamplerSettings(
    points=768, low_resolution_points=256, width=96, heads=3, context_layers=2, layers=3, clip_width=128
)
UPSAMPLER_SIGMA_MAX = 0.5  # where its sampling starts, from noisy copies of the base's points
POSITION_SCALE = 3.0  # of the embedded networks' coordinates, which else would deviate by 0.2 where noise deviates by 1
NANO_GUIDANCE = 1.5  # chosen on the gallery's tuning captions: suite/embedded/cards/point-e-nano-text.md


@dataclass(frozen=True)
class Copies:
    """New points that are the base's own again, each scattered by normal noise of this deviation in network units,
    in place and colour."""

    points: int
    scatter: float


@dataclass
class PointE(Conditioned, Sampled):
    """Condition -> base cloud -> more points. Sampling as in the original: Karras sigmas 1e-3 to 120, Heun, churn 3."""

    refining: ClassVar[tuple[str, ...]] = ("upsampler",)
    model: str
    networks: dict[str, nn.Module]
    condition: TextVector | PictureTokens
    weights_sha256: str | None
    device: torch.device
    guidance: float
    position_scale: float = 1.0
    clamp: bool = True  # each predicted x0 to ±1, as the original does
    sampling: Sampling = Sampling()
    apart: dict[str, Sampling] = field(default_factory=dict)
    guided_within: tuple[float, float] = EVERYWHERE  # sigmas
    copies: Copies | None = None  # in place of the upsampler
    sigma_min: float = 1e-3
    sigma_max: float = 120.0
    churn: float = 3.0
    diffusion: tuple[str, ...] = ("base diffusion", "upsampler")
    schedule: NoiseSchedule = field(default_factory=cosine_schedule)
    extra_stages: tuple[str, ...] = ()

    @torch.inference_mode()
    def make(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Tensor:
        """Prompts -> clouds [B, points, 6] on the device, float32: xyz within ±1, rgb 0–1."""
        condition = self.condition(prompts, sample, stage)
        with stage("base diffusion"):
            points = self.base_points(condition, prompts, sample)
        if "upsampler" in self.networks:
            with stage("upsampler"):
                points = self.upsample(points, clip_vector(condition), prompts, sample)
        elif self.copies:
            with stage("upsampler"):
                points = self.with_copies(points, prompts, sample)
        return to_cloud(points, self.position_scale)

    def base_points(self, condition: Tensor, prompts: list[str], sample: int = 0) -> Tensor:
        """Conditions of B prompts -> points in the network's units [B, 6, N]."""
        base = self.networks["base diffusion"]
        noise = PromptNoise(self.model, prompts, (CHANNELS, base.settings.points), sample)
        denoise = Denoiser(
            base,
            self.schedule,
            base.settings.prediction,
            {"clip": condition},
            guidance=self.guidance,
            guided_within=self.guided_within,
            clamp=self.clamp,
        )
        sampling = self.sampling_of("base diffusion")
        return solve(
            sampling.solver,
            denoise,
            noise.start().to(self.device),
            sampling.levels(self.schedule, self.sigma_min, self.sigma_max),
            churn=self.churn,
            churn_noise=lambda step: noise.churn(step).to(self.device),
        )

    def upsample(self, points: Tensor, vector: Tensor, prompts: list[str], sample: int = 0) -> Tensor:
        """Points [B, 6, N] and unit CLIP vectors [B, width] -> the same points and new ones, [B, 6, N + new]."""
        network = self.networks["upsampler"]
        copies, noise = self.copies_and_noise(points, network.settings.points, prompts, sample)
        context = network.context(points, vector)
        sampling = self.sampling_of("upsampler")
        sigmas = sampling.levels(self.schedule, self.sigma_min, UPSAMPLER_SIGMA_MAX)
        made = solve(
            sampling.solver,
            lambda x, sigma: network(x, x.new_full((len(x),), sigma), context),
            copies / float(sigmas[0]) + noise,
            sigmas,
        )
        return torch.cat([points, made], dim=-1)

    def with_copies(self, points: Tensor, prompts: list[str], sample: int = 0) -> Tensor:
        """As `upsample`, without a network."""
        copies, noise = self.copies_and_noise(points, self.copies.points, prompts, sample)
        return torch.cat([points, copies + self.copies.scatter * noise], dim=-1)

    def copies_and_noise(self, points: Tensor, new: int, prompts: list[str], sample: int) -> tuple[Tensor, Tensor]:
        """Where new points start: points [B, 6, N] over and over, and unit noise; both [B, 6, new]."""
        noise = PromptNoise(self.model, prompts, (CHANNELS, new), sample, "upsampler").start().to(self.device)
        return points.repeat(1, 1, -(-new // points.shape[-1]))[..., :new], noise


def clip_vector(condition: Tensor) -> Tensor:
    """The unit vector of a condition: itself, or the last of a picture's tokens."""
    return condition if condition.ndim == 2 else F.normalize(condition[:, -1], dim=-1)


def to_cloud(channels: Tensor, position_scale: float = 1.0) -> Tensor:
    """Network channels [B, 6, N] (scaled xyz, rgb within ±1) -> [B, N, 6] with rgb as fractions."""
    xyz, rgb = channels.transpose(1, 2).float().split(3, dim=-1)
    return torch.cat([bounded(xyz / position_scale, -1, 1), bounded((rgb + 1) / 2, 0, 1)], -1)


def to_channels(cloud: Tensor, position_scale: float = 1.0) -> Tensor:
    """The inverse of `to_cloud`: [B, N, 6] -> [B, 6, N]."""
    return torch.cat([cloud[..., :3] * position_scale, cloud[..., 3:] * 2 - 1], -1).transpose(1, 2)


def build_nano_text(weights: str, device: torch.device) -> PointE:
    """`point-e-nano-text` with its embedded weights."""
    return _build_nano("point-e-nano-text", weights, device, NANO_TEXT, text_condition(device), [])


def build_nano_image(weights: str, device: torch.device) -> PointE:
    """`point-e-nano-image` with its embedded weights: text -> picture -> cloud of 256 points.

    Without the upsampler, which does not pass its gate here: suite/embedded/cards/point-e-nano-image.md.
    """
    condition, digest = picture_condition("point-e-nano-image", device)
    return _build_nano("point-e-nano-image", weights, device, NANO_IMAGE, condition, [digest], upsampled=False)


def _build_nano(
    name: str,
    weights: str,
    device: torch.device,
    settings: PointTransformerSettings,
    condition: TextVector | PictureTokens,
    digests: list[str],
    upsampled: bool = True,
) -> PointE:
    if weights != "embedded":
        raise ValueError(f"{name} has embedded weights only, not {weights!r}")
    base, base_digest = _load(name, lambda: PointDiffusionTransformer(settings), device)
    made, digests = {"base diffusion": base}, [*digests, load_embedded("clip-nano")[1], base_digest]
    if upsampled:
        made["upsampler"], digest = load_nano_upsampler(device)
        digests.append(digest)
    return PointE(
        model=name,
        networks=condition.networks | made,
        condition=condition,
        weights_sha256=hashlib.sha256("".join(digests).encode()).hexdigest(),
        device=device,
        diffusion=tuple(made),
        guidance=NANO_GUIDANCE,
        position_scale=POSITION_SCALE,
        clamp=False,
    )


def load_nano_upsampler(device: torch.device) -> tuple[PointUpsampler, str]:
    """The embedded upsampler with its weights, and their hash."""
    return _load("point-e-nano-upsampler", lambda: PointUpsampler(NANO_UPSAMPLER), device)


def _load(file: str, make: Callable[[], nn.Module], device: torch.device) -> tuple[nn.Module, str]:
    state, digest = load_embedded(file)
    with torch.device("meta"):
        network = make()
    network.load_state_dict(state, assign=True)
    return network.to(device).eval().requires_grad_(False), digest
