"""Which commit to try next, and what its ratio says of it. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, field

from suite.records import Interval

SHARE = 0.5  # of the whole change, in the logarithm: a commit with more of it is on the bad side
PRECISION_SHARE = 0.2  # of the whole change: as precisely as a commit has to be known to lie on one side


@dataclass
class Search:
    """Commits in a row, oldest first: position 0 is known to be good, the last one bad."""

    last: int
    good: int = 0
    skipped: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.bad = self.last

    def next(self) -> int | None:
        """The commit nearest to the middle that was not skipped; None where nothing is left to try."""
        left = set(range(self.good + 1, self.bad)) - self.skipped
        middle = (self.good + self.bad) / 2
        return min(left, key=lambda position: (abs(position - middle), position), default=None)

    def tell(self, position: int, worse: bool | None) -> None:
        """Of a commit that was tried; None: it cannot be told, and is skipped."""
        if worse is None:
            self.skipped.add(position)
        elif worse:
            self.bad = position
        else:
            self.good = position

    @property
    def suspects(self) -> range:
        """The commits one of which made it worse."""
        return range(self.good + 1, self.bad + 1)


def is_worse(ratio: Interval | None, whole: float) -> bool | None:
    """Whether a commit has most of the change. ratio: its own to the good commit; whole: the bad commit's.

    None where the interval does not say. Where several commits share in a change, the one that crosses half is found.
    """
    if ratio is None or ratio.low is None or ratio.high is None:
        return None
    border = SHARE * math.log(whole)
    if math.log(ratio.low) > border:
        return True
    return False if math.log(ratio.high) < border else None


def precision_for(whole: float, asked: float) -> float:
    """Half a width in the logarithm that tells the two sides apart, no narrower than asked."""
    return max(asked, PRECISION_SHARE * math.log(whole))


def steps_at_most(suspects: int, skipped: Set[int] = frozenset()) -> int:
    """How many commits are still to be tried, where none has to be skipped."""
    return math.ceil(math.log2(max(1, suspects - len(skipped))))
