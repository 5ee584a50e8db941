"""What only training needs of the embedded Shap-E: a cloud of a scene -> the latent of its field."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.models.point_e.network import Block
from suite.models.point_e.upsampler import CrossBlock, point_features
from suite.models.shap_e.networks import TOKEN_WIDTH, TOKENS

WIDTH, HEADS, LAYERS = 128, 4, 3
POSITION_SCALE = 3.0  # as in the embedded Point-E: features down to a small thing's edges


class CloudEncoder(nn.Module):
    """Learned queries ask the points, three times, and each other in between."""

    def __init__(self):
        super().__init__()
        self.input_proj = nn.Linear(point_features(torch.zeros(1, 1, 6)).shape[-1], WIDTH)
        self.point_block = Block(WIDTH, HEADS)
        self.queries = nn.Parameter(torch.randn(TOKENS, WIDTH))
        self.cross = nn.ModuleList(CrossBlock(WIDTH, HEADS) for _ in range(LAYERS))
        self.mixing = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(LAYERS))
        self.ln_out = nn.LayerNorm(WIDTH)
        self.output_proj = nn.Linear(WIDTH, TOKEN_WIDTH)

    def forward(self, cloud: Tensor) -> Tensor:
        """Clouds [B, N, 6], xyz within ±1 and rgb 0–1 -> latents [B, TOKENS, TOKEN_WIDTH] within ±1."""
        scaled = torch.cat([cloud[..., :3] * POSITION_SCALE, cloud[..., 3:] * 2 - 1], -1)
        points = self.point_block(self.input_proj(point_features(scaled)))
        x = self.queries.expand(len(cloud), -1, -1)
        level = x.new_zeros(len(cloud), WIDTH)  # no noise level here: the modulation is its bias
        for cross, mixing in zip(self.cross, self.mixing):
            x = mixing(cross(x, level, cross.keys_values(points)))
        return self.output_proj(self.ln_out(x)).tanh()
