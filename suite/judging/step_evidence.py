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
FAST_ODDS, SLOW_ODDS = math.log(20), math.log(90)  # that three nights have to reach, and more nights
NIGHT_COUNTS = math.log(16)  # at most: no single night, however slow, is a step
SHARE_ABOVE = 0.8  # of the nights since a step
STEPS = np.log1p([0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.09, 0.11, 0.14, 0.17, 0.21, 0.26, 0.33, 0.42, 0.6])
PLAIN = 10  # spreads
LEAST_SPREAD = 0.002  # of the logarithm; clocks and allocators are not steadier than 0.2 %
BUMP, OWN_SHARE, ANYWHERE = 0.7, 0.6, 0.02  # width of a bump in spreads; weight of the bumps; of a wild night
CLIPPED, LIKENESS_BY_CHANCE, MOST_LIKENESS = 2.5, 0.1, 0.6  # of one night and the next, as a correlation
DETECTED = 0.8  # share of cases that the smallest detectable change is found in


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


def evidence(values: Sequence[float]) -> Evidence | None:
    """The strongest evidence of a step upwards at the end of a series of logarithms, oldest first; None where there
    are too few nights."""
    logs = np.asarray(values, dtype=float)
    past, last = logs[: split(len(logs))], logs[split(len(logs)) :]
    if len(past) < MIN_PAST:
        return None
    odds = odds_by_nights(past, last)
    reached = {nights: odds[nights] - needed(nights) for nights in LENGTHS if nights <= len(last)}
    nights = max(reached, key=lambda n: reached[n])
    change, newest = _change(past, last[-nights:]), _change(past, last[-1:])
    return Evidence(odds[nights], nights, needed(nights), change, newest, _chance_above(past, logs[-1]))


def needed(nights: int) -> float:
    """The log odds at which so many nights are a step."""
    return FAST_ODDS if nights == LENGTHS[0] else SLOW_ODDS


def odds_by_nights(past: np.ndarray, last: np.ndarray) -> dict[int, float]:
    """Log odds of a step that began so many nights ago; −∞ where too few of these nights lie above the past."""
    newest_first, middle = last[::-1], float(np.median(past))
    inflation = _inflation(past, len(last))
    likely = np.log(_density(past, newest_first))
    grid = _gain(past, newest_first[:, None] - STEPS, likely[:, None])
    joint = np.cumsum(grid, axis=0)  # nights × sizes of a step
    found = {}
    for n in range(1, len(last) + 1):
        nights = newest_first[:n]
        own, sizes = float(np.median(nights)) - middle, joint[n - 1]
        if own > PLAIN * spread(past):  # so far beyond the noise it would lie between the sizes that are tried
            sizes = np.append(sizes, _gain(past, nights - own, likely[:n]).sum())
        sizes = sizes / inflation[n - 1]
        odds = float(sizes.max() + np.log(np.exp(sizes - sizes.max()).mean()))
        found[n] = odds if np.sum(nights > middle) >= SHARE_ABOVE * n else -math.inf
    return found


def smallest_change(values: Sequence[float], nights: int) -> float | None:
    """The smallest step, as a fraction, that this series would show within so many nights in four of five cases: its
    own past nights are shifted by it. None where not even the largest step tried would be seen."""
    logs = np.asarray(values, dtype=float)
    past = logs[: split(len(logs))]
    if len(past) < MIN_PAST:
        return None
    blocks = np.lib.stride_tricks.sliding_window_view(past, nights)
    for step in STEPS:
        if np.mean([_fires(past, block + step) for block in blocks]) >= DETECTED:
            return float(np.expm1(step))
    return None


def _fires(past: np.ndarray, last: np.ndarray) -> bool:
    odds = odds_by_nights(past, last)
    return any(odds[n] > needed(n) for n in LENGTHS if n <= len(last))


def _inflation(past: np.ndarray, count: int) -> np.ndarray:
    """By how much a mean of 1, 2, … nights varies more than that of independent ones, if nights follow AR(1)."""
    residuals = np.clip((past - np.median(past)) / spread(past), -CLIPPED, CLIPPED)
    likeness = float(residuals[1:] @ residuals[:-1]) / max(float(residuals @ residuals), 1e-9)
    likeness = min(max(likeness - LIKENESS_BY_CHANCE, 0.0), MOST_LIKENESS)
    numbers = np.arange(1, count + 1)
    return np.array([1 + 2 * sum((1 - j / n) * likeness**j for j in range(1, n)) for n in numbers])


def spread(past: np.ndarray) -> float:
    """Robust standard deviation of logarithms: around their median or from night to night, whichever is larger."""
    around = np.median(np.abs(past - np.median(past)))
    between = np.median(np.abs(np.diff(past))) / math.sqrt(2)
    return max(1.4826 * float(max(around, between)), LEAST_SPREAD)


def _gain(past: np.ndarray, without_step: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """The log likelihood of nights with a step taken off, less that of the nights as they are."""
    return np.minimum(np.log(_density(past, without_step)) - likely, NIGHT_COUNTS)


def _density(past: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Of a night's logarithm, given the past."""
    wide = spread(past)
    bumps = _student(at[..., None] - past, BUMP * wide).mean(axis=-1)
    likely = OWN_SHARE * bumps + (1 - OWN_SHARE) * _student(at - np.median(past), wide)
    return (1 - ANYWHERE) * likely + ANYWHERE  # a wild night lies anywhere within a factor of e


def _student(distance: np.ndarray, scale: float) -> np.ndarray:
    """Density of Student's t with three degrees of freedom."""
    return 2 / (math.pi * math.sqrt(3) * scale) * (1 + (distance / scale) ** 2 / 3) ** -2


def _chance_above(past: np.ndarray, night: float) -> float:
    """The upper tail of the past's density, the wild nights left out."""
    wide = spread(past)
    bumps = float(stdtr(3, (past - night) / (BUMP * wide)).mean())
    return OWN_SHARE * bumps + (1 - OWN_SHARE) * float(stdtr(3, (np.median(past) - night) / wide))


def _change(past: np.ndarray, last: np.ndarray) -> Interval:
    """Ratio of the medians. Its interval is that of two medians of nights with the past's spread."""
    middle = float(np.median(last) - np.median(past))
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * spread(past)
    reach *= math.sqrt(math.pi / 2 * (1 / len(last) + 1 / len(past)))
    return Interval(value=math.exp(middle), low=math.exp(middle - reach), high=math.exp(middle + reach))
