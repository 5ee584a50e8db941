"""What the tests of techniques share: embedded pipelines, their float32 objects, and how far others are from these."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from suite.configurations import find
from suite.models.pipeline import Pipeline
from suite.worker import build

CPU = torch.device("cpu")
PROMPTS = ["a small red cube on a large blue ball", "two yellow cones"]
MORE = [  # where a last digit decides where an object goes, so that one alone says little of a recipe
    *PROMPTS, "a green ring", "a large black cube next to a small black ball", "a small blue cone",
    "a large yellow cylinder on a small red ball",
]  # fmt: skip
STEPS = 16  # fewer multiply every rounding error by the length of the last step
MODELS = ("point-e-nano-text", "shap-e-nano-text")


def pipeline(recipe: str = "fp32", model: str = MODELS[0]) -> Pipeline:
    return build(find(f"{model}/{recipe}@cpu"), "embedded", CPU)


def objects(made: Pipeline, prompts: list[str] = PROMPTS) -> Tensor:
    """Clouds, or the latents of meshes."""
    made.steps = STEPS
    return made.latents(prompts) if hasattr(made, "latents") else made.generate(prompts)


@cache
def reference(model: str = MODELS[0]) -> Tensor:
    return objects(pipeline(model=model))


def distance(made: Tensor, reference: Tensor) -> float:
    """Root mean square difference, on the same start noise."""
    return (made - reference).square().mean().sqrt().item()


def linears(made: Pipeline, stage: str = "base diffusion") -> list[nn.Linear]:
    return [part for part in made.networks[stage].modules() if isinstance(part, nn.Linear)]


def network_bytes(network: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


def engine_or_skip(engine: str = "fbgemm") -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"this torch has no {engine} engine")
