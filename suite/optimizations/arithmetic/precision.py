"""Networks in half precision; the sampler's own arithmetic stays in float32.

bfloat16 and float16, https://docs.pytorch.org/docs/stable/tensor_attributes.html. Root mean square difference of the
embedded models' objects from float32 on the same noise, 16 steps: at most 0.02 in bfloat16 and 0.01 in float16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from suite.catalogue.recipes import ARITHMETIC, Optimization, UnsupportedRecipe
from suite.models.pipeline import Pipeline
from suite.names import unknown
from suite.optimizations.layers import stages_to_change

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CAST = "suite.optimizations.arithmetic.precision:cast"


def cast(pipeline: Pipeline, device: torch.device, *, dtype: str, stages: Sequence[str] | None = None) -> Pipeline:
    """Cast the weights of the diffusion networks; the text encoder runs once and stays as it is.

    UnsupportedRecipe for float16 on a processor without arithmetic in it.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    stages = stages_to_change(pipeline, stages)
    if dtype == "float16" and device.type != "cuda" and not has_float16():
        raise UnsupportedRecipe(
            "this processor has no float16 arithmetic: torch would convert each number to float32 and back, "
            "in five times the time of float32; bf16 is its half precision"
        )
    for stage in stages:
        pipeline.networks[stage].to(DTYPES[dtype])
    return pipeline


def has_float16() -> bool:
    """Whether oneDNN, which torch's CPU products in float16 go to, has kernels for this processor."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", None)
    return bool(torch.backends.mkldnn.is_available() and supported is not None and supported())


def cast_to(optimization: Optimization) -> torch.dtype | None:
    """The type that a recipe casts all networks to before it changes them further, or None. Fewer steps change none."""
    first = next((technique for technique in optimization.techniques if ARITHMETIC in technique.sets), None)
    if first is None or first.apply != CAST or first.parameters.get("stages") is not None:
        return None
    return DTYPES.get(first.parameters["dtype"])
