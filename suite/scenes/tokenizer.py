"""One token a word of the caption grammar."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.scenes.captions import WORDS, normalize
from suite.scenes.vocabulary import LONGEST, why_unreadable

CONTEXT = LONGEST + 2
PAD, START = 0, 1
_IDS = {word: k + 2 for k, word in enumerate(WORDS)}
END = len(WORDS) + 2  # the highest id: open_clip pools the text at the largest token
VOCABULARY = END + 1


def tokenize(prompts: list[str]) -> Tensor:
    """Prompts -> token ids [B, CONTEXT]. ValueError names an unknown word and its nearest known ones."""
    rows = []
    for prompt in prompts:
        if why := why_unreadable(prompt):
            raise ValueError(f"prompt {prompt!r}: {why}")
        ids = [START, *(_IDS[word] for word in normalize(prompt).split()), END]
        rows.append(ids + [PAD] * (CONTEXT - len(ids)))
    return torch.tensor(rows)
