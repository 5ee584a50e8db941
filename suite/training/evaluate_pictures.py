"""The image path's parts by themselves: the pictures, and the objects made of true pictures instead.

    python -m suite.training.evaluate_pictures point-e-nano-image

A picture is recognized as an object is, by one view. A true picture shows the scene as training's pictures do, at the
text-to-image network's size.
"""

from __future__ import annotations

import argparse
import json

import torch
import torch.nn.functional as F
from torch import Tensor

from suite.catalogue.models import MODELS, find_model
from suite.devices.cpu import threads
from suite.judging.intervals import proportion
from suite.judging.scores import summarize
from suite.metrics.quality import Judge
from suite.metrics.sharing import CHUNK
from suite.models.conditioning.clip import embed_views, load_clip_nano
from suite.models.conditioning.embedded import enlarged
from suite.models.conditioning.text_to_image import NANO_SIZE_PX
from suite.models.pipeline import Pipeline, untimed
from suite.names import resolve
from suite.records import Interval
from suite.scenes.captions import all_scenes
from suite.scenes.gallery import GALLERY
from suite.scenes.shapes import SceneTable
from suite.training.evaluate import hits
from suite.training.train_text_to_image import photograph


@torch.inference_mode()
def pictures_precision(pipeline: Pipeline, prompts: list[str], distractors: list[str]) -> dict[int, Interval]:
    """R-Precision of the text-to-image stage's pictures, by the size of the gallery."""
    judge, vectors = load_clip_nano("clip-nano-judge"), []
    for start in range(0, len(prompts), CHUNK):
        pictures = pipeline.condition.pictures(prompts[start : start + CHUNK], 0, untimed)
        vectors.append(embed_views(judge, enlarged(pictures)[:, None]))
    recognized = {size: hits(judge, torch.cat(vectors), prompts, distractors[: size - 1]) for size in (153, 3001)}
    return {size: proportion(int(first.sum()), len(prompts)) for size, first in recognized.items()}


def true_pictures(prompts: list[str], generator: torch.Generator) -> Tensor:
    """The prompts' scenes, photographed: [B, 3, 32, 32], fractions 0–1."""
    scenes = {scene.caption: scene for scene in all_scenes()}
    table = SceneTable([scenes[prompt] for prompt in prompts])
    pictures = photograph(table, torch.arange(len(prompts)), generator)[0]
    return F.adaptive_avg_pool2d(pictures, NANO_SIZE_PX)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.training.evaluate_pictures", description=__doc__)
    parser.add_argument("model", choices=[n for n, m in MODELS.items() if n.endswith("nano-image")])
    parser.add_argument("--prompts", type=int, default=153)
    parser.add_argument("--steps", type=int, default=16, help="of the 3D stages")
    options = parser.parse_args()
    torch.set_num_threads(threads())
    judge, distractors = Judge(), json.loads(GALLERY.read_text())["distractors"]
    prompts = judge.prompts[: options.prompts]
    pipeline = resolve(find_model(options.model).builder)("embedded", torch.device("cpu"))
    pipeline.steps = options.steps
    for size, found in pictures_precision(pipeline, prompts, distractors).items():
        print(f"pictures: first of {size} {found.value:.3f} ({found.low:.3f} to {found.high:.3f})", flush=True)

    generator, encode = torch.Generator().manual_seed(13), pipeline.condition.encode
    pipeline.condition = lambda chunk, sample, stage: encode(true_pictures(chunk, generator))
    outcomes = []
    for start in range(0, len(prompts), CHUNK):
        chunk = prompts[start : start + CHUNK]
        outcomes += judge.score(pipeline.generate(chunk), chunk)
    found = summarize(judge.name, outcomes)
    print(
        f"objects of true pictures, {options.steps} steps: first of 153 {found.r_precision.value:.3f} "
        f"({found.r_precision.low:.3f} to {found.r_precision.high:.3f}), of 3,001 {found.r_precision_3001.value:.3f}, "
        f"Chamfer {found.chamfer.value:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
