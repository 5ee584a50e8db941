"""The embedded CLIP's network: open_clip's `CLIP` at its plainest, under the same names of weights.

Of its own, since open_clip brings torchvision and timm, which take seconds to import and which no embedded model needs.
Tests hold it to open_clip's: from a seed it begins with the same weights, and its vectors are the same.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

MLP_RATIO = 4
TEMPERATURE = 0.07  # that training starts from


class LayerNorm(nn.LayerNorm):
    """In its input's type, where autocast would answer in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(x.dtype)


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = LayerNorm(width)
        layers = {
            "c_fc": nn.Linear(width, MLP_RATIO * width),
            "gelu": nn.GELU(),
            "c_proj": nn.Linear(MLP_RATIO * width, width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        seen = self.ln_1(x)
        mask = None if attn_mask is None else attn_mask.to(seen.dtype)
        x = x + self.attn(seen, seen, seen, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class ImageSide(nn.Module):
    """Pictures [B, 3, size, size], about -1 to 1 -> vectors [B, embed_dim]."""

    def __init__(self, embed_dim: int, image_size: int, patch_size: int, width: int, layers: int, head_width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        positions = (image_size // patch_size) ** 2 + 1
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(positions, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, layers, width // head_width)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed_dim))

    def embedded(self, pictures: Tensor) -> Tensor:
        """What the first block is given: the class token, then the patches row by row [B, 1 + patches, width]."""
        patches = self.conv1(pictures).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1).to(patches.dtype)  # gradients are summed in float32
        return self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches.dtype))

    def vector(self, states: Tensor) -> Tensor:
        """Of the last block's answer [B, 1 + patches, width] -> [B, embed_dim]: its class token's."""
        return self.ln_post(states)[:, 0] @ self.proj

    def forward(self, pictures: Tensor) -> Tensor:
        return self.vector(self.transformer(self.embedded(pictures)))


class Clip(nn.Module):
    """Token ids [B, context_length] and pictures, each to vectors [B, embed_dim] that are not of unit length."""

    def __init__(self, embed_dim: int, vision_cfg: dict[str, int], text_cfg: dict[str, int]):
        super().__init__()
        self.visual = ImageSide(embed_dim, **vision_cfg)
        self._build_text_side(embed_dim, **text_cfg)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))

    def _build_text_side(
        self, embed_dim: int, context_length: int, vocab_size: int, width: int, heads: int, layers: int
    ) -> None:
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(width, layers, heads)
        self.ln_final = LayerNorm(width)
        mask = torch.full((context_length, context_length), float("-inf")).triu(1)
        self.register_buffer("attn_mask", mask, persistent=False)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))

        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in self.transformer.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def encode_image(self, pictures: Tensor) -> Tensor:
        return self.visual(pictures)

    def states(self, tokens: Tensor) -> Tensor:
        """What the text side knows of each token [B, context_length, width]."""
        embedded = self.token_embedding(tokens) + self.positional_embedding
        return self.ln_final(self.transformer(embedded, self.attn_mask))

    def pooled(self, states: Tensor, tokens: Tensor) -> Tensor:
        """A text's vector [B, embed_dim]: of its last token, which has the largest id."""
        return states[torch.arange(len(tokens), device=tokens.device), tokens.argmax(-1)] @ self.text_projection

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.pooled(self.states(tokens), tokens)
