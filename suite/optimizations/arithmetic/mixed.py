"""A precision for each group of layers, chosen by hand: what rounding hurts keeps its bits.

First and last layers are the sensitive ones of diffusion networks too (Li et al. 2023, "Q-Diffusion", arXiv:2302.04304;
Nagel et al. 2021, arXiv:2106.08295, section 3.6). Root mean square difference from float32 on the same noise, 16 steps,
of the catalogue's `mixed` (blocks in 8 bits, those in the middle in 4, all else in float32): at most 0.06.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from suite.devices.heap import release_freed_memory
from suite.models.pipeline import Pipeline
from suite.names import UnknownName, unknown
from suite.optimizations.arithmetic.weight_only import packed
from suite.optimizations.layers import linears, replace, stages_to_change

PRECISIONS = ("fp32", "bf16", "w8", "w4")


def choose(
    pipeline: Pipeline, device: torch.device, *, layers: Mapping[str, str], stages: Sequence[str] | None = None
) -> Pipeline:
    """Give each Linear of the diffusion networks the precision of the last pattern that its name matches, or none.

    layers: patterns of names (`*`, `?`, `[12]`) -> a precision. In names, the number of a block may also be written as
    `first`, `middle` or `last` (`*blocks.middle.*`). UnknownName for a pattern that matches no layer of any stage.
    """
    if not layers:
        raise ValueError("layers: {} changes nothing; one pattern or more, each with one of " + ", ".join(PRECISIONS))
    for precision in layers.values():
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
    networks = [pipeline.networks[stage] for stage in stages_to_change(pipeline, stages)]
    known = {either for network in networks for name, _ in linears(network) for either in _names(network, name)}
    places = {by_place(network, name) for network in networks for name, _ in linears(network)}  # fewer, and as telling
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UnknownName(f"layers: {unknown('pattern', pattern, places)}")
    for network in networks:
        for name, layer in linears(network):
            names = _names(network, name)
            fitting = [p for pattern, p in layers.items() if any(fnmatchcase(n, pattern) for n in names)]
            if fitting and fitting[-1] != "fp32":
                replace(network, name, _IN[fitting[-1]](layer))
    release_freed_memory()
    return pipeline


def _names(network: nn.Module, name: str) -> tuple[str, str]:
    return name, by_place(network, name)


def by_place(network: nn.Module, name: str) -> str:
    """A layer's name with the numbers of blocks as places: `resblocks.3.attn` of four is `resblocks.last.attn`."""
    parts = name.split(".")
    for k, part in enumerate(parts):
        owner = network.get_submodule(".".join(name.split(".")[:k]))
        if isinstance(owner, nn.ModuleList):
            number = int(part)
            parts[k] = "first" if number == 0 else "last" if number == len(owner) - 1 else "middle"
    return ".".join(parts)


class InBfloat16(nn.Module):
    """A Linear layer that computes in bfloat16 between layers that do not."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer = layer.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(torch.bfloat16)).to(x.dtype)


_IN = {"bf16": InBfloat16, "w8": lambda layer: packed(layer, 8), "w4": lambda layer: packed(layer, 4)}
