"""Point-E's network from a point cloud to a signed distance field, and the coloured mesh of it.

A transformer encodes the cloud; positions in space ask it by cross-attention. Nichol et al. 2022, "Point-E", section
4.5, https://arxiv.org/abs/2212.08751; parameter names are those of the official checkpoint `sdf.pt`. The original
encodes the cloud once but projects it to keys and values anew for every batch of positions; here that is done once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.models.finite import FIELD, not_finite
from suite.models.mesh import Mesh, marching_cubes
from suite.models.point_e.network import CHANNEL_SCALES, Backbone, FeedForward

GRID = 128  # positions along each axis
SIDE = 1.02  # of the cube that they fill, in physical units
QUERY_POSITIONS = 4096  # at once
COLOUR_VERTICES = 4096  # at once

Context = list[tuple[Tensor, Tensor]]
"""Keys and values of a cloud by layer, each [B, heads, N, head width]."""


@dataclass(frozen=True, kw_only=True)
class SdfSettings:
    """`points` is the usual size of a cloud; the network takes any."""

    points: int = 4096
    width: int = 256
    encoder_layers: int = 8
    decoder_layers: int = 4
    heads: int = 4


class CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.c_q = nn.Linear(width, width)
        self.c_kv = nn.Linear(width, 2 * width)
        self.c_proj = nn.Linear(width, width)

    def keys_values(self, data: Tensor) -> tuple[Tensor, Tensor]:
        # Head by head, as in the diffusion networks.
        kv = self.c_kv(data).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = kv.chunk(2, dim=-1)
        return key.contiguous(), value.contiguous()  # asked again and again

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        query = self.c_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, *keys_values)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = CrossAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)
        self.ln_3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attn(self.ln_1(x), keys_values)
        return x + self.mlp(self.ln_3(x))


class Perceiver(nn.Module):
    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(layers))

    def keys_values(self, data: Tensor) -> Context:
        return [block.attn.keys_values(block.ln_2(data)) for block in self.resblocks]

    def forward(self, x: Tensor, context: Context) -> Tensor:
        for block, keys_values in zip(self.resblocks, context):
            x = block(x, keys_values)
        return x


class SdfNetwork(nn.Module):
    """Clouds and positions in physical units, [B, 3, N] -> what the field is there, [B, N]; positive inside."""

    def __init__(self, settings: SdfSettings | None = None):
        super().__init__()
        self.settings = settings = settings or SdfSettings()
        self.encoder_input_proj = nn.Linear(3, settings.width)
        self.encoder = Backbone(settings.width, settings.encoder_layers, settings.heads)
        self.decoder_input_proj = nn.Linear(3, settings.width)
        self.decoder = Perceiver(settings.width, settings.decoder_layers, settings.heads)
        self.ln_post = nn.LayerNorm(settings.width)
        self.output_proj = nn.Linear(settings.width, 1)

    def context(self, clouds: Tensor) -> Context:
        """What every position asks of a cloud."""
        dtype = self.ln_post.weight.dtype
        return self.decoder.keys_values(self.encoder(self.encoder_input_proj(clouds.transpose(1, 2).to(dtype))))

    def forward(self, positions: Tensor, context: Context) -> Tensor:
        dtype = self.ln_post.weight.dtype
        x = self.decoder(self.decoder_input_proj(positions.transpose(1, 2).to(dtype)), context)
        return self.output_proj(self.ln_post(x))[..., 0].float()


def field_of_cloud(network: SdfNetwork, cloud: Tensor, grid: int = GRID) -> Tensor:
    """A cloud [N, 6] with xyz within ±1 -> the field on a grid over the cube: [grid, grid, grid], float32."""
    context = network.context(cloud[None, :, :3].transpose(1, 2).float() / CHANNEL_SCALES[0])
    axis = torch.linspace(-SIDE / 2, SIDE / 2, grid, device=cloud.device)
    positions = torch.cartesian_prod(axis, axis, axis)
    parts = [network(part.T[None], context)[0] for part in positions.split(QUERY_POSITIONS)]
    return torch.cat(parts).view(grid, grid, grid)


def mesh_of_cloud(network: SdfNetwork, cloud: Tensor, grid: int = GRID) -> Mesh:
    """The mesh of a cloud [N, 6], xyz within ±1; each vertex has the colour of the point nearest to it.

    A field of one sign gives an empty mesh, where the original subtracts its mean and shows whatever surface that has.
    """
    inside = field_of_cloud(network, cloud, grid)
    if fault := not_finite(inside.flatten(), FIELD):
        return Mesh.nothing(fault)
    vertices, faces = marching_cubes(inside)
    vertices = vertices * (SIDE / 2 * CHANNEL_SCALES[0])
    points = cloud.detach().float().cpu()
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}  # products would blur distances below a thousandth
    nearest = [torch.cdist(part, points[:, :3], **exact).argmin(-1) for part in vertices.split(COLOUR_VERTICES)]
    return Mesh(vertices, faces, points[torch.cat(nearest), 3:])
