"""The shares and means of what was scored, a prompt each."""

from __future__ import annotations

from collections.abc import Sequence

from suite.judging.anytime import share
from suite.judging.intervals import mean_interval, proportion
from suite.records import Interval, PromptOutcome, Quality


def summarize(
    judge: str, outcomes: Sequence[PromptOutcome], diversity: Interval | None = None, *, anytime: bool = False
) -> Quality:
    """The quality that these outcomes show. diversity: Chamfer distance between two objects of a prompt. anytime: how
    many there are was settled by looking at them, which the shares' intervals then have to bear."""
    rate = share if anytime else proportion
    distances = [outcome.chamfer for outcome in outcomes if outcome.chamfer is not None]
    large = [outcome.rank_3001 == 0 for outcome in outcomes if outcome.rank_3001 is not None]
    return Quality(
        judge=judge,
        outcomes=list(outcomes),
        r_precision=rate(sum(o.rank_153 == 0 for o in outcomes), len(outcomes)),
        r_precision_3001=rate(sum(large), len(large)) if large else None,
        chamfer=mean_interval(distances) if distances else None,
        diversity=diversity,
    )
