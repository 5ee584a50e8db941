"""What a latency is divided by before two sessions are compared: nothing, the reference of its session, or the canary.

Pure arithmetic, without torch.
"""

from __future__ import annotations

from typing import Literal

from suite.judging.intervals import ratio
from suite.records import Interval, Measurement

Unit = Literal["second", "reference", "canary"]


def latency_in(measurement: Measurement, unit: Unit) -> Interval | None:
    """The latency with its interval; None where it, or what it is divided by, was not measured."""
    if unit == "reference" or measurement.latency is None:
        return relative_latency(measurement)
    if unit == "second":
        return measurement.latency.median
    if (canary := measurement.canary_s) is None:
        return None
    return ratio(measurement.latency.median, Interval(value=canary, low=canary, high=canary))


def relative_latency(measurement: Measurement) -> Interval | None:
    """Over the reference's of the same session: from pairs of objects made in turn, where there are enough of them
    (`suite.metrics.beside`), else of the two medians, as of two independent latencies. A reference's own is 1, whatever
    its spread. None where it, or its reference, was not measured."""
    reference = measurement.reference
    if measurement.latency is None or reference is None:
        return None
    if reference.latency_ratio is not None:
        return reference.latency_ratio
    if reference.latency == measurement.latency.median:
        return Interval(value=1.0, low=1.0, high=1.0)
    return ratio(measurement.latency.median, reference.latency)
