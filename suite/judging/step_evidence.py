"""Did a series step up within its last nights? The odds of a step against the series' own distribution.

A series is one figure of one cell, a value a night. Its past says which values to expect: a density with a bump at
every past night (a kernel estimate) beside a heavy-tailed one around their median, so that a series with spikes in its
past is not alarmed by the next one. For each number of last nights the odds say how much likelier these nights are as a
step of 2 to 60 % than as more of the past: a Bayes factor (Kass and Raftery 1995, "Bayes Factors", JASA 90, 773–795),
averaged over the sizes of a step. Three things keep it sober: a night counts for 16 to 1 at most, four of five nights
must lie above the past's median, and where one night is like the next, several of them count for fewer.
`benchmarks/judging.py` says what it finds and how often it cries wolf.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.special import stdtr

from suite.judging.intervals import CONFIDENCE
from suite.records import Interval

MIN_PAST = 10  # nights; a spread of fewer is a guess
SETTLED_PAST = 30  # with so many behind it, the last ten nights are looked at together
LENGTHS = range(3, 11)  # nights since the step
ENOUGH = MIN_PAST + LENGTHS[0]  # nights, before a step can be told from noise
FAST_ODDS, SLOW_ODDS = math.log(20), math.log(90)  # that three nights have to reach, and more nights
NIGHT_COUNTS = math.log(16)  # at most: no single night, however slow, is a step
SHARE_ABOVE = 0.8  # of the nights since a step
STEPS = np.log1p([0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.09, 0.11, 0.14, 0.17, 0.21, 0.26, 0.33, 0.42, 0.6])
PLAIN = 10  # spreads
LEAST_SPREAD = 0.002  # of the logarithm; clocks and allocators are not steadier than 0.2 %
BUMP, OWN_SHARE, ANYWHERE = 0.7, 0.6, 0.02  # width of a bump in spreads; weight of the bumps; of a wild night
CLIPPED, LIKENESS_BY_CHANCE, MOST_LIKENESS = 2.5, 0.1, 0.6  # of one night and the next, as a correlation
DETECTED, BLOCKS = 0.8, 12  # share of cases that the smallest detectable change is found in; cases tried


@dataclass(frozen=True)
class Evidence:
    """`log_odds` is natural; `nights` is since when; `change` is the last nights' level over the past's median;
    `newest` is the newest night over that median, and `surprise` the chance of one as high if nothing changed."""

    log_odds: float
    nights: int
    needed: float
    change: Interval
    newest: Interval
    surprise: float

    @property
    def fires(self) -> bool:
        return self.log_odds > self.needed


def split(count: int) -> int:
    """How many of so many nights are the past; the others are looked at for a step."""
    return max(min(SETTLED_PAST, count - LENGTHS[0]), count - LENGTHS[-1])


class Past:
    """The nights that tonight is held against, as logarithms, and what they lead one to expect."""

    def __init__(self, logs: np.ndarray):
        self.logs, self.middle, self.spread = logs, float(np.median(logs)), spread(logs)
        residuals = np.clip((logs - self.middle) / self.spread, -CLIPPED, CLIPPED)
        likeness = float(residuals[1:] @ residuals[:-1]) / max(float(residuals @ residuals), 1e-9)
        self.likeness = min(max(likeness - LIKENESS_BY_CHANCE, 0.0), MOST_LIKENESS)

    def density(self, at: np.ndarray) -> np.ndarray:
        """Of a night's logarithm."""
        bumps = _student(at[..., None] - self.logs, BUMP * self.spread).mean(axis=-1)
        likely = OWN_SHARE * bumps + (1 - OWN_SHARE) * _student(at - self.middle, self.spread)
        return (1 - ANYWHERE) * likely + ANYWHERE  # a wild night lies anywhere within a factor of e

    def chance_above(self, night: float) -> float:
        """The upper tail of the density, the wild nights left out."""
        bumps = float(stdtr(3, (self.logs - night) / (BUMP * self.spread)).mean())
        return OWN_SHARE * bumps + (1 - OWN_SHARE) * float(stdtr(3, (self.middle - night) / self.spread))

    def change_to(self, last: np.ndarray) -> Interval:
        """Ratio of the medians. Its interval is that of two medians of nights with this spread."""
        moved = float(np.median(last)) - self.middle
        reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * self.spread
        reach *= math.sqrt(math.pi / 2 * (1 / len(last) + 1 / len(self.logs)))
        return Interval(value=math.exp(moved), low=math.exp(moved - reach), high=math.exp(moved + reach))

    def gain(self, without_step: np.ndarray, likely: np.ndarray) -> np.ndarray:
        """The log likelihood of nights with a step taken off, less that of the nights as they are."""
        return np.minimum(np.log(self.density(without_step)) - likely, NIGHT_COUNTS)


def evidence(values: Sequence[float]) -> Evidence | None:
    """The strongest evidence of a step upwards at the end of a series of logarithms, oldest first; None where there
    are too few nights."""
    logs = np.asarray(values, dtype=float)
    border = split(len(logs))
    if border < MIN_PAST:
        return None
    past, last = Past(logs[:border]), logs[border:]
    odds = odds_by_nights(past, last)
    reached = {nights: odds[nights] - needed(nights) for nights in LENGTHS if nights <= len(last)}
    nights = max(reached, key=lambda n: reached[n])
    change, newest = past.change_to(last[-nights:]), past.change_to(last[-1:])
    return Evidence(odds[nights], nights, needed(nights), change, newest, past.chance_above(logs[-1]))


def needed(nights: int) -> float:
    """The log odds at which so many nights are a step."""
    return FAST_ODDS if nights == LENGTHS[0] else SLOW_ODDS


def odds_by_nights(past: Past, last: np.ndarray) -> dict[int, float]:
    """Log odds of a step that began so many nights ago; −∞ where too few of these nights lie above the past."""
    newest_first = last[::-1]
    likely = np.log(past.density(newest_first))
    joint = np.cumsum(past.gain(newest_first[:, None] - STEPS, likely[:, None]), axis=0)  # nights × sizes of a step
    found = {}
    for n in (n for n in LENGTHS if n <= len(last)):
        nights, sizes = newest_first[:n], joint[n - 1]
        own = float(np.median(nights)) - past.middle
        if own > PLAIN * past.spread:  # so far beyond the noise it would lie between the sizes that are tried
            sizes = np.append(sizes, past.gain(nights - own, likely[:n]).sum())
        sizes = sizes / _inflation(past.likeness, n)
        top = float(sizes.max())
        odds = top + math.log(float(np.exp(sizes - top).mean()))
        found[n] = odds if int((nights > past.middle).sum()) >= SHARE_ABOVE * n else -math.inf
    return found


def _inflation(likeness: float, count: int) -> float:
    """By how much a mean of so many nights varies more than that of independent ones, if nights follow AR(1)."""
    return 1 + 2 * sum((1 - j / count) * likeness**j for j in range(1, count))


def smallest_change(values: Sequence[float], nights: int) -> float | None:
    """The smallest step, as a fraction, that this series would show within so many nights in four of five cases: its
    own past nights are shifted by it. None where not even the largest step tried would be seen."""
    logs = np.asarray(values, dtype=float)
    border = split(len(logs))
    if border < MIN_PAST:
        return None
    past = Past(logs[:border])
    blocks = np.lib.stride_tricks.sliding_window_view(past.logs, nights)
    blocks = blocks[:: max(1, len(blocks) // BLOCKS)]

    def seen(step: float) -> bool:
        return sum(_fires(past, block + step) for block in blocks) >= DETECTED * len(blocks)

    place = bisect_left(STEPS, True, key=seen)  # a larger step is seen where a smaller one is
    return float(np.expm1(STEPS[place])) if place < len(STEPS) else None


def _fires(past: Past, last: np.ndarray) -> bool:
    return any(odds > needed(nights) for nights, odds in odds_by_nights(past, last).items())


def spread(past: np.ndarray) -> float:
    """Robust standard deviation of logarithms: around their median or from night to night, whichever is larger."""
    around = np.median(np.abs(past - np.median(past)))
    between = np.median(np.abs(np.diff(past))) / math.sqrt(2)
    return max(1.4826 * float(max(around, between)), LEAST_SPREAD)


def _student(distance: np.ndarray, scale: float) -> np.ndarray:
    """Density of Student's t with three degrees of freedom."""
    wide = 1 + (distance / scale) ** 2 / 3
    return 2 / (math.pi * math.sqrt(3) * scale) / (wide * wide)  # numpy's power of -2 takes several times as long
