"""Choose an embedded model's guidance on captions that are never scored (the gallery's `tuning` list).

python -m suite.training.choose_guidance shap-e-nano-text --candidates 1 1.5 2 3
"""

from __future__ import annotations

import argparse
import json

import torch

from suite.catalogue.models import MODELS, find_model
from suite.devices.cpu import threads
from suite.metrics.quality import Judge
from suite.metrics.sharing import CHUNK
from suite.names import resolve
from suite.scenes.gallery import GALLERY


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.training.choose_guidance")
    parser.add_argument("model", help=", ".join(name for name, m in MODELS.items() if "embedded" in m.weights))
    parser.add_argument("--candidates", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(threads())
    tuning = json.loads(GALLERY.read_text())["tuning"][: options.prompts]
    judge = Judge()
    pipeline = resolve(find_model(options.model).builder)("embedded", torch.device("cpu"))
    pipeline.steps = options.steps
    for guidance in options.candidates:
        pipeline.guidance = guidance
        outcomes = []
        for start in range(0, len(tuning), CHUNK):
            batch = tuning[start : start + CHUNK]
            outcomes += judge.score(pipeline.generate(batch), batch)
        first = [sum(getattr(o, rank) == 0 for o in outcomes) / len(outcomes) for rank in ("rank_153", "rank_3001")]
        distances = [o.chamfer for o in outcomes if o.chamfer is not None]
        print(
            f"guidance {guidance:g}: first of 153 {first[0]:.3f}, of 3,001 {first[1]:.3f}, "
            f"Chamfer {sum(distances) / max(1, len(distances)):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
