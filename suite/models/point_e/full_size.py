"""Point-E at its published sizes: the official networks, sampler and upsampler, from text or by way of a picture.

Sampling as OpenAI ships it: 64 Heun steps on Karras sigmas; the base from 120, churn 3, guidance 3; the upsampler from
160 without churn, from a picture guided by 3, from text unguided and without the text. What the original leaves to the
caller is in docs/parity.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from suite.models.checkpoints.networks import FullSizeWeights
from suite.models.checkpoints.official_files import find_official
from suite.models.conditioning.full_size import Condition, picture_condition, text_condition
from suite.models.mesh import Mesh
from suite.models.pipeline import Stage, untimed
from suite.models.point_e.network import CHANNELS, PUBLISHED, PointDiffusionTransformer, to_physical_units
from suite.models.point_e.pipeline import PointE, to_cloud
from suite.models.point_e.sdf import GRID, SdfNetwork, mesh_of_cloud
from suite.models.sampling.denoiser import Denoiser, NoiseSchedule, linear_schedule
from suite.models.sampling.noise import PromptNoise
from suite.models.sampling.solvers import solve

SDF_MESH = "SDF mesh"


@dataclass
class OfficialPointE(PointE):
    """Condition -> 1,024 points -> 4,096 points, and as an extra stage the mesh of their distance field."""

    refining: ClassVar[tuple[str, ...]] = ()  # this upsampler starts from noise as well
    guidance: float = 3.0
    conditioning: str = "grid"  # of the base: "vector" or "grid"
    upsampler_sigma_max: float = 160.0
    upsampler_schedule: NoiseSchedule = field(default_factory=linear_schedule)
    load_sdf: Callable[[], SdfNetwork] | None = None  # outside the total, so loaded when it is first asked for
    grid: int = GRID
    extra_stages: tuple[str, ...] = (SDF_MESH,)
    _sdf: SdfNetwork | None = None
    _made: tuple[list[str], Tensor] | None = None  # the newest clouds, which extra stages decode again

    @torch.inference_mode()
    def make(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Tensor:
        """Prompts -> clouds [B, 4096, 6] on the device, float32: xyz within ±1, rgb 0–1."""
        condition = self.condition(prompts, sample, stage)
        with stage("base diffusion"):
            points = self.base_points(self.base_condition(condition), prompts, sample)
        with stage("upsampler"):
            points = self.upsampled(points, condition.grid, prompts, sample)
        clouds = to_cloud(points)
        self._made = (list(prompts), clouds) if sample == 0 else self._made
        return clouds

    def base_condition(self, condition: Condition) -> Tensor:
        return condition.vector if self.conditioning == "vector" else condition.grid

    def upsampled(self, points: Tensor, grid: Tensor | None, prompts: list[str], sample: int = 0) -> Tensor:
        """Points in the network's units [B, 6, N] and a picture's grid, if any -> the same points and new ones."""
        network = self.networks["upsampler"]
        noise = PromptNoise(self.model, prompts, (CHANNELS, network.settings.points), sample, "upsampler")
        denoise = Denoiser(
            network,
            self.upsampler_schedule,
            network.settings.prediction,
            {"clip": grid, "low_resolution": to_physical_units(points)},
            guidance=self.guidance if grid is not None else 1.0,
            guided_within=self.guided_within,
            clamp=self.clamp,
        )
        sampling = self.sampling_of("upsampler")
        sigmas = sampling.levels(self.upsampler_schedule, self.sigma_min, self.upsampler_sigma_max)
        return torch.cat([points, solve(sampling.solver, denoise, noise.start().to(self.device), sigmas)], dim=-1)

    @torch.inference_mode()
    def extra(self, name: str, prompts: list[str], stage: Stage = untimed) -> list[Mesh]:
        """Meshes of the prompts' clouds. The clouds are made anew, outside the stage, only where others came since."""
        if name != SDF_MESH:
            raise ValueError(f"{self.model} has no extra stage {name!r}; it has {', '.join(self.extra_stages)}")
        if self._made is None or self._made[0] != list(prompts):
            self.generate(prompts)
        sdf = self._loaded_sdf()
        with stage(name):
            return [mesh_of_cloud(sdf, cloud, self.grid) for cloud in self._made[1]]

    def extra_part(self, name: str) -> tuple[object, str]:
        """What an extra stage asks a part of its work of, after the other."""
        return self._loaded_sdf(), "forward"

    def _loaded_sdf(self) -> SdfNetwork:
        if self._sdf is None:
            self._sdf = self.load_sdf()
        return self._sdf


def checkpoint_layout(checkpoint: str) -> dict[str, Tensor]:
    """The tensors of one of OpenAI's checkpoints by their keys, without memory."""
    network = find_official(checkpoint).network
    with torch.device("meta"):
        made = SdfNetwork() if network == "sdf" else PointDiffusionTransformer(PUBLISHED[network])
    return made.state_dict()


def build_40m_text(weights: str, device: torch.device, dtype: torch.dtype = torch.float32) -> OfficialPointE:
    """`point-e-40m-text`: CLIP's vector of the text."""
    return _build("point-e-40m-text", "base40M-textvec", FullSizeWeights(weights, device, dtype))


def build_40m_imagevec(weights: str, device: torch.device, dtype: torch.dtype = torch.float32) -> OfficialPointE:
    """`point-e-40m-imagevec`: text -> picture -> CLIP's vector of it; the upsampler sees its grid."""
    return _build("point-e-40m-imagevec", "base40M-imagevec", FullSizeWeights(weights, device, dtype))


def build_40m_image(weights: str, device: torch.device, dtype: torch.dtype = torch.float32) -> OfficialPointE:
    """`point-e-40m-image`: text -> picture -> CLIP's grid of it."""
    return _build("point-e-40m-image", "base40M", FullSizeWeights(weights, device, dtype))


def build_300m_image(weights: str, device: torch.device, dtype: torch.dtype = torch.float32) -> OfficialPointE:
    """`point-e-300m-image`."""
    return _build("point-e-300m-image", "base300M", FullSizeWeights(weights, device, dtype))


def build_1b_image(weights: str, device: torch.device, dtype: torch.dtype = torch.float32) -> OfficialPointE:
    """`point-e-1b-image`."""
    return _build("point-e-1b-image", "base1B", FullSizeWeights(weights, device, dtype))


def _build(name: str, base: str, weights: FullSizeWeights) -> OfficialPointE:
    condition = text_condition(weights) if base.endswith("textvec") else picture_condition(name, weights)
    networks: dict[str, nn.Module] = {stage: n for stage, n in condition.networks.items() if n is not None}
    for stage, checkpoint in (("base diffusion", base), ("upsampler", "upsample")):
        networks[stage] = weights.network(checkpoint, lambda: PointDiffusionTransformer(PUBLISHED[checkpoint]))
    sha256 = weights.sha256  # the SDF network comes after: the cloud does not depend on it
    return OfficialPointE(
        model=name,
        networks=networks,
        condition=condition,
        weights_sha256=sha256,
        device=weights.device,
        conditioning=PUBLISHED[base].conditioning,
        load_sdf=lambda: weights.network("sdf", SdfNetwork, dtype=torch.float32),
    )
