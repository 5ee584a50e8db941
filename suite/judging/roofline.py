"""The roofline: no work ends before its machine's peaks allow (Williams et al. 2009, doi:10.1145/1498765.1498785)."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from suite.records import Cost, MachinePeak

FLOAT32 = "float32"


def compute_s(flops: Mapping[str, int], peak: MachinePeak) -> float | None:
    """Seconds that the arithmetic takes at least, each type at its own peak; None where a type's peak is not known.
    A type that the machine has no instructions for could be computed in float32, so it is held to that."""
    if any(not peak.flops_per_s.get(kind) for kind, count in flops.items() if count):
        return None
    float32 = peak.flops_per_s.get(FLOAT32, 0.0)
    return sum(count / max(peak.flops_per_s[kind], float32) for kind, count in flops.items() if count)


def floor_s(flops: Mapping[str, int], bytes_moved: float, peak: MachinePeak) -> float | None:
    """Seconds that the work takes at least: its arithmetic or its traffic, whichever is longer."""
    arithmetic = compute_s(flops, peak)
    return None if arithmetic is None else max(arithmetic, bytes_moved / peak.bytes_per_s)


def lacking(cost: Cost) -> list[str]:
    """The types of arithmetic, among those of this cost, that its machine computes slower than float32."""
    kinds = {kind for stage in cost.stages.values() for kind, count in stage.flops.items() if count}
    rates = cost.peak.flops_per_s
    return sorted(kind for kind in kinds if rates.get(kind, inf) < rates.get(FLOAT32, 0.0))
