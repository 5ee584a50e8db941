"""The originals: OpenAI's own code and sampler as shipped, as the recipe that `speedup_vs_original` is taken to.

Its noise replayed, an object is within 1e-4 of fp32's, relative: docs/parity.md.
"""

from __future__ import annotations

import torch

from suite.catalogue.models import MODELS
from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline, require
from suite.models.sampling.settings import Sampled
from suite.names import resolve
from suite.optimizations.sampling.steps import NOT_PLAIN, plain

# family -> the package that must be importable, how to get it, and who makes the pipeline of it
ORIGINALS = {
    "point-e": (
        "point_e.diffusion.sampler",
        "point-e @ git+https://github.com/openai/point-e@fc8a607c08a3ea804cc82bf1ef8628f88a3a5d2f",
        "suite.models.point_e.original:original",
    ),
    "shap-e": (
        "shap_e",
        "shap-e @ git+https://github.com/openai/shap-e@50131012ee11c9d2617f3886c10f000d3c7a3b43",
        "suite.models.shap_e.original:original",
    ),
}


def use_original(pipeline: Pipeline, device: torch.device) -> Pipeline:
    """The same model by its authors' code. UnsupportedRecipe where there is none, or where it is not installed."""
    model = MODELS.get(pipeline.model)
    if model is None or not model.full_size or model.family not in ORIGINALS:
        raise UnsupportedRecipe(f"{pipeline.model} has no original implementation that this suite can run")
    if require(pipeline, Sampled).apart or not plain(pipeline.sampling):
        raise UnsupportedRecipe(NOT_PLAIN)
    package, requirement, make = ORIGINALS[model.family]
    try:
        __import__(package)
    except ImportError as error:
        raise UnsupportedRecipe(
            f'the original is not installed ({error}); `pip install --no-deps "{requirement}"` adds it (docs/parity.md)'
        ) from None
    return resolve(make)(pipeline)
