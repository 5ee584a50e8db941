"""The roofline: no work ends before its machine's peaks allow (Williams et al. 2009, doi:10.1145/1498765.1498785)."""

from __future__ import annotations

from collections.abc import Mapping

from suite.records import MachinePeak


def compute_s(flops: Mapping[str, int], peak: MachinePeak) -> float | None:
    """Seconds that the arithmetic takes at least, each type at its own peak; None where a type's peak is not known."""
    if any(not peak.flops_per_s.get(kind) for kind, count in flops.items() if count):
        return None
    return sum(count / peak.flops_per_s[kind] for kind, count in flops.items() if count)


def floor_s(flops: Mapping[str, int], bytes_moved: int, peak: MachinePeak) -> float | None:
    """Seconds that the work takes at least: its arithmetic or its traffic, whichever is longer."""
    arithmetic = compute_s(flops, peak)
    return None if arithmetic is None else max(arithmetic, bytes_moved / peak.bytes_per_s)
