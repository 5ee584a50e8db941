"""Networks in half precision; the sampler's own arithmetic stays in float32."""

from __future__ import annotations

import torch

from suite.models.pipeline import Pipeline
from suite.names import unknown

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def cast(pipeline: Pipeline, device: object, *, dtype: str) -> Pipeline:
    """Cast the weights of the diffusion networks; the text encoder runs once and stays as it is."""
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    for stage in pipeline.diffusion:
        pipeline.networks[stage].to(DTYPES[dtype])
    return pipeline
