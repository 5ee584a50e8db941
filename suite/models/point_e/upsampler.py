"""The embedded upsampler: a few points of a surface -> more points of the same surface.

Point-E's own upsampler lets every point attend to every other one (`point_e_network`, "grid+points"). At the embedded
size that was slower than the base and still off the surface. Points of a surface are independent of each other once
the surface is known, so here each new point looks at the low-resolution points alone: they are encoded once an object,
and an evaluation costs as much as its new points. A new point sees its nearest low-resolution points by their offsets,
which is what tells it where the surface passes (after PointNet++, Qi et al. 2017, arXiv:1706.02413), and all of them
by cross-attention. Preconditioning as in Karras et al. 2022, arXiv:2206.00364, table 1, with a data deviation of 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.point_e.network import CHANNELS, Block, FeedForward, Float32Linear, timestep_embedding

OCTAVES = 6  # of the coordinates' Fourier features: down to a 64th of the unit cube


@dataclass(frozen=True, kw_only=True)
class UpsamplerSettings:
    """`points` new ones are made from `low_resolution_points`; `neighbours` of these are seen by their offsets."""

    points: int
    low_resolution_points: int
    width: int
    heads: int
    context_layers: int
    layers: int
    clip_width: int
    neighbours: int = 8


class CrossBlock(nn.Module):
    """New points ask the context; the noise level scales and shifts what each half sees."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, elementwise_affine=False)
        self.ln_2 = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 4 * width)
        self.c_q = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, width)
        self.c_kv = nn.Linear(width, 2 * width)
        self.mlp = FeedForward(width)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        kv = self.c_kv(context).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return kv.chunk(2, dim=-1)

    def forward(self, x: Tensor, level: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        scale_1, shift_1, scale_2, shift_2 = self.modulate(level)[:, None].chunk(4, dim=-1)
        query = self.c_q(self.ln_1(x) * (1 + scale_1) + shift_1).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, *keys_values)
        x = x + self.c_proj(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x) * (1 + scale_2) + shift_2)


@dataclass
class Context:
    """What the low-resolution points of a batch say, computed once an object."""

    xyz: Tensor  # [B, M, 3]
    rgb: Tensor  # [B, M, 3]
    local: Tensor  # [B, M, width], what a neighbour tells
    keys_values: list[tuple[Tensor, Tensor]]  # by layer


class PointUpsampler(nn.Module):
    """Predicts the clean new points from noisy ones. Points are [B, 6, N] in the embedded network's units."""

    def __init__(self, settings: UpsamplerSettings):
        super().__init__()
        self.settings = settings
        width = settings.width
        features = CHANNELS + 6 * OCTAVES
        self.context_proj = nn.Linear(features, width)
        self.clip_embed = nn.Linear(settings.clip_width, width)
        self.context_blocks = nn.ModuleList(Block(width, settings.heads) for _ in range(settings.context_layers))
        self.ln_context = nn.LayerNorm(width)
        self.level_embed = FeedForward(width)
        self.input_proj = nn.Linear(features, width)
        self.local_context = nn.Linear(width, width)
        self.local_offset = nn.Linear(2 * 3 + 1, width)
        self.local_level = nn.Linear(width, width)
        self.local_out = nn.Linear(width, width)
        self.blocks = nn.ModuleList(CrossBlock(width, settings.heads) for _ in range(settings.layers))
        self.ln_out = nn.LayerNorm(width)
        self.output_proj = Float32Linear(width, CHANNELS)
        if not self.output_proj.weight.is_meta:  # drawing there would import torch's compiler, for nothing
            self._initialize()

    def _initialize(self) -> None:
        # The prediction starts as the input's own mean; each residual branch starts small.
        for block in self.blocks:
            nn.init.normal_(block.modulate.weight, std=0.02)
            nn.init.zeros_(block.modulate.bias)
            for layer in (block.c_proj, block.mlp.c_proj):
                nn.init.normal_(layer.weight, std=0.3 / math.sqrt(self.settings.width))
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)

    @property
    def dtype(self) -> torch.dtype:
        return self.ln_out.weight.dtype

    def context(self, low_resolution: Tensor, clip: Tensor) -> Context:
        """low_resolution [B, 6, M] and the unit CLIP vector [B, clip_width] -> what every evaluation shares."""
        points = low_resolution.transpose(1, 2).float()
        tokens = self.context_proj(point_features(points).to(self.dtype))
        vector = self.clip_embed((clip.float() * math.sqrt(self.settings.clip_width)).to(self.dtype))
        tokens = torch.cat([vector[:, None], tokens], dim=1)
        for block in self.context_blocks:
            tokens = block(tokens)
        tokens = self.ln_context(tokens)
        xyz, rgb = points.split(3, dim=-1)
        return Context(
            xyz, rgb, self.local_context(tokens[:, 1:]), [block.keys_values(tokens) for block in self.blocks]
        )

    def forward(self, x: Tensor, sigma: Tensor, context: Context) -> Tensor:
        """Noisy points x = x0 + sigma * noise [B, 6, N] at the level sigma [B] -> the predicted x0, float32."""
        points, level = x.transpose(1, 2).float(), sigma.float()[:, None, None]
        skip, out = 1 / (1 + level**2), level / (1 + level**2).sqrt()
        # 250 a natural logarithm of the level: about the range that the frequencies are made for.
        embedding = self.level_embed(timestep_embedding(500 + 125 * sigma.log(), self.settings.width).to(self.dtype))
        tokens = self.input_proj(point_features(points).to(self.dtype)) + self._neighbourhood(
            points, embedding, context
        )
        for block, keys_values in zip(self.blocks, context.keys_values):
            tokens = block(tokens, embedding, keys_values)
        predicted = self.output_proj(self.ln_out(tokens)).float()
        return (skip * points + out * predicted).transpose(1, 2)

    def _neighbourhood(self, points: Tensor, level: Tensor, context: Context) -> Tensor:
        """What the nearest low-resolution points say to each new one: [B, N, width]."""
        xyz, rgb = points.split(3, dim=-1)
        distance = torch.cdist(xyz, context.xyz)
        distance, nearest = distance.topk(self.settings.neighbours, dim=-1, largest=False, sorted=False)
        told = gather(torch.cat([context.xyz, context.rgb], -1), nearest) - torch.cat([xyz, rgb], -1)[:, :, None]
        offsets = torch.cat([told, distance[..., None]], -1).to(self.dtype)
        hidden = gather(context.local + self.local_level(level)[:, None], nearest) + self.local_offset(offsets)
        return self.local_out(F.gelu(hidden)).amax(2)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """values [B, M, C] at index [B, N, K] -> [B, N, K, C]."""
    # `shape[0]`, not `len()`, which an exporter by tracing would write into the graph as a number.
    rows = index + values.shape[1] * torch.arange(values.shape[0], device=index.device)[:, None, None]
    return F.embedding(rows, values.flatten(0, 1))


def point_features(points: Tensor) -> Tensor:
    """Points [B, N, 6] -> themselves, and sines and cosines of the coordinates: [B, N, 6 + 6 * OCTAVES]."""
    angles = points[..., :3, None] * (2.0 ** torch.arange(OCTAVES, device=points.device))
    angles = angles.flatten(-2)
    return torch.cat([points, angles.sin(), angles.cos()], dim=-1)
