"""Fewer evaluations of the networks: fewer steps, another solver, other noise levels to stop at.

Karras et al. 2022, arXiv:2206.00364, equation 5, for the grid that the models' own recipe has; the solvers' sources are
in `suite.models.sampling.solvers`. It takes no training and no calibration.
Too few steps make other objects of the same noise, so there is no tolerance against fp32; their quality is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline, require
from suite.models.sampling.settings import Sampled, Sampling
from suite.names import unknown
from suite.optimizations.layers import stages_to_change


def set_steps(
    pipeline: Pipeline,
    device: object,
    *,
    stages: tuple[str, ...] | None = None,
    later: dict[str, object] | None = None,
    **sampling: object,
) -> Pipeline:
    """How diffusion stages are sampled, all of them or those named and no other: parameters of `Sampling`.

    later: of the stages that start from what the one before made and not from noise, which need less
    (`Sampled.refining`).
    """
    require(pipeline, Sampled)
    if stages is not None and later:
        raise ValueError(f"later: not possible with stages; those that go on from there are {pipeline.refining}")
    wanted = sampling_of(sampling)
    if pipeline.own_sampler and (stages is not None or later or not plain(wanted)):
        raise UnsupportedRecipe(NOT_PLAIN)
    if stages is None:
        pipeline.sampling, pipeline.apart = wanted, {}
    else:
        pipeline.apart = pipeline.apart | dict.fromkeys(stages_to_change(pipeline, stages), wanted)
    if later:
        pipeline.apart = pipeline.apart | pipeline.refined_by(sampling_of(later))
    return pipeline


def sampling_of(parameters: Mapping[str, object]) -> Sampling:
    """UnknownName for a parameter that it does not have."""
    for name in parameters:
        if name not in (known := [field.name for field in fields(Sampling)]):
            raise unknown("sampling parameter", name, known)
    return Sampling(**parameters)


NOT_PLAIN = "the originals' own sampler takes Heun's method on Karras levels, in all stages alike"


def plain(sampling: Sampling) -> bool:
    """Whether only its number of steps is its own."""
    return sampling == Sampling(sampling.steps)
