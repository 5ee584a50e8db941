"""Step distillation: student networks that take the teacher's guided way in 8, 4, 2 or 1 evaluations, one for each.

How they are trained: `suite.training.train_distilled`. Their weights are their own, so that no tolerance against fp32
on the same noise is to be expected; their quality is measured.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from suite.catalogue.recipes import UnsupportedRecipe
from suite.models.checkpoints.embedded import EMBEDDED, load_embedded
from suite.models.checkpoints.stored_int8 import unpacked
from suite.models.pipeline import Guided, Pipeline, require
from suite.models.sampling.settings import Sampled, Sampling
from suite.optimizations.sampling.steps import sampling_of

SUFFIX = "-distilled"


def use_student(
    pipeline: Pipeline, device: torch.device, *, evaluations: int, later: dict[str, object] | None = None
) -> Pipeline:
    """Replace the first diffusion network by its student for so many evaluations; `later` is as in `set_steps`.

    later: parameters of `suite.models.sampling.settings.Sampling`; without them, the model's own. UnsupportedRecipe
    where the model has no student for this number of evaluations; says for which it has.
    """
    if pipeline.model not in (models := distilled_models()):
        raise UnsupportedRecipe(f"{pipeline.model} has no distilled networks; those of {', '.join(models)} are there")
    students, digest = students_of(pipeline.model)
    if evaluations not in students:
        has = ", ".join(map(str, students))
        raise UnsupportedRecipe(
            f"{pipeline.model} has distilled networks for {has} evaluations, none for {evaluations}"
        )
    first = require(pipeline, Sampled).diffusion[0]
    network = pipeline.networks[first]
    network.load_state_dict(students[evaluations])
    pipeline.weights_sha256 = hashlib.sha256(f"{pipeline.weights_sha256}{digest}".encode()).hexdigest()
    require(pipeline, Guided).guidance = 1.0
    pipeline.apart = {first: Sampling(evaluations, "euler", "trailing")}
    if later:
        pipeline.apart |= pipeline.refined_by(sampling_of(later))
    return pipeline


def students_of(model: str) -> tuple[dict[int, dict[str, Tensor]], str]:
    """By evaluations, most first, the state of a student, stored in 8 bits; and the hash of their file."""
    state, digest = load_embedded(model + SUFFIX)
    students: dict[int, dict[str, Tensor]] = {}
    for name, value in unpacked(state).items():
        count, parameter = name.split(".", 1)
        students.setdefault(int(count), {})[parameter] = value
    return dict(sorted(students.items(), reverse=True)), digest


def distilled_models() -> list[str]:
    return sorted(path.stem.removesuffix(SUFFIX) for path in EMBEDDED.glob(f"*{SUFFIX}.safetensors"))
