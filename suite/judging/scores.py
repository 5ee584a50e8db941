"""The shares and means of what was scored, a prompt each."""

from __future__ import annotations

from collections.abc import Sequence

from suite.judging.intervals import mean_interval, proportion
from suite.records import Interval, PromptOutcome, Quality


def summarize(judge: str, outcomes: Sequence[PromptOutcome], diversity: Interval | None = None) -> Quality:
    """The quality that these outcomes show. diversity: Chamfer distance between two objects of a prompt."""
    distances = [outcome.chamfer for outcome in outcomes if outcome.chamfer is not None]
    large = [outcome.rank_3001 == 0 for outcome in outcomes if outcome.rank_3001 is not None]
    return Quality(
        judge=judge,
        outcomes=list(outcomes),
        r_precision=proportion(sum(o.rank_153 == 0 for o in outcomes), len(outcomes)),
        r_precision_3001=proportion(sum(large), len(large)) if large else None,
        chamfer=mean_interval(distances) if distances else None,
        diversity=diversity,
    )
