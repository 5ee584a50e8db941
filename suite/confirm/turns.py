"""From turns to a verdict, as arithmetic: pairs of fresh processes, each pair one value.

Two processes of one build differ: in their memory's layout, in what the machine did meanwhile. Two samples of one
process differ less. So a pair of processes is the unit: one of head, one of base, whose turns alternate (A B B A …),
and its value is the median of its turns' log ratios, from which the machine's drift is gone. Over pairs a Student-t
interval is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from suite.judging.intervals import CONFIDENCE, mean_interval, relative_half_width
from suite.judging.latency_change import judge_ratio
from suite.judging.latency_units import MIN_PAIRS
from suite.records import Interval, Verdict

DECIDED = 0.99  # confidence that ends a comparison which only asks for the verdict: it is looked at after each pair
MIN_TURNS, MAX_TURNS = 2, 100  # of each process of a pair, even: each is as often first
TURNS_TO_KNOW = 4  # before a pair's own interval may end it


def turns_each(loading_s: float, round_s: float) -> int:
    """How many turns a process has once it is loaded. loading_s: what the pair took to load; round_s: a turn of both.

    As much time goes to timing as to loading. How to share it best depends on how much processes differ, and how much
    samples within one (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time", section 6), neither of
    which is known; halves take at most twice the time of the best share.
    """
    turns = 2 * round(loading_s / round_s / 2)
    return min(MAX_TURNS, max(MIN_TURNS, turns))


def pair_is_known(head: Sequence[float], base: Sequence[float], precision: float) -> bool:
    """Whether more turns of this pair would not help: its own ratio is known to half the precision that is asked."""
    if len(head) < TURNS_TO_KNOW or len(head) % 2:
        return False
    own = over_pairs([h / b for h, b in zip(head, base, strict=True)])
    return own is not None and relative_half_width(own) <= precision / 2


def pair_ratio(head: Sequence[float], base: Sequence[float]) -> float:
    """Head over base in one pair: the median of the ratios of turns that lay beside each other."""
    return math.exp(median(math.log(h / b) for h, b in zip(head, base, strict=True)))


def over_pairs(ratios: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """The ratio with its interval, [pairs]; None where there is no pair, without ends where there is one."""
    if not ratios:
        return None
    logs = mean_interval([math.log(ratio) for ratio in ratios], confidence)
    if logs.low is None or logs.high is None:
        return Interval(value=math.exp(logs.value))
    return Interval(value=math.exp(logs.value), low=math.exp(logs.low), high=math.exp(logs.high))


def narrow(ratios: Sequence[float], precision: float, min_pairs: int = MIN_PAIRS) -> bool:
    """Whether the interval is as narrow as asked: half its width in the logarithm, 0.01 is ±1 %."""
    found = over_pairs(ratios)
    return len(ratios) >= min_pairs and found is not None and relative_half_width(found) <= precision


def decided(ratios: Sequence[float], tolerance: float, min_pairs: int = MIN_PAIRS) -> bool:
    """Whether the verdict is sure, however wide the interval: all of it lies within the tolerance, or beyond it."""
    if len(ratios) < min_pairs:
        return False
    return judge_ratio(over_pairs(ratios, DECIDED), tolerance) != Verdict.UNCERTAIN
