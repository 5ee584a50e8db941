"""CLIP R-Precision by retrieval, and the Chamfer distance to the ground truth where there is one.

Each object is rendered from four frozen views and embedded by a judge that took no part in making it; its own
caption is ranked among frozen distractors (Park et al. 2021; DreamFields, arXiv:2112.01455, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from suite.catalogue.judges import JUDGE_OF
from suite.metrics.attributes import attribute_margins
from suite.metrics.chamfer import chamfer
from suite.metrics.gallery_cache import kept_captions
from suite.metrics.judges import load_judge
from suite.metrics.judges_elsewhere import JudgeAbsent
from suite.metrics.second_opinion import Look, second_judge
from suite.metrics.seen import Seen, seen
from suite.metrics.worst_view import worst_margin
from suite.models.pipeline import Objects
from suite.prompts import RIVALS, RIVALS_LARGE, load_prompts
from suite.records import PromptOutcome
from suite.scenes.captions import Scene, scene_of
from suite.scenes.renderer import judge_views
from suite.scenes.shapes import SceneTable

NOTHING = -2.0  # the lead of what was not made: beyond any difference of two cosines
TIE = 1e-6  # cosines: equal readings come out up to 2e-7 apart, the committed history's narrowest is 2.5e-6 from it


def rank(leads: Tensor) -> int:
    """Of an object's own caption, by its leads over the others: how many are before it, or level with it."""
    return int((~(leads > TIE)).sum())


class Judge:
    """The frozen judge of a prompt set, and the set's gallery."""

    def __init__(self, prompts: str = "embedded", judge: str | None = None, file: Path | None = None) -> None:
        """prompts: the set's name (`Model.prompts`). judge: another than the set's own. file: a user's own prompts."""
        self._set = load_prompts(prompts, file)
        self._recognizer = load_judge(judge or JUDGE_OF[prompts])
        self.clip = self._recognizer.clip  # None: this judge is no CLIP
        self.name = self._recognizer.name
        self.prompts: list[str] = list(self._set.prompts)
        self.gallery_sha256 = self._set.sha256
        captions = list(self._set.captions)
        self._captions = kept_captions(
            self.name, self.gallery_sha256, len(captions), lambda: self._recognizer.captions(captions)
        )
        # Of 154 captions 153 are others.
        self._second = None if judge else second_judge(prompts, captions[: RIVALS + 1], self.gallery_sha256)
        self._place = {caption: k for k, caption in enumerate(self._set.captions)}

    @property
    def second_name(self) -> str | None:
        """Of the judge that is asked beside this one."""
        return None if self._second is None else self._second.name

    @torch.inference_mode()
    def score(self, objects: Objects, prompts: list[str]) -> list[PromptOutcome]:
        """Objects of these prompts -> how well each is recognized."""
        shown = seen(objects)
        clouds, made = shown.clouds, shown.made  # what was not made is last of all, and at no distance
        views = judge_views(clouds, size_px=self._recognizer.size_px, normals=shown.normals)
        alone = self._recognizer.views(views.flatten(0, 1)[:, None]).unflatten(0, (len(clouds), -1))
        if alone.shape[-1] != (width := self._captions.shape[-1]):
            raise JudgeAbsent(
                f"{self.name}: its vectors have {alone.shape[-1]} numbers for pictures, {width} for captions"
            )
        pictures = F.normalize(alone.mean(1), dim=-1)
        made = made & pictures.isfinite().all(-1)  # what the judge has no opinion of is no hit either
        captions = self._recognizer.captions(prompts)
        own = (pictures * captions).sum(-1, keepdim=True)
        leads = own - pictures @ self._captions.T  # [B, captions]
        leads[~made] = NOTHING
        lead = [self._rivals(leads[k], prompt) for k, prompt in enumerate(prompts)]
        worst = [
            worst_margin(alone[k], captions[k], self._rivals(self._captions, prompt)[:RIVALS])
            for k, prompt in enumerate(prompts)
        ]
        scenes = self._scenes(prompts)
        second = self._second_look(shown, views, prompts)
        if second is None:
            margins = attribute_margins(self._recognizer, pictures, own[:, 0], prompts, scenes)
        else:  # it takes true scenes for near misses less often (docs/quality.md)
            margins = attribute_margins(self._second.recognizer, second.pictures, second.own, prompts, scenes)
        truth = self._truth(prompts, scenes)
        distance = [None] * len(prompts) if truth is None else chamfer(clouds[..., :3], truth[..., :3]).tolist()
        return [
            PromptOutcome(
                prompt=prompt,
                rank_153=rank(lead[k][:RIVALS]),
                rank_3001=rank(lead[k]) if self._set.large else None,
                margin_153=round(lead[k][:RIVALS].amin().item(), 5),
                margin_3001=round(lead[k].amin().item(), 5) if self._set.large else None,
                worst_view_margin_153=round(worst[k], 5) if made[k] else NOTHING,
                attribute_margins=margins[k] if made[k] or margins[k] is None else dict.fromkeys(margins[k], NOTHING),
                second_rank_153=None if second is None else rank(self._rivals(second.leads[k], prompt)[:RIVALS]),
                chamfer=None if distance[k] is None or not made[k] else round(distance[k], 5),
            )
            for k, prompt in enumerate(prompts)
        ]

    def _second_look(self, shown: Seen, views: Tensor, prompts: list[str]) -> Look | None:
        if self._second is None:
            return None
        if self._second.size_px != views.shape[-1]:
            views = judge_views(shown.clouds, size_px=self._second.size_px, normals=shown.normals)
        look = self._second.looks(views, prompts)
        look.leads[~shown.made] = NOTHING
        return look

    def _rivals(self, lead: Tensor, prompt: str) -> Tensor:
        """What there is of every caption [captions, ...] -> of those that the prompt is ranked among: its own left
        out."""
        place = self._place.get(prompt)
        others = lead if place is None else torch.cat([lead[:place], lead[place + 1 :]])
        return others[:RIVALS_LARGE]

    def _scenes(self, prompts: list[str]) -> dict[str, Scene]:
        """Of the prompts that are captions of the grammar, where the set knows it."""
        found = {prompt: scene_of(prompt) for prompt in prompts} if self._set.scenes else {}
        return {prompt: scene for prompt, scene in found.items() if scene is not None}

    def _truth(self, prompts: list[str], scenes: Mapping[str, Scene]) -> Tensor | None:
        """The scenes themselves, undisturbed, as dense clouds [B, 2048, 6]; None for a prompt outside the grammar."""
        if not all(prompt in scenes for prompt in prompts):
            return None
        table = SceneTable([scenes[prompt] for prompt in prompts])
        return table.clouds(torch.arange(len(prompts)), 2048, torch.Generator().manual_seed(0), jitter=0.0)[0]


def gallery_sha256(prompts: str = "embedded", file: Path | None = None) -> str:
    """Of the set's prompts and captions. WeightsAbsent when they are not on this machine."""
    return load_prompts(prompts, file).sha256
