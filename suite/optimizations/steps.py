"""Fewer sampler steps on the same Karras grid (Karras et al. 2022, arXiv:2206.00364, equation 5)."""

from __future__ import annotations

from suite.models.pipeline import Pipeline


def set_steps(pipeline: Pipeline, device: object, *, steps: int) -> Pipeline:
    if steps < 1:
        raise ValueError(f"steps: {steps} is not possible; at least 1")
    pipeline.steps = steps
    return pipeline
