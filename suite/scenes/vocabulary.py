"""What the embedded networks can read: so many words of the caption grammar. Without torch."""

from __future__ import annotations

import difflib

from suite.scenes.captions import WORDS, normalize

LONGEST = 14  # words: the tokenizer's context less its start and its end
UNTRAINED = {"medium"}  # has an id, but stands in no caption: no size word means it
KNOWN = tuple(word for word in WORDS if word not in UNTRAINED)


def why_unreadable(prompt: str) -> str | None:
    """Why the embedded networks cannot read a prompt, and what they can; None where they can."""
    words = normalize(prompt).split()
    if not words:
        return "it has no word"
    for word in words:
        if word not in KNOWN:
            near = difflib.get_close_matches(word, KNOWN, 3)
            can = f"nearest: {', '.join(near)}" if near else f"they know {', '.join(KNOWN)}"
            return f"the embedded models do not know the word {word!r}; {can}"
    return f"{len(words)} words, at most {LONGEST}" if len(words) > LONGEST else None
