"""How often two judges agree on the same objects, beyond what chance would give.

A single judge's errors are a recipe's gain or loss in silence. Two networks that share neither architecture, seed nor
training captions seldom err alike; where they differ, the figure hangs on who was asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist

from suite.judging.intervals import CONFIDENCE, proportion
from suite.records import Interval, PromptOutcome, SecondOpinion


def second_opinion(judge: str, outcomes: Iterable[PromptOutcome]) -> SecondOpinion | None:
    """What a second judge says of the objects that both were shown; None where it was shown none."""
    hits = [(o.rank_153 == 0, o.second_rank_153 == 0) for o in outcomes if o.second_rank_153 is not None]
    if not hits:
        return None
    return SecondOpinion(
        judge=judge,
        r_precision=proportion(sum(second for _, second in hits), len(hits)),
        both=hits.count((True, True)),
        only_first=hits.count((True, False)),
        only_second=hits.count((False, True)),
        neither=hits.count((False, False)),
    )


def together(opinions: Iterable[SecondOpinion]) -> SecondOpinion | None:
    """Of several recipes' objects as of one. None where there are none, or of more than one judge."""
    every = list(opinions)
    if len({one.judge for one in every}) != 1:
        return None
    counts = {
        name: sum(getattr(one, name) for one in every) for name in ("both", "only_first", "only_second", "neither")
    }
    objects = sum(counts.values())
    hits = counts["both"] + counts["only_second"]
    return SecondOpinion(judge=every[0].judge, r_precision=proportion(hits, objects), **counts)


def kappa(found: SecondOpinion) -> Interval | None:
    """Cohen's kappa: 1 where the judges always agree, 0 where as often as chance, given how often each hits. None where
    both hit or miss everything, since chance then agrees always.

    The interval takes the variance of the agreement alone (Cohen 1960, doi:10.1177/001316446002000104, formula 9).
    """
    objects = found.objects
    first = (found.both + found.only_first) / objects
    second = (found.both + found.only_second) / objects
    by_chance = first * second + (1 - first) * (1 - second)
    if by_chance == 1:
        return None
    agree = found.agreement
    value = (agree - by_chance) / (1 - by_chance)
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(agree * (1 - agree) / objects) / (1 - by_chance)
    return Interval(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))
