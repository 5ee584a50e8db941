"""Shap-E's implicit field: a latent becomes the first weights of a small network, which is asked at points.

The modules are diffusers' (`ShapERenderer`), so that its checkpoints load; its own decoders write an object's weights
into the renderer and so take one object at a time, and shrink meshes by (G - 1) / (G + 1), since the grid is padded by
two and mapped to the same box. Here objects are asked in batches and nothing is written.
Jun & Nichol 2023, "Shap-E", https://arxiv.org/abs/2305.02463, section 4.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ALL_OCTAVES = 15
"""Of the coordinates' encoding, in every published network."""


@dataclass
class Field:
    """What the network says at points: [B, P] and [B, P, 3]."""

    inside: Tensor  # raw signed distance, positive inside; the published activation is tanh
    coarse_density: Tensor  # of the coarse NeRF, which says where the fine one is asked
    density: Tensor  # of the fine NeRF
    colour: Tensor  # of the textured surface, sRGB fractions
    radiance: Tensor  # of the fine NeRF, sRGB fractions


def object_weights(renderer: nn.Module, latents: Tensor) -> dict[int, Tensor]:
    """Latents [B, vectors, d_latent] -> by number of the layer, its weights [B, out, in]."""
    projected = renderer.params_proj(latents)
    return {int(name.split(".")[2]): weight for name, weight in projected.items()}


def ask(renderer: nn.Module, weights: dict[int, Tensor], positions: Tensor, octaves: int = ALL_OCTAVES) -> Field:
    """The field of B objects at positions [B, P, 3] within ±1. `octaves` beyond which the encoding's weights are 0."""
    layers = renderer.mlp.mlp
    direction_at = renderer.mlp.config.insert_direction_at
    hidden = encode(positions, octaves)
    kept = encoding_columns(octaves).to(positions.device)
    for index, layer in enumerate(layers):
        weight = weights.get(index)
        if index == 0 and octaves < ALL_OCTAVES:
            weight = (layer.weight if weight is None else weight)[..., kept]
        if index == direction_at:  # published networks have inputs for a direction, and are asked with zeros there
            weight = (layer.weight if weight is None else weight)[..., : hidden.shape[-1]]
        if weight is None:
            hidden = layer(hidden)
        else:
            hidden = (
                torch.baddbmm(layer.bias, hidden, weight.mT)
                if weight.ndim == 3
                else F.linear(hidden, weight, layer.bias)
            )
        if index < len(layers) - 1:
            hidden = F.silu(hidden)
    hidden = hidden.float()
    return Field(
        inside=hidden[..., 0],
        coarse_density=hidden[..., 1].relu(),
        density=hidden[..., 2].relu(),
        colour=hidden[..., 3:6].sigmoid(),
        radiance=hidden[..., 9:12].sigmoid(),
    )


def encode(positions: Tensor, octaves: int) -> Tensor:
    """Positions [B, P, 3], then the sines and the cosines of 1, 2, 4 ... times them: [B, P, 3 + 6 * octaves].

    The published networks, with all octaves, take the cosine as the sine of a quarter turn more: at 2^14 the float32
    sum is off by up to a thousandth, and they were trained on that.
    """
    angles = (positions[..., None, :] * 2.0 ** torch.arange(octaves, device=positions.device)[:, None]).flatten(-2)
    cosines = angles.cos() if octaves < ALL_OCTAVES else (angles + math.pi / 2).sin()
    return torch.cat([positions, angles.sin(), cosines], dim=-1)


def encoding_columns(octaves: int) -> Tensor:
    """Which columns of the first layer belong to the first `octaves`."""
    sines = 3 + torch.arange(3 * octaves)
    return torch.cat([torch.arange(3), sines, sines + 3 * ALL_OCTAVES])
