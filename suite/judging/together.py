"""Many series a night: which alarms outlive looking at all of them, and which are one event of the board."""

from __future__ import annotations

import math
from collections.abc import Sequence

FALSE_SHARE = 0.1  # of a night's reds that may be false, in expectation
MOVED_SHARE, MOVED_LEAST = 0.3, 5  # of a board's series that make one event of the board


def survivors(log_odds: Sequence[float | None]) -> list[bool]:
    """Which alarms remain red when a night has so many series: the e-value procedure of Benjamini and Hochberg (Wang
    and Ramdas 2022, "False discovery rate control with e-values", JRSS B 84, 822–852), with the odds as e-values.

    None is a series that did not alarm; it counts as one that was looked at. It holds for series that hang together,
    as a board's do.
    """
    count = len(log_odds)
    ranked = sorted((odds for odds in log_odds if odds is not None), reverse=True)
    kept = [k for k, odds in enumerate(ranked, 1) if odds >= math.log(count / (FALSE_SHARE * k))]
    least = math.log(count / (FALSE_SHARE * kept[-1])) if kept else math.inf
    return [odds is not None and odds >= least for odds in log_odds]


def moved_together(directions: Sequence[int]) -> int:
    """+1 or −1 where a large part of a board's series moved the same way in one night, else 0. `directions` holds +1
    (worse), −1 (better) or 0 for each series."""
    for way in (1, -1):
        moved = sum(direction == way for direction in directions)
        if moved >= MOVED_LEAST and moved >= MOVED_SHARE * len(directions):
            return way
    return 0
