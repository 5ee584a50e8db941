"""What the tests of techniques share: embedded pipelines, their float32 objects, and how far others are from these."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from suite.building import apply_recipe, load
from suite.configurations import find
from suite.metrics.quality import Judge
from suite.models.pipeline import Pipeline
from suite.models.sampling.settings import Sampling
from suite.optimizations.arithmetic import simulated_integers
from suite.optimizations.onnx import calibration as onnx_calibration

CPU = torch.device("cpu")
PROMPTS = ["a small red cube on a large blue ball", "two yellow cones"]
MORE = [  # where a last digit decides where an object goes, so that one alone says little of a recipe
    *PROMPTS,
    "a green ring",
    "a large black cube next to a small black ball",
    "a small blue cone",
    "a large yellow cylinder on a small red ball",
]
STEPS = 16  # fewer multiply every rounding error by the length of the last step
EMULATED_STEPS = 8  # in half precision, which takes ten times as long where the processor has no such arithmetic
MODELS = ("point-e-nano-text", "shap-e-nano-text")


@cache
def judge() -> Judge:
    """That of the embedded models; it embeds 3,001 captions when it is made."""
    return Judge()


@cache
def loaded(model: str) -> Pipeline:
    """As a worker loads it, once: to be copied, never used."""
    return load(find(f"{model}/fp32@cpu"), "embedded", CPU)


def pipeline(recipe: str = "fp32", model: str = MODELS[0]) -> Pipeline:
    """What `suite.building.build` gives, from a copy of the loaded networks."""
    return apply_recipe(find(f"{model}/{recipe}@cpu").optimization, copy.deepcopy(loaded(model)), CPU)


def calibrate_briefly(patch: pytest.MonkeyPatch) -> None:
    """Ranges from a few short samplings; alike in all tests, so that those of a graph are found once a session."""
    patch.setattr(simulated_integers, "CALIBRATION_PROMPTS", 4)
    patch.setattr(simulated_integers, "CALIBRATION_STEPS", 8)
    patch.setattr(onnx_calibration, "PROMPTS", 2)
    patch.setattr(onnx_calibration, "STEPS", 8)


def objects(made: Pipeline, prompts: Sequence[str] = PROMPTS, steps: int = STEPS) -> Tensor:
    """Clouds, or the latents of meshes."""
    made.steps = steps
    upsample_in_few(made)
    return made.latents(list(prompts)) if hasattr(made, "latents") else made.generate(list(prompts))


def upsample_in_few(made: Pipeline) -> None:
    """Four steps for the stage that goes on from the base's points, where it has no way of its own: most of an object's
    time is spent in it, and what differs between two recipes comes from the base."""
    made.apart = made.refined_by(Sampling(4)) | made.apart


def reference(model: str = MODELS[0], prompts: Sequence[str] = PROMPTS, steps: int = STEPS) -> Tensor:
    """The float32 objects; those of the same prompts and steps are made once."""
    return _reference(model, tuple(prompts), steps)


@cache
def _reference(model: str, prompts: tuple[str, ...], steps: int) -> Tensor:
    return objects(pipeline(model=model), prompts, steps)


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
