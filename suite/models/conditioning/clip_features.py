"""What a CLIP knows before it pools: the tokens by which image- and text-conditional networks are conditioned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_TOKENS = 18
"""Of the embedded CLIP: its 8 x 8 grid merged two by two, the class token, and the image's own vector."""


def text_tokens(clip: nn.Module, tokens: Tensor) -> Tensor:
    """Token ids [B, T] -> the text encoder's last states, then its unit vector × √width: [B, T + 1, width]."""
    states = clip.token_embedding(tokens) + clip.positional_embedding
    states = clip.ln_final(clip.transformer(states, attn_mask=clip.attn_mask))
    vector = states[torch.arange(len(tokens), device=tokens.device), tokens.argmax(-1)] @ clip.text_projection
    vector = F.normalize(vector, dim=-1) * vector.shape[-1] ** 0.5
    return torch.cat([states, vector[:, None]], dim=1)


def image_tokens(visual: nn.Module, pictures: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], fractions 0–1, through a CLIP's image side -> [B, IMAGE_TOKENS, width].

    From the layer before the last: under class-token pooling no gradient reaches the last layer's patch tokens, so
    training left them as they were.
    """
    made = visual.forward_intermediates(
        pictures * 2 - 1, indices=2, output_fmt="NCHW", output_extra_tokens=True, normalize_intermediates=False
    )
    grid = F.avg_pool2d(made["image_intermediates"][0], 2).flatten(2).transpose(1, 2)
    vector = F.normalize(made["image_features"], dim=-1) * made["image_features"].shape[-1] ** 0.5
    return torch.cat([grid, made["image_intermediates_prefix"][0], vector[:, None]], dim=1)
