"""When is a recipe's quality known well enough to score no more prompts?

The question is one of non-inferiority: does the recipe hit less often than its reference by more than the margin, on
the same prompts and start noise? It is asked after each part of the prompts, by an interval that looking does not spoil
(`suite.judging.anytime`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from suite.judging import anytime
from suite.judging.borrowing import Committed
from suite.judging.intervals import CONFIDENCE
from suite.judging.paired_quality import outcome_pairs
from suite.judging.scores import summarize
from suite.records import GALLERY_SIZE, NonInferiority, PromptOutcome, Quality, Stopped

MARGIN = 0.03  # of the hit rate, which is as much as a person would hardly miss
DECIDED = ("inferior", "non-inferior")
SHARES = ("r_precision", "r_precision_3001", "worst_view", "attributes")  # of a quality, over its prompts
LEAST_PROMPTS = 153  # where the question stays open


@dataclass(frozen=True)
class Stopping:
    """Score until it is known. reference: what the recipe is held against; without it there is no question, and the
    time or the prompts come to an end."""

    gallery: int = GALLERY_SIZE
    time_s: float = 300.0
    reference: Committed | None = None


def verdict(pairs: Sequence[tuple[bool, bool]]) -> NonInferiority:
    """Of (recipe hits, reference hits) [prompts]."""
    if not pairs or anytime.p_value(pairs, -MARGIN) > 1 - CONFIDENCE:
        return "open"
    won = sum(here and not there for here, there in pairs) - sum(there and not here for here, there in pairs)
    return "inferior" if won < -MARGIN * len(pairs) else "non-inferior"


class Clerk:
    """Asks the question as prompts are scored."""

    def __init__(self, asked: Stopping, judge: str, gallery_sha256: str, clock: Callable[[], float] = time.monotonic):
        known = asked.reference
        alike = known is not None and (known.quality.judge, known.gallery_sha256) == (judge, gallery_sha256)
        self._reference = known.quality if alike else None
        self._asked, self._clock = asked, clock
        self._began_s = clock()

    def most(self, prompts: Sequence[str]) -> int:
        """How many of the first prompts can be held against the reference; all where there is none."""
        if self._reference is None:
            return len(prompts)
        known = {outcome.prompt for outcome in self._reference.outcomes}
        return next((n for n, prompt in enumerate(prompts) if prompt not in known), len(prompts)) or len(prompts)

    def why_enough(self, outcomes: Sequence[PromptOutcome]) -> str | None:
        """decided, or time; None: go on."""
        if self._verdict(outcomes) in DECIDED:
            return "decided"
        late = self._clock() - self._began_s >= self._asked.time_s
        return "time" if late and len(outcomes) >= LEAST_PROMPTS else None

    def concluded(self, quality: Quality, most: int) -> Quality:
        """The quality with where and why it stopped, its intervals made to bear that. most: prompts there were."""
        pairs, found = self._pairs(quality.outcomes), self._verdict(quality.outcomes)
        stopped = Stopped(
            why="decided" if found in DECIDED else "all prompts" if len(quality.outcomes) >= most else "time",
            verdict=found,
            gallery=self._asked.gallery,
            margin=MARGIN,
            pairs=len(pairs),
            difference=anytime.difference(pairs) if pairs else None,
            reference_session=self._asked.reference.session if self._reference is not None else None,
        )
        again = summarize(quality.judge, quality.outcomes, quality.diversity, anytime=bool(pairs))
        return quality.model_copy(update={name: getattr(again, name) for name in SHARES} | {"stopped": stopped})

    def _pairs(self, outcomes: Sequence[PromptOutcome]) -> list[tuple[bool, bool]]:
        if self._reference is None or not outcomes:
            return []
        return outcome_pairs(outcomes, self._reference.outcomes, self._asked.gallery)

    def _verdict(self, outcomes: Sequence[PromptOutcome]) -> NonInferiority | None:
        return verdict(self._pairs(outcomes)) if self._reference is not None else None
