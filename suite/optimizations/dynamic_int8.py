"""Dynamic int8 of the Linear layers, torch's own: weights in advance, activations at each call.

The paper's "PyTorch (FBGEMM), Linear" (Zhang et al., EMS'23, doi:10.1145/3609395.3610594). torch 2.13 warns that the
function moves to torchao; it is kept because it is what the paper ran.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from suite.models.pipeline import Pipeline
from suite.names import unknown
from suite.optimizations.catalogue import UnsupportedRecipe


def quantize(pipeline: Pipeline, device: object, *, engine: str) -> Pipeline:
    """Quantize every Linear of the diffusion networks. UnsupportedRecipe where torch lacks the engine."""
    engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if engine not in ("fbgemm", "qnnpack", "onednn", "x86"):
        raise unknown("quantization engine", engine, engines)
    if engine not in engines:
        raise UnsupportedRecipe(f"this torch has no {engine} engine; it has {', '.join(engines)}")
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for stage in pipeline.diffusion:
            pipeline.networks[stage] = torch.ao.quantization.quantize_dynamic(
                pipeline.networks[stage], {nn.Linear}, dtype=torch.qint8
            )
    return pipeline
