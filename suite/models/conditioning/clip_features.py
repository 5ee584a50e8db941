"""The embedded CLIP before it pools: tokens, by which image- and text-conditional networks are conditioned."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from suite.models.conditioning.clip_network import Clip, ImageSide

IMAGE_TOKENS = 18
"""Its 8 x 8 grid merged two by two, the class token, and the image's own vector."""


def text_tokens(clip: Clip, tokens: Tensor) -> Tensor:
    """Token ids [B, T] -> the text encoder's last states, then its unit vector × √width: [B, T + 1, width]."""
    states = clip.states(tokens)
    return torch.cat([states, _scaled(clip.pooled(states, tokens))], dim=1)


def image_tokens(visual: ImageSide, pictures: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], fractions 0–1, through its image side -> [B, IMAGE_TOKENS, width].

    From the layer before the last: under class-token pooling no gradient reaches the last layer's patch tokens, so
    training left them as they were.
    """
    *earlier, last = visual.transformer.resblocks
    states = visual.embedded(pictures * 2 - 1)
    for block in earlier:
        states = block(states)
    first, patches = states.split([1, states.shape[1] - 1], dim=1)
    side = math.isqrt(patches.shape[1])
    grid = F.avg_pool2d(patches.transpose(1, 2).unflatten(2, (side, side)), 2).flatten(2).transpose(1, 2)
    return torch.cat([grid, first, _scaled(visual.vector(last(states)))], dim=1)


def _scaled(vectors: Tensor) -> Tensor:
    """[B, width] -> unit vectors × √width, as one more token [B, 1, width]."""
    return F.normalize(vectors, dim=-1)[:, None] * vectors.shape[-1] ** 0.5
