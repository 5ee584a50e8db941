"""Intervals that hold however often one looks, so that scoring may stop as soon as it knows.

Somebody bets against each mean that is possible. He begins with 1, and stakes on each value a fixed part of what he has
at most to lose. If that mean is the true one, the game is fair, so his wealth ever reaches 20 in at most 1 of 20 games
(Ville 1939). The interval is of the means against which nobody got so rich (Waudby-Smith and Ramdas 2024, "Estimating
means of bounded random variables by betting", Journal of the Royal Statistical Society B 86, 1-27, section 4). The
wealth is the mean of that of several bettors, each with his own stake on the mean being higher, or lower; so it hangs
on the counts alone, not on their order, and the interval can be told again from a record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from suite.judging.intervals import CONFIDENCE
from suite.records import Interval

STAKES = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)  # parts of all that could be lost; more bettors pay for more that lose
RICH = math.log(1 / (1 - CONFIDENCE))
HALVINGS = 40
EDGE = 1e-9  # from 0 and 1, against which nobody can bet


def log_wealth(counts: Sequence[int], values: Sequence[float], mean: float) -> float:
    """The logarithm of what was won against a mean between 0 and 1, by a stake in each of `counts` values, [kinds]."""
    mean = min(max(mean, EDGE), 1 - EDGE)
    seen = [(count, value - mean) for count, value in zip(counts, values, strict=True) if count]
    won = [sum(count * _log1p(bet * away) for count, away in seen) for stake in STAKES for bet in _bets(stake, mean)]
    most = max(won)
    return most + math.log(sum(math.exp(each - most) for each in won) / len(won)) if most > -math.inf else most


def _bets(stake: float, mean: float) -> tuple[float, float]:
    """On the true mean being higher, and lower."""
    return stake / mean, -stake / (1 - mean)


def _log1p(gain: float) -> float:
    return math.log1p(gain) if gain > -1 else -math.inf  # who stakes all may lose all


def share(hits: int, trials: int) -> Interval:
    """A share of hits with its interval."""
    return _interval((trials - hits, hits), (0.0, 1.0))


def difference(pairs: Sequence[tuple[bool, bool]]) -> Interval:
    """Difference of two hit rates on the same prompts, (here, there) [prompts], with its interval."""
    found = _interval(_counts(pairs), (0.0, 0.5, 1.0))
    return Interval(value=2 * found.value - 1, low=2 * found.low - 1, high=2 * found.high - 1)


def p_value(pairs: Sequence[tuple[bool, bool]], at: float = 0.0) -> float:
    """Of the difference being `at`: one over the wealth won against it, which bounds the chance whenever one stops."""
    return min(1.0, math.exp(-log_wealth(_counts(pairs), (0.0, 0.5, 1.0), (1 + at) / 2)))


def _counts(pairs: Sequence[tuple[bool, bool]]) -> tuple[int, int, int]:
    """Of prompts lost, alike, won."""
    won = sum(here and not there for here, there in pairs)
    lost = sum(there and not here for here, there in pairs)
    return lost, len(pairs) - won - lost, won


def _interval(counts: Sequence[int], values: Sequence[float]) -> Interval:
    middle = sum(count * value for count, value in zip(counts, values, strict=True)) / sum(counts)

    def end(outer: float) -> float:
        """Between the middle, which is inside, and an end of the scale."""
        inside = middle
        for _ in range(HALVINGS):
            halfway = (inside + outer) / 2
            if log_wealth(counts, values, halfway) < RICH:
                inside = halfway
            else:
                outer = halfway
        return outer

    return Interval(value=middle, low=min(end(0.0), middle), high=max(end(1.0), middle))
