"""How long one object takes: rounds until the interval is narrow, each split into its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import mean, stdev

from suite.judging.intervals import latency_interval, relative_half_width
from suite.records import Latency

MIN_ROUNDS = 5  # fewer give a Student-t interval too wide to stop on honestly
MAX_ROUNDS = 20  # as in NVIDIA's nvbench and MLPerf, enough for a median and an interval, too few for percentiles
TARGET = 0.02  # half width of the 95 % interval of the mean log time
STAGE_SLACK = 0.02  # of a sample may lie between the stages
UNSTEADY = 0.10  # standard deviation over mean (pyperf warns at the same)


class StageClock:
    """A `Stage` that sums up the time of each stage, synchronized on both ends."""

    def __init__(self, synchronize: Callable[[], None]):
        self.synchronize = synchronize
        self.spent_s: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.synchronize()
        started = time.perf_counter()
        yield
        self.synchronize()
        self.spent_s[name] = self.spent_s.get(name, 0.0) + time.perf_counter() - started


def time_call(call: Callable[[StageClock], object], synchronize: Callable[[], None]) -> tuple[float, dict[str, float]]:
    """Seconds of one call, and of its stages."""
    clock = StageClock(synchronize)
    synchronize()
    started = time.perf_counter()
    call(clock)
    synchronize()
    return time.perf_counter() - started, clock.spent_s


def measure_latency(
    call: Callable[[StageClock], object],
    synchronize: Callable[[], None],
    *,
    first_call_s: float,
    time_budget_s: float,
    progress: Callable[[int], None] = lambda rounds: None,
) -> Latency:
    """Repeat `call` until its median is known to ±2 %, at 20 rounds, or when the time is used up (5 rounds at least
    unless that takes three times the budget)."""
    samples: list[float] = []
    stages: dict[str, list[float]] = {}
    uneven = 0.0
    started = time.perf_counter()
    while True:
        total, spent = time_call(call, synchronize)
        samples.append(total)
        for name, seconds in spent.items():
            stages.setdefault(name, []).append(seconds)
        uneven = max(uneven, abs(1 - sum(spent.values()) / total))
        progress(len(samples))
        elapsed = time.perf_counter() - started
        reason = stop_reason(samples, elapsed, time_budget_s)
        if reason:
            break
    return Latency(
        samples_s=samples,
        stage_samples_s=stages,
        first_call_s=first_call_s,
        median=latency_interval(samples),
        stop_reason=reason,
        warnings=warnings_of(samples, uneven),
    )


def stop_reason(samples: list[float], elapsed_s: float, time_budget_s: float) -> str | None:
    """Why to stop now, or None."""
    if len(samples) >= MIN_ROUNDS:
        if relative_half_width(latency_interval(samples)) <= TARGET:
            return "interval"
        if len(samples) >= MAX_ROUNDS:
            return "rounds"
        if elapsed_s >= time_budget_s:
            return "time"
    return "time" if elapsed_s >= 3 * time_budget_s else None


def warnings_of(samples: list[float], uneven: float) -> list[str]:
    """What makes the samples doubtful, in plain words."""
    found = []
    if len(samples) > 1 and stdev(samples) >= UNSTEADY * mean(samples):
        found.append(f"unsteady: standard deviation is {stdev(samples) / mean(samples):.0%} of the mean")
    if max(samples) >= 1.5 * mean(samples) or min(samples) <= 0.5 * mean(samples):
        found.append(f"outliers: {min(samples):.4g} to {max(samples):.4g} s around {mean(samples):.4g} s")
    if uneven > STAGE_SLACK:
        found.append(f"the stages' sum is {uneven:.1%} of a sample off its total")
    return found
