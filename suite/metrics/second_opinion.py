"""A second judge's ranks of the same pictures. Docs: `docs/quality.md`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from suite.catalogue.judges import SECOND_JUDGE_OF
from suite.metrics.gallery_cache import kept_captions
from suite.metrics.judges import load_judge


class SecondJudge:
    """Another frozen network, shown what the first judge is shown."""

    def __init__(self, name: str, captions: Sequence[str], gallery_sha256: str):
        self._recognizer = load_judge(name)
        self.name = self._recognizer.name
        self.size_px = self._recognizer.size_px
        kind = f"{gallery_sha256} first {len(captions)}"
        self._captions = kept_captions(
            self.name, kind, len(captions), lambda: self._recognizer.captions(list(captions))
        )

    @torch.inference_mode()
    def leads(self, views: Tensor, prompts: list[str]) -> Tensor:
        """Pictures [B, V, 3, size, size] of these prompts -> their own captions' leads over the others [B, captions];
        NaN where this judge has no opinion."""
        pictures = self._recognizer.views(views)
        own = (pictures * self._recognizer.captions(prompts)).sum(-1, keepdim=True)
        return own - pictures @ self._captions.T


def second_judge(prompts: str, captions: Sequence[str], gallery_sha256: str) -> SecondJudge | None:
    """Of a prompt set whose judge nobody chose otherwise; None where it has no second."""
    name = SECOND_JUDGE_OF.get(prompts)
    return None if name is None else SecondJudge(name, captions, gallery_sha256)
