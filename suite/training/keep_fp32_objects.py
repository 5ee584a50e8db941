"""`python -m suite.training.keep_fp32_objects`: the embedded models' fp32 objects, which recipes are held against.

Some 10 minutes of one processor. The file also names the weights that made them; a test compares these.
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file
from torch import Tensor

from suite.building import build
from suite.catalogue.models import MODELS
from suite.configurations import find
from suite.metrics.fp32_objects import FILE, KEPT, as_kept
from suite.metrics.scoring import generated
from suite.metrics.seen import seen
from suite.models.pipeline import Pipeline
from suite.prompts import load_prompts


def fp32_of(model: str) -> Pipeline:
    return build(find(f"{model}/fp32@cpu"), "embedded", torch.device("cpu"))


def points_of(pipeline: Pipeline, prompts: list[str]) -> torch.Tensor:
    """[B, N, 3]; RuntimeError where an object was not made."""
    shown = seen(generated(pipeline, prompts))
    if not shown.made.all():
        raise RuntimeError(f"{pipeline.model} made nothing of {prompts[shown.made.tolist().index(False)]!r}")
    return shown.clouds[..., :3]


def main() -> None:
    prompts = list(load_prompts("embedded").prompts[:KEPT])
    tensors: dict[str, Tensor] = {}
    weights: dict[str, str] = {}
    for model in (name for name, entry in MODELS.items() if entry.weights == ("embedded",)):
        pipeline = fp32_of(model)
        weights[model] = pipeline.weights_sha256
        points = as_kept(points_of(pipeline, prompts))
        tensors |= {f"{model}/{n}": points[n].clone() for n in range(len(prompts))}
        print(f"{model}: {len(prompts)} objects of {points.shape[1]} points", flush=True)
    save_file(tensors, FILE, {"prompts": json.dumps(prompts), "weights_sha256": json.dumps(weights)})


if __name__ == "__main__":
    main()
