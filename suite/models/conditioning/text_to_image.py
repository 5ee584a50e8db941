"""Text to image: the first stage of a text -> 2D -> 3D pipeline, as diffusers pipelines.

The embedded one, published ones by name, and a small stand-in for where there are no weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from suite.models.checkpoints.embedded import WeightsAbsent, WeightsError, load_embedded
from suite.models.checkpoints.hub_cache import snapshot_of
from suite.models.conditioning.clip import import_open_clip, import_torchvision
from suite.models.conditioning.reading import PAINTED
from suite.models.sampling.noise import PromptNoise, generator
from suite.names import unknown

import_torchvision()  # declares what a torchvision without its compiled part lacks, which diffusers asks for

from diffusers import (  # noqa: E402
    AutoencoderTiny,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    PixArtTransformer2DModel,
    UNet2DConditionModel,
)

NANO_SIZE_PX = 32


def build_nano_transformer() -> PixArtTransformer2DModel:
    """The embedded text-to-image network with fresh weights: 64 patches of 4 x 4 pixels, 1.78 M parameters."""
    return PixArtTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        num_layers=6,
        cross_attention_dim=128,
        caption_channels=128,
        in_channels=3,
        out_channels=3,
        sample_size=NANO_SIZE_PX,
        patch_size=4,
        use_additional_conditions=False,
    )


class NanoTextToImage(DiffusionPipeline):
    """CLIP text tokens -> a picture of 32 x 32 pixels, by flow matching (Lipman et al. 2023, arXiv:2210.02747).

    The network predicts the picture itself: velocities of patches were not learned at this size.
    """

    def __init__(self, transformer: PixArtTransformer2DModel, scheduler: FlowMatchEulerDiscreteScheduler):
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)

    @torch.inference_mode()
    def __call__(self, prompt_embeds: Tensor, latents: Tensor, num_inference_steps: int = 16) -> Tensor:
        """prompt_embeds [B, tokens, 128] and start noise [B, 3, 32, 32] -> pictures [B, 3, 32, 32], fractions 0–1."""
        self.scheduler.set_timesteps(num_inference_steps, device=latents.device)
        x = latents
        for t, level in zip(self.scheduler.timesteps, self.scheduler.sigmas):
            picture = predict_picture(self.transformer, x, t.expand(len(x)), prompt_embeds)
            x = self.scheduler.step((x - picture) / level, t, x, return_dict=False)[0]
        return ((x + 1) / 2).clamp(0, 1)


def predict_picture(transformer: torch.nn.Module, x: Tensor, t: Tensor, prompt_embeds: Tensor) -> Tensor:
    """The clean picture in ±1, from a noisy one at time steps t = 1000 * noise share; float32."""
    dtype = next(transformer.parameters()).dtype
    predicted = transformer(x.to(dtype), encoder_hidden_states=prompt_embeds.to(dtype), timestep=t, return_dict=False)[
        0
    ]
    return predicted.float()


def nano_scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)


def load_nano_text_to_image(device: torch.device) -> tuple[NanoTextToImage, str]:
    """The embedded pipeline with its weights, and the network's hash."""
    weights, digest = load_embedded("text-to-image-nano")
    transformer = build_nano_transformer()
    transformer.load_state_dict(weights)
    return NanoTextToImage(transformer.to(device).eval().requires_grad_(False), nano_scheduler()), digest


@dataclass(frozen=True, kw_only=True)
class PublishedPainter:
    """A diffusers text-to-image pipeline, and how its authors run it."""

    name: str
    repository: str  # on the Hugging Face Hub
    size_px: int
    steps: int
    guidance: float


PAINTERS = {
    painter.name: painter
    for painter in (
        # GLIDE's 3B, which Point-E fine-tuned, was never published. A single step of 866 M parameters suits devices.
        PublishedPainter(name="sd-turbo", repository="stabilityai/sd-turbo", size_px=512, steps=1, guidance=0.0),
        PublishedPainter(name="sdxl-turbo", repository="stabilityai/sdxl-turbo", size_px=512, steps=1, guidance=0.0),
        PublishedPainter(
            name="sd-1.5", repository="stable-diffusion-v1-5/stable-diffusion-v1-5", size_px=512, steps=50, guidance=7.5
        ),
    )
}


class DiffusersPainter:
    """Prompts -> pictures, each from noise that is its own whatever the batch."""

    def __init__(self, published: PublishedPainter, pipeline: DiffusionPipeline):
        self.published = published
        self.pipeline = pipeline
        modules = {n: part for n, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
        self.network = torch.nn.ModuleDict(modules)

    def __call__(self, model: str, prompts: list[str], sample: int) -> list[Image.Image]:
        made = self.pipeline(
            [PAINTED.format(prompt=prompt) for prompt in prompts],
            num_inference_steps=self.published.steps,
            guidance_scale=self.published.guidance,
            height=self.published.size_px,
            width=self.published.size_px,
            generator=[generator("text-to-image", model, prompt, sample) for prompt in prompts],
        )
        return made.images


def load_painter(name: str, device: torch.device) -> tuple[DiffusersPainter, str]:
    """A published pipeline from the Hub's cache on this machine, and a hash that names its files. Nothing is
    downloaded here: WeightsAbsent says how."""
    if name not in PAINTERS:
        raise unknown("text-to-image pipeline", name, PAINTERS)
    published = PAINTERS[name]
    folder = snapshot_of(published.repository, "model_index.json")
    if folder is None:
        raise WeightsAbsent(
            f"{name}: its weights are not on this machine. Get them with `hf download {published.repository}`; or give "
            f"conditioning pictures in a folder or zip file by TEXT3D_PICTURES"
        )
    if importlib.util.find_spec("transformers") is None:
        raise WeightsAbsent(
            f"{name} needs the package transformers for its text encoder: pip install -e '.[text-to-image]'"
        )
    try:  # the other format that the Hub has is a pickle
        pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{name}: {folder} is not whole or not sound ({reason}); `hf download {published.repository}` completes it"
        ) from None
    pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    # The snapshot's folder is named by its commit, which names every file in it.
    digest = hashlib.sha256(f"{published.repository}@{folder.name}".encode()).hexdigest()
    return DiffusersPainter(published, pipeline), digest


class StandIn(torch.nn.Module):
    """A small text-to-image network with the shapes of a published one: text tokens, latents of 64 x 64, one step of a
    U-Net, pictures of 512 x 512 pixels. It stands where random weights cannot tell one pipeline from another; its time
    and memory are its own, not SD-Turbo's."""

    WIDTH = 64

    def __init__(self):
        super().__init__()
        self.tokens = torch.nn.Embedding(49408, self.WIDTH)
        self.unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(32, 64),
            layers_per_block=1,
            norm_num_groups=8,
            attention_head_dim=8,
            cross_attention_dim=self.WIDTH,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
        self.decoder = AutoencoderTiny(
            encoder_block_out_channels=(16,) * 4, decoder_block_out_channels=(16,) * 4
        ).decoder

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """Token ids [B, T] and start noise [B, 4, 64, 64] -> pictures [B, 3, 512, 512], fractions 0–1."""
        noise = self.unet(latents, 999, self.tokens(tokens), return_dict=False)[0]
        return ((self.decoder(latents - noise) + 1) / 2).clamp(0, 1)


class StandInPainter:
    """Prompts -> pictures by the stand-in."""

    def __init__(self, network: StandIn):
        self.network = network

    @torch.inference_mode()
    def __call__(self, model: str, prompts: list[str], sample: int) -> list[Image.Image]:
        device = next(self.network.parameters()).device
        tokens = import_open_clip().tokenize(prompts).to(device)
        latents = PromptNoise(model, prompts, (4, 64, 64), sample, "text-to-image").start().to(device)
        pictures = (self.network(tokens, latents) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(picture) for picture in pictures]
