"""What a latency is divided by before two sessions are compared: nothing, the reference of its session, or the canary.

Pure arithmetic, without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean
from typing import Literal

from suite.judging.intervals import latency_interval, ratio
from suite.records import Interval, Measurement

Unit = Literal["second", "reference", "canary"]

MIN_PAIRS = 5  # a Student-t interval of fewer is narrow by chance too often


def latency_in(measurement: Measurement, unit: Unit) -> Interval | None:
    """The latency with its interval; None where it, or what it is divided by, was not measured."""
    if measurement.latency is None:
        return None
    if unit == "reference":
        return relative_latency(measurement)
    if unit == "second":
        return measurement.latency.median
    if (canary := measurement.canary_s) is None:
        return None
    return ratio(measurement.latency.median, Interval(value=canary, low=canary, high=canary))


def relative_latency(measurement: Measurement) -> Interval | None:
    """Over the reference's of the same session: by pairs of objects made in turn, where there are enough of them
    (`paired_ratio`), else of the two medians, as of two independent latencies. A reference's own is 1, whatever its
    spread. None where it, or its reference, was not measured."""
    reference = measurement.reference
    if measurement.latency is None or reference is None:
        return None
    if reference.latency_ratio is not None:
        return reference.latency_ratio
    if reference.latency == measurement.latency.median:
        return Interval(value=1.0, low=1.0, high=1.0)
    return ratio(measurement.latency.median, reference.latency)


def speedup(measurement: Measurement) -> float | None:
    """Times as fast as its reference."""
    relative = relative_latency(measurement)
    return None if relative is None else 1 / relative.value


def paired_ratio(rounds_s: Sequence[float], others_s: Sequence[float], after_rounds: Sequence[int]) -> Interval | None:
    """The rounds over the others, [others]: each with the rounds since the one before it, whose geometric mean counts.
    The median over these pairs, with the Student-t interval of their mean logarithm. None of fewer than MIN_PAIRS.

    after_rounds: how many rounds were made before each of the others, rising.
    """
    if len(others_s) < MIN_PAIRS:
        return None
    begins = [0, *after_rounds]
    blocks = [rounds_s[begin:end] for begin, end in zip(begins, after_rounds)]
    return latency_interval([geometric_mean(block) / other for block, other in zip(blocks, others_s)])
