"""How long one object takes: rounds until the interval is narrow, each split into its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Protocol

from suite.judging.intervals import latency_interval, relative_half_width
from suite.records import Latency, SetAside

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


def may_set_aside(aside: int, kept: int, elapsed_s: float, time_budget_s: float) -> bool:
    """No more samples than are kept, so that a busy machine comes to an end; nor beyond the time budget."""
    return aside < max(MIN_ROUNDS, kept) and elapsed_s < time_budget_s


class Witness(Protocol):
    """Tells whether a sample was disturbed. Asked outside the timed region, just before and just after it."""

    def begin(self) -> None: ...
    def disturbed(self, seconds: float) -> str | None:
        """What disturbed a sample of so many seconds, or None."""

    def set_aside(self) -> None:
        """That sample is replaced by another."""


@dataclass
class Rounds:
    """The samples so far: those that are kept, and disturbed ones that were set aside."""

    samples_s: list[float] = field(default_factory=list)
    stages_s: list[dict[str, float]] = field(default_factory=list)
    disturbed: list[int] = field(default_factory=list)  # of those that are kept
    reasons: list[str] = field(default_factory=list)  # why they were
    set_aside: list[SetAside] = field(default_factory=list)

    def may_set_aside(self, elapsed_s: float, time_budget_s: float) -> bool:
        return may_set_aside(len(self.set_aside), len(self.samples_s), elapsed_s, time_budget_s)

    def keep(self, total_s: float, spent_s: dict[str, float], why: str | None) -> None:
        if why is not None:
            self.disturbed.append(len(self.samples_s))
            self.reasons.append(why)
        self.samples_s.append(total_s)
        self.stages_s.append(spent_s)

    def warnings(self) -> list[str]:
        """What was set aside, and that it was never quiet."""
        found = []
        if self.set_aside:
            last = self.set_aside[-1]
            found.append(f"{len(self.set_aside)} disturbed samples were set aside (the last: {last.why})")
        if self.disturbed:
            count = f"{len(self.disturbed)} of {len(self.samples_s)} samples"
            found.append(f"never quiet: {count} were disturbed and kept all the same (the last: {self.reasons[-1]})")
        return found


def measure_latency(
    call: Callable[[StageClock], object],
    synchronize: Callable[[], None],
    *,
    first_call_s: float,
    time_budget_s: float,
    between: Callable[[Rounds], bool] = lambda rounds: True,
    witness: Witness | None = None,
) -> Latency:
    """Repeat `call` until its median is known to ±2 %, at 20 rounds, or when the time is used up (5 rounds at least
    unless that takes three times the budget). What the witness calls disturbed is replaced, as often as `Rounds` lets
    it be. between: called after each round; its time is not of the budget, and a narrow interval ends nothing before it
    is true."""
    rounds = Rounds()
    started = time.perf_counter()  # later by what `between` takes
    reason = None
    while reason is None:
        if witness is not None:
            witness.begin()
        total, spent = time_call(call, synchronize)
        why = witness.disturbed(total) if witness is not None else None
        elapsed = time.perf_counter() - started
        if witness is not None and why is not None and rounds.may_set_aside(elapsed, time_budget_s):
            rounds.set_aside.append(SetAside(seconds=total, why=why))
            witness.set_aside()
        else:
            rounds.keep(total, spent, why)
        elapsed, paused = time.perf_counter() - started, time.perf_counter()
        enough = between(rounds)
        started += time.perf_counter() - paused
        if rounds.samples_s:
            reason = stop_reason(rounds.samples_s, elapsed, time_budget_s, enough)
    samples, names = rounds.samples_s, dict.fromkeys(name for spent in rounds.stages_s for name in spent)
    uneven = max(abs(1 - sum(spent.values()) / total) for total, spent in zip(samples, rounds.stages_s))
    return Latency(
        samples_s=samples,
        stage_samples_s={name: [spent[name] for spent in rounds.stages_s if name in spent] for name in names},
        first_call_s=first_call_s,
        median=latency_interval(samples),
        stop_reason=reason,
        warnings=warnings_of(samples, uneven) + rounds.warnings(),
        set_aside=rounds.set_aside,
        disturbed=rounds.disturbed,
    )


def stop_reason(samples: list[float], elapsed_s: float, time_budget_s: float, enough: bool = True) -> str | None:
    """Why to stop now, or None. enough: whether a narrow interval is a reason."""
    if len(samples) >= MIN_ROUNDS:
        if enough and relative_half_width(latency_interval(samples)) <= TARGET:
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
