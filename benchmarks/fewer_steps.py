"""How few evaluations do, by solver and spacing of noise levels: quality on tuning captions, which are never scored.

    .venv/bin/python benchmarks/fewer_steps.py shap-e-nano-text [--prompts 64] [--evaluations 31 15 8] [--solvers unipc]

Every recipe is compared at equal evaluations of the first network, Heun's two a step counted; a stage that goes on from
there has the recipes' few (`FEW`). No latency: that is the matrix's.
"""

from __future__ import annotations

import argparse
import json

import torch

from suite.catalogue.models import MODELS, find_model
from suite.catalogue.optimizations import FEW
from suite.devices.cpu import threads
from suite.judging.scores import summarize
from suite.metrics.quality import Judge
from suite.metrics.sharing import CHUNK
from suite.models.sampling.solvers import SOLVERS, SPACINGS
from suite.names import resolve
from suite.optimizations.sampling.steps import set_steps
from suite.scenes.gallery import GALLERY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=[name for name, model in MODELS.items() if "embedded" in model.weights])
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[31, 15, 8, 4, 2])
    parser.add_argument("--solvers", nargs="+", choices=list(SOLVERS), default=list(SOLVERS))
    parser.add_argument("--spacings", nargs="+", choices=SPACINGS, default=list(SPACINGS))
    options = parser.parse_args()
    torch.set_num_threads(threads())
    tuning = json.loads(GALLERY.read_text())["tuning"][: options.prompts]
    judge, device = Judge(), torch.device("cpu")
    pipeline = resolve(find_model(options.model).builder)("embedded", device)
    print(
        "| evaluations | solver | spacing | first of 153 | first of 3,001 | Chamfer |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for wanted in options.evaluations:
        for solver in options.solvers:
            for spacing in options.spacings:
                steps = (wanted + 1) // 2 if solver == "heun" else wanted  # Heun's of 8, 4 and 2: 7, 3 and 1
                made = set_steps(pipeline, device, steps=steps, solver=solver, spacing=spacing, later=FEW)
                outcomes = []
                for start in range(0, len(tuning), CHUNK):
                    batch = tuning[start : start + CHUNK]
                    outcomes += judge.score(made.generate(batch), batch)
                found = summarize(judge.name, outcomes)
                first = found.r_precision
                print(
                    f"| {wanted} | {solver} | {spacing} | {first.value:.3f} ({first.low:.3f} to {first.high:.3f}) | "
                    f"{found.r_precision_3001.value:.3f} | {found.chamfer.value:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
