"""Guidance within an interval of noise levels only, or none; without it an evaluation has no doubled batch.

Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion
Models", arXiv:2404.07724: at high noise guidance costs diversity, at low noise it does nothing.
It makes other objects of the same noise, so there is no tolerance against fp32; their quality is measured.
"""

from __future__ import annotations

from suite.models.pipeline import Evaluations, Guided, Pipeline, require


def limit(pipeline: Pipeline, device: object, *, low_sigma: float, high_sigma: float) -> Pipeline:
    """Guide where low_sigma <= sigma <= high_sigma, both in units of the samples as the network is trained on them."""
    if not 0 <= low_sigma < high_sigma:
        raise ValueError(
            f"low_sigma {low_sigma} and high_sigma {high_sigma}: the first must be the smaller, and not below 0"
        )
    require(pipeline, Guided)
    if low_sigma > pipeline.sigma_max or high_sigma < pipeline.sigma_min:
        raise ValueError(
            f"low_sigma {low_sigma} and high_sigma {high_sigma}: the noise of {pipeline.model} is "
            f"{pipeline.sigma_min} to {pipeline.sigma_max}, so nothing would be guided"
        )
    pipeline.guided_within = (low_sigma, high_sigma)
    if pipeline.evaluations_are == Evaluations.ALIKE:  # one that differs in other ways does so still
        pipeline.evaluations_are = Evaluations.BY_SHAPE
    return pipeline


def drop(pipeline: Pipeline, device: object) -> Pipeline:
    """No guidance at all: Ho & Salimans 2022, arXiv:2207.12598, with a weight of 0."""
    require(pipeline, Guided).guidance = 1.0
    return pipeline
