"""What changed on a board, and when: found again from its history, also what healed since. Without streamlit.

Three finders, each by the rules of `suite.judging`:

alarm    a night was held against the nights before it and came out worse or better, as it would have been told that
         night; what comes later moves nothing, so an alarm keeps its name
step     the level of a series moved for five nights or more (`step_finder`), where no alarm says so already
status   a cell that had ended well did not
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas

from dashboard.commits import told_of
from dashboard.data import identity
from dashboard.history import QUALITY, Line, Segment, lines_of, when
from leaderboards import cells as text
from suite.judging.baselines import BROKEN
from suite.judging.nights import RULE_STEP, Judged, judge_nights, past_band
from suite.judging.step_evidence import LENGTHS, MIN_PAST, SHARE_ABOVE, STEPS, split, spread
from suite.judging.step_finder import SHORTEST
from suite.judging.together import survivors
from suite.nights.night import quality_finding
from suite.nights.series import cells
from suite.records import Measurement, Status, Verdict

NAMES = {
    "latency_s": "latency",
    "latency_ratio": "relative latency",
    "peak_memory_bytes": "peak memory",
    "energy_j": "energy",
    QUALITY: "quality",
    "status": "ended well",
}
STILL = "still so"


@dataclass(frozen=True)
class Change:
    """`size` is the new level over the old, for quality new minus old, for a status nothing. `told` is the night at
    which it could be told. `healed` is the first night from which all were as before."""

    quantity: str
    verdict: Verdict  # regressed or improved
    found_by: str
    size: float | None
    last_good: Measurement | None
    first_bad: Measurement
    told: Measurement
    healed: Measurement | None = None

    @property
    def configuration(self) -> str:
        return self.first_bad.configuration

    @property
    def id(self) -> str:
        """Twelve hex digits that stay as the history grows."""
        m = self.told
        parts = (m.board, m.configuration, m.weights, self.quantity, self.verdict.value, m.session)
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Firing:
    """A night of a segment that came out as changed; `start` is the first of the changed nights."""

    start: int
    night: int
    judged: Judged


def of_board(measurements: Iterable[Measurement]) -> list[Change]:
    """All changes of one board, the newest first."""
    by_cell = cells(measurements)
    lines = {key: lines_of(its) for key, its in by_cell.items()}
    found = [change for its in by_cell.values() for change in _statuses(its)]
    found += [change for its in by_cell.values() for change in _quality(its)]
    segments = [
        (line, segment)
        for its in lines.values()
        for line in its
        if line.quantity != QUALITY
        for segment in line.segments
    ]
    for (line, segment), kept in zip(segments, _surviving([segment for _, segment in segments])):
        alarms = _alarms(line, segment, kept)
        found += alarms + _steps(line, segment, alarms)
    return sorted(found, key=lambda c: (c.told.measured_at, c.configuration, c.quantity), reverse=True)


def _surviving(segments: Sequence[Segment]) -> list[list[_Firing]]:
    """Of each segment, the nights that are told; a night with many series tells only what outlives them all."""
    fired = [_firings(segment) for segment in segments]
    looked_at = Counter(night.measurement.session for segment in segments for night in segment.nights)
    tonight: dict[str, list[tuple[int, _Firing]]] = defaultdict(list)
    for place, (segment, its) in enumerate(zip(segments, fired)):
        for firing in its:
            tonight[segment.nights[firing.night].measurement.session].append((place, firing))
    kept: list[list[_Firing]] = [[] for _ in segments]
    for session, all_of_it in tonight.items():
        odds = [firing.judged.log_odds for _, firing in all_of_it]
        silent = [None] * (looked_at[session] - len(odds))
        for (place, firing), outlives in zip(all_of_it, survivors([*odds, *silent])):
            if outlives:
                kept[place].append(firing)
    return [sorted(its, key=lambda firing: firing.night) for its in kept]


def _firings(segment: Segment) -> list[_Firing]:
    """Each night by the nights up to it alone."""
    found = []
    logs = np.log(segment.values)
    for night in range(MIN_PAST + LENGTHS[0] - 1, len(logs)):
        if not _may_be_a_step(logs[: night + 1]):
            continue
        judged = judge_nights(segment.values[: night + 1], with_smallest=False)
        if judged.rule == RULE_STEP and judged.nights is not None:
            found.append(_Firing(night + 1 - judged.nights, night, judged))
    return found


def _may_be_a_step(logs: np.ndarray) -> bool:
    """A cheap look that spares most nights the dear one: the newest night stands out, and with it most of the last."""
    past = logs[: split(len(logs))]
    moved = logs - np.median(past)
    if abs(moved[-1]) <= STEPS[0] / 2 or abs(moved[-1]) <= spread(past):
        return False
    beside = np.cumsum(moved[::-1] * moved[-1] > 0)  # of the last 1, 2, … nights, those on the newest one's side
    return any(beside[n - 1] >= SHARE_ABOVE * n for n in LENGTHS if n <= len(logs) - len(past))


def _alarms(line: Line, segment: Segment, firings: Sequence[_Firing]) -> list[Change]:
    """Firings one soon after the other, in one direction, are one alarm: that of the first."""
    found: list[Change] = []
    last: _Firing | None = None
    for firing in firings:
        verdict = firing.judged.verdict
        goes_on = last is not None and last.judged.verdict == verdict and firing.night - last.night <= LENGTHS[-1]
        if not goes_on:
            size = firing.judged.change.value
            found.append(_change(line, segment, firing.start, verdict, "alarm", size, firing.night))
        last = firing
    return found


def _steps(line: Line, segment: Segment, alarms: Sequence[Change]) -> list[Change]:
    found = []
    for step in segment.steps:
        verdict = Verdict.REGRESSED if step.ratio > 1 else Verdict.IMPROVED
        told_at = min(step.night + SHORTEST, len(segment.nights)) - 1
        near = segment.nights[max(step.night - SHORTEST, 0) : step.night + SHORTEST + 1]
        times = [night.measurement.measured_at for night in near]
        if not any(a.verdict == verdict and a.first_bad.measured_at in times for a in alarms):
            found.append(_change(line, segment, step.night, verdict, "step", step.ratio, told_at))
    return found


def _change(line: Line, segment: Segment, start: int, verdict: Verdict, by: str, size: float, told_at: int) -> Change:
    nights = [night.measurement for night in segment.nights]
    return Change(
        line.quantity, verdict, by, size, nights[start - 1], nights[start], nights[told_at], _healed(segment, start)
    )


def _healed(segment: Segment, start: int) -> Measurement | None:
    """The first night from which all lie in the band of the nights before the change."""
    band = past_band(segment.values[: start + LENGTHS[0]])
    if band is None:
        return None
    out = [n for n in range(start, len(segment.nights)) if not band.low <= segment.values[n] <= band.high]
    after = out[-1] + 1 if out else len(segment.nights)
    return segment.nights[after].measurement if after < len(segment.nights) else None


def _statuses(its: Sequence[Measurement]) -> list[Change]:
    """Each run of nights that broke after one that ended well."""
    found: list[Change] = []
    good: Measurement | None = None
    open_: Change | None = None
    for m in its:
        if m.status in BROKEN and good is not None and open_ is None:
            open_ = Change("status", Verdict.REGRESSED, "status", None, good, m, m)
        elif m.status == Status.OK:
            if open_ is not None:
                found.append(replace(open_, healed=m))
            good, open_ = m, None
    return found + ([open_] if open_ is not None else [])


def _quality(its: Sequence[Measurement]) -> list[Change]:
    """Prompt by prompt against the majority of the nights before; a night as the one before tells nothing new."""
    good = [m for m in its if m.status == Status.OK and m.quality is not None]
    found: list[Change] = []
    for night in range(1, len(good)):
        before, now = good[night - 1], good[night]
        if now.quality.hits_id == before.quality.hits_id:
            continue
        finding = quality_finding(good[:night], now)
        if finding is None or finding.judged.verdict not in (Verdict.REGRESSED, Verdict.IMPROVED):
            continue
        if found and found[-1].verdict == finding.judged.verdict and found[-1].healed is None:
            continue  # the majority takes some nights to follow
        healed = _as_before(good[night:], finding.then, finding.judged.verdict)
        size = finding.judged.change.value
        found.append(Change(QUALITY, finding.judged.verdict, "alarm", size, finding.then, now, now, healed))
    return found


def _as_before(after: Sequence[Measurement], then: Measurement, verdict: Verdict) -> Measurement | None:
    level, sign = then.quality.r_precision.value, 1 if verdict == Verdict.REGRESSED else -1
    return next((m for m in after if sign * (m.quality.r_precision.value - level) >= 0), None)


# The table


def regressions(changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if change.verdict == Verdict.REGRESSED]


def first_cell(changes: Iterable[Change], by_name: Mapping[str, Sequence[Measurement]]) -> str:
    """The cell to open on: that of the newest regression that is still so, else the one with the most nights."""
    for change in regressions(changes):
        if change.healed is None:
            return identity(change.first_bad)
    return max(by_name, key=lambda name: len(by_name[name]))


def size_said(change: Change) -> str:
    if change.size is None:
        return change.first_bad.status.value
    return f"{100 * change.size:+.1f} points" if change.quantity == QUALITY else text.times(change.size)


def state(change: Change) -> str:
    return STILL if change.healed is None else f"as before since {change.healed.measured_at[:10]}"


def table(changes: Sequence[Change], missing: frozenset[str] = frozenset()) -> pandas.DataFrame:
    """A line a change, for people."""
    return pandas.DataFrame(
        {
            "first seen, UTC": when(change.told).removesuffix(" UTC"),
            "cell": change.configuration.partition("@")[0],
            "figure": NAMES[change.quantity],
            "verdict": change.verdict.value,
            "change": size_said(change),
            "now": state(change),
            "last good commit": told_of(change.last_good, missing),
            "first bad commit": told_of(change.first_bad, missing),
            "found by": change.found_by,
            "reason": change.first_bad.reason or text.DASH,
        }
        for change in changes
    )
