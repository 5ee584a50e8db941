"""Networks in half precision; the sampler's own arithmetic stays in float32."""

from __future__ import annotations

import torch

from suite.models.pipeline import Pipeline
from suite.names import unknown
from suite.optimizations.catalogue import ARITHMETIC, Optimization

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CAST = "suite.optimizations.precision:cast"


def cast(pipeline: Pipeline, device: object, *, dtype: str) -> Pipeline:
    """Cast the weights of the diffusion networks; the text encoder runs once and stays as it is."""
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    for stage in pipeline.diffusion:
        pipeline.networks[stage].to(DTYPES[dtype])
    return pipeline


def cast_to(optimization: Optimization) -> torch.dtype | None:
    """The type that a recipe casts to before it changes the networks otherwise, or None. Fewer steps change none."""
    first = next((technique for technique in optimization.techniques if technique.name in ARITHMETIC), None)
    return DTYPES.get(first.parameters["dtype"]) if first is not None and first.apply == CAST else None
