"""The models, one literal entry each. Without torch; builders are named as "module:function"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    # By stage: how many points the networks make where a recipe leaves that one out, and fills up with copies.
    points_without: Mapping[str, int] = field(default_factory=dict, hash=False)
    full_size: bool = False  # published weights of hundreds of MB; becomes the mark `fullsize`
    smoke: tuple[str, ...] = ()  # recipes of the default run: the reference, one of the paper's techniques, the best

    @property
    def modules(self) -> tuple[str, ...]:
        """Whose code it runs. Imported before memory is read, since Python modules are not the model's memory."""
        painting = ("suite.models.conditioning.text_to_image",) if "text-to-image" in self.stages else ()
        clip = ("suite.models.conditioning.with_open_clip",) if self.full_size else ()
        return (self.builder.partition(":")[0], *painting, *clip)


OPENAI_POINT_E = "github.com/openai/point-e, commit fc8a607; Nichol et al. 2022, arXiv:2212.08751"
OPENAI_SHAP_E = "github.com/openai/shap-e, commit 5013101; Jun & Nichol 2023, arXiv:2305.02463"


NANO_CLOUD = dict(family="point-e", output="point cloud of 256 points", stages=("base diffusion",))
NANO_FINE_CLOUD = dict(
    family="point-e",
    output="point cloud of 1,024 points",
    stages=("base diffusion", "upsampler"),
    points_without={"upsampler": 256},
)
NANO_MESH = dict(family="shap-e", output="coloured mesh of a grid of 64", stages=("latent diffusion", "mesh decoder"))


def _nano(name: str, builder: str, *, pictures: bool, smoke: tuple[str, ...], **of_the_family: Any) -> Model:
    """An embedded model, conditioned by text or by pictures that another embedded network makes of it."""
    before = ("text encoder", "text-to-image", "image encoder") if pictures else ("text encoder",)
    return Model(
        name=name,
        builder=f"suite.models.{builder}",
        conditioning="text to image to 3D" if pictures else "text",
        stages=(*before, *of_the_family.pop("stages")),
        prompts="embedded",
        weights=("embedded",),
        source=f"trained here: suite/embedded/cards/{name}.md",
        smoke=("fp32", *smoke),
        **of_the_family,
    )


def _published(name: str, builder: str, *, pictures: bool, **of_the_family: Any) -> Model:
    """A published size, conditioned by text or by pictures of it."""
    stages = ("text-to-image", "image encoder") if pictures else ("text encoder",)
    return Model(
        name=name,
        builder=builder,
        conditioning="text to image to 3D" if pictures else "text",
        stages=(*stages, *of_the_family.pop("stages")),
        prompts="coco",
        weights=("official", "random"),
        full_size=True,
        **of_the_family,
    )


def _point_e(name: str, builder: str, pictures: bool) -> Model:
    return _published(
        name,
        f"suite.models.point_e.full_size:{builder}",
        pictures=pictures,
        family="point-e",
        source=OPENAI_POINT_E,
        output="point cloud of 4096 points",
        stages=("base diffusion", "upsampler"),
    )


def _shap_e(name: str, builder: str, pictures: bool) -> Model:
    return _published(
        name,
        f"suite.models.shap_e.full_size:{builder}",
        pictures=pictures,
        family="shap-e",
        source=OPENAI_SHAP_E,
        output="coloured mesh of a grid of 128",
        stages=("latent diffusion", "mesh decoder"),
    )


MODELS = {
    model.name: model
    for model in (
        _nano(
            "point-e-nano-text",
            "point_e.pipeline:build_nano_text",
            pictures=False,
            smoke=("distilled-4", "distilled-2+copied-points"),
            **NANO_FINE_CLOUD,
        ),
        _nano(
            "point-e-nano-image",
            "point_e.pipeline:build_nano_image",
            pictures=True,
            smoke=("distilled-2+pictures-1", "distilled-1+pictures-1"),
            **NANO_CLOUD,
        ),
        _nano(
            "shap-e-nano-text",
            "shap_e.pipeline:build_nano_text",
            pictures=False,
            smoke=("steps-16", "one-evaluation+coarse-decode"),
            **NANO_MESH,
        ),
        _nano(
            "shap-e-nano-image",
            "shap_e.pipeline:build_nano_image",
            pictures=True,
            smoke=("steps-16", "one-evaluation+coarse-decode+pictures-1"),
            **NANO_MESH,
        ),
        _point_e("point-e-40m-text", "build_40m_text", pictures=False),
        _point_e("point-e-40m-imagevec", "build_40m_imagevec", pictures=True),
        _point_e("point-e-40m-image", "build_40m_image", pictures=True),
        _point_e("point-e-300m-image", "build_300m_image", pictures=True),
        _point_e("point-e-1b-image", "build_1b_image", pictures=True),
        _shap_e("shap-e-300m-text", "build_text", pictures=False),
        _shap_e("shap-e-300m-image", "build_image", pictures=True),
    )
}


def find_model(name: str) -> Model:
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]
