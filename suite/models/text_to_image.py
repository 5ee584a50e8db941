"""Text to image: the first stage of a text -> 2D -> 3D pipeline, as diffusers pipelines."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.models.clip import import_open_clip
from suite.models.weights import load_embedded

import_open_clip()  # declares what a torchvision without its compiled part lacks; diffusers needs it too

from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, PixArtTransformer2DModel  # noqa: E402

NANO_SIZE_PX = 32


def build_nano_transformer() -> PixArtTransformer2DModel:
    """The embedded text-to-image network with fresh weights: 64 patches of 4 x 4 pixels, 1.78 M parameters."""
    return PixArtTransformer2DModel(
        num_attention_heads=4, attention_head_dim=32, num_layers=6, cross_attention_dim=128, caption_channels=128,
        in_channels=3, out_channels=3, sample_size=NANO_SIZE_PX, patch_size=4, use_additional_conditions=False,
    )  # fmt: skip


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
