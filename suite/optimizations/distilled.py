"""Step distillation: a student network that takes the teacher's guided steps in 8, 4, 2 or 1 evaluations.

How it is trained: `suite.embedded.train_distilled`; what it is: `suite.models.long_steps`. Its weights are its own, so
that no tolerance against fp32 on the same noise is to be expected; its quality is measured.
"""

from __future__ import annotations

import hashlib

import torch

from suite.models.long_steps import COUNTS, set_evaluations, with_step_length
from suite.models.pipeline import Pipeline
from suite.models.sampling import Sampling
from suite.models.weights import EMBEDDED, load_embedded
from suite.names import unknown
from suite.optimizations.catalogue import UnsupportedRecipe

SUFFIX = "-distilled"


def use_student(
    pipeline: Pipeline, device: torch.device, *, evaluations: int, others: dict[str, object] | None = None
) -> Pipeline:
    """Replace the first diffusion network by its student, for so many evaluations; `others` samples the later stages.

    others: parameters of `suite.models.solvers.Sampling`. UnsupportedRecipe where the model has no student.
    """
    if evaluations not in COUNTS:
        raise unknown("evaluations", str(evaluations), [str(count) for count in COUNTS])
    name = pipeline.model + SUFFIX
    if not (EMBEDDED / f"{name}.safetensors").exists():
        others = f"those of {', '.join(models)} are" if (models := distilled_models()) else "none is yet"
        raise UnsupportedRecipe(f"{pipeline.model} has no distilled network that is trained; {others}")
    first, *later = pipeline.diffusion
    network = with_step_length(pipeline.networks[first])
    kept = next(network.parameters()).dtype
    state, digest = load_embedded(name)
    network.load_state_dict(state)  # stored in half; copied into the network's own type
    pipeline.networks[first] = set_evaluations(network.to(device, kept).eval().requires_grad_(False), evaluations)
    pipeline.weights_sha256 = hashlib.sha256(f"{pipeline.weights_sha256}{digest}".encode()).hexdigest()
    pipeline.guidance = 1.0
    pipeline.apart = {first: Sampling(evaluations, "euler", "trailing")} | {
        stage: Sampling(**(others or {"steps": evaluations})) for stage in later
    }
    return pipeline


def distilled_models() -> list[str]:
    return sorted(path.stem.removesuffix(SUFFIX) for path in EMBEDDED.glob(f"*{SUFFIX}.safetensors"))
