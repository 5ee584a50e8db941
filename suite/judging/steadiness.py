"""Did the machine stay the same while a session measured? Pure arithmetic over its recorded conditions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from suite.judging.intervals import latency_interval, ratio
from suite.judging.latency_change import judge_ratio
from suite.machine import Condition, Run
from suite.records import Verdict

# Canaries of one session differ by their own noise: in six of the nine committed sessions that have three or more, at
# least 99 % of all pairs differ by less. They are of a shared virtual machine.
CANARY_TOLERANCE = 0.5
CLOCK_SLACK_S = 2.0  # time servers move a clock by less without setting it


def why_unsteady(runs: Sequence[Run]) -> list[str]:
    """What changed from the first condition to the last, in plain words; empty where nothing is known to have."""
    conditions = [condition for run in runs for condition in (run.start, run.end) if condition is not None]
    reasons = [reason for run in runs for reason in run.noticed]
    for before, after in pairwise(conditions):
        reasons += between(before, after)
    if moved := _canary_moved(conditions):
        reasons.append(moved)
    return list(dict.fromkeys(reasons))


def between(before: Condition, after: Condition) -> list[str]:
    """What changed between two moments, their canaries apart."""
    reasons = []
    if before.boot_id and after.boot_id and before.boot_id != after.boot_id:
        reasons.append(f"the machine was rebooted between {before.at} and {after.at}")
    if after.clock_set_back_s > CLOCK_SLACK_S:
        reasons.append(f"the clock was set back by {after.clock_set_back_s:.0f} s in the run that ended at {after.at}")
    for what, held, now in (
        ("power mode", before.power_modes, after.power_modes),
        ("clocks", before.clocks, after.clocks),
    ):
        for device in held.keys() & now.keys():
            reasons += changed(device, what, held[device], now[device])
    return reasons


def changed(device: str, what: str, before: str | None, after: str | None) -> list[str]:
    """Of a device's power mode or clocks."""
    return [] if before == after else [f"{device}: {what} {before or 'unknown'} became {after or 'unknown'}"]


def _canary_moved(conditions: Sequence[Condition]) -> str | None:
    """The largest move of the canary from its first time, where its whole interval lies beyond the tolerance."""
    heard = [c for c in conditions if c.canary_samples_s]
    if len(heard) < 2:
        return None
    first = latency_interval(heard[0].canary_samples_s)
    moves = [ratio(latency_interval(c.canary_samples_s), first) for c in heard[1:]]
    far = [m for m in moves if judge_ratio(m, CANARY_TOLERANCE) in (Verdict.REGRESSED, Verdict.IMPROVED)]
    if not far:
        return None
    most = max(far, key=lambda move: max(move.value, 1 / move.value))
    words = f"{most.value:.2f} times as long" if most.value > 1 else f"1/{1 / most.value:.2f} of the time"
    return f"the canary took {words} later in the session ({first.value * 1000:.3g} ms at its start)"
