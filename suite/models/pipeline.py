"""What every model looks like to the worker, the optimizations and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor, nn

from suite.models.mesh import Mesh

Stage = Callable[[str], AbstractContextManager]
"""Entered around each stage by its name; the worker passes a clock, others nothing."""


def untimed(name: str) -> AbstractContextManager:
    return nullcontext()


class Pipeline(Protocol):
    """A loaded generator. Optimizations replace `networks` and `steps`; metrics call `generate`."""

    model: str
    networks: dict[str, nn.Module]  # by stage
    diffusion: tuple[str, ...]  # the stages whose networks run once an evaluation
    steps: int
    weights_sha256: str | None
    extra_stages: tuple[str, ...]  # other decodings of the same object; `extra(name, prompts, stage)` makes them
    # With extra stages, `extra_part(name)` gives an object and the name of its method that such a stage calls for one
    # equal part of its work after the other, so that it can be told from a few; None where that is not known.

    def generate(self, prompts: list[str], sample: int = 0, stage: Stage = untimed) -> Tensor | list[Mesh]:
        """Prompts -> what the model is timed to deliver: clouds [B, points, 6], xyz within ±1, rgb 0–1; or meshes."""
        ...

    @property
    def stage_evaluations(self) -> dict[str, int]:
        """Network evaluations an object by diffusion stage, guidance's doubled batch counted once."""
        ...

    @property
    def evaluations(self) -> int:
        """All of them."""
        ...
