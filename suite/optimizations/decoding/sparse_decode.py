"""Shap-E's mesh decoder with empty space skipped: a coarse grid, and all points only where the surface can be.

How, and its source: `suite.models.shap_e.near_surface`. Tolerance: the very same mesh as that of all points of the same
grid on tuning captions, but for the rounding of other batches (1e-5 of the box). A coarser grid makes another mesh of
the same shape: 19 of 20 of its vertices lie within two fifths of its spacing of one of the finer mesh's, all within
four fifths.
"""

from __future__ import annotations

from suite.models.pipeline import DecodesField, Pipeline, require
from suite.models.shap_e.near_surface import Refinement

FEWEST = 2  # points along an axis


def refine(pipeline: Pipeline, device: object, *, stride: int, margin: float, coarser: int = 1) -> Pipeline:
    """Set how the mesh decoder's grid is asked, `coarser` times fewer points along each axis than the model's own.

    UnsupportedRecipe where a model decodes no field.
    """
    require(pipeline, DecodesField)
    if not isinstance(coarser, int) or not 1 <= coarser <= pipeline.grid // FEWEST:
        raise ValueError(
            f"coarser: {coarser} is not possible; a whole number from 1 to {pipeline.grid // FEWEST}, "
            f"of {pipeline.grid} points"
        )
    pipeline.refinement = Refinement(stride, margin)
    pipeline.grid //= coarser
    return pipeline
