"""Weights of Linear layers stored in 8 or 4 bits and brought back at each use; activations stay as they are.

8 bits: symmetric, a scale an output channel. 4 bits: two a byte, a scale and a zero point for each group of weights of
a row, as GPTQ's storage has them (Frantar et al. 2022, arXiv:2210.17323), rounded to the nearest.

It saves storage, not time; whether it lowers a process's peak on a full-size model is not shown yet. torch has products
that read such weights (`_weight_int8pack_mm`, `_weight_int4pack_mm_for_cpu`), made for the one row of a language
model's token; on the hundreds of rows of a point cloud they took 2 to 4 times as long in bfloat16, and 35 times and
more in float32, as bringing the weights back and multiplying (AMD EPYC with AVX-512, torch 2.13, one thread, beside
other work, November 2026): this does the latter.
Root mean square difference from float32 on the same noise, 16 steps: at most 0.02 with 8 bits, 0.1 with 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.devices.heap import release_freed_memory
from suite.models.checkpoints.stored_int8 import rows_in_int8
from suite.models.pipeline import Pipeline
from suite.optimizations.layers import linears, replace, stages_to_change

BITS = (8, 4)
GROUP = 32  # weights of a row that share a scale in 4 bits


def pack(
    pipeline: Pipeline, device: torch.device, *, bits: int, group: int = GROUP, stages: Sequence[str] | None = None
) -> Pipeline:
    """Store the weights of every Linear of the diffusion networks in so few bits."""
    check(bits, group)
    for stage in stages_to_change(pipeline, stages):
        network = pipeline.networks[stage]
        for name, layer in linears(network):
            replace(network, name, packed(layer, bits, group))
    release_freed_memory()
    return pipeline


def check(bits: int, group: int = GROUP) -> None:
    """ValueError for what cannot be packed."""
    if bits not in BITS:
        raise ValueError(f"bits: {bits} is not possible; {' or '.join(map(str, BITS))}")
    if group < 2 or group % 2:
        raise ValueError(f"group: {group} is not possible; an even number of weights, at least 2")


def packed(layer: nn.Linear, bits: int, group: int = GROUP) -> nn.Module:
    check(bits, group)
    return Int8Weight(layer) if bits == 8 else Int4Weight(layer, group)


class Int8Weight(nn.Module):
    """A Linear layer whose weights are int8 [out, in] and scales [out, 1]."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        levels, scale = rows_in_int8(layer.weight.detach())
        self.register_buffer("levels", levels)
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def weights(self) -> Tensor:
        """[out, in], in the scales' type."""
        return self.levels * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weights(), self.bias)


class Int4Weight(nn.Module):
    """A Linear layer whose weights are 4 bits, two a byte [out, groups, group / 2], scale and lowest value a group."""

    def __init__(self, layer: nn.Linear, group: int = GROUP):
        super().__init__()
        weight = layer.weight.detach().float()
        self.width = weight.shape[1]
        # The last group is filled up with its own last weight, which changes no range.
        filled = F.pad(weight[:, None], (0, -self.width % group), mode="replicate")[:, 0].unflatten(1, (-1, group))
        low, high = filled.amin(-1, keepdim=True), filled.amax(-1, keepdim=True)
        scale = (high - low).clamp(min=1e-12) / 15
        levels = ((filled - low) / scale).round().clamp(0, 15).to(torch.uint8)
        self.register_buffer("pairs", levels[..., 0::2] | (levels[..., 1::2] << 4))
        self.register_buffer("scale", scale.to(layer.weight.dtype))
        self.register_buffer("low", low.to(layer.weight.dtype))
        self.bias = layer.bias

    def weights(self) -> Tensor:
        """[out, in], in the scales' type."""
        levels = torch.stack([self.pairs & 15, self.pairs >> 4], -1).flatten(-2)
        return (levels * self.scale + self.low).flatten(1)[:, : self.width]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weights(), self.bias)
