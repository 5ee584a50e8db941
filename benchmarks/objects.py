"""Objects of recipes by name, put into the committed store, so that a clone shows what they look like.

    python -m benchmarks.objects point-e-nano-text/fp32 shap-e-nano-text/steps-4

Of the first prompts of the model's set, from the noise that its cells are scored on: the objects of `pytest`, up to the
arithmetic of the processor. Nothing is timed but what making them took.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from leaderboards.objects import MADE, STORE, Made, made
from suite.building import build
from suite.configurations import find
from suite.metrics.keeping import keep_objects
from suite.metrics.pictures import single_views
from suite.metrics.scoring import generated
from suite.objects import OBJECTS
from suite.prompts import load_prompts
from suite.saving import write_atomically


def objects_of(recipe: str, store: Path) -> Made:
    configuration = find(f"{recipe}@cpu")
    model = configuration.model
    weights = model.weights[0]
    prompts = list(load_prompts(model.prompts).prompts[:OBJECTS])
    pipeline = build(configuration, weights, torch.device("cpu"))
    objects = generated(pipeline, prompts)
    return Made(
        model=model.name,
        optimization=configuration.optimization.name,
        weights=weights,
        weights_sha256=pipeline.weights_sha256,
        output=configuration.output,
        how=f"python -m benchmarks.objects {recipe}",
        objects=keep_objects(store, objects, prompts, single_views(objects)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", nargs="+", metavar="MODEL/OPTIMIZATION")
    parser.add_argument("--store", type=Path, default=STORE, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args()
    held, problems = made(options.store)
    if problems:
        raise SystemExit("\n".join(problems))
    for recipe in options.recipes:
        started = time.process_time()
        entry = objects_of(recipe, options.store)
        held = sorted([*(e for e in held if e.recipe != entry.recipe), entry], key=lambda e: e.recipe)
        write_atomically(options.store / MADE, json.dumps([e.model_dump(mode="json") for e in held], indent=1) + "\n")
        print(
            f"{recipe}: {len(entry.objects)} objects, {time.process_time() - started:.1f} s of a processor", flush=True
        )


if __name__ == "__main__":
    main()
