"""Do two configurations differ in quality? Prompt by prompt, on the same prompts and start noise."""

from __future__ import annotations

import random
from collections.abc import Sequence

from scipy.stats import binomtest

from suite.records import Interval, Quality

RESAMPLES = 2_000


def hit_pairs(quality: Quality, reference: Quality, gallery: int = 153) -> list[tuple[bool, bool]]:
    """(this one hits, the reference hits) for every prompt that both were scored on."""
    rank = f"rank_{gallery}"
    known = {outcome.prompt: getattr(outcome, rank) == 0 for outcome in reference.outcomes}
    return [
        (getattr(outcome, rank) == 0, known[outcome.prompt]) for outcome in quality.outcomes if outcome.prompt in known
    ]


def difference(pairs: Sequence[tuple[bool, bool]], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Difference of the hit rates with a bootstrap interval over prompts (pairs stay together)."""
    if not pairs:
        raise ValueError("no prompt was scored on both: there is nothing to pair")
    steps = [int(here) - int(there) for here, there in pairs]
    generator = random.Random(seed)
    count = len(steps)
    means = sorted(sum(generator.choices(steps, k=count)) / count for _ in range(resamples))
    return Interval(value=sum(steps) / count, low=means[int(0.025 * resamples)], high=means[int(0.975 * resamples) - 1])


def mcnemar_p(pairs: Sequence[tuple[bool, bool]]) -> float:
    """Two-sided exact McNemar test on the discordant prompts (McNemar 1947); 1.0 when there are none."""
    won = sum(here and not there for here, there in pairs)
    lost = sum(there and not here for here, there in pairs)
    return binomtest(won, won + lost).pvalue if won + lost else 1.0
