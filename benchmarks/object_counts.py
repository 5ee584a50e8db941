"""What an object of each published size costs by recipe: counted on torch's device `meta`, by the recipes' own code.

python -m benchmarks.object_counts          # writes leaderboards/object_counts.json, three minutes of one core

One evaluation of each shape is counted and drawn on to all of them, as the worker does it where an object takes hours.
In float32: `leaderboards.predicting` says what other arithmetic makes of the counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from unittest.mock import patch

import torch

from benchmarks.full_size_cost import published_clip, published_decoder, published_sd_turbo
from leaderboards.predicting import ATTENTION, COUNTS, OTHER, SAMPLINGS
from suite.building import apply_recipe
from suite.catalogue.models import MODELS, Model
from suite.catalogue.optimizations import find_optimization
from suite.catalogue.recipes import UnsupportedRecipe
from suite.metrics import counting
from suite.metrics.cost import count_parameters, sparing_counts
from suite.metrics.counting import Count
from suite.models.conditioning.full_size import Condition
from suite.models.pipeline import Pipeline
from suite.models.point_e.network import PUBLISHED
from suite.models.shap_e.pipeline import ShapE
from suite.names import resolve
from suite.saving import write_atomically

META = torch.device("meta")
WITHOUT_CHECKPOINT = "point-e-300m-text"  # in the paper, and never published: the 300M network conditioned by a vector


@dataclass
class Seen:
    """Of one pipeline: its parameters by stage, the bytes of its largest operation, its stages' counts by recipe."""

    parameters: dict[str, int] = field(default_factory=dict)
    largest_bytes: int = 0
    recipes: dict[str, dict[str, dict]] = field(default_factory=dict)


@contextmanager
def _told_apart(seen: Seen) -> Iterator[None]:
    """Within it, attention's arithmetic is counted as a kind of its own, and the largest operation is kept."""

    def around(counter: Callable, kind: str) -> Callable:
        def count(*arguments: object, **named: object) -> tuple[str, int, int]:
            _, flops, moved = counter(*arguments, **named)
            seen.largest_bytes = max(seen.largest_bytes, moved)
            return kind, flops, moved

        return count

    kinds = {op: ATTENTION if "scaled_dot_product" in str(op) else OTHER for op in counting.COUNTERS}
    with patch.dict(counting.COUNTERS, {op: around(c, kinds[op]) for op, c in counting.COUNTERS.items()}):
        yield


@contextmanager
def _without_memory() -> Iterator[None]:
    """Within it, full-size pipelines are built of shapes. What they are conditioned on is counted apart."""

    def condition(*_: object) -> Callable:
        def made(prompts: list[str], sample: int, stage: object) -> Condition:
            return Condition(torch.empty(1, 768, device=META), torch.empty(1, 256, 1024, device=META))

        made.networks = {}
        return made

    def vector(*_: object) -> Callable:
        made = condition()

        def without_grid(*arguments: object) -> Condition:
            return replace(made(*arguments), grid=None)

        without_grid.networks = {}
        return without_grid

    with ExitStack() as patched:
        patched.enter_context(patch("suite.models.checkpoints.networks.fill_with_noise"))
        for family in ("point_e", "shap_e"):
            of = f"suite.models.{family}.full_size"
            patched.enter_context(patch(f"{of}.text_condition", vector))
            patched.enter_context(patch(f"{of}.picture_condition", condition))
        yield


def _build(model: str) -> Pipeline:
    with _without_memory():
        if model != WITHOUT_CHECKPOINT:
            return resolve(MODELS[model].builder)("random", META)
        wide = {"base40M-textvec": replace(PUBLISHED["base300M"], conditioning="vector", clip_width=768, clip_tokens=1)}
        with patch.dict(PUBLISHED, wide):
            return resolve(MODELS["point-e-40m-text"].builder)("random", META)


def recipe_counts(model: str, recipe: str, seen: Seen) -> dict[str, dict]:
    """By stage with a network that is asked for each evaluation. UnsupportedRecipe where the model cannot do it."""
    pipeline = apply_recipe(find_optimization(recipe), _build(model), META)
    with _told_apart(seen):
        if isinstance(pipeline, ShapE):  # a surface is found in numbers: the decoder is counted apart
            latents = SimpleNamespace(
                networks=pipeline.networks,
                diffusion=pipeline.diffusion,
                generate=lambda prompts, stage: pipeline.latents(prompts, 0, stage),
            )
            found = sparing_counts(latents, "")
        else:
            found = sparing_counts(pipeline, "")
    return {stage: _plain(c, pipeline.stage_evaluations[stage]) for stage, c in found.items() if c.total_flops}


def _plain(count: Count, evaluations: int) -> dict:
    flops = {kind: count.flops[kind] for kind in (ATTENTION, OTHER)}
    return {"evaluations": evaluations, "flops": flops, "bytes_moved": count.bytes_moved}


@cache
def _around(conditioning: str, family: str) -> dict[str, tuple[dict, int]]:
    """The stages before and behind the diffusion, whose attention is little: counted as other arithmetic."""

    def plain(counts: list[Count]) -> dict:
        flops = {ATTENTION: 0, OTHER: sum(c.total_flops for c in counts)}
        return {"evaluations": 1, "flops": flops, "bytes_moved": sum(c.bytes_moved for c in counts)}

    clip = published_clip()
    if conditioning == "text":
        count, parameters = clip["CLIP ViT-L/14, text"]
        stages = {"text encoder": (plain([count]), parameters)}
    else:
        painter = published_sd_turbo().values()
        count, parameters = clip["CLIP ViT-L/14, image"]
        stages = {
            "text-to-image": (plain([c for c, _ in painter]), sum(p for _, p in painter)),
            "image encoder": (plain([count]), parameters),
        }
    if family == "shap-e":
        mesh = next(iter(published_decoder()))
        stages["mesh decoder"] = (plain([mesh.object]), mesh.parameters)
    return stages


def model_counts(model: str, recipes: tuple[str, ...] = SAMPLINGS) -> Seen:
    seen, pipeline = Seen(), _build(model)
    known: Model = MODELS.get(model) or MODELS["point-e-40m-text"]
    around = _around(known.conditioning, known.family)
    seen.parameters = {stage: p for stage, (_, p) in around.items()}
    seen.parameters |= {stage: count_parameters(pipeline.networks[stage]) for stage in pipeline.diffusion}
    for recipe in recipes:
        try:
            counted = recipe_counts(model, recipe, seen)
        except UnsupportedRecipe:
            continue
        stages = {stage: count for stage, (count, _) in around.items()} | counted
        seen.recipes[recipe] = {stage: stages[stage] for stage in known.stages}
    return seen


def main() -> None:
    models = [name for name, model in MODELS.items() if model.full_size]
    found = {model: vars(model_counts(model)) for model in models}
    found[WITHOUT_CHECKPOINT] = vars(model_counts(WITHOUT_CHECKPOINT, ("fp32",)))
    note = "written by `python -m benchmarks.object_counts`: float32, flops (a multiplication and an addition are two)"
    write_atomically(COUNTS, json.dumps({"about": note, "models": found}, indent=1) + "\n")
    print(f"{sum(len(model['recipes']) for model in found.values())} objects counted: {COUNTS}")


if __name__ == "__main__":
    main()
