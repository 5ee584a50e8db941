"""Dynamic int8 of the Linear layers by torchao, which torch.ao's own (`dynamic_int8`) moves to.

https://docs.pytorch.org/ao/stable/, `Int8DynamicActivationInt8WeightConfig`: weights with a scale an output channel,
activations with one a row, found at each call. Root mean square difference from float32 on the same noise, 16 steps:
at most 0.04. Eagerly its integer products on a CPU are not the fast ones; the kernels that it is made for come from
`int8-torchao-linear+compile`. Not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline
from suite.optimizations.layers import stages_to_change

MULTIPLE = 8  # of widths that a GPU's integer products take; the few layers of others stay as they are


def quantize(pipeline: Pipeline, device: torch.device, *, stages: Sequence[str] | None = None) -> Pipeline:
    """Quantize the Linear layers of the diffusion networks. UnsupportedRecipe where torchao is not installed."""
    stages = stages_to_change(pipeline, stages)
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    except ImportError as error:
        raise UnsupportedRecipe(
            f"torchao is not installed ({error}); the extra `torchao` brings it: pip install -e '.[torchao]'"
        ) from None
    for stage in stages:
        quantize_(pipeline.networks[stage], Int8DynamicActivationInt8WeightConfig(), filter_fn=fits)
    return pipeline


def fits(layer: nn.Module, name: str) -> bool:
    """Whether a layer is quantized."""
    return type(layer) is nn.Linear and layer.in_features % MULTIPLE == 0 and layer.out_features % MULTIPLE == 0
