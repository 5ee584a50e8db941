"""How much faster than the authors' own code? The ratio of two latencies of one session, with its interval."""

from __future__ import annotations

from suite.judging.intervals import ratio
from suite.records import Interval, Measurement, Status


def against_original(measurement: Measurement, original: Measurement | None) -> Interval | None:
    """The original's latency over this one's, as `speedup` is taken to the reference; 1 for the original itself.

    None where either has no latency to trust, or where they were not measured alike: a resumed session may hold what
    was measured under other conditions.
    """
    if original is None or original.status != Status.OK or original.latency is None:
        return None
    if measurement.status == Status.THROTTLED or measurement.latency is None or measurement.simulated:
        return None
    if _conditions(measurement) != _conditions(original):
        return None
    if measurement.configuration == original.configuration:
        return Interval(value=1.0, low=1.0, high=1.0)
    return ratio(original.latency.median, measurement.latency.median)


def _conditions(m: Measurement) -> tuple:
    """What two latencies must share. Weights count by their kind: a recipe may load them from another file."""
    printed = m.fingerprint and m.fingerprint.model_dump(exclude={"weights_sha256", "gallery_sha256"})
    return (m.session, m.model, m.device, m.board, m.weights, m.protocol, m.extrapolated, printed)
