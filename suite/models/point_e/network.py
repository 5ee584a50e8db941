"""Point-E's point diffusion transformer, once, at every size.

A set transformer without positions: every point is a token, the time step and the conditions are further tokens in
front of the points, and the output is read from the points alone. So the same weights take any number of points.
Nichol et al. 2022, "Point-E", section 4 and appendix A, https://arxiv.org/abs/2212.08751; parameter names are those of
the official checkpoints of https://github.com/openai/point-e, which load with `load_state_dict(strict=True)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 6
"""A point is (x, y, z, red, green, blue)."""

CHANNEL_SCALES = (2.0, 2.0, 2.0, 0.007843137255, 0.007843137255, 0.007843137255)
CHANNEL_BIASES = (0.0, 0.0, 0.0, -1.0, -1.0, -1.0)
"""network units = physical units * scale + bias; physical is xyz within about ±0.5 and colours 0–255."""

INITIAL_SCALES = {"epsilon": 0.25, "v": 0.7}
"""Deviation of new weights × √width. 0.25 is official. A v network of width 128 and four layers had a 7 % lower loss
after 240 steps from 0.7 than from 0.25, on toy shapes with one seed; 1.0 was as good."""


@dataclass(frozen=True, kw_only=True)
class PointTransformerSettings:
    """What tells one point transformer from another.

    `conditioning` also says what `clip` and `low_resolution` must be in `forward`:

    - "none": nothing but the time step;
    - "vector": one CLIP embedding [clip_width], spread over `clip_tokens` tokens (officially one);
    - "grid": the CLIP image encoder's `clip_tokens` last features [clip_tokens, clip_width];
    - "grid+points": a grid and the points of the stage before, i.e. the upsampler.

    `prediction` is "epsilon" with a learned range of variances, twelve output channels (official), or "v", six channels
    from a float32 head (embedded: small networks learn nothing but smears from epsilon at high noise).
    `points` and `low_resolution_points` are the usual numbers; a network takes any.
    """

    points: int
    width: int
    layers: int
    heads: int
    conditioning: Literal["none", "vector", "grid", "grid+points"] = "none"
    clip_width: int = 0
    clip_tokens: int = 0
    low_resolution_points: int = 0
    prediction: Literal["epsilon", "v"] = "epsilon"

    def __post_init__(self):
        if self.conditioning not in ("none", "vector", "grid", "grid+points"):
            raise ValueError(f"unknown conditioning {self.conditioning!r}")
        if self.prediction not in ("epsilon", "v"):
            raise ValueError(f"unknown prediction {self.prediction!r}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and a multiple of {self.heads} heads")
        if self.conditioning != "none" and not (self.clip_width and self.clip_tokens):
            raise ValueError(f"conditioning {self.conditioning!r} needs clip_width and clip_tokens")

    @property
    def output_channels(self) -> int:
        return CHANNELS if self.prediction == "v" else 2 * CHANNELS

    @property
    def tokens(self) -> int:
        """Length of the sequence at the usual number of points, the time token included."""
        return 1 + self.clip_tokens + self.low_resolution_points + self.points


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: [B, tokens, width]. bias: what is added to every query's scores of each key [1, 1, 1, tokens]."""
        # The projection holds query, key and value head by head, not as three blocks of the full width.
        qkv = self.c_qkv(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = qkv.chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), bias)
        return x + self.mlp(self.ln_2(x))


class Backbone(nn.Module):
    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, bias)
        return x


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32 whatever its weights and the autocast around it.

    Rounding v to bfloat16 would put noise of 2**-9 on every point of the result. Dynamic quantization goes by the exact
    type of a module, so it leaves this one alone too.
    """

    def forward(self, x: Tensor) -> Tensor:
        arguments = x.float(), self.weight.float(), self.bias.float()
        device = x.device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return F.linear(*arguments)
        with torch.autocast(device, enabled=False):
            return F.linear(*arguments)


class PointDiffusionTransformer(nn.Module):
    """Predicts, for a noisy cloud at a time step, its noise (epsilon) or its velocity (v)."""

    def __init__(self, settings: PointTransformerSettings):
        super().__init__()
        self.settings = settings
        width = settings.width
        self.time_embed = FeedForward(width)
        self.ln_pre = nn.LayerNorm(width)
        self.backbone = Backbone(width, settings.layers, settings.heads)
        self.ln_post = nn.LayerNorm(width)
        self.input_proj = nn.Linear(CHANNELS, width)
        head = Float32Linear if settings.prediction == "v" else nn.Linear
        self.output_proj = head(width, settings.output_channels)
        if settings.conditioning == "vector":
            self.clip_embed = nn.Linear(settings.clip_width, settings.clip_tokens * width)
        elif settings.conditioning != "none":
            self.clip_embed = nn.Sequential(nn.LayerNorm(settings.clip_width), nn.Linear(settings.clip_width, width))
        if settings.conditioning == "grid+points":
            self.cond_point_proj = nn.Linear(CHANNELS, width)
            self.register_buffer("channel_scales", torch.tensor(CHANNEL_SCALES))
            self.register_buffer("channel_biases", torch.tensor(CHANNEL_BIASES))
        if not self.output_proj.weight.is_meta:  # drawing there would import torch's compiler, for nothing
            self._initialize()

    def _initialize(self):
        # Small residual branches and a silent head: the network begins as the prediction 0, which for v and for epsilon
        # is the mean, and every layer first learns how much to add. Projections into tokens keep torch's default, since
        # ln_pre normalizes what they give.
        deviation = INITIAL_SCALES[self.settings.prediction] / math.sqrt(self.settings.width)
        for part in (self.time_embed, self.backbone):
            for layer in part.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=deviation)
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)

    @property
    def dtype(self) -> torch.dtype:
        # Asked of a LayerNorm, because a quantized Linear has no weight tensor.
        return self.ln_pre.weight.dtype

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        clip: Tensor | None = None,
        low_resolution: Tensor | None = None,
        counts: tuple[int, ...] | None = None,
    ) -> Tensor:
        """Predict epsilon and its range, or v.

        x: noisy points in network units [B, 6, N]. t: time steps within 0–1023, whole or fractional [B].
        clip: [B, clip_width] of any length (it is normalized) or [B, clip_tokens, clip_width] as the encoder gave it;
        zeros, or None, stand for "no condition". low_resolution: points in physical units [B, 6, M].
        counts: how many equal tokens each of a grid is there for, and with low_resolution each of its points. Exact,
        since nothing tells equal tokens apart (Bolya et al. 2023, arXiv:2210.09461: attention in proportion to size).
        Returns [B, 12, N] for "epsilon" (epsilon, then the range) or [B, 6, N] for "v" (float32).
        """
        points = self.input_proj(x.transpose(1, 2).to(self.dtype))
        time = self.time_embed(timestep_embedding(t, self.settings.width).to(self.dtype))[:, None]
        parts = [*self._conditions(time, clip, low_resolution), points]
        bias = None if counts is None else self._bias(parts, (1, *counts, 1))
        tokens = self.backbone(self.ln_pre(torch.cat(parts, dim=1)), bias)
        # A normalization and a projection work token by token, so those of the conditions need not be finished.
        return self.output_proj(self.ln_post(tokens[:, -x.shape[-1] :])).transpose(1, 2)

    def _conditions(self, time: Tensor, clip: Tensor | None, low_resolution: Tensor | None) -> list[Tensor]:
        """The tokens in front of the points, in the official order, each [B, tokens, width]."""
        kind = self.settings.conditioning
        if (low_resolution is not None) != (kind == "grid+points"):
            raise ValueError(f"low_resolution is needed by 'grid+points' and by nothing else; this is {kind!r}")
        if kind == "none":
            if clip is not None:
                raise ValueError("an unconditional network takes no clip")
            return [time]
        if clip is None:
            tokens = () if kind == "vector" else (self.settings.clip_tokens,)
            clip = time.new_zeros(len(time), *tokens, self.settings.clip_width)
        if kind == "vector":
            # Unit variance a channel. Zero stays zero, so it embeds as the bias: what training had for "no condition".
            clip = F.normalize(clip.float(), dim=-1) * math.sqrt(self.settings.clip_width)
            return [self.clip_embed(clip.to(self.dtype)).unflatten(-1, (-1, self.settings.width)), time]
        grid = self.clip_embed(clip.to(self.dtype))
        if kind == "grid":
            return [time, grid]
        return [time, grid, self.cond_point_proj(self._network_units(low_resolution).transpose(1, 2).to(self.dtype))]

    def _bias(self, parts: list[Tensor], counts: tuple[int, ...]) -> Tensor:
        """What attention adds to the scores of tokens that count more than once, [1, 1, 1, tokens]."""
        if len(parts) != len(counts) or not self.settings.conditioning.startswith("grid"):
            raise ValueError(f"counts {counts[1:-1]} do not fit the conditions of {self.settings.conditioning!r}")
        weights = [part.new_full((part.shape[1],), math.log(count)) for part, count in zip(parts, counts)]
        return torch.cat(weights)[None, None, None]

    def _apply(self, fn, recurse=True):
        # Cast to bfloat16 the colour scale would be off by 0.4 %; and memory from `to_empty` holds no constants.
        super()._apply(fn, recurse)
        for name, values in (("channel_scales", CHANNEL_SCALES), ("channel_biases", CHANNEL_BIASES)):
            if name in self._buffers and not self._buffers[name].is_meta:
                self._buffers[name] = torch.tensor(values, device=self._buffers[name].device)
        return self

    def _network_units(self, points: Tensor) -> Tensor:
        return points.float() * self.channel_scales[:, None] + self.channel_biases[:, None]


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of t at width/2 frequencies from 1 down to 1/10,000: [B] to float32 [B, width].

    In float32 whatever the network's type: bfloat16 cannot tell time step 1001 from 1002. Section 3.5 of Vaswani et al.
    2017, https://arxiv.org/abs/1706.03762, with cosine and sine in two halves.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(10_000) / half))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def to_network_units(points: Tensor) -> Tensor:
    """Physical units to the network's: [B, 6, N], xyz about ±0.5 and colours 0–255, to about ±1."""
    return points * points.new_tensor(CHANNEL_SCALES)[:, None] + points.new_tensor(CHANNEL_BIASES)[:, None]


def to_physical_units(points: Tensor) -> Tensor:
    """The network's units to physical ones, the inverse of `to_network_units`. Colours may fall outside 0–255."""
    return (points - points.new_tensor(CHANNEL_BIASES)[:, None]) / points.new_tensor(CHANNEL_SCALES)[:, None]


def _published(**different) -> PointTransformerSettings:
    return PointTransformerSettings(**{"points": 1024, "width": 512, "layers": 12, "heads": 8} | different)


# The conditions come from CLIP ViT-L/14: embeddings of 768, and 16 × 16 patches of 1024 at 224 pixels.
_VECTOR = {"conditioning": "vector", "clip_width": 768, "clip_tokens": 1}
_GRID = {"conditioning": "grid", "clip_width": 1024, "clip_tokens": 256}

PUBLISHED: dict[str, PointTransformerSettings] = {
    "base40M-textvec": _published(**_VECTOR),
    "base40M-imagevec": _published(**_VECTOR),
    "base40M-uncond": _published(),
    "base40M": _published(**_GRID),
    "base300M": _published(width=1024, layers=24, heads=16, **_GRID),
    "base1B": _published(width=2048, layers=24, heads=32, **_GRID),
    "upsample": _published(points=3072, low_resolution_points=1024, **_GRID | {"conditioning": "grid+points"}),
}
"""The official networks by the names of their checkpoints."""
