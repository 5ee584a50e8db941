"""Shap-E's NeRF views with empty space skipped, and with fewer samples along each ray.

How, and its source: `suite.models.shap_e.empty_space`. Tolerance: pictures of 60 dB (the very same, unless something is
thinner than a cell) against those of all samples, on tuning captions; 35 dB with half as many samples.
"""

from __future__ import annotations

from suite.models.pipeline import Pipeline, RendersField, require


def skip(pipeline: Pipeline, device: object, *, cells: int, fewer: int = 1) -> Pipeline:
    """Ask the field only in those of `cells` along each axis that hold something, `fewer` times fewer along a ray.

    UnsupportedRecipe where a model makes no views of a field.
    """
    for name, value in (("cells", cells), ("fewer", fewer)):
        if value < 1:
            raise ValueError(f"{name}: {value} is not possible; at least 1")
    require(pipeline, RendersField)
    if fewer > min(pipeline.ray_samples):
        raise ValueError(
            f"fewer: {fewer} is not possible; at most {min(pipeline.ray_samples)}, the samples along a ray"
        )
    pipeline.view_cells = cells
    pipeline.ray_samples = tuple(count // fewer for count in pipeline.ray_samples)
    return pipeline
