"""Float32 Linear layers through oneDNN instead of the BLAS that torch was built with.

torch's CPU builds send float32 products to MKL, whose kernels for processors of other makers are slower than the
processor is; oneDNN's are chosen by what the processor can do. Each product is as exact (a different order of sums):
an object is within 1e-5 of the reference, relative.
The GELU between the two layers of a feed-forward part is computed in the first one's epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline
from suite.models.point_e.network import FeedForward
from suite.optimizations.layers import stages_to_change


def use_onednn(pipeline: Pipeline, device: torch.device, *, stages: Sequence[str] | None = None) -> Pipeline:
    """Replace every float32 Linear of the diffusion networks. UnsupportedRecipe where torch has no oneDNN."""
    stages = stages_to_change(pipeline, stages)
    if not all(p.is_cpu for stage in stages for p in pipeline.networks[stage].parameters()):
        raise UnsupportedRecipe("oneDNN's Linear layers are for the CPU")
    if reason := why_absent():
        raise UnsupportedRecipe(reason)
    for stage in stages:
        replace_linears(pipeline.networks[stage])
    return pipeline


def why_absent() -> str | None:
    """Why this torch cannot, or None. The operator is what torch's own compiler emits; it has no public name."""
    if not torch.backends.mkldnn.is_available():
        return "this torch was built without oneDNN"
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return f"torch {torch.__version__} has no operator mkldnn::_linear_pointwise"
    return None


class OneDnnLinear(nn.Module):
    """A Linear layer, and a GELU behind it if asked. Shares the layer's tensors."""

    def __init__(self, layer: nn.Linear, gelu: bool = False):
        super().__init__()
        self.weight, self.bias, self.gelu = layer.weight, layer.bias, gelu

    def forward(self, x: Tensor) -> Tensor:
        after = ("gelu", [], "none") if self.gelu else ("none", [], "")
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *after)


class OneDnnFeedForward(nn.Module):
    def __init__(self, part: FeedForward):
        super().__init__()
        self.c_fc = OneDnnLinear(part.c_fc, gelu=True)
        self.c_proj = OneDnnLinear(part.c_proj)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.c_fc(x))


def replace_linears(network: nn.Module) -> None:
    """In place. Only exact Linear layers in float32: a subclass computes in a way of its own."""
    for name, part in list(network.named_children()):
        if type(part) is FeedForward and plain(part.c_fc) and plain(part.c_proj):
            setattr(network, name, OneDnnFeedForward(part))
        elif plain(part):
            setattr(network, name, OneDnnLinear(part))
        else:
            replace_linears(part)


def plain(part: nn.Module) -> bool:
    return type(part) is nn.Linear and part.weight.dtype == torch.float32
