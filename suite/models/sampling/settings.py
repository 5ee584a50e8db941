"""How the diffusion stages of a pipeline are sampled: one way for all, and for some a way of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from suite.models.pipeline import Pipeline
from suite.models.sampling.denoiser import NoiseSchedule
from suite.models.sampling.solvers import SOLVERS, SPACINGS, evaluations, levels
from suite.names import unknown


@dataclass(frozen=True)
class Sampling:
    """So many steps of a solver, between noise levels spaced by a rule.

    Few steps are best spent where the sample still changes: sigma_min and sigma_max narrow the model's own span.
    sigma_end: the noise that the last step leaves. Not 0 for points of a surface, which a predicted x0 draws together.
    """

    steps: int = 64
    solver: str = "heun"
    spacing: str = "karras"
    sigma_min: float | None = None
    sigma_max: float | None = None
    sigma_end: float = 0.0

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps: {self.steps} is not possible; at least 1")
        if self.solver not in SOLVERS:
            raise unknown("solver", self.solver, SOLVERS)
        if self.spacing not in SPACINGS:
            raise unknown("spacing", self.spacing, SPACINGS)
        for name in ("sigma_min", "sigma_max"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"{name}: {value} is not possible; above 0")
        if self.sigma_min is not None and self.spacing == "trailing":
            raise ValueError("sigma_min: plays no part with the spacing trailing, which ends where its steps lead")
        if self.sigma_end and not SOLVERS[self.solver].ends_anywhere:
            anywhere = ", ".join(name for name, solver in SOLVERS.items() if solver.ends_anywhere)
            raise ValueError(
                f"sigma_end: {self.sigma_end} is not possible; {self.solver} ends at 0, {anywhere} anywhere"
            )

    @property
    def evaluations(self) -> int:
        return evaluations(self.steps, self.solver)

    def levels(self, schedule: NoiseSchedule, sigma_min: float, sigma_max: float) -> Tensor:
        """Between its own levels, or else the model's: float64 [steps + 1]."""
        low, high = self.sigma_min or sigma_min, self.sigma_max or sigma_max
        if not sigma_min <= low < high <= sigma_max:
            raise ValueError(
                f"noise from {high} to {low} is not possible; within the model's {sigma_max} to {sigma_min}"
            )
        made = levels(self.spacing, schedule, self.steps, low, high)
        if not 0 <= self.sigma_end < made[-2]:
            raise ValueError(f"sigma_end: {self.sigma_end} is not possible; 0 to less than {made[-2]:.3g}")
        made[-1] = self.sigma_end
        return made


class Sampled(Pipeline):
    """Pipelines whose diffusion stages are sampled so: a capability, and what it takes to have it."""

    own_sampler: ClassVar[bool] = False  # somebody else's, that takes a number of Heun's steps and nothing more
    refining: ClassVar[
        tuple[str, ...]
    ] = ()  # diffusion stages that start from what the one before made, not from noise
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

    def refined_by(self, sampling: Sampling) -> dict[str, Sampling]:
        """A way of their own for the stages that go on from what the one before made."""
        return {stage: sampling for stage in self.diffusion if stage in self.refining}

    @property
    def stage_evaluations(self) -> dict[str, int]:
        return {stage: self.sampling_of(stage).evaluations for stage in self.diffusion}
