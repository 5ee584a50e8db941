"""Fewer steps of the embedded text-to-image stage: Euler's method on a straight path, which few steps follow well.

Liu et al. 2022, "Flow Straight and Fast", arXiv:2209.03003. The published painters keep their own number.
It makes other pictures of the same noise, so there is no tolerance against fp32; their quality is measured.
"""

from __future__ import annotations

from suite.models.pipeline import PaintsFirst, Pipeline, require


def set_picture_steps(pipeline: Pipeline, device: object, *, steps: int) -> Pipeline:
    """So many evaluations a picture. UnsupportedRecipe for a model that paints none, or by a published painter."""
    if steps < 1:
        raise ValueError(f"steps: {steps} is not possible; at least 1")
    require(pipeline, PaintsFirst).picture_steps = steps
    return pipeline
