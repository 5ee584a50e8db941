"""Choose the guidance of `point-e-nano-text` on captions that are never scored (the gallery's `tuning` list).

python -m suite.embedded.choose_guidance
"""

from __future__ import annotations

import json

import torch

from suite.devices.cpu import threads
from suite.embedded.evaluate import GALLERY
from suite.metrics.quality import CHUNK, Judge
from suite.models.point_e import build_nano_text

CANDIDATES = (1.0, 1.5, 2.0)
STEPS = 16


def main(prompts: int = 128) -> None:
    torch.set_num_threads(threads())
    tuning = json.loads(GALLERY.read_text())["tuning"][:prompts]
    judge = Judge()
    pipeline = build_nano_text("embedded", torch.device("cpu"))
    pipeline.steps = STEPS
    for guidance in CANDIDATES:
        pipeline.guidance = guidance
        outcomes = []
        for start in range(0, len(tuning), CHUNK):
            batch = tuning[start : start + CHUNK]
            outcomes += judge.score(pipeline.generate(batch), batch)
        first = [sum(getattr(o, rank) == 0 for o in outcomes) / len(outcomes) for rank in ("rank_153", "rank_3001")]
        distance = sum(o.chamfer for o in outcomes) / len(outcomes)
        print(
            f"guidance {guidance}: first of 153 {first[0]:.3f}, of 3,001 {first[1]:.3f}, Chamfer {distance:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
