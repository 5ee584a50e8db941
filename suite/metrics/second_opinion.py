"""A second judge's ranks of the same pictures. Docs: `docs/quality.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from suite.catalogue.judges import SECOND_JUDGE_OF
from suite.metrics.gallery_cache import kept_captions
from suite.metrics.judges import load_judge


@dataclass(frozen=True)
class Look:
    """NaN where the judge has no opinion."""

    pictures: Tensor  # unit vectors [B, width]
    own: Tensor  # their cosines with their own captions [B]
    leads: Tensor  # of those over the other captions' [B, captions]


class SecondJudge:
    """Another frozen network, shown what the first judge is shown."""

    def __init__(self, name: str, captions: Sequence[str], gallery_sha256: str):
        self.recognizer = load_judge(name)
        self.name = self.recognizer.name
        self.size_px = self.recognizer.size_px
        kind = f"{gallery_sha256} first {len(captions)}"
        self._captions = kept_captions(self.name, kind, len(captions), lambda: self.recognizer.captions(list(captions)))

    @torch.inference_mode()
    def looks(self, views: Tensor, prompts: list[str]) -> Look:
        """Pictures [B, V, 3, size, size] of these prompts, as this judge sees them."""
        pictures = self.recognizer.views(views)
        own = (pictures * self.recognizer.captions(prompts)).sum(-1)
        return Look(pictures, own, own[:, None] - pictures @ self._captions.T)


def second_judge(prompts: str, captions: Sequence[str], gallery_sha256: str) -> SecondJudge | None:
    """Of a prompt set whose judge nobody chose otherwise; None where it has no second."""
    name = SECOND_JUDGE_OF.get(prompts)
    return None if name is None else SecondJudge(name, captions, gallery_sha256)
