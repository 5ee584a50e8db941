"""Point-E as a pipeline: text encoder, base diffusion, and at the official sizes the upsampler."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.embedded.tokenizer import tokenize
from suite.models.clip import build_clip_nano
from suite.models.noise import PromptNoise
from suite.models.pipeline import Stage, untimed
from suite.models.point_e_network import CHANNELS, PointDiffusionTransformer, PointTransformerSettings
from suite.models.samplers import Denoiser, NoiseSchedule, cosine_schedule, evaluations, heun, karras_sigmas
from suite.models.weights import load_embedded

NANO_TEXT = PointTransformerSettings(
    points=256, width=128, layers=4, heads=4, conditioning="vector", clip_width=128, clip_tokens=4, prediction="v"
)
POSITION_SCALE = 3.0  # of the embedded networks' coordinates, which else would deviate by 0.2 where noise deviates by 1
NANO_GUIDANCE = 1.5  # chosen on the gallery's tuning captions: suite/embedded/cards/point-e-nano-text.md


@dataclass
class PointE:
    """Text -> CLIP vector -> cloud. Sampling as in the original: Karras sigmas 1e-3 to 120, Heun, churn 3."""

    model: str
    networks: dict[str, nn.Module]
    weights_sha256: str | None
    device: torch.device
    guidance: float
    position_scale: float = 1.0
    clamp: bool = True  # each predicted x0 to ±1, as the original does
    steps: int = 64
    sigma_min: float = 1e-3
    sigma_max: float = 120.0
    churn: float = 3.0
    diffusion: tuple[str, ...] = ("base diffusion",)
    schedule: NoiseSchedule = field(default_factory=cosine_schedule)

    @property
    def evaluations(self) -> int:
        return evaluations(self.steps)

    @torch.inference_mode()
    def generate(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Tensor:
        """Prompts -> clouds [B, points, 6] on the device, float32: xyz within ±1, rgb 0–1."""
        base = self.networks["base diffusion"]
        with stage("text encoder"):
            tokens = tokenize(prompts).to(self.device)
            clip = F.normalize(self.networks["text encoder"].encode_text(tokens).float(), dim=-1)
        with stage("base diffusion"):
            noise = PromptNoise(self.model, prompts, (CHANNELS, base.settings.points), sample)
            denoise = Denoiser(
                base, self.schedule, base.settings.prediction, {"clip": clip}, guidance=self.guidance, clamp=self.clamp
            )
            cloud = heun(
                denoise,
                noise.start().to(self.device),
                karras_sigmas(self.steps, self.sigma_min, self.sigma_max),
                churn=self.churn,
                churn_noise=lambda step: noise.churn(step).to(self.device),
            )
            return to_cloud(cloud, self.position_scale)


def to_cloud(channels: Tensor, position_scale: float = 1.0) -> Tensor:
    """Network channels [B, 6, N] (scaled xyz, rgb within ±1) -> [B, N, 6] with rgb as fractions."""
    xyz, rgb = channels.transpose(1, 2).float().split(3, dim=-1)
    return torch.cat([(xyz / position_scale).clamp(-1, 1), ((rgb + 1) / 2).clamp(0, 1)], -1)


def to_channels(cloud: Tensor, position_scale: float = 1.0) -> Tensor:
    """The inverse of `to_cloud`: [B, N, 6] -> [B, 6, N]."""
    return torch.cat([cloud[..., :3] * position_scale, cloud[..., 3:] * 2 - 1], -1).transpose(1, 2)


def build_nano_text(weights: str, device: torch.device) -> PointE:
    """`point-e-nano-text` with its embedded weights."""
    if weights != "embedded":
        raise ValueError(f"point-e-nano-text has embedded weights only, not {weights!r}")
    clip, clip_hash = load_embedded("clip-nano")
    base, base_hash = load_embedded("point-e-nano-text")
    text_encoder = build_clip_nano()
    text_encoder.load_state_dict(clip, strict=False)  # the causal mask is no weight
    del text_encoder.visual  # conditions come from text alone
    with torch.device("meta"):
        network = PointDiffusionTransformer(NANO_TEXT)
    network.load_state_dict(base, assign=True)
    return PointE(
        model="point-e-nano-text",
        networks={"text encoder": text_encoder.to(device).eval(), "base diffusion": network.to(device).eval()},
        weights_sha256=hashlib.sha256((clip_hash + base_hash).encode()).hexdigest(),
        device=device,
        guidance=NANO_GUIDANCE,
        position_scale=POSITION_SCALE,
        clamp=False,
    )
