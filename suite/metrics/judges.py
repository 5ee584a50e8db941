"""The networks that recognize objects: CLIPs that took no part in making them, or are marked where they did.

`clip-vit-l-14` also conditions the published models, so `clip-vit-b-32` judges these unless the other is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suite.catalogue.extensions import find_judge
from suite.metrics.judges_elsewhere import Elsewhere, JudgeAbsent
from suite.models.checkpoints.embedded import load_embedded
from suite.models.checkpoints.official import load_official
from suite.models.conditioning.clip import (
    OPEN_CLIP,
    build_openai,
    embed_captions,
    embed_views,
    filled,
    import_open_clip,
    load_clip,
)
from suite.names import resolve

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
TEXTS = 64  # captions embedded at once


@dataclass
class Recognizer:
    """A frozen network and how it is asked."""

    name: str  # with the first digits of its weights' hash
    size_px: int
    captions: Callable[[list[str]], Tensor]  # [T] -> unit vectors [T, width]
    views: Callable[[Tensor], Tensor]  # pictures [B, V, 3, size, size], fractions 0–1 -> unit vectors [B, width]
    clip: nn.Module | None = None  # where it is one


def load_judge(name: str) -> Recognizer:
    """One of `suite.catalogue.judges.JUDGES`, in this process or in one of another Python. JudgeAbsent where that
    Python is not named, or what it says is no judge's answer."""
    judge = find_judge(name)
    if judge.python is not None:
        made = Elsewhere(judge.python, judge.builder, name)
    else:
        made = resolve(judge.builder)(name)
    if isinstance(made, Recognizer):
        return made

    def captions(texts: list[str]) -> Tensor:
        vectors = _unit(made.captions(texts), len(texts), name)
        if faults := int((~vectors.isfinite()).any(-1).sum()):
            raise JudgeAbsent(f"{name}: its vectors of {faults} of {len(texts)} captions hold NaN or infinity")
        return vectors

    return Recognizer(made.name, made.size_px, captions, lambda views: _unit(made.views(views), len(views), name))


def _unit(vectors: Any, count: int, judge: str) -> Tensor:
    """Of a judge of another package: a tensor, or what numpy takes for an array. JudgeAbsent where it is another."""
    found = vectors if isinstance(vectors, Tensor) else torch.from_numpy(np.asarray(vectors, dtype=np.float32))
    if found.ndim != 2 or len(found) != count:
        raise JudgeAbsent(f"{judge}: its answer has the shape {list(found.shape)}, expected [{count}, width]")
    return F.normalize(found.float(), dim=-1)


def nano(name: str) -> Recognizer:
    """One of the embedded CLIPs, of either architecture."""
    weights, digest = load_embedded(name)
    clip = filled(name, weights)
    return Recognizer(f"{name}:{digest[:12]}", 64, partial(embed_captions, clip), partial(embed_views, clip), clip)


def openai(name: str) -> Recognizer:
    weights, digest = load_official(name)
    clip = build_openai(OPEN_CLIP[name])
    load_clip(clip, weights)
    return recognizer(f"{name}:{digest[:12]}", clip)


def recognizer(name: str, clip: nn.Module) -> Recognizer:
    """How a CLIP of OpenAI's is asked, whatever its size."""
    clip = clip.eval().requires_grad_(False)
    size = clip.visual.image_size
    size_px = size if isinstance(size, int) else size[0]
    return Recognizer(name, size_px, partial(openai_captions, clip), partial(openai_views, clip), clip)


@torch.inference_mode()
def openai_captions(clip: nn.Module, captions: list[str]) -> Tensor:
    """Captions as they are: no template around them. What is longer than 77 tokens is cut."""
    tokenize = import_open_clip().tokenize
    parts = [captions[k : k + TEXTS] for k in range(0, len(captions), TEXTS)]
    return torch.cat([F.normalize(_text_vectors(clip, tokenize(part)), dim=-1) for part in parts])


def _text_vectors(clip: nn.Module, tokens: Tensor) -> Tensor:
    """What `encode_text` gives, without the padding: no token sees what stands behind it, and the last one is pooled.
    A gallery of 3,000 short captions costs a fifth so."""
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1
    states = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
    states = clip.ln_final(clip.transformer(states, attn_mask=clip.attn_mask[:length, :length]))
    return (states[torch.arange(len(tokens)), ends] @ clip.text_projection).float()


@torch.inference_mode()
def openai_views(clip: nn.Module, views: Tensor) -> Tensor:
    """The mean of the views' unit vectors, as a unit vector."""
    batch, count = views.shape[:2]
    mean, std = (views.new_tensor(values).view(3, 1, 1) for values in (OPENAI_MEAN, OPENAI_STD))
    vectors = F.normalize(clip.encode_image((views.flatten(0, 1) - mean) / std).float(), dim=-1)
    return F.normalize(vectors.view(batch, count, -1).mean(1), dim=-1)
