"""One token a word of the caption grammar."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor

from suite.embedded.captions import WORDS, normalize

CONTEXT = 16
PAD, START = 0, 1
_IDS = {word: k + 2 for k, word in enumerate(WORDS)}
END = len(WORDS) + 2  # the highest id: open_clip pools the text at the largest token
VOCABULARY = END + 1
UNTRAINED = {"medium"}  # has an id, but stands in no caption: no size word means it


def tokenize(prompts: list[str]) -> Tensor:
    """Prompts -> token ids [B, CONTEXT]. ValueError names an unknown word and its nearest known ones."""
    rows = []
    for prompt in prompts:
        words = normalize(prompt).split()
        if not words:
            raise ValueError(f"prompt {prompt!r} is empty")
        for word in words:
            if word not in _IDS or word in UNTRAINED:
                known = [word for word in WORDS if word not in UNTRAINED]
                near = difflib.get_close_matches(word, known, 3) or known
                raise ValueError(
                    f"prompt {prompt!r}: the embedded models do not know the word {word!r}; nearest: {', '.join(near)}"
                )
        if len(words) > CONTEXT - 2:
            raise ValueError(f"prompt {prompt!r}: {len(words)} words, at most {CONTEXT - 2}")
        ids = [START, *(_IDS[word] for word in words), END]
        rows.append(ids + [PAD] * (CONTEXT - len(ids)))
    return torch.tensor(rows)
