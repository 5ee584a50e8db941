"""What every model looks like to the worker, the optimizations and the metrics.

`Pipeline` is the least that a model is. What a technique needs beyond it is a capability, a small protocol: `require`
says in words what a pipeline lacks, and the cell is `unsupported` instead of crashed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.shown import Shown

Stage = Callable[[str], AbstractContextManager]
"""Entered around each stage by its name; the worker passes a clock, others nothing."""

Objects = Tensor | list[Shown]
"""Clouds [B, points, 6], xyz within ±1 and rgb 0–1; or meshes, or another form that says how it is seen."""


def untimed(name: str) -> AbstractContextManager:
    return nullcontext()


class Evaluations(Enum):
    """How the network evaluations of one stage differ in what there is to compute. Cost and extrapolation ask."""

    ALIKE = "alike"
    BY_SHAPE = "by the shapes that they are asked with"  # as with guidance at some noise levels only
    ANYHOW = "in ways that their shapes do not tell"  # as with a cache; then none stands for another


class Pipeline:
    """A loaded generator, as a base class. Optimizations replace its `networks`; metrics call `generate`.

    A subclass has `model`, `networks` and `weights_sha256`, and makes objects in `make`.
    """

    model: str
    networks: dict[str, nn.Module]  # by stage
    weights_sha256: str | None
    diffusion: tuple[str, ...] = ()  # the stages whose networks run once an evaluation
    extra_stages: tuple[str, ...] = ()  # other decodings of the same object; `extra` makes them
    evaluations_are: Evaluations = Evaluations.ALIKE
    _beginnings: tuple[Callable[[], None], ...] = ()

    def generate(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Objects:
        """Prompts -> what the model is timed to deliver. sample: of the start noise, another object of each prompt."""
        self.begin()
        return self.make(prompts, sample, stage)

    def make(self, prompts: list[str], sample: int, stage: Stage) -> Objects:
        """As `generate`, which is asked from outside. Enters `stage(name)` around each stage."""
        raise NotImplementedError

    def begin(self) -> None:
        """New objects begin: what techniques keep of the last ones is of no use for them."""
        for beginning in self._beginnings:
            beginning()

    def when_objects_begin(self, call: Callable[[], None]) -> None:
        """For a technique with state (a cache): `call` is called before each making of objects."""
        self._beginnings = (*self._beginnings, call)

    def extra(self, name: str, prompts: list[str], stage: Stage = untimed) -> Any:
        """Another decoding of these prompts' newest objects."""
        raise ValueError(f"{self.model} has no extra stage {name!r}; it has {', '.join(self.extra_stages) or 'none'}")

    def extra_part(self, name: str) -> tuple[object, str] | None:
        """An object and the name of its method that an extra stage calls for one equal part of its work after the
        other, so that it can be told from a few; None where that is not known."""
        return None

    @property
    def stage_evaluations(self) -> dict[str, int]:
        """Network evaluations an object by diffusion stage, guidance's doubled batch counted once."""
        return dict.fromkeys(self.diffusion, 1)

    @property
    def evaluations(self) -> int:
        """All of them."""
        return sum(self.stage_evaluations.values())


class Stepped(Protocol):
    """An object takes a number of steps, and can be made with fewer."""

    steps: int


class Guided(Protocol):
    """Its diffusion is guided: Ho & Salimans 2022, arXiv:2207.12598."""

    guidance: float  # 1: not at all
    guided_within: tuple[float, float]  # sigmas
    sigma_min: float  # of the model's noise
    sigma_max: float


class PaintsFirst(Protocol):
    """It makes a picture of the prompt, in a number of steps that can be chosen."""

    picture_steps: int


class DecodesField(Protocol):
    """It asks a field at the points of a grid, and takes the surface in it as a mesh."""

    grid: int  # points along each axis
    refinement: Any  # suite.models.shap_e.near_surface.Refinement, or None: all points of the grid


class RendersField(Protocol):
    """It makes pictures of a field, sampled along rays."""

    ray_samples: tuple[int, ...]  # coarse and fine, or of one kind
    view_cells: int | None  # along each axis, of which the field is asked in those that hold something


class CopiesPoints(Protocol):
    """Its upsampler may be left out, and the base's points be copied in its place."""

    copies: Any  # suite.models.point_e.pipeline.Copies, or None


LACKS = {
    "Sampled": "has no diffusion whose steps can be chosen",
    "Guided": "has no guidance to change",
    "PaintsFirst": "has no text-to-image stage whose steps can be chosen",
    "DecodesField": "decodes no field into a mesh",
    "RendersField": "has no NeRF views",
    "CopiesPoints": "has no upsampler to do without",
}

Capability = TypeVar("Capability")


def has(pipeline: Pipeline, capability: type) -> bool:
    """Whether it is a subclass, or has what a protocol names (`isinstance` asks that otherwise from Python 3.12 on)."""
    if getattr(capability, "_is_protocol", False):
        return all(hasattr(pipeline, name) for name in capability.__annotations__)
    return isinstance(pipeline, capability)


def require(pipeline: Pipeline, capability: type[Capability]) -> Capability:
    """The pipeline, which has this capability. UnsupportedRecipe where it has not."""
    if not has(pipeline, capability):
        raise UnsupportedRecipe(f"{pipeline.model} {LACKS[capability.__name__]}")
    return pipeline
