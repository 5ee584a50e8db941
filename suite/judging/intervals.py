"""95 % intervals. Pure arithmetic, without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, median, stdev

from suite.records import Interval

CONFIDENCE = 0.95


def student_t(freedom: float, confidence: float = CONFIDENCE) -> float:
    """Student's t beyond which (1 − confidence) / 2 lies on each side, for so many degrees of freedom."""
    # pytest's own process needs none: there it would be most of the time to start. scipy.stats takes 1.5 s.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean with its Student-t interval."""
    middle = fmean(values)
    if len(values) < 2:
        return Interval(value=middle)
    half = student_t(len(values) - 1, confidence) * stdev(values) / math.sqrt(len(values))
    return Interval(value=middle, low=middle - half, high=middle + half)


def latency_interval(samples_s: Sequence[float]) -> Interval:
    """The median, with the Student-t interval of the mean log time (widened where the median lies outside)."""
    middle = median(samples_s)
    logs = mean_interval([math.log(s) for s in samples_s])
    if logs.low is None or logs.high is None:
        return Interval(value=middle)
    return Interval(value=middle, low=min(math.exp(logs.low), middle), high=max(math.exp(logs.high), middle))


def relative_half_width(interval: Interval) -> float:
    """Half the interval's width in the logarithm: 0.02 is ±2 %. Infinite when unbounded."""
    if interval.low is None or interval.high is None or interval.low <= 0:
        return math.inf
    return (math.log(interval.high) - math.log(interval.low)) / 2


def ratio(value: Interval, to: Interval) -> Interval:
    """Ratio of two independently measured positive quantities; their half widths combine in the logarithm."""
    middle = value.value / to.value
    half = math.hypot(relative_half_width(value), relative_half_width(to))
    if not math.isfinite(half):
        return Interval(value=middle)
    return Interval(value=middle, low=middle * math.exp(-half), high=middle * math.exp(half))


def inverse(interval: Interval) -> Interval:
    """Of a positive quantity."""
    low, high = (None if end is None else 1 / end for end in (interval.high, interval.low))
    return Interval(value=1 / interval.value, low=low, high=high)


def clustered_proportion(shares: Sequence[float]) -> Interval:
    """The mean of the shares of clusters, as of several objects a prompt, which are no trials of their own: Wilson's
    interval of as many trials as would scatter like the clusters do (Korn and Graubard 1998, "Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data")."""
    middle, clusters = fmean(shares), len(shares)
    variance = stdev(shares) ** 2 / clusters if clusters > 1 else 0.0
    trials = middle * (1 - middle) / variance if variance else clusters
    return proportion(middle * trials, trials)


def proportion(hits: float, trials: float, confidence: float = CONFIDENCE) -> Interval:
    """A share with Wilson's score interval (Wilson 1927), which behaves near 0 and 1."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    # At 0 and 1 the bounds meet the share itself up to rounding.
    return Interval(value=share, low=max(0.0, min(share, centre - half)), high=min(1.0, max(share, centre + half)))
