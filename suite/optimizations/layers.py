"""Which networks, and which of their layers, a technique changes: shared by all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from suite.catalogue.models import MODELS
from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.pipeline import Pipeline
from suite.names import unknown


def stages_to_change(pipeline: Pipeline, stages: Sequence[str] | None) -> tuple[str, ...]:
    """The diffusion stages that a recipe acts on: those it names, in the pipeline's order, or all of them for None.

    UnknownName for a stage that no model has, UnsupportedRecipe for one that this model lacks, or that is no diffusion,
    and where it has none at all.
    """
    if not pipeline.diffusion:  # else a recipe would change nothing, and its row be the reference's under its name
        raise UnsupportedRecipe(f"{pipeline.model} has no diffusion stage to act on")
    if stages is None:
        return tuple(pipeline.diffusion)
    stages = (stages,) if isinstance(stages, str) else tuple(stages)
    if not stages:
        raise ValueError(f"stages: () chooses nothing; one or more of {', '.join(pipeline.diffusion)}")
    elsewhere = {stage for model in MODELS.values() for stage in model.stages}
    for stage in stages:
        if stage in pipeline.diffusion:
            continue
        if stage in elsewhere:
            raise UnsupportedRecipe(
                f"{pipeline.model} has no diffusion stage {stage!r}; it has {', '.join(pipeline.diffusion)}"
            )
        raise unknown("stage", stage, pipeline.diffusion)
    return tuple(stage for stage in pipeline.diffusion if stage in stages)


def linears(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The Linear layers of a network by their dotted names. Only exact ones: a subclass computes in its own way."""
    return ((name, part) for name, part in list(network.named_modules()) if type(part) is nn.Linear)


def replace(network: nn.Module, name: str, part: nn.Module) -> None:
    """Put a part in the place of the one with this dotted name."""
    owner, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(owner), attribute, part)
