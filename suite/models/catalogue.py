"""The models, one literal entry each. Without torch; builders are named as "module:function"."""

from __future__ import annotations

from dataclasses import dataclass, field

from suite.names import unknown


@dataclass(frozen=True, kw_only=True)
class Model:
    """A generator at one size and conditioning."""

    name: str
    family: str  # becomes a pytest mark
    builder: str  # "module:function", called as builder(weights, device) -> Pipeline
    conditioning: str  # text, or text to image to 3D
    output: str  # what it is timed to deliver
    stages: tuple[str, ...]
    prompts: str  # which prompt set and gallery score it
    weights: tuple[str, ...]  # kinds that exist: embedded, official, random
    source: str
    smoke: bool = False  # part of the default run
    marks: tuple[str, ...] = field(default=())


MODELS = {
    model.name: model
    for model in (
        Model(
            name="point-e-nano-text",
            family="point-e",
            builder="suite.models.point_e:build_nano_text",
            conditioning="text",
            output="point cloud of 256 points",
            stages=("text encoder", "base diffusion"),
            prompts="embedded",
            weights=("embedded",),
            source="trained here: suite/embedded/cards/point-e-nano-text.md",
            smoke=True,
        ),
    )
}


def find_model(name: str) -> Model:
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]
