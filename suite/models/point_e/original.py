"""OpenAI's own Point-E, where it is installed: their networks and their sampler, in this suite's pipeline.

github.com/openai/point-e at commit fc8a607c08a3 (MIT). The networks are built by `model_from_config` and take the
tensors of ours, which has the same layout; the sampler is `PointCloudSampler`. Only their CLIP is replaced, by one
that hands on what ours computed: theirs is loaded once a network, and is no part of what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from suite.models.point_e.full_size import OfficialPointE
from suite.models.point_e.network import PUBLISHED, PointDiffusionTransformer, to_network_units, to_physical_units
from suite.models.sampling.noise import generator


class GivenClip:
    """What the original's networks ask of a CLIP, answered with features that were computed before."""

    feature_dim, grid_size, grid_feature_dim = 768, 16, 1024

    def __init__(self, device: torch.device, cache_dir: str | None = None):
        pass

    def __call__(self, batch_size: int, images: Any = None, texts: Any = None, embeddings: Any = None) -> Tensor:
        return torch.stack(list(embeddings))

    def embed_images_grid(self, images: Tensor) -> Tensor:
        return images


@contextmanager
def _given_clip() -> Iterator[None]:
    from point_e.models import transformer

    kept, transformer.FrozenImageCLIP = transformer.FrozenImageCLIP, GivenClip
    try:
        yield
    finally:
        transformer.FrozenImageCLIP = kept


def original_network(name: str, device: torch.device, **changes: Any) -> nn.Module:
    """The original's network of that name (`changes` to its settings), on the device; on "meta" it takes no memory."""
    from point_e.models.configs import MODEL_CONFIGS, model_from_config

    with _given_clip():
        return model_from_config(MODEL_CONFIGS[name] | changes, device).eval()


def same_network(ours: PointDiffusionTransformer) -> nn.Module:
    """The original's network with the very tensors of ours."""
    name = next(name for name, settings in PUBLISHED.items() if settings == ours.settings)
    network = original_network(name, torch.device("meta"))
    network.load_state_dict(ours.state_dict(), strict=True, assign=True)
    return network.requires_grad_(False)


@dataclass
class OriginalPointE(OfficialPointE):
    """The same stages by the original's code. Its noise comes from torch's global generator, seeded by the prompt."""

    own_sampler = True

    def base_points(self, condition: Tensor, prompts: list[str], sample: int = 0) -> Tensor:
        kwargs = {"embeddings": condition} if self.conditioning == "vector" else {"images": condition.transpose(1, 2)}
        sigmas = self.sigma_min, self.sigma_max
        made = self._sampled(
            "base diffusion", "base40M", 1024, kwargs, self.guidance, sigmas, self.churn, prompts, sample
        )
        return to_network_units(made)

    def upsampled(self, points: Tensor, grid: Tensor | None, prompts: list[str], sample: int = 0) -> Tensor:
        kwargs = {"low_res": to_physical_units(points)}
        if grid is not None:
            kwargs["images"] = grid.transpose(1, 2)
        guidance = self.guidance if grid is not None else 0.0  # their word for unguided
        sigmas = self.sigma_min, self.upsampler_sigma_max
        made = self._sampled("upsampler", "upsample", 3072, kwargs, guidance, sigmas, 0.0, prompts, sample)
        return to_network_units(made)

    def _sampled(
        self,
        stage: str,
        diffusion: str,
        points: int,
        kwargs: dict[str, Tensor],
        guidance: float,
        sigmas: tuple[float, float],
        churn: float,
        prompts: list[str],
        sample: int,
    ) -> Tensor:
        """One prompt at a time, since a batch would share the global generator's noise out in another order."""
        from point_e.diffusion.configs import DIFFUSION_CONFIGS, diffusion_from_config
        from point_e.diffusion.sampler import PointCloudSampler

        sampler = PointCloudSampler(
            device=self.device,
            models=[self.networks[stage]],
            diffusions=[diffusion_from_config(DIFFUSION_CONFIGS[diffusion])],
            num_points=[points],
            aux_channels=["R", "G", "B"],
            guidance_scale=[guidance],
            use_karras=[True],
            karras_steps=[self.steps],
            sigma_min=[sigmas[0]],
            sigma_max=[sigmas[1]],
            s_churn=[churn],
        )
        made = []
        for k, prompt in enumerate(prompts):
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(generator(f"original {stage}", self.model, prompt, sample).initial_seed())
                made.append(sampler.sample_batch(1, {name: value[k : k + 1] for name, value in kwargs.items()}))
        return torch.cat(made)


def original(pipeline: OfficialPointE) -> OriginalPointE:
    """The pipeline with the original's networks and sampler; the tensors stay where they are."""
    own = {f.name: getattr(pipeline, f.name) for f in fields(pipeline)}
    own["networks"] = pipeline.networks | {
        stage: same_network(pipeline.networks[stage]) for stage in pipeline.diffusion
    }
    return OriginalPointE(**own)
