"""How the diffusion stages of a pipeline are sampled: one way for all, and for some a way of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from suite.models.samplers import NoiseSchedule
from suite.models.solvers import SOLVERS, SPACINGS, evaluations, levels
from suite.names import unknown


@dataclass(frozen=True)
class Sampling:
    """So many steps of a solver, between noise levels spaced by a rule.

    Few steps are best spent where the sample still changes: sigma_min and sigma_max narrow the model's own span.
    """

    steps: int = 64
    solver: str = "heun"
    spacing: str = "karras"
    sigma_min: float | None = None
    sigma_max: float | None = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps: {self.steps} is not possible; at least 1")
        if self.solver not in SOLVERS:
            raise unknown("solver", self.solver, SOLVERS)
        if self.spacing not in SPACINGS:
            raise unknown("spacing", self.spacing, SPACINGS)

    @property
    def evaluations(self) -> int:
        return evaluations(self.steps, self.solver)

    def levels(self, schedule: NoiseSchedule, sigma_min: float, sigma_max: float) -> Tensor:
        """Between its own levels, or else the model's: float64 [steps + 1]."""
        return levels(self.spacing, schedule, self.steps, self.sigma_min or sigma_min, self.sigma_max or sigma_max)


class Sampled:
    """Pipelines whose diffusion stages are sampled so."""

    own_sampler: ClassVar[bool] = False  # somebody else's, that takes a number of Heun's steps and nothing more
    diffusion: tuple[str, ...]
    sampling: Sampling
    apart: dict[str, Sampling]  # stages that are sampled in a way of their own

    @property
    def steps(self) -> int:
        """Of the stages that have no way of their own."""
        return self.sampling.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.sampling = replace(self.sampling, steps=steps)

    def sampling_of(self, stage: str) -> Sampling:
        return self.apart.get(stage, self.sampling)

    @property
    def stage_evaluations(self) -> dict[str, int]:
        return {stage: self.sampling_of(stage).evaluations for stage in self.diffusion}

    @property
    def evaluations(self) -> int:
        return sum(self.stage_evaluations.values())
