"""Ratios of things that are timed in turn, since the speed of a shared machine drifts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median


def in_turn(calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each call by name, [rounds]; every round asks all of them, beginning at the next one each time."""
    names = list(calls)
    for _ in range(warm_up):
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        start = k % len(names)
        for name in names[start:] + names[:start]:
            began = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def interval(values: Sequence[float], resamples: int = 2000) -> tuple[float, float]:
    """95 % interval of the median, by bootstrap."""
    generator = random.Random(0)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(resamples))
    return medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]


def said(values: Sequence[float], digits: int = 2) -> str:
    """The median with its interval, for people."""
    low, high = interval(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
