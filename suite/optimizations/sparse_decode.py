"""Shap-E's mesh decoder with empty space skipped: a coarse grid, and all points only where the surface can be.

How, and its source: `suite.models.near_surface`. Tolerance: the very same mesh as the whole grid's on tuning captions,
but for the rounding of other batches (1e-5 of the box).
"""

from __future__ import annotations

from suite.models.near_surface import Refinement
from suite.models.pipeline import Pipeline
from suite.models.shap_e import ShapE
from suite.optimizations.catalogue import UnsupportedRecipe


def refine(pipeline: Pipeline, device: object, *, stride: int, margin: float) -> Pipeline:
    """Set how the mesh decoder's grid is asked. UnsupportedRecipe where a model decodes no field."""
    if not isinstance(pipeline, ShapE):
        raise UnsupportedRecipe(f"{pipeline.model} decodes no field into a mesh")
    pipeline.refinement = Refinement(stride, margin)
    return pipeline
