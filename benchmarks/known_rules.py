"""Alarm rules of other projects and of our own, each a function of the nights before and tonight.

Values are logarithms of which a higher one is worse. Each says whether tonight is an alarm. They are written after
their projects' documents; `benchmarks/judging.py` holds them against the same nights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from suite.judging.step_evidence import evidence

PAST = 30  # nights; the steps of `benchmarks/judging.py` begin after them

Rule = Callable[[np.ndarray, float], bool]  # the nights before, tonight


def github_action(before: np.ndarray, tonight: float) -> bool:
    """github-action-benchmark's default: over 110 % of the last night."""
    return tonight - before[-1] > math.log(1.10)


def pytest_benchmark(before: np.ndarray, tonight: float) -> bool:
    """`--benchmark-compare-fail=median:5%` against the last saved run."""
    return tonight - before[-1] > math.log(1.05)


def bencher(before: np.ndarray, tonight: float) -> bool:
    """bencher's t-test with an upper boundary of 0.99 over the last 64 nights."""
    window = before[-64:]
    spread = window.std(ddof=1)
    return spread > 0 and (tonight - window.mean()) / spread > stats.t.ppf(0.99, len(window) - 1)


def conbench(before: np.ndarray, tonight: float) -> bool:
    """conbench's z-score of 5 against the distribution so far."""
    spread = before.std(ddof=1)
    return spread > 0 and (tonight - before.mean()) / spread > 5


def fast(before: np.ndarray, tonight: float) -> bool:
    """Two of the last three nights 3.5 robust deviations and 3 % above the first thirty."""
    base = before[:PAST]
    middle = np.median(base)
    spread = 1.4826 * np.median(np.abs(base - middle))
    bad = [value - middle > max(3.5 * spread, math.log(1.03)) for value in (*before[-2:], tonight)]
    return bool(bad[-1]) and sum(bad) >= 2


def slow(before: np.ndarray, tonight: float) -> bool:
    """The last five to ten nights above the first thirty by Mann and Whitney's test (p < 0.0005) and by 3 %."""
    base, last = before[:PAST], np.append(before, tonight)[PAST:][-10:]
    if len(last) < 5 or np.median(last) - np.median(base) < math.log(1.03):
        return False
    return stats.mannwhitneyu(last, base, alternative="greater", method="asymptotic").pvalue < 0.0005


def fast_or_slow(before: np.ndarray, tonight: float) -> bool:
    return fast(before, tonight) or slow(before, tonight)


def ours(before: np.ndarray, tonight: float) -> bool:
    """The odds of a step: `suite/judging/step_evidence.py`."""
    found = evidence(np.append(before, tonight))
    return found is not None and found.fires


RULES: dict[str, Rule] = {
    "pytest-benchmark median:5%": pytest_benchmark,
    "github-action 110 %": github_action,
    "bencher t .99": bencher,
    "conbench z 5": conbench,
    "fast or slow": fast_or_slow,
    "ours: odds of a step": ours,
}
