"""Did latency change against a pinned baseline? The interval of the ratio, never the last run."""

from __future__ import annotations

from suite.records import Interval, Verdict

TOLERANCE = 0.05  # fresh processes of one build differ by up to this on a quiet board


def judge_ratio(change: Interval, tolerance: float = TOLERANCE) -> Verdict:
    """`regressed` or `improved` when the whole interval of the ratio lies beyond the tolerance, `pass` when it
    lies within, `uncertain` (measure again, fresh and interleaved) when it straddles a border."""
    if change.low is None or change.high is None:
        return Verdict.UNCERTAIN
    if change.low > 1 + tolerance:
        return Verdict.REGRESSED
    if change.high < 1 / (1 + tolerance):
        return Verdict.IMPROVED
    return Verdict.PASS if change.high <= 1 + tolerance and change.low >= 1 / (1 + tolerance) else Verdict.UNCERTAIN
