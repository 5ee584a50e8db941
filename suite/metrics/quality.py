"""CLIP R-Precision by retrieval, and the Chamfer distance to the ground truth where there is one.

Each object is rendered from four frozen views and embedded by a judge that took no part in making it; its own
caption is ranked among frozen distractors (Park et al. 2021; DreamFields, arXiv:2112.01455, section 4).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from suite.embedded.captions import all_scenes
from suite.embedded.evaluate import GALLERY, embed_captions
from suite.embedded.renderer import judge_views
from suite.embedded.shapes import SceneTable
from suite.judging.intervals import mean_interval, proportion
from suite.metrics.chamfer import chamfer
from suite.models.clip import build_clip_nano, embed_views, load_clip
from suite.models.pipeline import Pipeline
from suite.models.weights import load_embedded, sha256_of
from suite.records import PromptOutcome, Quality

CHUNK = 8  # objects scored together
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
    def score(self, clouds: Tensor, prompts: list[str]) -> list[PromptOutcome]:
        """Clouds [B, N, 6] of these prompts -> how well each is recognized."""
        clouds = clouds.float().cpu()
        # A network that diverged to NaN made nothing: last of all, and no distance.
        made = clouds.isfinite().all(-1).all(-1)
        clouds = clouds.nan_to_num(0.0)
        pictures = embed_views(self.clip, judge_views(clouds))
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
) -> tuple[Quality, Tensor]:
    """Quality over the first `count` prompts, and the first eight objects, for the contact sheet."""
    if not 1 <= count <= len(judge.prompts):
        raise ValueError(f"quality prompts: {count} is not possible; 1 to {len(judge.prompts)}")
    outcomes: list[PromptOutcome] = []
    first: list[Tensor] = []
    for start in range(0, count, CHUNK):
        prompts = judge.prompts[start : min(start + CHUNK, count)]
        # One at a time, as they are timed: dynamic quantization finds its ranges in the batch at hand.
        clouds = torch.cat([pipeline.generate([prompt]) for prompt in prompts])
        first = first or [clouds.float().cpu()]
        outcomes += judge.score(clouds, prompts)
        progress(len(outcomes))
    return summarize(judge.name, outcomes), first[0]


def summarize(judge: str, outcomes: list[PromptOutcome]) -> Quality:
    distances = [outcome.chamfer for outcome in outcomes if outcome.chamfer is not None]
    return Quality(
        judge=judge,
        outcomes=outcomes,
        r_precision=proportion(sum(o.rank_153 == 0 for o in outcomes), len(outcomes)),
        r_precision_3001=proportion(sum(o.rank_3001 == 0 for o in outcomes), len(outcomes)),
        chamfer=mean_interval(distances) if distances else None,
    )
