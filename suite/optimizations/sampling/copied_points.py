"""No upsampler: its new points are the base's own again, each scattered a little.

What an upsampler has to beat, and where the rest is fast already, most of what its one evaluation brings: figures in
docs/fast-recipes.md. Nothing is learned here and no source is known; nearest is the start of the upsampler's sampling.
The points of the base are those of the reference on the same noise, to the bit. Whatever comes before or behind in a
recipe acts on the base alone.
"""

from __future__ import annotations

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import CopiesPoints, Pipeline, require
from suite.models.point_e.pipeline import Copies

STAGE = "upsampler"


def copy_points(pipeline: Pipeline, device: object, *, scatter: float) -> Pipeline:
    """Take the upsampler out. scatter: the deviation of a new point from the one it copies, in network units.

    UnsupportedRecipe for a model without an upsampler, or with one that starts from noise, not the base's points.
    """
    if scatter < 0:
        raise ValueError(f"scatter: {scatter} is not possible; 0 or more")
    require(pipeline, CopiesPoints)
    if STAGE not in pipeline.diffusion:
        raise UnsupportedRecipe(f"{pipeline.model} has no upsampler to do without")
    if STAGE not in pipeline.refining:
        raise UnsupportedRecipe(f"{pipeline.model}'s upsampler starts from noise; how its points scatter is not known")
    network = pipeline.networks.pop(STAGE)
    pipeline.diffusion = tuple(stage for stage in pipeline.diffusion if stage != STAGE)
    pipeline.copies = Copies(network.settings.points, scatter)
    return pipeline
