"""Equal tokens of rows without a condition merged into one that counts as often: exact, and fewer tokens.

Bolya et al. 2023, "Token Merging: Your ViT But Faster", arXiv:2210.09461, whose attention in proportion to a token's
size adds the logarithm of that size to the scores. There tokens that are alike are merged, at a loss; here only those
that are equal. Guidance asks the network for half of its rows without the picture, where Point-E's 256 tokens of it are
all the same (and so are the upsampler's 1,024 points), and nothing tells tokens apart by their place.
Relative to fp32 an evaluation: 1e-5, sums being taken in another order; with bf16-attention that recipe's tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Guided, Pipeline, require
from suite.models.point_e.network import PointDiffusionTransformer, PointTransformerSettings
from suite.optimizations.execution.forwards import refuse_outside
from suite.optimizations.layers import stages_to_change


def merge(pipeline: Pipeline, device: torch.device, *, stages: Sequence[str] | None = None) -> Pipeline:
    """Of networks that see a picture's tokens. UnsupportedRecipe where there are none, or a network is not torch's."""
    if require(pipeline, Guided).guidance in (0, 1):
        raise UnsupportedRecipe(f"{pipeline.model} is not guided, so that no row is without its condition")
    networks = [pipeline.networks[stage] for stage in stages_to_change(pipeline, stages)]
    for network in networks:
        refuse_outside(network)
    seeing = [network for network in networks if sees_a_grid(network)]
    if not seeing:
        raise UnsupportedRecipe(f"{pipeline.model} has no network with equal tokens where a condition is absent")
    for network in seeing:
        # Not `Forward`: this is what there is to compute, so arithmetic is counted within it.
        network.forward = apart(network.forward, network.settings)
    return pipeline


def sees_a_grid(network: object) -> bool:
    return isinstance(network, PointDiffusionTransformer) and network.settings.conditioning.startswith("grid")


def apart(forward: Callable[..., Tensor], settings: PointTransformerSettings) -> Callable[..., Tensor]:
    """The same function, its rows asked for in groups with and without conditions."""

    def call(x: Tensor, t: Tensor, clip: Tensor | None = None, low_resolution: Tensor | None = None) -> Tensor:
        if clip is None:
            clip = x.new_zeros(len(x), settings.clip_tokens, settings.clip_width)
        conditions = [(clip, 1)] if low_resolution is None else [(clip, 1), (low_resolution, 2)]
        groups: dict[tuple[bool, ...], list[int]] = {}
        for row, absent in enumerate(zip(*(zeroed(values) for values, _ in conditions))):
            groups.setdefault(absent, []).append(row)
        made = []
        for absent, rows in groups.items():
            parts = [one_of(v[rows], axis) if gone else (v[rows], 1) for gone, (v, axis) in zip(absent, conditions)]
            merged, counts = zip(*parts)
            made.append(forward(x[rows], t[rows], *merged, counts=counts if any(absent) else None))
        order = torch.tensor([row for rows in groups.values() for row in rows])
        return torch.cat(made)[order.argsort()]

    return call


def zeroed(values: Tensor) -> list[bool]:
    return (~values.flatten(1).any(1)).tolist()


def one_of(equal: Tensor, axis: int) -> tuple[Tensor, int]:
    """The first of equal tokens, and how many there are."""
    return equal.narrow(axis, 0, 1), equal.shape[axis]
