"""CLIP R-Precision by retrieval, and the Chamfer distance to the ground truth where there is one.

Each object is rendered from four frozen views and embedded by a judge that took no part in making it; its own
caption is ranked among frozen distractors (Park et al. 2021; DreamFields, arXiv:2112.01455, section 4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from suite.embedded.captions import all_scenes
from suite.embedded.evaluate import GALLERY, embed_captions
from suite.embedded.renderer import judge_views
from suite.embedded.shapes import SceneTable
from suite.judging.intervals import mean_interval, proportion
from suite.metrics.chamfer import chamfer
from suite.metrics.seen import seen
from suite.models.clip import build_clip_nano, embed_views, load_clip
from suite.models.mesh import Mesh
from suite.models.pipeline import Pipeline
from suite.models.weights import load_embedded, sha256_of
from suite.records import PromptOutcome, Quality

CHUNK = 8  # objects scored together
DIVERSITY_PROMPTS = 16  # of which a second object is made
JUDGE = "clip-nano-judge"


class Judge:
    """The frozen judge and its gallery."""

    def __init__(self) -> None:
        weights, digest = load_embedded(JUDGE)
        self.clip = build_clip_nano().eval()
        load_clip(self.clip, weights)
        self.name = f"{JUDGE}:{digest[:12]}"
        gallery = json.loads(GALLERY.read_text())
        self.prompts: list[str] = gallery["prompts"]
        self.distractors = embed_captions(self.clip, gallery["distractors"])
        self._scenes = {scene.caption: scene for scene in all_scenes()}

    @torch.inference_mode()
    def score(self, objects: Tensor | list[Mesh], prompts: list[str]) -> list[PromptOutcome]:
        """Clouds [B, N, 6] or meshes of these prompts -> how well each is recognized."""
        shown = seen(objects)
        clouds, made = shown.clouds, shown.made  # what was not made is last of all, and at no distance
        pictures = embed_views(self.clip, judge_views(clouds, normals=shown.normals))
        own = (pictures * embed_captions(self.clip, prompts)).sum(-1, keepdim=True)
        lead = own - pictures @ self.distractors.T  # [B, 3000]
        lead[~made] = -2.0  # beyond any difference of two cosines
        truth = self._truth(prompts)
        distance = [None] * len(prompts) if truth is None else chamfer(clouds[..., :3], truth[..., :3]).tolist()
        return [
            PromptOutcome(
                prompt=prompt,
                rank_153=int((lead[k, :152] <= 0).sum()),
                rank_3001=int((lead[k] <= 0).sum()),
                margin_153=round(lead[k, :152].amin().item(), 5),
                margin_3001=round(lead[k].amin().item(), 5),
                chamfer=None if distance[k] is None or not made[k] else round(distance[k], 5),
            )
            for k, prompt in enumerate(prompts)
        ]

    def _truth(self, prompts: list[str]) -> Tensor | None:
        """The scenes themselves, undisturbed, as dense clouds [B, 2048, 6]; None for a prompt outside the grammar."""
        if not all(prompt in self._scenes for prompt in prompts):
            return None
        table = SceneTable([self._scenes[prompt] for prompt in prompts])
        return table.clouds(torch.arange(len(prompts)), 2048, torch.Generator().manual_seed(0), jitter=0.0)[0]


def gallery_sha256(path: Path = GALLERY) -> str:
    return sha256_of(path)


def measure_quality(
    pipeline: Pipeline, judge: Judge, count: int, progress: Callable[[int], None] = lambda done: None
) -> tuple[Quality, Tensor | list[Mesh]]:
    """Quality over the first `count` prompts, and the first eight objects, for the contact sheet."""
    if not 1 <= count <= len(judge.prompts):
        raise ValueError(f"quality prompts: {count} is not possible; 1 to {len(judge.prompts)}")
    outcomes: list[PromptOutcome] = []
    first: Tensor | list[Mesh] | None = None
    distances: list[float] = []
    for start in range(0, count, CHUNK):
        prompts = judge.prompts[start : min(start + CHUNK, count)]
        objects = generated(pipeline, prompts)
        first = objects if first is None else first
        outcomes += judge.score(objects, prompts)
        if pair := prompts[: max(0, DIVERSITY_PROMPTS - start)]:
            distances += apart(objects, generated(pipeline, pair, sample=1))
        progress(len(outcomes))
    return summarize(judge.name, outcomes, distances), first


def generated(pipeline: Pipeline, prompts: list[str], sample: int = 0) -> Tensor | list[Mesh]:
    """One at a time, as objects are timed: dynamic quantization finds its ranges in the batch at hand."""
    objects = [pipeline.generate([prompt], sample=sample) for prompt in prompts]
    if isinstance(objects[0], Tensor):
        return torch.cat(objects).float().cpu()
    return [mesh for made in objects for mesh in made]


def apart(objects: Tensor | list[Mesh], others: Tensor | list[Mesh]) -> list[float]:
    """The Chamfer distances between first objects and second ones of the same prompts, where both were made."""
    a, b = seen(objects[: len(others)]), seen(others)
    both = a.made & b.made
    return chamfer(a.clouds[both][..., :3], b.clouds[both][..., :3]).tolist()


def summarize(judge: str, outcomes: list[PromptOutcome], apart: Sequence[float] = ()) -> Quality:
    distances = [outcome.chamfer for outcome in outcomes if outcome.chamfer is not None]
    return Quality(
        judge=judge,
        outcomes=outcomes,
        r_precision=proportion(sum(o.rank_153 == 0 for o in outcomes), len(outcomes)),
        r_precision_3001=proportion(sum(o.rank_3001 == 0 for o in outcomes), len(outcomes)),
        chamfer=mean_interval(distances) if distances else None,
        diversity=mean_interval(apart) if apart else None,
    )
