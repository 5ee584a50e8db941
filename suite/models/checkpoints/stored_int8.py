"""Weights in 8 bits a number, symmetric, with a scale an output channel: as they are stored, or held in memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"


def rows_in_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [out, in] -> int8 levels [out, in] and their scales [out, 1] in its type; levels * scales is nearest."""
    scale = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale.to(weight.dtype)


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's state with its matrices as levels and scales, and the rest in half: a quarter of float32's bytes."""
    made: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.ndim == 2:
            made[name], scale = rows_in_int8(value.float())
            made[name + SCALE] = scale.half()
        else:
            made[name] = value.half()
    return made


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` was given, rounded; float32."""
    return {
        name: value.float() * state[name + SCALE].float() if name + SCALE in state else value.float()
        for name, value in state.items()
        if not name.endswith(SCALE)
    }
