"""A second embedded CLIP that shares no layer with the first: convolutions see, a recurrent network reads.

Two judges of one architecture may share mistakes. This one has the other's interface, and nothing else of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from suite.models.conditioning.clip_network import TEMPERATURE

WIDTHS = (24, 48, 96, 128)  # channels at 32, 16, 8 and 4 pixels
GROUPS = 8  # of channels that are normalized together: one picture's vector does not hang on the others'
WORDS, TOKENS = 96, 41  # width of a word's vector, size of the grammar's vocabulary
LAST_PX = 4


class Block(nn.Module):
    """Two convolutions beside the identity (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv_1(self.act(self.norm_1(x)))
        return x + self.conv_2(self.act(self.norm_2(seen)))


class ConvolutionalClip(nn.Module):
    """Token ids [B, length] and pictures [B, 3, 64, 64], each to vectors [B, embed_dim] that are not of unit length."""

    def __init__(self, embed_dim: int = 128):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2), Block(WIDTHS[0])]
        for narrow, wide in zip(WIDTHS, WIDTHS[1:]):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), Block(wide)]
        self.visual = nn.Sequential(*layers, nn.GroupNorm(GROUPS, WIDTHS[-1]), nn.SiLU(), nn.Flatten())
        self.visual_projection = nn.Linear(WIDTHS[-1] * LAST_PX**2, embed_dim)  # where a thing lies matters: no pooling
        self.words = nn.Embedding(TOKENS, WORDS)
        self.reader = nn.GRU(WORDS, WORDS, batch_first=True, bidirectional=True)
        self.text_projection = nn.Linear(2 * WORDS, embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))

    def encode_image(self, pictures: Tensor) -> Tensor:
        return self.visual_projection(self.visual(pictures))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """The mean of the states up to the last token, which has the largest id."""
        states, _ = self.reader(self.words(tokens))
        place = torch.arange(tokens.shape[1], device=tokens.device)
        read = (place <= tokens.argmax(-1, keepdim=True)).unsqueeze(-1)
        return self.text_projection((states * read).sum(1) / read.sum(1))
