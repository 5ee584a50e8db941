"""Fewer evaluations of the networks: fewer steps, another solver, other noise levels to stop at.

Karras et al. 2022, arXiv:2206.00364, equation 5, for the grid that the models' own recipe has; the solvers' sources are
in `suite.models.solvers`. It takes no training and no calibration.
"""

from __future__ import annotations

from suite.models.pipeline import Pipeline
from suite.models.solvers import SOLVERS, SPACINGS, Sampling
from suite.names import unknown


def set_steps(
    pipeline: Pipeline, device: object, *, steps: int, solver: str = "heun", spacing: str = "karras",
    stages: tuple[str, ...] | None = None,
) -> Pipeline:  # fmt: skip
    """How diffusion stages are sampled: all of them, or those named and no other."""
    if steps < 1:
        raise ValueError(f"steps: {steps} is not possible; at least 1")
    if solver not in SOLVERS:
        raise unknown("solver", solver, SOLVERS)
    if spacing not in SPACINGS:
        raise unknown("spacing", spacing, SPACINGS)
    for stage in stages or ():
        if stage not in pipeline.diffusion:
            raise unknown("diffusion stage", stage, pipeline.diffusion)
    if stages is None:
        pipeline.steps, pipeline.solver, pipeline.spacing, pipeline.apart = steps, solver, spacing, {}
    else:
        pipeline.apart = pipeline.apart | dict.fromkeys(stages, Sampling(steps, solver, spacing))
    return pipeline
